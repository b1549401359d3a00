//! How many requests of one user, and of one address, are answered: a budget for each kind of request.
//!
//! A user has a budget wherever they come from; an address has one of ten times as much, for many may share it. What is refused costs
//! next to nothing. Each gateway counts for itself: behind N of them somebody has up to N budgets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::Quota;

use super::client::{FORWARDED_FOR, origin};
use super::counter::{Counter, network};
use crate::app::App;
use crate::limits::{ADDRESS_BUDGETS, RATE_KEYS_MAX};
use crate::problem::{Kind, Problem};
use crate::users::UserId;
use crate::users::identify;

/// So many requests a second for long, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// For long.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// What one user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// `GET` and `HEAD`.
    pub read: Rate,
    /// What changes something.
    pub write: Rate,
    /// What wants seats.
    pub booking: Rate,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
    Booking,
}

impl Default for Rates {
    fn default() -> Self {
        let rate = |per_second, burst| Rate {
            per_second: NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN),
            burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
        };
        Rates {
            // A page of the shop asks for some dozen things at once.
            read: rate(20, 100),
            write: rate(5, 20),
            // As fast as somebody clicks who is refused one seat after the other.
            booking: rate(2, 10),
        }
    }
}

impl FromStr for Rates {
    type Err = String;

    /// As in `read=20/100,write=5/20,booking=2/10`; what isn't named keeps its default.
    fn from_str(text: &str) -> Result<Rates, String> {
        let mut rates = Rates::default();
        for part in text.split(',').map(str::trim) {
            let rate = part.split_once('=').and_then(|(name, rate)| {
                let (per_second, burst) = rate.split_once('/')?;
                let (per_second, burst) = (per_second.trim().parse().ok()?, burst.trim().parse().ok()?);
                Some((name.trim(), Rate { per_second, burst }))
            });
            match rate {
                Some(("read", rate)) => rates.read = rate,
                Some(("write", rate)) => rates.write = rate,
                Some(("booking", rate)) => rates.booking = rate,
                Some(_) | None => {
                    return Err(format!(
                        "{part:?} is no limit such as read=20/100 (requests a second for long, and at once); there are read, write \
                         and booking"
                    ));
                }
            }
        }
        Ok(rates)
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = [("read", self.read), ("write", self.write), ("booking", self.booking)];
        let parts = rates.map(|(name, rate)| format!("{name}={}/{}", rate.per_second, rate.burst));
        f.write_str(&parts.join(","))
    }
}

/// The budgets of one kind of request.
struct Budgets {
    users: Counter<UserId>,
    addresses: Counter<IpAddr>,
}

impl Budgets {
    fn of(rate: Rate) -> Budgets {
        let quota = |times: NonZeroU32| {
            Quota::per_second(rate.per_second.saturating_mul(times)).allow_burst(rate.burst.saturating_mul(times))
        };
        Budgets {
            users: Counter::new(quota(NonZeroU32::MIN), RATE_KEYS_MAX),
            addresses: Counter::new(quota(ADDRESS_BUDGETS), RATE_KEYS_MAX),
        }
    }
}

/// What was asked for so far.
pub struct Spent {
    read: Budgets,
    write: Budgets,
    booking: Budgets,
}

impl Spent {
    /// Nothing, of these.
    pub fn of(rates: &Rates) -> Spent {
        Spent {
            read: Budgets::of(rates.read),
            write: Budgets::of(rates.write),
            booking: Budgets::of(rates.booking),
        }
    }

    fn count(&self, purpose: Purpose, user: Option<UserId>, address: Option<IpAddr>) -> Result<(), Problem> {
        let budgets = match purpose {
            Purpose::Read => &self.read,
            Purpose::Write => &self.write,
            Purpose::Booking => &self.booking,
        };
        let by_user = user.map_or(Ok(()), |user| budgets.users.count(&user));
        by_user.map_err(|wait| refused(wait, "this user"))?;
        let by_address = address.map_or(Ok(()), |address| budgets.addresses.count(&network(address)));
        by_address.map_err(|wait| refused(wait, "this address"))
    }
}

fn refused(wait: Duration, whose: &str) -> Problem {
    metrics::counter!("sagaline_gateway_rate_limited_total").increment(1);
    let detail = format!("too many requests of {whose}; try again after the time that Retry-After says");
    Problem::new(Kind::TooManyRequests, detail).retry_after(wait)
}

/// Refuses a request whose user or address has asked for too much.
pub async fn limit(State((app, spent)): State<(App, Arc<Spent>)>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let Some(purpose) = purpose(request.method(), route) else {
        return next.run(request).await;
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = peer.and_then(|ConnectInfo(peer)| {
        let origin = origin(peer.ip(), request.headers(), &app.options().trusted_proxies);
        (!is_unnamed_proxy(origin, peer.ip(), request.headers())).then_some(origin)
    });
    match spent.count(purpose, identify::user(&app, request.headers()), address) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// A peer of our own networks that hands requests of others on, and whom nobody has named as a proxy: all buyers would have its one budget.
fn is_unnamed_proxy(origin: IpAddr, peer: IpAddr, headers: &HeaderMap) -> bool {
    static SAID: Once = Once::new();
    let is_ours = match origin {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    };
    let is_unnamed = is_ours && origin == peer.to_canonical() && headers.contains_key(FORWARDED_FOR);
    if is_unnamed {
        SAID.call_once(|| {
            tracing::error!(
                address = %origin,
                "requests come from a proxy that SAGALINE_TRUSTED_PROXIES doesn't name: where they come from is not known, and not limited"
            );
        });
    }
    is_unnamed
}

/// None: it is always answered.
fn purpose(method: &Method, route: &str) -> Option<Purpose> {
    match (method, route) {
        (_, route) if is_unlimited(route) => None,
        (&Method::POST, "/bookings") => Some(Purpose::Booking),
        (&Method::GET | &Method::HEAD | &Method::OPTIONS, _) => Some(Purpose::Read),
        _ => Some(Purpose::Write),
    }
}

/// Kubernetes asks, our own workers, and providers, who sign what they send and would send it again.
pub fn is_unlimited(route: &str) -> bool {
    ["/health/", "/webhooks/", "/internal/"]
        .iter()
        .any(|begin| route.starts_with(begin))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rates_are_read_or_refused_with_an_example() {
        let text = "read=7/8,write=5/20,booking=1/1";
        assert_eq!(text.parse::<Rates>().unwrap().to_string(), text);
        assert_eq!("read=20/100".parse(), Ok(Rates::default()));
        for bad in [
            "",
            "read",
            "read=1",
            "read=0/1",
            "read=1/0",
            "look=1/1",
            "read=1/1,,",
            "read=-1/1",
        ] {
            assert!(bad.parse::<Rates>().unwrap_err().contains("read=20/100"), "{bad}");
        }
    }

    #[test]
    fn each_kind_each_user_and_each_address_has_a_budget() {
        let spent = Spent::of(&"read=1/2,write=1/1,booking=1/1".parse().unwrap());
        let (ada, bob) = (Some(UserId::random()), Some(UserId::random()));
        let from = |number: u32| Some(IpAddr::V4(number.into()));
        let count = |purpose, user, address| spent.count(purpose, user, address).is_ok();
        assert!(count(Purpose::Booking, ada, from(1)));
        assert!(!count(Purpose::Booking, ada, from(2)), "wherever they come from");
        assert!(count(Purpose::Booking, bob, from(1)));
        assert!(count(Purpose::Write, ada, from(1)));
        assert!(count(Purpose::Read, ada, from(1)));
        assert!(count(Purpose::Read, ada, from(1)));
        // Two bookings are counted at the address by now.
        let anonymous = (0..20).filter(|_| count(Purpose::Booking, None, from(1))).count();
        assert_eq!(anonymous, 8);
        assert!(count(Purpose::Booking, None, from(3)));
        assert!(count(Purpose::Booking, None, None));
    }

    #[test]
    fn what_must_always_get_through_does() {
        assert_eq!(purpose(&Method::GET, "/health/ready"), None);
        assert_eq!(purpose(&Method::POST, "/webhooks/stripe"), None);
        assert_eq!(purpose(&Method::POST, "/bookings"), Some(Purpose::Booking));
        assert_eq!(purpose(&Method::GET, "/bookings/{bookingId}"), Some(Purpose::Read));
        assert_eq!(purpose(&Method::DELETE, "/bookings/{bookingId}"), Some(Purpose::Write));
        assert_eq!(purpose(&Method::GET, ""), Some(Purpose::Read));
    }
}

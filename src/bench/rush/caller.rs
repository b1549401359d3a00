//! The callers: each serves one buyer after another over a connection of its own, through the shop's public API.
//!
//! So the load is a closed loop without pauses: the crowd queues, and as many as there are callers have a request open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use uuid::Uuid;

use super::buyer::{Buyer, Card, Crowd};
use super::live::Live;
use super::sale::Sale;
use super::told::{Booking, End, Leaves, Told, micros_since};
use crate::bench::client::{Answer, Connection};

/// Buyers wait for the outcome for as long as the shop lets them.
const PREFER: &str = "wait=30";
/// Who will leave waits until the payment is under way.
const PREFER_TO_LEAVE: &str = "wait=2";
/// A request that takes this long will not be answered: longer than the wait above and the gateway's own limit.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long a buyer asks again who was put off or cut off.
const PATIENCE: Duration = Duration::from_secs(120);
/// Before asking again under a key that is being worked on, or after a broken connection.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Between two looks at a booking that is not decided yet.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest that a buyer stays away when told to come again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// How much later than its hold a booking may be decided.
const DECIDED_AFTER_HOLD_MAX: Duration = Duration::from_secs(120);

/// The problem of a wish for seats that the shop knows to be taken, without having asked the engine.
const SEATS_UNAVAILABLE: &str = "urn:sagaline:problem:seats-unavailable";
/// The problem of a key whose first request is still being worked on.
const KEY_IN_FLIGHT: &str = "urn:sagaline:problem:idempotency-key-in-flight";

/// Where buyers go, and how.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The gateway.
    pub gateway: SocketAddr,
    /// Callers.
    pub concurrency: u32,
    /// Wishes of one buyer, at most.
    pub tries: u32,
    /// How long seats are held.
    pub hold: Duration,
}

/// Serves buyers `1..=buyers`.
pub async fn serve(shop: &Shop, sale: Sale, crowd: Crowd, buyers: u64, live: &Live) -> anyhow::Result<Told> {
    let (sale, crowd) = (Arc::new(sale), Arc::new(crowd));
    let next = Arc::new(AtomicU64::new(1));
    let mut callers = Vec::new();
    for _ in 0..shop.concurrency.min(u32::try_from(buyers).unwrap_or(u32::MAX)) {
        callers.push(Caller {
            connection: Connection::open(shop.gateway).await?,
            shop: shop.clone(),
            sale: sale.clone(),
            crowd: crowd.clone(),
            live: live.clone(),
            told: Told::default(),
        });
    }
    let begun = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|caller| tokio::spawn(caller.serve_until(next.clone(), buyers)))
        .collect();
    let mut told = Told::default();
    for task in tasks {
        told.add(task.await.context("a caller panicked")?);
    }
    told.wall = begun.elapsed();
    told.refusals_us.sort_unstable();
    told.first_to_last_us.sort_unstable();
    Ok(told)
}

struct Caller {
    connection: Connection,
    shop: Shop,
    sale: Arc<Sale>,
    crowd: Arc<Crowd>,
    live: Live,
    told: Told,
}

/// A booking, as far as buyers read it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    booking_id: Uuid,
    status: String,
    #[serde(default)]
    history: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    event: String,
    #[serde(default)]
    data: Option<Free>,
}

/// The part of a refusal that says what is still free.
#[derive(Debug, Default, Deserialize)]
struct Free {
    #[serde(default)]
    available: Vec<String>,
}

/// The part of a problem document that tells what to do.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    available_seats: Vec<String>,
}

/// What a wish came to.
enum Reply {
    Booking(View),
    /// The shop knew without asking the engine that the seats are gone.
    RefusedAtOnce(Vec<String>),
}

impl Caller {
    async fn serve_until(mut self, next: Arc<AtomicU64>, buyers: u64) -> Told {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > buyers {
                return self.told;
            }
            match self.serve(number).await {
                Ok(how) => self.told.leaves(how),
                Err(error) => self.told.fails(format!("buyer {number}: {error:#}")),
            }
            self.live.served.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One buyer, from the first wish to leaving.
    async fn serve(&mut self, number: u64) -> anyhow::Result<Leaves> {
        let mut buyer = self.crowd.buyer(number);
        let mut wish = self.crowd.first_wish(&mut buyer);
        let begun = Instant::now();
        let (mut leaves, mut has_paid) = (Leaves::Refused, false);
        for attempt in 1..=self.shop.tries {
            let asked = Instant::now();
            let (reply, deferred_us) = self.wish(&buyer, &wish, attempt).await?;
            let took_us = micros_since(asked);
            let free = match reply {
                Reply::RefusedAtOnce(free) => {
                    self.told.refused_at_once += 1;
                    self.refused(took_us);
                    free
                }
                Reply::Booking(view) => {
                    let end = end(&view, buyer.card).with_context(|| format!("a booking is {}", view.status))?;
                    let pays = matches!(end, End::Confirmed | End::Cancelled | End::Expired);
                    self.told.payers += u64::from(pays && !has_paid);
                    self.told.bookings.push(Booking {
                        id: view.booking_id,
                        end,
                        card: buyer.card,
                        is_first_payment: pays && !has_paid,
                        seats: if end == End::Confirmed {
                            wish.clone()
                        } else {
                            Vec::new()
                        },
                        took_us,
                        deferred_us,
                    });
                    has_paid |= pays;
                    match end {
                        End::Confirmed => {
                            self.live.confirmed.fetch_add(1, Ordering::Relaxed);
                            self.told.first_to_last_us.push(micros_since(begun));
                            return Ok(Leaves::Happy);
                        }
                        End::Left => return Ok(Leaves::Away),
                        End::Expired => return Ok(Leaves::Unpaid),
                        End::Cancelled => {
                            // The seats are free again, for whoever comes first: with another card, then.
                            buyer.card = Card::Good;
                            leaves = Leaves::Unpaid;
                            continue;
                        }
                        End::Rejected => {
                            self.refused(took_us);
                            free_seats(view.history)
                        }
                    }
                }
            };
            leaves = Leaves::Refused;
            let free: Vec<u32> = free.iter().filter_map(|seat| self.sale.rank(seat)).collect();
            if free.is_empty() {
                return Ok(Leaves::SoldOut);
            }
            wish = buyer.next_wish(&free);
        }
        Ok(leaves)
    }

    fn refused(&mut self, took_us: u32) {
        self.told.refusals_us.push(took_us);
        self.live.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends a wish, twice at once if that is the buyer's way, and waits until it is decided. With how long it was put off.
    async fn wish(&mut self, buyer: &Buyer, wish: &[u32], attempt: u32) -> anyhow::Result<(Reply, u32)> {
        let key = format!("{}-{}-{attempt}", self.sale.event, buyer.number);
        let body = self.sale.wish(buyer.number, wish, buyer.card);
        let prefer = match buyer.card {
            Card::Abandoned => PREFER_TO_LEAVE,
            Card::Good | Card::Declined | Card::DeclinedOnce | Card::TimesOut | Card::SlowBank => PREFER,
        };
        self.live.in_flight.fetch_add(1, Ordering::Relaxed);
        let submitted = if buyer.twice {
            self.submit_twice(&key, body, prefer).await
        } else {
            submit(&mut self.connection, &key, &body, prefer).await
        };
        let reply = match submitted {
            Ok(submitted) => {
                self.told.deferred += submitted.deferred;
                let reply = match submitted.reply {
                    Reply::Booking(view) if !is_over(&view, buyer.card) => {
                        self.over(view.booking_id, buyer.card).await.map(Reply::Booking)
                    }
                    reply => Ok(reply),
                };
                reply.map(|reply| (reply, submitted.deferred_us))
            }
            Err(error) => Err(error),
        };
        self.live.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.live.answered.fetch_add(1, Ordering::Relaxed);
        reply
    }

    /// A double click: the same request under the same key on two connections at once.
    async fn submit_twice(&mut self, key: &str, body: String, prefer: &str) -> anyhow::Result<Submitted> {
        self.told.twice += 1;
        let mut second = Connection::open(self.shop.gateway).await?;
        let (one, two) = tokio::join!(
            submit(&mut self.connection, key, &body, prefer),
            submit(&mut second, key, &body, prefer),
        );
        let (one, two) = (one?, two?);
        if let (Reply::Booking(one), Reply::Booking(two)) = (&one.reply, &two.reply) {
            ensure!(
                one.booking_id == two.booking_id,
                "a double submit made two bookings, {} and {}",
                one.booking_id,
                two.booking_id
            );
        }
        // Seats may go between the two answers; a booking counts.
        let deferred = one.deferred + two.deferred;
        let counted = match (&one.reply, &two.reply) {
            (Reply::RefusedAtOnce(_), Reply::Booking(_)) => two,
            _ => one,
        };
        Ok(Submitted { deferred, ..counted })
    }

    /// The booking once it is over for the buyer.
    async fn over(&mut self, booking: Uuid, card: Card) -> anyhow::Result<View> {
        let until = Instant::now() + self.shop.hold + DECIDED_AFTER_HOLD_MAX;
        let path = format!("/bookings/{booking}");
        loop {
            match tokio::time::timeout(REQUEST_MAX, self.connection.get(&path)).await {
                Ok(Ok(answer)) if answer.status == StatusCode::OK => {
                    let view = view(&answer.body)?;
                    if is_over(&view, card) {
                        return Ok(view);
                    }
                }
                Ok(Ok(answer)) if is_for_later(answer.status) => {}
                Ok(Ok(answer)) => bail!("{path}: {}", story(&answer)),
                // Cut off: another connection, and the same question.
                Ok(Err(_)) | Err(_) => self.connection.reopen().await?,
            }
            ensure!(Instant::now() < until, "booking {booking} is not decided");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A wish that was answered.
struct Submitted {
    reply: Reply,
    /// How often the shop put it off.
    deferred: u64,
    /// From the first time it was sent to the time that it was let in.
    deferred_us: u32,
}

/// Sends a wish until it is answered.
async fn submit(connection: &mut Connection, key: &str, body: &str, prefer: &str) -> anyhow::Result<Submitted> {
    let headers = [("idempotency-key", key), ("prefer", prefer)];
    let begun = Instant::now();
    let until = begun + PATIENCE;
    let mut deferred = 0;
    loop {
        let deferred_us = micros_since(begun);
        let submitted = |reply| Submitted {
            reply,
            deferred,
            deferred_us,
        };
        let request = connection.post("/bookings", &headers, body.to_owned());
        let (wait, why) = match tokio::time::timeout(REQUEST_MAX, request).await {
            Ok(Ok(answer)) => match answer.status {
                StatusCode::OK | StatusCode::ACCEPTED => return Ok(submitted(Reply::Booking(view(&answer.body)?))),
                StatusCode::CONFLICT => {
                    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
                    match problem.kind.as_str() {
                        SEATS_UNAVAILABLE => return Ok(submitted(Reply::RefusedAtOnce(problem.available_seats))),
                        KEY_IN_FLIGHT => (AGAIN_AFTER, story(&answer)),
                        _ => bail!("{}", story(&answer)),
                    }
                }
                status if is_for_later(status) => {
                    deferred += 1;
                    (retry_after(&answer.headers), story(&answer))
                }
                _ => bail!("{}", story(&answer)),
            },
            Ok(Err(error)) => {
                connection.reopen().await?;
                (AGAIN_AFTER, format!("{error:#}"))
            }
            Err(_) => {
                connection.reopen().await?;
                (Duration::ZERO, format!("no answer within {} s", REQUEST_MAX.as_secs()))
            }
        };
        ensure!(Instant::now() < until, "not answered in time; at last: {why}");
        tokio::time::sleep(wait).await;
    }
}

fn view(body: &Bytes) -> anyhow::Result<View> {
    serde_json::from_slice(body).context("the answer is not a booking")
}

fn is_for_later(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    seconds
        .map_or(AGAIN_AFTER, Duration::from_secs)
        .clamp(AGAIN_AFTER, RETRY_AFTER_MAX)
}

fn story(answer: &Answer) -> String {
    format!("HTTP {}: {}", answer.status, String::from_utf8_lossy(&answer.body))
}

/// Decided; or, for a buyer who will leave, as far as paying.
fn is_over(view: &View, card: Card) -> bool {
    end(view, card).is_some()
}

fn end(view: &View, card: Card) -> Option<End> {
    match view.status.as_str() {
        "confirmed" => Some(End::Confirmed),
        "rejected" => Some(End::Rejected),
        "cancelled" => Some(End::Cancelled),
        "expired" => Some(End::Expired),
        "reserved" | "paying" if card == Card::Abandoned => Some(End::Left),
        _ => None,
    }
}

/// The free seats that a rejected booking names.
fn free_seats(history: Vec<Entry>) -> Vec<String> {
    let refusal = history.into_iter().find(|entry| entry.event == "seat.unavailable");
    refusal
        .and_then(|entry| entry.data)
        .map(|data| data.available)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_rejected_booking_names_what_is_free() {
        let body = r#"{"bookingId":"01900000-0000-7000-8000-000000000000","status":"rejected","history":[
            {"seq":1,"at":"x","event":"booking.initiated"},
            {"seq":3,"at":"x","event":"seat.unavailable","data":{"requested":["S1"],"available":["S2","S3"]}}]}"#;
        let view = view(&Bytes::from(body)).unwrap();
        assert_eq!(end(&view, Card::Good), Some(End::Rejected));
        assert_eq!(free_seats(view.history), ["S2", "S3"]);
    }

    #[test]
    fn only_who_leaves_may_be_undecided() {
        let of = |status: &str, card| {
            let body = format!(r#"{{"bookingId":"01900000-0000-7000-8000-000000000000","status":"{status}"}}"#);
            end(&view(&Bytes::from(body)).unwrap(), card)
        };
        assert_eq!(of("paying", Card::Abandoned), Some(End::Left));
        assert_eq!(of("initiated", Card::Abandoned), None);
        assert_eq!(of("rejected", Card::Abandoned), Some(End::Rejected));
        assert_eq!(of("paying", Card::Good), None);
    }

    #[test]
    fn the_shop_is_obeyed_within_reason() {
        let wait = |text: &'static str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(wait("2"), Duration::from_secs(2));
        assert_eq!(wait("3600"), RETRY_AFTER_MAX);
        assert_eq!(wait("soon"), AGAIN_AFTER);
    }
}

//! Which of the shop's services a gateway serves itself, and where the others are.
//!
//! A service is a part of the API with its routes and its chores. Usually one process has all of them. Each can also run apart, as a gateway of
//! its own that serves this one (or a few), behind a gateway that passes its requests on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};
use serde::{Serialize, Serializer};

/// A part of the shop's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Accounts, sessions, and the links in mails about them.
    Users,
    /// Events with their venues, seats and prices, for buyers and organisers.
    Events,
    /// Bookings, and the lines in front of them.
    Bookings,
    /// Refunds, events that are called off, and the payment provider's webhooks.
    Payments,
    /// Tickets, doors, and orders of guests.
    Tickets,
    /// What users want to be reached by, and what providers of messages say later.
    Notifications,
    /// Reports, and live figures.
    Analytics,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 7] = [
        Service::Users,
        Service::Events,
        Service::Bookings,
        Service::Payments,
        Service::Tickets,
        Service::Notifications,
        Service::Analytics,
    ];

    /// Its name, in settings and answers.
    pub fn name(self) -> &'static str {
        match self {
            Service::Users => "users",
            Service::Events => "events",
            Service::Bookings => "bookings",
            Service::Payments => "payments",
            Service::Tickets => "tickets",
            Service::Notifications => "notifications",
            Service::Analytics => "analytics",
        }
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Service, String> {
        let known = || Service::ALL.map(Service::name).join(", ");
        let found = Service::ALL.into_iter().find(|service| service.name() == text);
        found.ok_or_else(|| format!("there is no service {text:?}; there are {}", known()))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a gateway is to serve itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Services {
    /// Whatever isn't said to be elsewhere.
    #[default]
    All,
    /// These.
    Only(BTreeSet<Service>),
}

impl Services {
    /// What it serves itself, where the others are at these addresses.
    ///
    /// # Errors
    /// In words, if a service is said to be both here and elsewhere.
    pub fn here(&self, elsewhere: &ServiceUrls) -> Result<BTreeSet<Service>, String> {
        let away = |service: &Service| elsewhere.0.contains_key(service);
        match self {
            Services::All => Ok(Service::ALL.into_iter().filter(|service| !away(service)).collect()),
            Services::Only(services) => match services.iter().find(|service| away(service)) {
                None => Ok(services.clone()),
                Some(both) => Err(format!(
                    "the service {both} can't be served here and be passed on to another address"
                )),
            },
        }
    }
}

impl FromStr for Services {
    type Err = String;

    /// `all`, or as in `users,events`.
    fn from_str(text: &str) -> Result<Services, String> {
        match text {
            "all" => Ok(Services::All),
            names => {
                let services: Result<BTreeSet<Service>, String> =
                    names.split(',').map(|name| name.trim().parse()).collect();
                services.map(Services::Only)
            }
        }
    }
}

impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Services::All => f.write_str("all"),
            Services::Only(services) => {
                let names: Vec<&str> = services.iter().map(|service| service.name()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// Where a service that runs apart is: `http://host:port`, or `https://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

impl FromStr for ServiceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<ServiceUrl, String> {
        let wrong = || format!("{text:?} is no address of a service such as http://users:3000");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let parts = uri.into_parts();
        let is_bare = parts.path_and_query.is_none_or(|path| path == "/");
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority))
                if is_bare
                    && (scheme == Scheme::HTTP || scheme == Scheme::HTTPS)
                    // A password would be in logs, and be sent to nobody.
                    && !authority.as_str().contains('@')
                    && !authority.host().is_empty() =>
            {
                Ok(ServiceUrl { scheme, authority })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Where the services are that run apart. No secrets: they may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceUrls(pub(crate) BTreeMap<Service, ServiceUrl>);

impl FromStr for ServiceUrls {
    type Err = String;

    /// As in `users=http://users:3000,events=http://events:3000`.
    fn from_str(text: &str) -> Result<ServiceUrls, String> {
        let mut urls = BTreeMap::new();
        for part in text.split(',').map(str::trim) {
            let (name, url) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not like users=http://users:3000"))?;
            let service: Service = name.trim().parse()?;
            if urls.insert(service, url.trim().parse()?).is_some() {
                return Err(format!("the service {service} is named twice"));
            }
        }
        Ok(ServiceUrls(urls))
    }
}

impl fmt::Display for ServiceUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(service, url)| format!("{service}={url}")).collect();
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_here_and_what_is_elsewhere_is_read() {
        let urls = "users=http://users:3000,analytics=https://10.0.0.7";
        let elsewhere: ServiceUrls = urls.parse().unwrap();
        assert_eq!(elsewhere.to_string(), urls);
        let here = Services::All.here(&elsewhere).unwrap();
        assert!(!here.contains(&Service::Users) && here.contains(&Service::Events) && here.len() == 5);
        let only: Services = "events, bookings".parse().unwrap();
        assert_eq!(only.to_string(), "events,bookings");
        assert_eq!(only.here(&elsewhere).unwrap().len(), 2);
        let both: Services = "users".parse().unwrap();
        assert!(both.here(&elsewhere).unwrap_err().contains("users"));
        assert_eq!(
            "all"
                .parse::<Services>()
                .unwrap()
                .here(&ServiceUrls::default())
                .unwrap()
                .len(),
            7
        );
        for wrong in ["", "user", "users,", "ALL"] {
            assert!(
                wrong
                    .parse::<Services>()
                    .unwrap_err()
                    .contains("there are users, events"),
                "{wrong}"
            );
        }
        for wrong in [
            "",
            "users",
            "users=",
            "users=users:3000",
            "users=ftp://users",
            "users=http://users/api",
            "users=http://me:secret@users",
            "users=http://a,users=http://b",
            "people=http://a",
        ] {
            assert!(wrong.parse::<ServiceUrls>().is_err(), "{wrong}");
        }
        assert!("users=http://users:3000/".parse::<ServiceUrls>().is_ok());
    }
}

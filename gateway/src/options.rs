//! Settings of the gateway.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

pub use crate::http::client::TrustedProxies;
pub use crate::http::cors::Origins;
pub use crate::http::rates::{Rate, Rates};
pub use crate::services::{Service, ServiceUrls, Services};

/// Settings of the gateway; [`Options::default`] suits `dev`.
#[derive(Clone, Debug)]
pub struct Options {
    /// What this gateway serves itself.
    pub services: BTreeSet<Service>,
    /// Where those are whose requests it passes on; none of them is among the former.
    pub service_urls: ServiceUrls,
    /// The workflow that a booking starts, at its newest version.
    pub workflow: String,
    /// The payment method of bookings that name none; none: naming one is required.
    pub payment_method_default: Option<String>,
    /// What Stripe signs its webhooks with (`whsec_…`); none: webhooks are refused with 503.
    pub webhook_secret: Option<Secret>,
    /// How old, or how far in the future, a webhook's signature may be.
    pub webhook_tolerance: Duration,
    /// What Twilio signs its webhooks with; none: they are refused with 503.
    pub twilio_auth_token: Option<Secret>,
    /// What the mail service signs its webhooks with; none: they are refused with 503.
    pub mail_webhook_secret: Option<Secret>,
    /// Where buyers and providers reach the shop: Twilio signs the URL that it was given.
    pub shop_url: String,
    /// What access tokens are signed with, at least 32 characters; several joined by commas: the first one signs, all are good. None: one that
    /// ends with the process, so only for a gateway that is alone.
    pub token_secret: Option<Secret>,
    /// What those are known by who mail tickets; none: they get none.
    pub internal_secret: Option<Secret>,
    /// `host:port` of the payment provider, of whose health the gateway tells; none: it doesn't.
    pub payments_address: Option<String>,
    /// Whether somebody may book without being logged in, under any id that is no registered user's.
    pub anonymous_bookings: bool,
    /// The workflow that publishes what happens to accounts and sends the mails about it.
    pub account_workflow: String,
    /// The workflow that refunds confirmed bookings.
    pub refund_workflow: String,
    /// The workflow that calls an event off.
    pub cancellation_workflow: String,
    /// The workflow that publishes what happens to events.
    pub event_workflow: String,
    /// Passwords hashed at once.
    pub hashes_max: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// How much one user may ask for, and an address ten times as much of; none: as much as they like.
    pub rates: Option<Rates>,
    /// Sites whose pages may use the API from a browser, e.g. `https://shop.example.com`.
    pub cors_origins: Origins,
    /// How often the webhook inbox is looked at when nothing seems to be due.
    pub inbox_poll_interval: Duration,
    /// How long the first retry of a webhook event waits; later ones wait twice as long each.
    pub inbox_retry_initial: Duration,
    /// Requests worked on at a time; above, 503.
    pub requests_max: usize,
    /// Bookings in work at a time, at most: fewer where starting them takes too long; above, 503.
    pub bookings_in_work_max: usize,
    /// How long starting a booking may take before fewer are taken in work.
    pub booking_start_target: Duration,
    /// Listeners to seat changes at a time; above, 503.
    pub seat_listeners_max: usize,
    /// Listeners to the live figures at a time; above, 503.
    pub metrics_listeners_max: usize,
    /// How long a request may take beyond what it asked to wait; longer, 503.
    pub request_time_limit: Duration,
    /// How long requests in flight may take to finish once the gateway is told to stop.
    pub drain_time_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            services: Service::ALL.into(),
            service_urls: ServiceUrls::default(),
            workflow: "booking".to_owned(),
            payment_method_default: Some("pm_card_visa".to_owned()),
            webhook_secret: None,
            twilio_auth_token: None,
            mail_webhook_secret: None,
            shop_url: "http://127.0.0.1:3000".to_owned(),
            // Stripe's own libraries allow five minutes.
            webhook_tolerance: Duration::from_secs(5 * 60),
            token_secret: None,
            internal_secret: None,
            payments_address: None,
            anonymous_bookings: true,
            account_workflow: workflows::tickets::account::NAME.to_owned(),
            refund_workflow: workflows::tickets::refund::NAME.to_owned(),
            cancellation_workflow: workflows::tickets::cancellation::NAME.to_owned(),
            event_workflow: workflows::tickets::event::NAME.to_owned(),
            hashes_max: crate::limits::HASHES_MAX,
            trusted_proxies: TrustedProxies::default(),
            rates: None,
            cors_origins: Origins::default(),
            inbox_poll_interval: Duration::from_secs(1),
            inbox_retry_initial: Duration::from_secs(1),
            // Each costs some kilobytes while it waits; ten thousand fit a small pod.
            requests_max: 10_000,
            bookings_in_work_max: crate::limits::BOOKINGS_IN_WORK_MAX,
            booking_start_target: crate::limits::BOOKINGS_START_TARGET,
            seat_listeners_max: crate::limits::SEAT_LISTENERS_MAX,
            metrics_listeners_max: crate::limits::METRICS_LISTENERS_MAX,
            request_time_limit: Duration::from_secs(15),
            // Below Kubernetes' grace of 30 s.
            drain_time_limit: Duration::from_secs(25),
        }
    }
}

impl Options {
    /// Whether every service can be had here, one way or the other.
    pub fn is_whole(&self) -> bool {
        let can_be_had = |service| self.services.contains(service) || self.service_urls.0.contains_key(service);
        Service::ALL.iter().all(can_be_had)
    }
}

/// Text that is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

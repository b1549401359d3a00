//! Webhooks: events signed as Stripe signs them, delivered at least once, repeated and reordered on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use hmac::{Hmac, KeyInit, Mac};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::WEBHOOKS_WAITING_MAX;
use crate::disputes::Dispute;
use crate::model::{Intent, Refund};
use crate::render;

/// Deliveries under way at once; a receiver on the same machine gains nothing from more.
const DELIVERIES_AT_ONCE: usize = 64;
/// The longest wait between two deliveries of one event.
const RETRY_CAP: Duration = Duration::from_secs(3_600);
/// How long one delivery may take, as with Stripe.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);

/// The `Stripe-Signature` header of `payload`, signed with `secret` at `timestamp` (seconds since the Unix epoch):
/// `t=<timestamp>,v1=<hex of HMAC-SHA256 over "<timestamp>.<payload>">`.
pub fn sign(secret: &str, timestamp: i64, payload: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp.to_string().as_bytes());
    mac.update(b".");
    mac.update(payload.as_bytes());
    format!("t={timestamp},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// What became of the webhooks so far (`GET /_sandbox/webhooks`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Answered with 2xx.
    pub delivered: u64,
    /// Deliveries that were not, and were or will be repeated.
    pub refused: u64,
    /// Given up after the last attempt.
    pub given_up: u64,
    /// Not even begun, because too many were waiting.
    pub dropped: u64,
    /// Waiting for their first or next attempt.
    pub waiting: u64,
}

/// Something that happened.
pub(crate) struct Event {
    pub id: String,
    pub kind: &'static str,
    pub created: i64,
    pub about: About,
    pub key: Option<String>,
}

/// What it happened to, as it was then.
pub(crate) enum About {
    Intent(Intent),
    Refund(Refund),
    Dispute(Dispute),
}

impl Event {
    pub fn render(&self) -> serde_json::Value {
        let object = match &self.about {
            About::Intent(intent) => render::intent(intent),
            About::Refund(refund) => render::refund(refund),
            About::Dispute(dispute) => dispute.render(),
        };
        render::event(&self.id, self.kind, self.created, object, self.key.as_deref())
    }
}

/// One event's way to its receiver.
pub(crate) struct Delivery {
    pub url: String,
    pub delay: Duration,
    pub retry: Duration,
    pub attempts_max: u32,
}

/// Sends events. A cheap handle.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Inner>);

struct Inner {
    client: Client<HttpConnector, Body>,
    secret: String,
    permits: Semaphore,
    shutdown: CancellationToken,
    delivered: AtomicU64,
    refused: AtomicU64,
    given_up: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicU64,
}

impl Sender {
    pub fn new(secret: String, shutdown: CancellationToken) -> Self {
        Sender(Arc::new(Inner {
            client: Client::builder(TokioExecutor::new()).build_http(),
            secret,
            permits: Semaphore::new(DELIVERIES_AT_ONCE),
            shutdown,
            delivered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }))
    }

    pub fn deliveries(&self) -> Deliveries {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let inner = &*self.0;
        Deliveries {
            delivered: read(&inner.delivered),
            refused: read(&inner.refused),
            given_up: read(&inner.given_up),
            dropped: read(&inner.dropped),
            waiting: read(&inner.waiting),
        }
    }

    /// Begins to deliver an event; returns at once.
    pub fn send(&self, event: Arc<Event>, delivery: Delivery) {
        let inner = self.0.clone();
        if inner.waiting.fetch_add(1, Ordering::Relaxed) >= WEBHOOKS_WAITING_MAX as u64 {
            inner.waiting.fetch_sub(1, Ordering::Relaxed);
            inner.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(event = event.id, "too many webhooks are waiting; this one is dropped");
            return;
        }
        tokio::spawn(async move {
            let shutdown = inner.shutdown.clone();
            shutdown.run_until_cancelled(inner.deliver(&event, delivery)).await;
            inner.waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Inner {
    async fn deliver(&self, event: &Event, delivery: Delivery) {
        tokio::time::sleep(delivery.delay).await;
        let payload = event.render().to_string();
        let mut wait = delivery.retry;
        for _ in 0..delivery.attempts_max {
            if self.attempt(&delivery.url, &payload).await {
                self.delivered.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_CAP);
        }
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    async fn attempt(&self, url: &str, payload: &str) -> bool {
        let Ok(_permit) = self.permits.acquire().await else {
            return false;
        };
        let signature = sign(&self.secret, chrono::Utc::now().timestamp(), payload);
        let request = hyper::Request::post(url)
            .header("content-type", "application/json; charset=utf-8")
            .header("stripe-signature", signature)
            .header("user-agent", "Stripe/1.0 (sandbox)")
            .body(Body::from(payload.to_owned()));
        let Ok(request) = request else {
            tracing::warn!(url, "webhooks can't be sent to what is not a URL");
            return false;
        };
        match tokio::time::timeout(DELIVERY_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(response)) => response.status().is_success(),
            Ok(Err(error)) => {
                tracing::debug!(%error, url, "a webhook could not be delivered");
                false
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_signature_is_the_documented_one() {
        // Computed with `printf '1492774577.{"a":1}' | openssl dgst -sha256 -hmac whsec_test`.
        let header = super::sign("whsec_test", 1_492_774_577, r#"{"a":1}"#);
        assert_eq!(
            header,
            "t=1492774577,v1=2a55874e33dedb30da6fac02873208f53a243141599a71c0d52a1d5b89656823"
        );
    }
}

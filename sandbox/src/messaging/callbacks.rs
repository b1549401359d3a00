//! What becomes of an SMS, told as Twilio tells it: a signed request for each status
//! (<https://www.twilio.com/docs/messaging/guides/track-outbound-message-status>), tried once more where no connection came about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Messages whose callbacks are under way or waiting, at most; what happens to others nobody is told.
const WAITING_MAX: usize = 10_000;
/// Requests under way at once.
const AT_ONCE: usize = 16;
/// How long one may take, as at Twilio.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Before the one other try.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Twilio's code for a telephone that can't be reached.
const UNREACHABLE_CODE: &str = "30003";

/// One message, as its callbacks name it.
pub(super) struct Told {
    pub(super) url: String,
    pub(super) sid: String,
    pub(super) account: String,
    pub(super) from: String,
    pub(super) to: String,
    /// Whether it arrives.
    pub(super) arrives: bool,
}

/// Sends callbacks. A cheap handle.
#[derive(Clone, Debug)]
pub(super) struct Callbacks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client<HttpConnector, Body>,
    token: String,
    permits: Semaphore,
    waiting: AtomicUsize,
    stop: CancellationToken,
}

impl Callbacks {
    /// Signs with the account's token; ends with `stop`.
    pub(super) fn new(token: String, stop: CancellationToken) -> Callbacks {
        Callbacks(Arc::new(Inner {
            client: Client::builder(TokioExecutor::new()).build_http(),
            token,
            permits: Semaphore::new(AT_ONCE),
            waiting: AtomicUsize::new(0),
            stop,
        }))
    }

    /// Begins to tell what becomes of a message; returns at once.
    pub(super) fn begin(&self, told: Told) {
        let inner = self.0.clone();
        if inner.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            inner.waiting.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(
                sid = told.sid,
                "too many callbacks wait; nobody is told what becomes of this message"
            );
            return;
        }
        tokio::spawn(async move {
            let stop = inner.stop.clone();
            stop.run_until_cancelled(inner.tell(&told)).await;
            inner.waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Inner {
    async fn tell(&self, told: &Told) {
        let last = if told.arrives { "delivered" } else { "undelivered" };
        for status in ["sent", last] {
            let Ok(_permit) = self.permits.acquire().await else {
                return;
            };
            if !self.post(told, status).await {
                tokio::time::sleep(RETRY_AFTER).await;
                self.post(told, status).await;
            }
        }
    }

    /// Whether there was a connection.
    async fn post(&self, told: &Told, status: &str) -> bool {
        let mut fields = vec![
            ("AccountSid", told.account.as_str()),
            ("ApiVersion", "2010-04-01"),
            ("From", told.from.as_str()),
            ("MessageSid", told.sid.as_str()),
            ("MessageStatus", status),
            ("SmsSid", told.sid.as_str()),
            ("SmsStatus", status),
            ("To", told.to.as_str()),
        ];
        if status == "undelivered" {
            fields.push(("ErrorCode", UNREACHABLE_CODE));
        }
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&fields)
            .finish();
        let request = hyper::Request::post(&told.url)
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .header("x-twilio-signature", sign(&self.token, &told.url, &mut fields))
            .header("user-agent", "TwilioProxy/1.1 (sandbox)")
            .body(Body::from(body));
        let Ok(request) = request else { return true };
        match tokio::time::timeout(TIMEOUT, self.client.request(request)).await {
            Ok(Ok(answer)) => {
                tracing::debug!(
                    sid = told.sid,
                    status,
                    answer = answer.status().as_u16(),
                    "a callback was sent"
                );
                true
            }
            Ok(Err(error)) => {
                tracing::debug!(sid = told.sid, status, %error, "a callback could not be sent");
                !error.is_connect()
            }
            Err(_) => true,
        }
    }
}

/// The signature (<https://www.twilio.com/docs/usage/security#validating-requests>): HMAC-SHA-1 of the URL, followed by the form's fields by
/// their names, each with its value.
fn sign(token: &str, url: &str, fields: &mut [(&str, &str)]) -> String {
    fields.sort_unstable();
    let signed = fields
        .iter()
        .fold(url.to_owned(), |signed, (name, value)| signed + name + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
}

#[cfg(test)]
mod tests {
    /// The example of Twilio's documentation.
    #[test]
    fn the_signature_is_twilios() {
        let mut fields = [
            ("CallSid", "CA1234567890ABCDE"),
            ("To", "+18005551212"),
            ("Caller", "+14158675310"),
            ("From", "+14158675310"),
            ("Digits", "1234"),
        ];
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        assert_eq!(super::sign("12345", url, &mut fields), "L/OH5YylLD5NRKLltdqwSvS0BnU=");
    }
}

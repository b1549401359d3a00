//! What every channel's provider is to us, and what their answers mean.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use serde_json::json;
use thiserror::Error;
use uuid::Uuid;

use super::content::Content;
use crate::https::{Answer, CallFailure, Https, is_base_url};
use crate::typed::Failure;

pub use workflows::tickets::notification::{NO_MESSAGE, NO_RECIPIENT, REJECTED, UNREGISTERED};

/// The provider can't be reached, does not know us, or asks to come again. Retryable.
pub const PROVIDER_UNAVAILABLE: &str = "provider_unavailable";
/// The provider has had too many messages of ours for now. Retryable.
pub const RATE_LIMITED: &str = "rate_limited";

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take: providers answer within a second or two.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Characters of a provider's own words that are passed on.
const WORDS_CHARS_MAX: usize = 200;

/// A message on its way to a provider.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its row.
    pub id: Uuid,
    /// What it is about, if it is a booking.
    pub booking_id: Option<Uuid>,
    /// Its kind's name.
    pub kind: &'static str,
    /// An address, a number, a device's token.
    pub recipient: String,
    /// What it says.
    pub content: Content,
    /// The tickets, as a PDF.
    pub tickets: Option<Bytes>,
}

/// Somebody who takes messages over.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Hands a message over, and gives the provider's name for it.
    ///
    /// # Errors
    /// [`Failure::Failed`] if it was certainly not taken: retryable, or permanent with one of [`NO_RECIPIENT`], [`REJECTED`] and
    /// [`UNREGISTERED`]. [`Failure::Unknown`] if nobody can tell.
    async fn send(&self, message: &Outgoing) -> Result<String, Failure>;
}

/// Why a provider's settings can't be used.
#[derive(Debug, Error)]
pub enum ProviderConfigError {
    /// A URL.
    #[error("{0:?} is not a URL like https://api.twilio.com")]
    BaseUrl(String),
    /// A key or password. It is not shown.
    #[error("the credentials of {0} have characters that they can't have")]
    Credentials(&'static str),
    /// TLS.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
    /// A service account.
    #[error("the service account for push messages can't be used: {0}")]
    ServiceAccount(String),
}

/// A connection to a provider's HTTP API.
#[derive(Clone)]
pub(super) struct Api {
    https: Https,
}

impl Api {
    pub(super) fn new() -> Result<Api, ProviderConfigError> {
        let https = Https::new(CONNECT_TIMEOUT, CALL_TIMEOUT).map_err(ProviderConfigError::Tls)?;
        Ok(Api { https })
    }

    /// Posts a body; `who` is named in failures.
    pub(super) async fn post(
        &self,
        who: &str,
        url: &str,
        authorization: Option<&HeaderValue>,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::post(url).header(CONTENT_TYPE, content_type);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.send(who, request, body).await
    }

    /// Sends a request that is complete but for its body.
    pub(super) async fn send(
        &self,
        who: &str,
        request: hyper::http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let request = request
            .header(USER_AGENT, concat!("sagaline/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            // Made of a URL and headers that were checked at start: whatever is wrong is in the message.
            .map_err(|error| Failure::permanent(REJECTED, format!("the message makes no request: {error}")))?;
        self.https.call(request).await.map_err(|failure| match failure {
            CallFailure::NotSent(text) => {
                Failure::retryable(PROVIDER_UNAVAILABLE, format!("cannot connect to {who}: {text}"))
            }
            CallFailure::TimedOut => Failure::Unknown {
                message: format!("{who} did not answer in time"),
            },
            CallFailure::Cut(text) => Failure::Unknown {
                message: format!("the connection to {who} broke: {text}"),
            },
        })
    }
}

/// A base URL without its last slash.
pub(super) fn base_url(url: &str) -> Result<String, ProviderConfigError> {
    let trimmed = url.trim_end_matches('/');
    if is_base_url(trimmed) {
        Ok(trimmed.to_owned())
    } else {
        Err(ProviderConfigError::BaseUrl(url.to_owned()))
    }
}

/// A header's value that is not shown.
pub(super) fn secret_header(text: String, whose: &'static str) -> Result<HeaderValue, ProviderConfigError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| ProviderConfigError::Credentials(whose))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a refusal means that the provider's own code says nothing more about. `code` is that code, `words` what it says to people.
pub(super) fn refused(who: &str, status: u16, code: &str, words: &str) -> Failure {
    let words: String = words.chars().take(WORDS_CHARS_MAX).collect();
    let message = format!("{who} answered with {status} {code}: {words}");
    let failure = match status {
        // It does not know us, or what we asked of is not there: a matter of settings, which somebody mends.
        401 | 403 | 404 | 405 => Failure::retryable(PROVIDER_UNAVAILABLE, message),
        408 | 503 => Failure::retryable(PROVIDER_UNAVAILABLE, message),
        429 => Failure::retryable(RATE_LIMITED, message),
        400..=499 => Failure::permanent(REJECTED, message),
        // It broke while it was at it, or whoever stands before it does not know.
        _ => Failure::Unknown { message },
    };
    failure.with(json!({ "status": status, "code": code }))
}

/// An answer that should have been good, and can't be read.
pub(super) fn unreadable(who: &str, answer: &Answer) -> Failure {
    let words: String = String::from_utf8_lossy(&answer.body)
        .chars()
        .take(WORDS_CHARS_MAX)
        .collect();
    Failure::Unknown {
        message: format!("{who}'s answer ({}) makes no sense: {words:?}", answer.status),
    }
}

/// The text of a refusal that is not in the provider's words.
pub(super) fn plain_words(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body)
        .chars()
        .take(WORDS_CHARS_MAX)
        .collect()
}

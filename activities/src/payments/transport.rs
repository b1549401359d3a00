//! How async-stripe's requests reach Stripe: an implementation of its [`StripeClient`].
//!
//! Its own client won't do, for two reasons. It reduces every failure to text, so that "could not connect" (nothing was
//! sent) and "cut in mid-call" (nobody can tell) look alike, and drops the status of answers that are not Stripe's JSON; and it
//! keeps no connections, so each call pays for a TLS handshake. This one never repeats a request: that is the engine's
//! business, which knows about keys.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use stripe_client_core::{CustomizedStripeRequest, StripeClient, StripeClientErr, StripeMethod, VERSION};

use super::PaymentsConfig;
use super::classify::CallError;
use crate::https::{CallFailure, Https, is_base_url};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The base URL.
    #[error("the payment provider's base URL {0:?} is not a URL like https://api.stripe.com")]
    BaseUrl(String),
    /// The key. It is not shown.
    #[error("the payment provider's key has characters that a key can't have")]
    ApiKey,
    /// TLS.
    #[error("TLS can't be set up for the payment provider: {0}")]
    Tls(String),
}

/// Sends requests to Stripe.
#[derive(Clone)]
pub struct Transport {
    https: Https,
    base_url: String,
    authorization: HeaderValue,
}

impl Transport {
    /// As configured.
    ///
    /// # Errors
    /// If the base URL or the key can't be used.
    pub fn new(config: &PaymentsConfig) -> Result<Self, ConfigError> {
        let base_url = config.base_url.trim_end_matches('/').to_owned();
        if !is_base_url(&base_url) {
            return Err(ConfigError::BaseUrl(base_url));
        }
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", config.api_key)).map_err(|_| ConfigError::ApiKey)?;
        authorization.set_sensitive(true);
        Ok(Transport {
            https: Https::new(config.connect_timeout, config.timeout).map_err(ConfigError::Tls)?,
            base_url,
            authorization,
        })
    }

    fn request(&self, request: CustomizedStripeRequest) -> Result<Request<Full<Bytes>>, CallError> {
        let (request, overrides) = request.into_pieces();
        let method = match request.method {
            StripeMethod::Get => Method::GET,
            StripeMethod::Post => Method::POST,
            StripeMethod::Delete => Method::DELETE,
        };
        let mut url = format!("{}/v1{}", self.base_url, request.path);
        if let Some(query) = &request.query {
            url.push('?');
            url.push_str(query);
        }
        let mut builder = Request::builder()
            .method(method)
            .uri(url)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(USER_AGENT, concat!("sagaline/", env!("CARGO_PKG_VERSION")))
            .header(STRIPE_VERSION, VERSION.as_str());
        if let Some(key) = overrides.request_strategy.and_then(|strategy| strategy.get_key()) {
            builder = builder.header(IDEMPOTENCY_KEY, key.as_str());
        }
        if request.body.is_some() {
            builder = builder.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Full::new(Bytes::from(request.body.unwrap_or_default()));
        builder
            .body(body)
            .map_err(|error| CallError::Request(error.to_string()))
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Bytes, CallError> {
        let answer = self.https.call(request).await?;
        let (status, body) = (answer.status, answer.body);
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let text = std::str::from_utf8(&body).unwrap_or_default();
        match miniserde::json::from_str::<stripe_shared::Error>(text) {
            Ok(answer) => Err(CallError::Refused {
                status,
                error: answer.error,
            }),
            Err(_) => Err(CallError::Unreadable {
                status,
                message: text.chars().take(200).collect(),
            }),
        }
    }
}

impl StripeClient for Transport {
    type Err = CallError;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, CallError> {
        self.call(self.request(request)?).await
    }
}

impl StripeClientErr for CallError {
    fn deserialize_err(message: impl std::fmt::Display) -> Self {
        CallError::Unreadable {
            status: 200,
            message: message.to_string(),
        }
    }
}

impl From<CallFailure> for CallError {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::NotSent(text) => CallError::NotSent(text),
            CallFailure::TimedOut => CallError::TimedOut,
            CallFailure::Cut(text) => CallError::Cut(text),
        }
    }
}

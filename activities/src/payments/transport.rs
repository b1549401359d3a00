//! How async-stripe's requests reach Stripe: an implementation of its [`StripeClient`].
//!
//! Its own client won't do, for two reasons. It reduces every failure to text, so that "could not connect" (nothing was
//! sent) and "cut in mid-call" (nobody can tell) look alike, and drops the status of answers that are not Stripe's JSON; and it
//! keeps no connections, so each call pays for a TLS handshake. This one never repeats a request: that is the engine's
//! business, which knows about keys.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use stripe_client_core::{CustomizedStripeRequest, StripeClient, StripeClientErr, StripeMethod, VERSION};

use super::PaymentsConfig;
use super::classify::CallError;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
/// Connections kept open; as many calls as that may be under way without a new handshake.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// How long an unused connection is kept, below the minute after which load balancers hang up.
const IDLE_MAX: Duration = Duration::from_secs(30);

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
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base_url: String,
    authorization: HeaderValue,
    timeout: Duration,
}

impl Transport {
    /// As configured.
    ///
    /// # Errors
    /// If the base URL or the key can't be used.
    pub fn new(config: &PaymentsConfig) -> Result<Self, ConfigError> {
        let base_url = config.base_url.trim_end_matches('/').to_owned();
        let uri = base_url
            .parse::<hyper::Uri>()
            .map_err(|_| ConfigError::BaseUrl(base_url.clone()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(ConfigError::BaseUrl(base_url));
        }
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", config.api_key)).map_err(|_| ConfigError::ApiKey)?;
        authorization.set_sensitive(true);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(config.connect_timeout));
        // Named, because a process in which several providers are linked has no default one.
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| ConfigError::Tls(error.to_string()))?
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Transport {
            client,
            base_url,
            authorization,
            timeout: config.timeout,
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
        let response = self.client.request(request).await.map_err(|error| {
            let text = with_causes(&error);
            if error.is_connect() {
                CallError::NotSent(text)
            } else {
                CallError::Cut(text)
            }
        })?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| CallError::Cut(with_causes(&error)))?
            .to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let status = status.as_u16();
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
        let request = self.request(request)?;
        tokio::time::timeout(self.timeout, self.call(request))
            .await
            .unwrap_or(Err(CallError::TimedOut))
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

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

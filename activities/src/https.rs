//! HTTPS to the providers of payments and messages: connections that are kept, a time limit, and failures told apart by whether anything
//! was sent. Nothing is ever repeated here: that is the engine's business, which knows about keys.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Connections kept open; as many calls as that may be under way without a new handshake.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// How long an unused connection is kept, below the minute after which load balancers hang up.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer: a page of a hundred payments has a tenth of it.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallFailure {
    /// No connection came about, so nothing was sent.
    NotSent(String),
    /// No answer in time.
    TimedOut,
    /// The connection broke after the request was, perhaps in part, sent.
    Cut(String),
}

/// What came back.
pub(crate) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// How to reach providers.
#[derive(Clone)]
pub(crate) struct Https {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl Https {
    /// With these limits for a connection, and for a whole call.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub(crate) fn new(connect_timeout: Duration, timeout: Duration) -> Result<Https, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        // Named, because a process in which several providers are linked has no default one.
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| error.to_string())?
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Https { client, timeout })
    }

    /// The answer to a request, whatever its status.
    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallFailure> {
        let answered = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        answered.unwrap_or(Err(CallFailure::TimedOut))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallFailure> {
        let response = self.client.request(request).await.map_err(|error| {
            let text = with_causes(&error);
            if error.is_connect() {
                CallFailure::NotSent(text)
            } else {
                CallFailure::Cut(text)
            }
        })?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| CallFailure::Cut(with_causes(error.as_ref())))?;
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    }
}

/// Whether requests can be sent to this.
pub(crate) fn is_base_url(url: &str) -> bool {
    let uri = url.parse::<Uri>();
    uri.is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
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

//! Providers of messages of our own, for `dev` and tests: Twilio's SMS, Firebase Cloud Messaging with the token services before it, and a Slack
//! webhook. They take what the real ones' documentation describes, refuse the rest in the real ones' words, and keep the last messages, which a
//! page shows ([`page`]).

mod callbacks;
mod google;
mod page;
mod twilio;

pub use google::GONE;
pub use twilio::{INVALID_NUMBER, OPTED_OUT, UNREACHABLE};

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use callbacks::Callbacks;

/// What these providers know of us.
#[derive(Clone, Debug)]
pub struct MessagingOptions {
    /// The one account at Twilio.
    pub account_sid: String,
    /// Its token.
    pub auth_token: String,
    /// The one Firebase project.
    pub project: String,
    /// The public half of the service account's key, as PKCS #1 DER; none: there is no service account, only the metadata server.
    pub service_account_key: Option<Vec<u8>>,
    /// Messages kept, at most; the oldest are forgotten.
    pub keep: usize,
    /// Whether Twilio says what becomes of SMS, at the addresses that come with them: those in this network, by plain HTTP.
    pub callbacks: bool,
}

impl Default for MessagingOptions {
    fn default() -> Self {
        MessagingOptions {
            account_sid: "ACsandbox".to_owned(),
            auth_token: "sandbox-token".to_owned(),
            project: "sagaline-sandbox".to_owned(),
            service_account_key: None,
            keep: 500,
            callbacks: false,
        }
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    /// Counts all messages, from 1.
    pub number: u64,
    /// When.
    pub at: DateTime<Utc>,
    /// `sms`, `push`, `slack`, or `email`.
    pub channel: &'static str,
    /// The recipient.
    pub to: String,
    /// What it says.
    pub text: String,
    /// All that was sent.
    pub source: Value,
}

/// How a provider misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429.
    TooMany,
    /// 503, with a page of a proxy's.
    Busy,
    /// 500, with nothing.
    Broken,
    /// 200, with a page instead of JSON, and the message isn't taken.
    Nonsense,
}

/// Which share of requests goes wrong, and those that surely do.
#[derive(Debug, Default)]
struct Faults {
    share: f64,
    next: VecDeque<Fault>,
}

#[derive(Debug)]
struct Shared {
    options: MessagingOptions,
    url: String,
    kept: Mutex<VecDeque<Captured>>,
    total: Mutex<u64>,
    faults: Mutex<Faults>,
    tokens: Mutex<Vec<String>>,
    /// None: nobody is told anything.
    callbacks: Option<Callbacks>,
}

/// To reach them by; they stop when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Messaging {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

impl Messaging {
    /// Listens on `address` (port 0: any).
    pub async fn start(options: MessagingOptions, address: SocketAddr) -> io::Result<Messaging> {
        let listener = TcpListener::bind(address).await?;
        let stop = CancellationToken::new();
        let callbacks = options
            .callbacks
            .then(|| Callbacks::new(options.auth_token.clone(), stop.clone()));
        let shared = Arc::new(Shared {
            url: format!("http://{}", listener.local_addr()?),
            options,
            kept: Mutex::default(),
            total: Mutex::default(),
            faults: Mutex::default(),
            tokens: Mutex::default(),
            callbacks,
        });
        let serving =
            axum::serve(listener, router(shared.clone())).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(serving.into_future());
        Ok(Messaging {
            shared,
            _stop: Arc::new(stop.drop_guard()),
        })
    }

    /// The base URL of all of them, and the page's.
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// The Slack webhook.
    pub fn slack_url(&self) -> String {
        format!("{}/services/T0/B0/secret", self.shared.url)
    }

    /// What they know of us.
    pub fn options(&self) -> &MessagingOptions {
        &self.shared.options
    }

    /// The messages kept, the oldest first.
    pub fn messages(&self) -> Vec<Captured> {
        lock(&self.shared.kept).iter().cloned().collect()
    }

    /// Messages taken since the start, the forgotten ones included.
    pub fn total(&self) -> u64 {
        *lock(&self.shared.total)
    }

    /// Shows a message that came by another way, such as a mail.
    pub fn capture(&self, channel: &'static str, to: &str, text: &str) {
        self.shared.take(channel, to, text, Value::Null);
    }

    /// From now on this share of requests goes wrong, in turn by each [`Fault`].
    pub fn fail(&self, share: f64) {
        lock(&self.shared.faults).share = share;
    }

    /// Does this to the next request; several are done one after the other.
    pub fn fail_next(&self, fault: Fault) {
        lock(&self.shared.faults).next.push_back(fault);
    }

    /// Tokens that were given are good no more.
    pub fn forget_tokens(&self) {
        lock(&self.shared.tokens).clear();
    }
}

impl Shared {
    fn take(&self, channel: &'static str, to: &str, text: &str, source: Value) -> u64 {
        let mut total = lock(&self.total);
        *total += 1;
        let captured = Captured {
            number: *total,
            at: Utc::now(),
            channel,
            to: to.to_owned(),
            text: text.to_owned(),
            source,
        };
        let mut kept = lock(&self.kept);
        while kept.len() >= self.options.keep.max(1) {
            kept.pop_front();
        }
        kept.push_back(captured);
        *total
    }

    /// What goes wrong with this request, if anything does.
    fn fault(&self) -> Option<Response> {
        let mut faults = lock(&self.faults);
        let all = [Fault::TooMany, Fault::Busy, Fault::Broken, Fault::Nonsense];
        let fault = faults.next.pop_front().or_else(|| {
            let fails = rand::random::<f64>() < faults.share;
            fails.then(|| all[rand::random::<u32>() as usize % all.len()])
        });
        let page = "<html><body>The service is not available.</body></html>";
        fault.map(|fault| match fault {
            Fault::TooMany => (StatusCode::TOO_MANY_REQUESTS, "").into_response(),
            Fault::Busy => (StatusCode::SERVICE_UNAVAILABLE, page).into_response(),
            Fault::Broken => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Fault::Nonsense => (StatusCode::OK, page).into_response(),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Messages.json", post(twilio::send))
        .route("/token", post(google::grant))
        .route(
            "/computeMetadata/v1/instance/service-accounts/default/token",
            get(google::metadata),
        )
        .route("/v1/projects/{project}/messages:send", post(google::send))
        .route("/services/{*channel}", post(slack))
        .route("/", get(page::list))
        .route("/messages/{number}", get(page::show))
        .with_state(shared)
}

/// An incoming webhook of Slack's.
async fn slack(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(fault) = shared.fault() {
        return fault;
    }
    let invalid = || (StatusCode::BAD_REQUEST, "invalid_payload").into_response();
    if !is_declared(&headers, "application/json") {
        return invalid();
    }
    let Ok(source) = serde_json::from_slice::<Value>(&body) else {
        return invalid();
    };
    match source["text"].as_str().map(str::to_owned) {
        Some(text) if !text.is_empty() => {
            shared.take("slack", "operations", &text, source);
            (StatusCode::OK, "ok").into_response()
        }
        _ => (StatusCode::BAD_REQUEST, "no_text").into_response(),
    }
}

fn is_declared(headers: &HeaderMap, wanted: &str) -> bool {
    let declared = headers.get("content-type").and_then(|value| value.to_str().ok());
    declared.is_some_and(|declared| declared.split(';').next() == Some(wanted))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

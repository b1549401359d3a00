//! The layers around every request, from the outside in: identity, metrics and log; headers; panics; overload.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::{context, prefer};
use crate::problem::{Kind, Problem};

/// Sent with every answer: nothing here is ever to be framed, sniffed, run as a page or kept by a cache that isn't
/// told otherwise.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Gives the request its context, a span, a line in the log and its place in the metrics.
pub async fn identify(request: Request, next: Next) -> Response {
    let identity = context::Context::from_headers(request.headers());
    let method = method_label(request.method());
    // The route's pattern, never the path: labels must stay few.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!(
        "request",
        method,
        route,
        request_id = identity.request_id,
        trace_id = identity.trace_id(),
    );
    let began = Instant::now();
    metrics::gauge!("sagaline_gateway_requests_in_flight").increment(1.0);
    let in_flight = InFlight;
    let mut response = context::within(identity.clone(), next.run(request))
        .instrument(span.clone())
        .await;
    drop(in_flight);
    let seconds = began.elapsed().as_secs_f64();
    let status = response.status();
    let labels = [
        ("method", method.to_owned()),
        ("route", route),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("sagaline_gateway_requests_total", &labels).increment(1);
    metrics::histogram!("sagaline_gateway_request_seconds", &labels).record(seconds);
    span.in_scope(|| tracing::debug!(status = status.as_u16(), seconds, "answered"));
    if let Ok(value) = HeaderValue::from_str(&identity.request_id) {
        response.headers_mut().insert(context::REQUEST_ID, value);
    }
    response
}

/// Counts a request out, also when its client hangs up and the future is dropped.
struct InFlight;

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!("sagaline_gateway_requests_in_flight").decrement(1.0);
    }
}

/// The method as a label: whatever a client invents must not become a time series of its own.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Adds the security headers, where the handler has not set its own.
pub async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The answer to a request whose handler panicked.
pub fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(panic = text, "a request's handler panicked");
    metrics::counter!("sagaline_gateway_panics_total").increment(1);
    Problem::new(
        Kind::Internal,
        "the request failed because of a defect of ours; it has been recorded",
    )
    .into_response()
}

/// What [`shed`] needs.
#[derive(Clone)]
pub struct Capacity {
    /// One permit a request.
    pub permits: Arc<Semaphore>,
    /// How long a request may take beyond what it asked to wait.
    pub time_limit: Duration,
}

/// Answers 503 at once when too many requests are being worked on, and when one takes too long.
pub async fn shed(State(capacity): State<Capacity>, request: Request, next: Next) -> Response {
    // Kubernetes must get its answer most of all when there is much to do.
    if request.uri().path().starts_with("/health/") {
        return next.run(request).await;
    }
    let Ok(_permit) = capacity.permits.try_acquire() else {
        metrics::counter!("sagaline_gateway_shed_total").increment(1);
        return Problem::new(Kind::Overloaded, "too many requests at once; try again shortly")
            .retry_after(Duration::from_secs(1))
            .into_response();
    };
    let limit = capacity.time_limit + prefer::wait(request.headers()).unwrap_or_default();
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| {
            tracing::warn!(seconds = limit.as_secs(), "a request took too long");
            Problem::unavailable(
            "the answer took too long; the request may still be carried out: repeat it with the same Idempotency-Key",
        )
        .into_response()
        })
}

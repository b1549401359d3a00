//! Health, metrics and the API's own description.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Ops;
use super::problem::{ApiError, ProblemDetails, ProblemKind};

/// Shorter than the time-out that Kubernetes' probes are commonly given, so that the reason gets through.
const READY_WITHIN: Duration = Duration::from_millis(2_500);

/// The process runs. Asks neither Postgres nor Kafka: restarting us would not heal them.
#[utoipa::path(get, path = "/health/live", tag = "operations",
    responses((status = 200, description = "It runs")))]
pub async fn live() -> &'static str {
    "ok\n"
}

/// The process should get traffic: Postgres and Kafka answer, and it is not shutting down.
#[utoipa::path(get, path = "/health/ready", tag = "operations",
    responses(
        (status = 200, description = "Ready"),
        (status = 503, description = "Not ready, and why", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn ready(State(ops): State<Ops>) -> Result<&'static str, ApiError> {
    let reason = match tokio::time::timeout(READY_WITHIN, (ops.ready)()).await {
        Ok(Ok(())) => return Ok("ready\n"),
        Ok(Err(reason)) => reason,
        Err(_) => "no answer in time".to_owned(),
    };
    Err(ProblemDetails::new(ProblemKind::Unavailable, format!("not ready: {reason}")).into())
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
pub async fn metrics(State(ops): State<Ops>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        (ops.metrics)(),
    )
        .into_response()
}

/// `/openapi.json`, the one route that does not describe itself.
pub(super) fn openapi_route(description: Arc<str>) -> Router<Ops> {
    let serve = move || async move { ([(header::CONTENT_TYPE, "application/json")], description.to_string()) };
    Router::new().route("/openapi.json", get(serve))
}

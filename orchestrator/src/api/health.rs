//! Health, metrics and the API's own description.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use web::health::Standing;

use super::Ops;

/// The process runs. Asks neither Postgres nor Kafka: restarting us would not heal them.
#[utoipa::path(get, path = "/health/live", tag = "operations",
    responses((status = 200, description = "It runs")))]
pub async fn live() -> &'static str {
    "ok\n"
}

/// Whether the process should get traffic: Postgres answers, and it is not shutting down. While Kafka is away it is degraded: sagas begin,
/// and their tasks wait.
#[utoipa::path(get, path = "/health/ready", tag = "operations",
    responses(
        (status = 200, description = "Ready", body = ref("#/components/schemas/Standing")),
        (status = 503, description = "Not ready, and why", body = ref("#/components/schemas/Standing"))))]
pub async fn ready(State(ops): State<Ops>) -> Standing {
    (ops.ready)().await
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

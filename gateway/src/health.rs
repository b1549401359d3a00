//! Whether the gateway lives, and whether it can do its work.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use orchestrator::client::ListFilter;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::limits::PROBE_LIMIT;

/// Whether the gateway can do its work.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// Everything below is well, and the gateway is not about to stop.
    ready: bool,
    /// The gateway is about to stop.
    draining: bool,
    /// `ok`, or what is wrong.
    database: String,
    /// `ok`, or what is wrong.
    engine: String,
}

/// Say that the process lives; asks nobody else, for restarting the gateway would not bring Postgres back.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, description = "It lives")))]
pub async fn live() -> &'static str {
    "live\n"
}

/// Say whether requests should be sent here.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "Not ready: what is wrong", body = Readiness),
    )
)]
pub async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let database = probe(sqlx::query("select 1").execute(app.pool()));
    let engine = probe(app.engine().list(ListFilter {
        limit: Some(1),
        ..ListFilter::default()
    }));
    let (database, engine) = tokio::join!(database, engine);
    let draining = app.is_draining();
    let ready = !draining && database.is_ok() && engine.is_ok();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let text = |outcome: Result<(), String>| outcome.err().unwrap_or_else(|| "ok".to_owned());
    (
        status,
        Json(Readiness {
            ready,
            draining,
            database: text(database),
            engine: text(engine),
        }),
    )
}

/// The causes go to the log; outsiders get to know that, not why.
async fn probe<T, E: std::fmt::Display>(question: impl Future<Output = Result<T, E>>) -> Result<(), String> {
    match tokio::time::timeout(PROBE_LIMIT, question).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a dependency is not available");
            Err("not available".to_owned())
        }
        Err(_) => Err(format!("no answer within {}", text_of(PROBE_LIMIT))),
    }
}

fn text_of(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

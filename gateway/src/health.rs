//! Whether the gateway lives, and whether it can do its work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use orchestrator::client::ListFilter;
use serde::Serialize;
use tokio::net::TcpStream;
use utoipa::ToSchema;
use web::health::{Dependency, Recent};

use crate::app::App;

/// What the gateway depends on, as it was at most a second ago.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dependencies {
    /// Postgres: without it there is nothing.
    database: Dependency,
    /// The saga engine: without it nothing begins.
    engine: Dependency,
    /// The payment provider: without it seats are held, and bookings wait. Not there: nobody has said where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    payments: Option<Dependency>,
}

/// Whether the gateway can do its work.
#[derive(Serialize, ToSchema)]
pub struct Readiness {
    /// Database and engine are up, and the gateway is not about to stop.
    ready: bool,
    /// It works, but something that others wait for is down.
    degraded: bool,
    /// The gateway is about to stop.
    draining: bool,
    /// What it depends on.
    dependencies: Dependencies,
}

/// What was found last, and when.
pub type Found = Recent<Dependencies>;

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
    let dependencies = app.found().get(look(&app)).await;
    let draining = app.is_draining();
    let ready = !draining && dependencies.database.is_up() && dependencies.engine.is_up();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let degraded = dependencies.payments.as_ref().is_some_and(|payments| !payments.is_up());
    let readiness = Readiness {
        ready,
        degraded,
        draining,
        dependencies,
    };
    (status, Json(readiness))
}

async fn look(app: &App) -> Dependencies {
    let database = probe("database", sqlx::query("select 1").execute(app.pool()));
    let engine = probe(
        "engine",
        app.engine().list(ListFilter {
            limit: Some(1),
            ..ListFilter::default()
        }),
    );
    let payments = async {
        match &app.options().payments_address {
            // A connection is enough to know, and costs the provider nothing.
            Some(address) => Some(probe("payments", TcpStream::connect(address)).await),
            None => None,
        }
    };
    let (database, engine, payments) = tokio::join!(database, engine, payments);
    Dependencies {
        database,
        engine,
        payments,
    }
}

async fn probe<T, E: std::fmt::Display>(name: &str, question: impl Future<Output = Result<T, E>>) -> Dependency {
    web::health::probe("sagaline_gateway_dependency_up", name, question).await
}

//! Whether the gateway lives, and whether it can do its work.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use orchestrator::client::ListFilter;
use serde::Serialize;
use tokio::net::TcpStream;
use utoipa::ToSchema;
use web::health::{Dependency, Recent};

use crate::app::App;
use crate::services::Service;

/// What the gateway depends on, as it was at most a second ago.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dependencies {
    /// Postgres: without it there is nothing. Not there: nothing is served here that wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Dependency>,
    /// The saga engine: without it nothing begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<Dependency>,
    /// The payment provider: without it seats are held, and bookings wait. Not there: nobody has said where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    payments: Option<Dependency>,
    /// The services that run apart, by name: without one its own routes are 503, and the others go on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Dependency>, required = false)]
    services: BTreeMap<Service, Dependency>,
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
    let is_up = |dependency: &Option<Dependency>| dependency.as_ref().is_none_or(Dependency::is_up);
    let ready = !draining && is_up(&dependencies.database) && is_up(&dependencies.engine);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let degraded = !is_up(&dependencies.payments) || !dependencies.services.values().all(Dependency::is_up);
    let readiness = Readiness {
        ready,
        degraded,
        draining,
        dependencies,
    };
    (status, Json(readiness))
}

async fn look(app: &App) -> Dependencies {
    let serves = !app.options().services.is_empty();
    let database = async {
        match serves {
            true => Some(probe("database", sqlx::query("select 1").execute(app.pool())).await),
            false => None,
        }
    };
    let one = ListFilter {
        limit: Some(1),
        ..ListFilter::default()
    };
    let engine = async {
        match serves {
            true => Some(probe("engine", app.engine().list(one)).await),
            false => None,
        }
    };
    let payments = async {
        match &app.options().payments_address {
            // A connection is enough to know, and costs the provider nothing.
            Some(address) => Some(probe("payments", TcpStream::connect(address)).await),
            None => None,
        }
    };
    let services = app.passing().services().map(|service| async move {
        let found = probe(service.name(), app.passing().probe(service)).await;
        (service, found)
    });
    let services = futures::future::join_all(services);
    let (database, engine, payments, services) = tokio::join!(database, engine, payments, services);
    Dependencies {
        database,
        engine,
        payments,
        services: services.into_iter().collect(),
    }
}

async fn probe<T, E: std::fmt::Display>(name: &str, question: impl Future<Output = Result<T, E>>) -> Dependency {
    web::health::probe("sagaline_gateway_dependency_up", name, question).await
}

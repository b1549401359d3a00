//! Whether the gateway lives, and whether it can do its work.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use orchestrator::client::ListFilter;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::app::App;
use crate::limits::{PROBE_LIMIT, PROBED_FOR};

/// How a dependency answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DependencyState {
    /// It does.
    Up,
    /// It doesn't.
    Down,
}

/// Something that the gateway, or what it begins, can't do without.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// How it answers.
    state: DependencyState,
    /// How long it took to find out, in milliseconds.
    latency_ms: f64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

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
#[derive(Default)]
pub struct Found(Mutex<Option<(Instant, Dependencies)>>);

impl Found {
    /// What was found at most a moment ago; whoever comes when that is over looks, and the others wait for it.
    async fn recent(&self, app: &App) -> Dependencies {
        let mut found = self.0.lock().await;
        if let Some((_, dependencies)) = found.as_ref().filter(|(at, _)| at.elapsed() < PROBED_FOR) {
            return dependencies.clone();
        }
        let dependencies = look(app).await;
        *found = Some((Instant::now(), dependencies.clone()));
        dependencies
    }
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
    let dependencies = app.found().recent(&app).await;
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

impl Dependency {
    fn is_up(&self) -> bool {
        self.state == DependencyState::Up
    }
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

/// The causes go to the log; outsiders get to know that, not why.
async fn probe<T, E: std::fmt::Display>(name: &str, question: impl Future<Output = Result<T, E>>) -> Dependency {
    let asked = Instant::now();
    let problem = match tokio::time::timeout(PROBE_LIMIT, question).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(dependency = name, %error, "a dependency is not available");
            Some("not available".to_owned())
        }
        Err(_) => Some(format!("no answer within {} s", PROBE_LIMIT.as_secs_f64())),
    };
    let latency_ms = (asked.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
    let is_up = if problem.is_none() { 1.0 } else { 0.0 };
    metrics::gauge!("sagaline_gateway_dependency_up", "dependency" => name.to_owned()).set(is_up);
    Dependency {
        state: if problem.is_none() {
            DependencyState::Up
        } else {
            DependencyState::Down
        },
        latency_ms,
        problem,
    }
}

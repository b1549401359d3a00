//! The ops port's HTTP API: sagas, workflows, schedules, health, metrics, and its own description.
//!
//! Handlers only read requests and write answers; everything is done by the [`EngineClient`] behind them, so that
//! a caller in process and one over HTTP get the same.

mod definitions;
pub mod extract;
mod health;
mod openapi;
mod problem;
pub mod read_on;
mod sagas;
mod schedules;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;
use transport::BrokerProbe;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::health::{self as health_of, Dependency, Recent, Standing};

use crate::Engine;
use crate::client::{EngineClient, LocalClient};

pub use problem::{ApiError, ProblemDetails, ProblemItem, ProblemKind};
pub use sagas::{BulkAnswer, BulkItem, SignalAnswer};

/// The body of one start, signal or command: an input of 256 KiB, however it is escaped, and the rest.
pub const SINGLE_BODY_BYTES_MAX: usize = 512 * 1024;
/// The body of a bulk: half of what one engine batch takes.
pub const BULK_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A definition: a thousand nodes of a kilobyte.
pub const DEFINITION_BODY_BYTES_MAX: usize = 1024 * 1024;

/// A list that has no pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Items<T> {
    /// The items.
    pub items: Vec<T>,
}

/// Whether the process should get traffic, and what it depends on.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Standing> + Send>> + Send + Sync>;

/// What the handlers work with.
#[derive(Clone)]
pub struct Ops {
    /// The engine.
    pub client: Arc<dyn EngineClient>,
    /// Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Asked by `/health/ready`.
    pub ready: Readiness,
}

impl Ops {
    /// The API over an engine in this process.
    pub fn new(engine: Engine, metrics: Arc<dyn Fn() -> String + Send + Sync>) -> Self {
        let client = Arc::new(LocalClient::new(engine.clone()));
        let broker = BrokerProbe::new(engine.kafka());
        let recent: Arc<Recent<BTreeMap<String, Dependency>>> = Arc::default();
        let ready: Readiness = Arc::new(move || {
            let (engine, broker, recent) = (engine.clone(), broker.clone(), Arc::clone(&recent));
            Box::pin(async move {
                let dependencies = recent.get(look(&engine, &broker)).await;
                Standing::of(dependencies, &[DATABASE], engine.is_shutting_down())
            })
        });
        Ops { client, metrics, ready }
    }
}

/// The dependency without which nothing works.
const DATABASE: &str = "database";

async fn look(engine: &Engine, broker: &BrokerProbe) -> BTreeMap<String, Dependency> {
    const GAUGE: &str = "sagaline_dependency_up";
    let database = health_of::probe(GAUGE, DATABASE, engine.ready());
    let kafka = health_of::probe(GAUGE, "kafka", broker.ask());
    let (database, kafka) = tokio::join!(database, kafka);
    BTreeMap::from([(DATABASE.to_owned(), database), ("kafka".to_owned(), kafka)])
}

/// The router of the ops port.
pub fn router(ops: Ops) -> Router {
    let (router, description) = routes().split_for_parts();
    let description: Arc<str> = openapi::complete(description).to_string().into();
    router
        .merge(health::openapi_route(description))
        .fallback(no_such_route)
        .layer(from_fn(describe_errors))
        .layer(CatchPanicLayer::custom(panicked))
        // The largest that any route takes; each has its own limit below it, answered with problem details.
        .layer(DefaultBodyLimit::max(BULK_BODY_BYTES_MAX))
        .layer(from_fn(read_on::read_on))
        .with_state(ops)
}

/// The API's description, OpenAPI 3.1.
pub fn description() -> serde_json::Value {
    openapi::complete(routes().into_openapi())
}

fn routes() -> OpenApiRouter<Ops> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(sagas::start, sagas::list))
        .routes(routes!(sagas::start_bulk))
        .routes(routes!(sagas::used_keys))
        .routes(routes!(sagas::get))
        .routes(routes!(sagas::journal))
        .routes(routes!(sagas::signal))
        .routes(routes!(sagas::command))
        .routes(routes!(definitions::deploy, definitions::list))
        .routes(routes!(definitions::newest))
        .routes(routes!(definitions::version))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::get, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::run))
        .routes(routes!(schedules::backfill))
        .routes(routes!(schedules::firings))
        .routes(routes!(health::metrics))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

async fn no_such_route(method: Method, OriginalUri(uri): OriginalUri) -> ProblemDetails {
    let detail = format!(
        "{method} {} is not part of this API; /openapi.json describes what is",
        uri.path()
    );
    ProblemDetails::new(ProblemKind::NoSuchRoute, detail)
}

/// Gives axum's bare refusals the form of all other errors, and names the request's trace in each.
async fn describe_errors(request: Request, next: Next) -> Response {
    let traced = request.headers().contains_key("traceparent");
    let trace_id = traced.then(|| extract::traceparent(request.headers())).flatten();
    let response = next.run(request).await;
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    let response = match response.extensions().get::<ProblemDetails>() {
        Some(_) => response,
        None => described(response),
    };
    let problem = response.extensions().get::<ProblemDetails>();
    let (Some(trace_id), Some(problem)) = (trace_id, problem) else {
        return response;
    };
    let trace_id = Some(workflows::protocol::trace_id(Some(&trace_id)).to_owned());
    let body = serde_json::to_vec(&ProblemDetails {
        trace_id,
        ..problem.clone()
    });
    let body = body.expect("problem details are plain data");
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, body.into())
}

/// What axum refuses by itself: 405, 413 of the outer limit, bodies that end early.
fn described(response: Response) -> Response {
    let problem = match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => ProblemDetails::new(
            ProblemKind::MethodNotAllowed,
            "this method is not possible on this path; see `Allow`",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("the body is larger than {BULK_BODY_BYTES_MAX} bytes");
            ProblemDetails::new(ProblemKind::TooLarge, detail)
        }
        StatusCode::BAD_REQUEST => ProblemDetails::new(ProblemKind::Malformed, "the body could not be read to its end"),
        _ => return response,
    };
    let mut answer = problem.into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    answer
}

fn panicked(reason: Box<dyn std::any::Any + Send>) -> Response {
    let words = reason
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| reason.downcast_ref::<&str>().copied());
    tracing::error!(panic = words.unwrap_or("unknown"), "a handler panicked");
    ProblemDetails::new(ProblemKind::Internal, "internal error: see the log").into_response()
}

//! The operators' HTTP API, under `/api/`: what the pages show and do, as JSON, for whoever has a token.
//!
//! Cookies mean nothing here, so nothing can be forged by other sites. The same functions act, with the same roles, the same
//! redaction and the same second person.

mod campaigns;
mod openapi;
mod places;
mod problem;
mod reports;
mod sagas;
mod trail;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Operator;
use crate::app::Mission;
use crate::error::PageError;
use crate::store::tokens as store;
use crate::tokens;
use problem::ApiError;

/// What a handler gives.
type Answer = Result<Response, ApiError>;

/// A request's JSON body; what can't be read is answered as a problem.
#[derive(axum::extract::FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
struct Body<T>(T);

/// The query, likewise.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
struct Query<T>(T);

/// The path, likewise.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
struct Path<T>(T);

/// Where a list begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    before: Option<i64>,
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
struct Items<T, N = i64> {
    /// The items.
    items: Vec<T>,
    /// Where the next page begins; none: there is no other.
    next: Option<N>,
}

impl<T> Items<T> {
    /// All of them on one page.
    fn all(items: Vec<T>) -> Self {
        Items { items, next: None }
    }
}

/// What came of a deed.
#[derive(Serialize, JsonSchema)]
struct Outcome {
    /// In words.
    outcome: String,
}

/// The routes, to be nested under `/api`. Each is in the API's description by the same line that makes it a route.
pub fn router(mission: Mission) -> Router<Mission> {
    let (router, description) = routes().split_for_parts();
    let description: Arc<str> = openapi::complete(description).to_string().into();
    router
        .merge(openapi::route(description))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .layer(from_fn_with_state(mission, bearer))
}

/// The API's description, OpenAPI 3.1.
pub fn description() -> serde_json::Value {
    openapi::complete(routes().into_openapi())
}

fn routes() -> OpenApiRouter<Mission> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(sagas::list))
        .routes(routes!(sagas::show))
        .routes(routes!(sagas::graph))
        .routes(routes!(sagas::journal))
        .routes(routes!(sagas::difference))
        .routes(routes!(sagas::dry_run))
        .routes(routes!(sagas::command))
        .routes(routes!(trail::stuck))
        .routes(routes!(campaigns::list, campaigns::create))
        .routes(routes!(campaigns::show))
        .routes(routes!(campaigns::items))
        .routes(routes!(campaigns::steer))
        .routes(routes!(trail::approvals))
        .routes(routes!(trail::approval, trail::decide))
        .routes(routes!(trail::audit))
        .routes(routes!(trail::export))
        .routes(routes!(places::queues))
        .routes(routes!(places::steer_queue))
        .routes(routes!(places::workers))
        .routes(routes!(places::schedules))
        .routes(routes!(places::schedule))
        .routes(routes!(places::firings))
        .routes(routes!(places::act))
        .routes(routes!(reports::analytics))
        .routes(routes!(reports::alerts))
        .routes(routes!(users::users, users::add))
        .routes(routes!(users::change))
        .routes(routes!(users::link))
}

async fn no_such_route(uri: Uri) -> ApiError {
    PageError::NotFound(format!("this method of the route {}", uri.path())).into()
}

/// Puts the token's user into the request.
async fn bearer(State(mission): State<Mission>, mut request: Request, next: Next) -> Response {
    match operator(&mission, request.headers()).await {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}

async fn operator(mission: &Mission, headers: &HeaderMap) -> Result<Operator, PageError> {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = text
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let digest = token.and_then(|(_, token)| tokens::digest(token.trim()));
    let digest = digest.ok_or(PageError::NoSession)?;
    store::find(&mission.pool, &digest).await?.ok_or(PageError::NoSession)
}

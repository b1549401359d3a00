//! The operators' HTTP API, under `/api/`: what the pages show and do, as JSON, for whoever has a token.
//!
//! Cookies mean nothing here, so nothing can be forged by other sites. The same functions act, with the same roles, the same
//! redaction and the same second person.

mod campaigns;
mod problem;
mod queues;
mod sagas;
mod trail;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

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

/// The routes, to be nested under `/api`.
pub fn router(mission: Mission) -> Router<Mission> {
    Router::new()
        .route("/sagas", get(sagas::list))
        .route("/sagas/{id}", get(sagas::show))
        .route("/sagas/{id}/journal", get(sagas::journal))
        .route("/sagas/{id}/dry-run", post(sagas::dry_run))
        .route("/sagas/{id}/commands", post(sagas::command))
        .route("/stuck", get(trail::stuck))
        .route("/campaigns", get(campaigns::list).post(campaigns::create))
        .route("/campaigns/{id}", get(campaigns::show))
        .route("/campaigns/{id}/items", get(campaigns::items))
        .route("/campaigns/{id}/{steer}", post(campaigns::steer))
        .route("/approvals", get(trail::approvals))
        .route("/approvals/{id}", get(trail::approval).post(trail::decide))
        .route("/audit", get(trail::audit))
        .route("/queues", get(queues::list))
        .route("/queues/{queue}", post(queues::change))
        .route("/workers", get(queues::workers))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .layer(from_fn_with_state(mission, bearer))
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

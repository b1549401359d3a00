//! What holds for every page: where a form may come from, who is asking.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::session;
use crate::app::Mission;
use crate::error::PageError;

/// Lets requests that change something through only from our own pages.
pub async fn same_origin(request: Request, next: Next) -> Response {
    web::same_origin(request, next, PageError::CrossSite).await
}

/// Puts the operator into the request, or sends the browser to the login.
pub async fn session(State(mission): State<Mission>, mut request: Request, next: Next) -> Response {
    match session::find(&mission.pool, request.headers()).await {
        Ok(Some(operator)) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Ok(None) => PageError::NoSession.into_response(),
        Err(error) => PageError::from(error).into_response(),
    }
}

//! Path and query of a request, with our own errors.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::text;
use crate::problem::Problem;

/// The one parameter of a path. What can't name anything (a NUL, bytes that are not UTF-8, a novel) is not found.
pub struct PathId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        match path {
            Ok(Path(id)) if text::is_possible_id(&id) => Ok(PathId(id)),
            Ok(_) | Err(_) => Err(Problem::not_found("there is nothing of this id")),
        }
    }
}

/// A query, in which unknown and repeated parameters are errors.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Parameters(parameters)),
            Err(error) => Err(Problem::malformed(
                "?",
                format!("the query does not fit: {}", error.body_text()),
            )),
        }
    }
}

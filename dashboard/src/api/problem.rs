//! Errors as RFC 9457 problem details: the one place where they become answers of the operators' API.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::PageError;

/// The error type of every handler.
#[derive(Debug)]
pub enum ApiError {
    /// What pages say too.
    Page(PageError),
    /// The request can't be read.
    Malformed(String),
    /// Its body is too large.
    TooLarge(String),
}

impl<E: Into<PageError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        ApiError::Page(error.into())
    }
}

macro_rules! malformed {
    ($($rejection:ty),*) => {
        $(impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ApiError::TooLarge(rejection.body_text()),
                    _other => ApiError::Malformed(rejection.body_text()),
                }
            }
        })*
    };
}

malformed!(PathRejection, QueryRejection, JsonRejection);

/// Code and title of a problem.
fn named(error: &PageError) -> (StatusCode, &'static str, &'static str) {
    match error {
        PageError::NoSession => (StatusCode::UNAUTHORIZED, "no-token", "A token is needed"),
        PageError::Forbidden { needed: _, role: _ } => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
        PageError::CrossSite => (StatusCode::FORBIDDEN, "cross-site", "Not from our own pages"),
        PageError::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
        PageError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not valid"),
        PageError::Moved {
            expected: _,
            current: _,
        } => (StatusCode::PRECONDITION_FAILED, "moved-on", "The saga has moved on"),
        PageError::Refused(_) => (StatusCode::CONFLICT, "refused", "Not possible in this state"),
        PageError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too much is waiting"),
        PageError::Slow => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "too-wide",
            "The search takes too long",
        ),
        PageError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available"),
        PageError::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, title) = match &self {
            ApiError::Page(error) => named(error),
            ApiError::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "The request can't be read"),
            ApiError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
        };
        let detail = match &self {
            ApiError::Page(PageError::NoSession) => {
                "send `Authorization: Bearer <token>`; this one is missing, unknown, revoked or too old".to_owned()
            }
            ApiError::Page(error) => error.to_string(),
            ApiError::Malformed(detail) | ApiError::TooLarge(detail) => detail.clone(),
        };
        let mut body = json!({
            "type": format!("urn:sagaline:problem:{code}"), "title": title, "status": status.as_u16(), "detail": detail});
        if let ApiError::Page(PageError::Moved { expected, current }) = &self {
            body["expected"] = json!(expected);
            body["current"] = json!(current);
        }
        let kind = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (status, [kind], body.to_string()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

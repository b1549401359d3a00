//! Errors as RFC 9457 problem details: the one place where a [`ClientError`] becomes an HTTP answer, and back.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::ClientError;

/// The body of every error, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetails {
    /// `urn:sagaline:problem:<code>`; stable.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time and what to do.
    pub detail: String,
    /// Everything that is wrong with the request, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemItem>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The idempotency key it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The `If-Match` that did not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// The saga's sequence number in truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    /// Finds the request in logs and traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemItem {
    /// A JSON Pointer into the body; `?name` for a query parameter, `@name` for a header.
    pub pointer: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// The types of problem. Their codes are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The thing named in the path does not exist.
    NotFound,
    /// The path exists in no form.
    NoSuchRoute,
    /// The method does not fit the path.
    MethodNotAllowed,
    /// The request can't be read: not JSON, not UTF-8, an unknown field.
    Malformed,
    /// The request can be read, but what it says is not valid.
    Invalid,
    /// The body is larger than this route takes.
    TooLarge,
    /// The idempotency key was used with another request.
    KeyReused,
    /// The idempotency key is in use at this moment.
    InFlight,
    /// It exists already, differently.
    Conflict,
    /// It does not fit the state.
    Refused,
    /// `If-Match` does not hold.
    Moved,
    /// Too much is waiting.
    Overloaded,
    /// Postgres or the engine can't be reached.
    Unavailable,
    /// A defect of ours.
    Internal,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [ProblemKind; 14] = [
        ProblemKind::NotFound,
        ProblemKind::NoSuchRoute,
        ProblemKind::MethodNotAllowed,
        ProblemKind::Malformed,
        ProblemKind::Invalid,
        ProblemKind::TooLarge,
        ProblemKind::KeyReused,
        ProblemKind::InFlight,
        ProblemKind::Conflict,
        ProblemKind::Refused,
        ProblemKind::Moved,
        ProblemKind::Overloaded,
        ProblemKind::Unavailable,
        ProblemKind::Internal,
    ];

    const PREFIX: &str = "urn:sagaline:problem:";

    fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            ProblemKind::NotFound => ("not-found", "Not found", StatusCode::NOT_FOUND),
            ProblemKind::NoSuchRoute => ("no-such-route", "No such route", StatusCode::NOT_FOUND),
            ProblemKind::MethodNotAllowed => (
                "method-not-allowed",
                "Method not allowed",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            ProblemKind::Malformed => ("malformed", "The request can't be read", StatusCode::BAD_REQUEST),
            ProblemKind::Invalid => ("invalid", "The request is not valid", StatusCode::UNPROCESSABLE_ENTITY),
            ProblemKind::TooLarge => ("too-large", "The request is too large", StatusCode::PAYLOAD_TOO_LARGE),
            ProblemKind::KeyReused => (
                "idempotency-key-reused",
                "Idempotency key used before",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            ProblemKind::InFlight => (
                "idempotency-key-in-flight",
                "Idempotency key in use",
                StatusCode::CONFLICT,
            ),
            ProblemKind::Conflict => ("conflict", "It exists already", StatusCode::CONFLICT),
            ProblemKind::Refused => ("refused", "Not possible in this state", StatusCode::CONFLICT),
            ProblemKind::Moved => ("moved-on", "The saga has moved on", StatusCode::PRECONDITION_FAILED),
            ProblemKind::Overloaded => ("overloaded", "Too much is waiting", StatusCode::TOO_MANY_REQUESTS),
            ProblemKind::Unavailable => ("unavailable", "Not available", StatusCode::SERVICE_UNAVAILABLE),
            ProblemKind::Internal => ("internal", "Internal error", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Its `type`.
    pub fn uri(self) -> String {
        format!("{}{}", Self::PREFIX, self.parts().0)
    }

    /// Its HTTP status.
    pub fn status(self) -> StatusCode {
        self.parts().2
    }

    fn from_uri(uri: &str) -> Option<Self> {
        let code = uri.strip_prefix(Self::PREFIX)?;
        Self::ALL.into_iter().find(|kind| kind.parts().0 == code)
    }
}

impl ProblemDetails {
    /// A problem of a kind.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let (_, title, status) = kind.parts();
        ProblemDetails {
            kind: kind.uri(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            problems: Vec::new(),
            retry_after_ms: None,
            idempotency_key: None,
            expected: None,
            current: None,
            trace_id: None,
        }
    }

    /// A request that can't be read, with the place.
    pub fn malformed(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut problem = Self::new(ProblemKind::Malformed, message.clone());
        problem.problems.push(ProblemItem {
            pointer: pointer.into(),
            message,
        });
        problem
    }
}

impl From<ClientError> for ProblemDetails {
    fn from(error: ClientError) -> Self {
        let detail = error.to_string();
        match error {
            ClientError::NotFound { what: _ } => Self::new(ProblemKind::NotFound, detail),
            ClientError::Invalid { problems } => {
                let items = problems.into_iter();
                let items = items
                    .map(|it| ProblemItem {
                        pointer: it.pointer,
                        message: it.message,
                    })
                    .collect();
                ProblemDetails {
                    problems: items,
                    ..Self::new(ProblemKind::Invalid, detail)
                }
            }
            ClientError::KeyReused { key } => ProblemDetails {
                idempotency_key: Some(key),
                ..Self::new(ProblemKind::KeyReused, detail)
            },
            ClientError::InFlight { key } => ProblemDetails {
                idempotency_key: Some(key),
                ..Self::new(ProblemKind::InFlight, detail)
            },
            ClientError::Conflict { message: _ } => Self::new(ProblemKind::Conflict, detail),
            ClientError::Refused { message: _ } => Self::new(ProblemKind::Refused, detail),
            ClientError::Moved { expected, current } => ProblemDetails {
                expected: Some(expected),
                current: Some(current),
                ..Self::new(ProblemKind::Moved, detail)
            },
            ClientError::Overloaded { retry_after } => ProblemDetails {
                retry_after_ms: Some(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX)),
                ..Self::new(ProblemKind::Overloaded, detail)
            },
            ClientError::Unavailable { message: _ } => ProblemDetails {
                retry_after_ms: Some(1_000),
                ..Self::new(ProblemKind::Unavailable, detail)
            },
            ClientError::Internal { message: _ } => Self::new(ProblemKind::Internal, detail),
        }
    }
}

impl From<ProblemDetails> for ClientError {
    fn from(problem: ProblemDetails) -> Self {
        let key = problem.idempotency_key.unwrap_or_default();
        let Some(kind) = ProblemKind::from_uri(&problem.kind) else {
            return ClientError::Unavailable {
                message: format!("HTTP {}: {}", problem.status, problem.detail),
            };
        };
        match kind {
            ProblemKind::NotFound => {
                let what = problem
                    .detail
                    .strip_suffix(" does not exist")
                    .unwrap_or(&problem.detail);
                ClientError::NotFound { what: what.to_owned() }
            }
            ProblemKind::Malformed | ProblemKind::Invalid | ProblemKind::TooLarge if problem.problems.is_empty() => {
                ClientError::invalid("", problem.detail)
            }
            ProblemKind::Malformed | ProblemKind::Invalid | ProblemKind::TooLarge => ClientError::Invalid {
                problems: problem
                    .problems
                    .into_iter()
                    .map(|it| workflows::Problem {
                        pointer: it.pointer,
                        message: it.message,
                    })
                    .collect(),
            },
            ProblemKind::KeyReused => ClientError::KeyReused { key },
            ProblemKind::InFlight => ClientError::InFlight { key },
            ProblemKind::Conflict => ClientError::Conflict {
                message: problem.detail,
            },
            ProblemKind::Refused => ClientError::Refused {
                message: problem.detail,
            },
            ProblemKind::Moved => ClientError::Moved {
                expected: problem.expected.unwrap_or_default(),
                current: problem.current.unwrap_or_default(),
            },
            ProblemKind::Overloaded => ClientError::Overloaded {
                retry_after: Duration::from_millis(problem.retry_after_ms.unwrap_or(1_000)),
            },
            ProblemKind::Unavailable => ClientError::Unavailable {
                message: problem
                    .detail
                    .strip_prefix("the engine is not available: ")
                    .unwrap_or(&problem.detail)
                    .to_owned(),
            },
            ProblemKind::Internal => ClientError::Internal {
                message: problem
                    .detail
                    .strip_prefix("internal error: ")
                    .unwrap_or(&problem.detail)
                    .to_owned(),
            },
            ProblemKind::NoSuchRoute | ProblemKind::MethodNotAllowed => ClientError::Unavailable {
                message: format!("HTTP {}: {}", problem.status, problem.detail),
            },
        }
    }
}

impl IntoResponse for ProblemDetails {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Whole seconds, rounded up: the header knows nothing finer.
        let retry_after = self
            .retry_after_ms
            .map(|ms| HeaderValue::from(ms.div_ceil(1_000).max(1)));
        if status.is_server_error() {
            tracing::error!(status = self.status, problem = %self.kind, detail = %self.detail, "request failed");
        }
        let body = serde_json::to_vec(&self).expect("problem details are plain data");
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(value) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        // For the layer that knows the request's trace.
        response.extensions_mut().insert(self);
        response
    }
}

/// The error type of every handler.
#[derive(Debug)]
pub struct ApiError(pub Box<ProblemDetails>);

impl<E: Into<ProblemDetails>> From<E> for ApiError {
    fn from(error: E) -> Self {
        ApiError(Box::new(error.into()))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

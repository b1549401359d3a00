//! Errors as RFC 9457 problem details: the one place where anything that went wrong becomes an HTTP answer.

use std::time::Duration;

use analytics::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use orchestrator::client::ClientError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::availability::Refusal;
use crate::http::context;
use crate::limits::ERRORS_MAX;

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The types of problem. Their codes are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request can't be read: not UTF-8, not JSON, a query parameter nobody knows.
    Malformed,
    /// The signature of a webhook is missing, wrong or too old.
    BadSignature,
    /// Somebody must log in, or the token won't do.
    NoToken,
    /// Nobody has this address and this password.
    WrongCredentials,
    /// Whoever is logged in may not do this.
    Forbidden,
    /// It is not this buyer's turn.
    NotAdmitted,
    /// The thing named in the path does not exist.
    NotFound,
    /// The path exists in no form.
    NoSuchRoute,
    /// The method does not fit the path.
    MethodNotAllowed,
    /// The client took too long to send its request.
    TooSlow,
    /// It does not fit the booking's state.
    Refused,
    /// It exists already.
    Conflict,
    /// Seats that were asked for belong to somebody.
    SeatsUnavailable,
    /// The buyer would have more seats than the event allows each.
    SeatLimit,
    /// The idempotency key is in use at this moment.
    KeyInFlight,
    /// The body is larger than this route takes.
    TooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The request can be read, but what it says is not valid.
    Invalid,
    /// The idempotency key was used with another request.
    KeyReused,
    /// This was tried too often.
    TooManyAttempts,
    /// The user, or the address, has asked for too much.
    TooManyRequests,
    /// Too much is waiting.
    Overloaded,
    /// Postgres, the engine or a service can't be reached, or does not answer in time.
    Unavailable,
    /// A service that runs apart gave no answer that makes sense.
    BadGateway,
    /// It gave none in time.
    GatewayTimeout,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// Its code, its title and its status.
    fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Kind::Malformed => ("malformed", "The request can't be read", StatusCode::BAD_REQUEST),
            Kind::BadSignature => ("bad-signature", "The signature is not valid", StatusCode::BAD_REQUEST),
            Kind::NoToken => ("no-token", "Not logged in", StatusCode::UNAUTHORIZED),
            Kind::WrongCredentials => (
                "wrong-credentials",
                "Wrong address or password",
                StatusCode::UNAUTHORIZED,
            ),
            Kind::Forbidden => ("forbidden", "Not allowed", StatusCode::FORBIDDEN),
            Kind::NotAdmitted => ("not-admitted", "Not your turn", StatusCode::FORBIDDEN),
            Kind::NotFound => ("not-found", "Not found", StatusCode::NOT_FOUND),
            Kind::NoSuchRoute => ("no-such-route", "No such route", StatusCode::NOT_FOUND),
            Kind::MethodNotAllowed => (
                "method-not-allowed",
                "Method not allowed",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            Kind::TooSlow => (
                "too-slow",
                "The request took too long to arrive",
                StatusCode::REQUEST_TIMEOUT,
            ),
            Kind::Refused => ("refused", "Not possible in this state", StatusCode::CONFLICT),
            Kind::Conflict => ("conflict", "It exists already", StatusCode::CONFLICT),
            Kind::SeatsUnavailable => ("seats-unavailable", "The seats are taken", StatusCode::CONFLICT),
            Kind::SeatLimit => (
                "seat-limit",
                "More seats than each buyer may have",
                StatusCode::CONFLICT,
            ),
            Kind::KeyInFlight => (
                "idempotency-key-in-flight",
                "Idempotency key in use",
                StatusCode::CONFLICT,
            ),
            Kind::TooLarge => ("too-large", "The request is too large", StatusCode::PAYLOAD_TOO_LARGE),
            Kind::UnsupportedMediaType => (
                "unsupported-media-type",
                "Unsupported media type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            Kind::Invalid => ("invalid", "The request is not valid", StatusCode::UNPROCESSABLE_ENTITY),
            Kind::KeyReused => (
                "idempotency-key-reused",
                "Idempotency key used before",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Kind::TooManyAttempts => ("too-many-attempts", "Too many attempts", StatusCode::TOO_MANY_REQUESTS),
            Kind::TooManyRequests => ("too-many-requests", "Too many requests", StatusCode::TOO_MANY_REQUESTS),
            Kind::Overloaded => ("overloaded", "Too much is waiting", StatusCode::SERVICE_UNAVAILABLE),
            Kind::Unavailable => ("unavailable", "Not available", StatusCode::SERVICE_UNAVAILABLE),
            Kind::BadGateway => ("bad-gateway", "A service gave no answer", StatusCode::BAD_GATEWAY),
            Kind::GatewayTimeout => (
                "gateway-timeout",
                "A service did not answer in time",
                StatusCode::GATEWAY_TIMEOUT,
            ),
            Kind::Internal => ("internal", "Internal error", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// A JSON Pointer into the body; `?name` for a query parameter, `@name` for a header, `line 17, number` in CSV.
    #[schema(example = "/seatIds/0")]
    pub pointer: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl FieldError {
    /// An error at a place.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    refusal: Option<Box<Refusal>>,
    retry_after: Option<Duration>,
}

/// The body of every error, `application/problem+json`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetails {
    /// `urn:sagaline:problem:<code>`; stable.
    #[serde(rename = "type")]
    #[schema(example = "urn:sagaline:problem:invalid")]
    kind: String,
    /// The same for every problem of this type.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What was wrong this time and what to do.
    detail: String,
    /// Everything that is wrong with the request, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    /// The seats that were asked for; only where they are not to be had, as are the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_seats: Option<Vec<String>>,
    /// Those of them that are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable_seats: Option<Vec<String>>,
    /// Some seats that were free a moment ago, those nearest by first; empty: none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    available_seats: Option<Vec<String>>,
    /// Finds the request in logs and traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            refusal: None,
            retry_after: None,
        }
    }

    /// A request that can be read but is not valid.
    pub fn invalid(mut errors: Vec<FieldError>) -> Problem {
        let count = errors.len();
        errors.truncate(ERRORS_MAX);
        let detail = match errors.as_slice() {
            [only] => format!("{} {}", only.pointer, only.message),
            _ if count > ERRORS_MAX => {
                format!("{count} things are wrong; the first {ERRORS_MAX} are named in `errors`")
            }
            _ => format!("{count} things are wrong; each is named in `errors`"),
        };
        Problem {
            errors,
            ..Problem::new(Kind::Invalid, detail)
        }
    }

    /// A request that can't be read, with the place.
    pub fn malformed(pointer: impl Into<String>, message: impl Into<String>) -> Problem {
        let message = message.into();
        let detail = format!("the request can't be read: {message}");
        Problem {
            errors: vec![FieldError::new(pointer, message)],
            ..Problem::new(Kind::Malformed, detail)
        }
    }

    /// Something that exists already, with the field that says so.
    pub fn conflict(pointer: &str, message: &str) -> Problem {
        Problem {
            errors: vec![FieldError::new(pointer, message)],
            ..Problem::new(Kind::Conflict, format!("{pointer} {message}"))
        }
    }

    /// A thing that does not exist.
    pub fn not_found(what: impl Into<String>) -> Problem {
        Problem::new(Kind::NotFound, what)
    }

    /// Seats that somebody has.
    pub fn seats_unavailable(refusal: Refusal) -> Problem {
        let detail = if refusal.available.is_empty() {
            "none of the event's seats near these can be had at the moment; some may come back while others don't pay for theirs"
        } else {
            "somebody has these seats, or some of them; `availableSeats` names others"
        };
        Problem {
            refusal: Some(Box::new(refusal)),
            ..Problem::new(Kind::SeatsUnavailable, detail)
        }
    }

    /// Something we need is away or does not answer in time.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(Kind::Unavailable, detail).retry_after(Duration::from_secs(2))
    }

    /// With the time after which another try makes sense.
    pub fn retry_after(mut self, after: Duration) -> Problem {
        self.retry_after = Some(after);
        self
    }

    /// What is wrong, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is wrong at which place.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (code, title, status) = self.kind.parts();
        let (requested, unavailable, available) = self.refusal.map_or((None, None, None), |refusal| {
            (
                Some(refusal.requested),
                Some(refusal.unavailable),
                Some(refusal.available),
            )
        });
        let details = ProblemDetails {
            requested_seats: requested,
            unavailable_seats: unavailable,
            available_seats: available,
            kind: format!("urn:sagaline:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail,
            errors: self.errors,
            trace_id: context::current().map(|context| context.trace_id()),
        };
        let body = serde_json::to_vec(&details).expect("problem details are plain data");
        let mut response = (
            status,
            [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))],
            body,
        )
            .into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up, for the header knows nothing finer.
            let seconds = after.as_millis().div_ceil(1_000).max(1);
            response.headers_mut().insert(
                header::RETRY_AFTER,
                HeaderValue::from(u64::try_from(seconds).unwrap_or(1)),
            );
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Postgres(error) => error.into(),
            StoreError::ClickHouse(_) | StoreError::Late(_) => {
                tracing::warn!(%error, "the analytics' store does not answer");
                Problem::unavailable("the analytics are not available at the moment")
            }
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Problem {
        use std::error::Error as _;

        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        if is_outage(&error) {
            tracing::warn!(%error, cause, "Postgres is not available");
            return Problem::unavailable("the database is not available at the moment; try again shortly");
        }
        tracing::error!(%error, cause, "a query failed");
        Problem::new(
            Kind::Internal,
            "the request failed because of a defect of ours; it has been recorded",
        )
    }
}

/// Whether a database error says nothing about the request, but that the database is away, restarting or full.
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, insufficient resources, operator intervention (shutdown, starting up), system
        // errors, transaction rollbacks (serialization, deadlock), read-only (a fail-over) and "no such database".
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "58", "40", "25006", "3D000"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Problem {
        match error {
            ClientError::NotFound { .. } => Problem::not_found("there is no such booking"),
            ClientError::KeyReused { .. } => Problem {
                errors: vec![FieldError::new(
                    "@Idempotency-Key",
                    "was used before with another request",
                )],
                ..Problem::new(
                    Kind::KeyReused,
                    "this Idempotency-Key was used before with another request; use a new key, or repeat the same request",
                )
            },
            ClientError::InFlight { .. } => key_in_flight(),
            ClientError::Refused { message } => Problem::new(Kind::Refused, message),
            ClientError::Moved { .. } => Problem::new(
                Kind::Refused,
                "the booking has just changed; look at it again, then decide",
            ),
            ClientError::Overloaded { retry_after } => Problem::new(
                Kind::Overloaded,
                "more bookings are waiting than can be taken; try again shortly",
            )
            .retry_after(retry_after),
            ClientError::Unavailable { message } => {
                tracing::warn!(message, "the engine is not available");
                Problem::unavailable(
                    "bookings are not available at the moment; try again shortly, with the same Idempotency-Key",
                )
            }
            // We made the request; if the engine finds fault with it, that is our defect, not the client's.
            ClientError::Invalid { .. } | ClientError::Conflict { .. } | ClientError::Internal { .. } => {
                tracing::error!(%error, "the engine did not carry out what the gateway asked for");
                Problem::new(
                    Kind::Internal,
                    "the request failed because of a defect of ours; it has been recorded",
                )
            }
        }
    }
}

/// The answer to a request whose idempotency key is in use at this moment.
pub fn key_in_flight() -> Problem {
    Problem {
        errors: vec![FieldError::new(
            "@Idempotency-Key",
            "is in use by a request that is still being worked on",
        )],
        ..Problem::new(
            Kind::KeyInFlight,
            "a request with this Idempotency-Key is still being worked on; send it again in a moment",
        )
        .retry_after(Duration::from_secs(1))
    }
}

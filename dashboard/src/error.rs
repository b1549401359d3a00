//! What goes wrong, as a page. Details of our own defects go to the log only.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use orchestrator::EngineError;
use orchestrator::client::ClientError;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Nobody is logged in.
    #[error("log in first")]
    NoSession,
    /// The role doesn't allow it.
    #[error("this needs the role {needed}; yours is {role}")]
    Forbidden {
        /// The least role that may.
        needed: &'static str,
        /// The user's.
        role: &'static str,
    },
    /// The request came from another site, or doesn't say from where.
    #[error("this request did not come from a page of mission control")]
    CrossSite,
    /// There is no such thing.
    #[error("{0} is not there")]
    NotFound(String),
    /// The form makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The saga has moved on since the page was made.
    #[error(
        "the saga has moved on since you looked (entry {current} of its journal, not {expected}): look again, then decide"
    )]
    Moved {
        /// What the page was made from.
        expected: u64,
        /// Where it is.
        current: u64,
    },
    /// It does not fit the saga's state.
    #[error("{0}")]
    Refused(String),
    /// Too many at once.
    #[error("too busy right now: try again in a moment")]
    Busy,
    /// The database took too long.
    #[error("this search takes too long: narrow it, for instance by `business-key:` or `started:<1h`")]
    Slow,
    /// The database can't be reached.
    #[error("the database is not available: try again in a moment")]
    Unavailable,
    /// A defect of ours.
    #[error("something is wrong on our side: the log says what")]
    Internal,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    message: String,
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            PageError::NoSession => StatusCode::UNAUTHORIZED,
            PageError::Forbidden { needed: _, role: _ } | PageError::CrossSite => StatusCode::FORBIDDEN,
            PageError::NotFound(_) => StatusCode::NOT_FOUND,
            PageError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PageError::Moved {
                expected: _,
                current: _,
            } => StatusCode::PRECONDITION_FAILED,
            PageError::Refused(_) => StatusCode::CONFLICT,
            PageError::Busy | PageError::Slow | PageError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            PageError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Logs a defect and hides it.
    pub fn internal(error: impl std::fmt::Display) -> PageError {
        tracing::error!(%error, "a page could not be made");
        PageError::Internal
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if matches!(self, PageError::NoSession) {
            return Redirect::to("/login").into_response();
        }
        let status = self.status();
        let page = ErrorPage {
            title: status.canonical_reason().unwrap_or("Error"),
            message: self.to_string(),
        };
        let mut response = (status, Html(page.render().unwrap_or_else(|_| self.to_string()))).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = HeaderValue::from_static("2");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        response
    }
}

/// A statement that was stopped by its time limit.
const QUERY_CANCELED: &str = "57014";
/// Text that Postgres can't hold: U+0000, as it is or escaped within JSON.
const NOT_TEXT: [&str; 2] = ["22021", "22P05"];

fn is_not_text(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| NOT_TEXT.contains(&code.as_ref()))
}

impl From<sqlx::Error> for PageError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.code().as_deref() == Some(QUERY_CANCELED) => PageError::Slow,
            sqlx::Error::Database(database) if is_not_text(database.as_ref()) => {
                PageError::Invalid("text must not contain U+0000".to_owned())
            }
            sqlx::Error::PoolTimedOut => PageError::Busy,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed => PageError::Unavailable,
            _other => PageError::internal(&error),
        }
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> Self {
        PageError::internal(error)
    }
}

impl From<ClientError> for PageError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotFound { what } => PageError::NotFound(what),
            ClientError::Invalid { problems: _ } => PageError::Invalid(error.to_string()),
            ClientError::Refused { message } | ClientError::Conflict { message } => PageError::Refused(message),
            ClientError::Moved { expected, current } => PageError::Moved { expected, current },
            ClientError::Overloaded { retry_after: _ } => PageError::Busy,
            ClientError::Unavailable { message: _ } => PageError::Unavailable,
            other @ (ClientError::KeyReused { key: _ }
            | ClientError::InFlight { key: _ }
            | ClientError::Internal { message: _ }) => PageError::internal(other),
        }
    }
}

impl From<crate::operators::OperatorError> for PageError {
    fn from(error: crate::operators::OperatorError) -> Self {
        match error {
            crate::operators::OperatorError::Invalid(message) => PageError::Invalid(message),
            crate::operators::OperatorError::Database(error) => error.into(),
        }
    }
}

impl From<EngineError> for PageError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::UnknownSaga(saga) => PageError::NotFound(format!("saga {saga}")),
            EngineError::Moved {
                saga: _,
                expected,
                current,
            } => PageError::Moved { expected, current },
            EngineError::Refused(refused) => PageError::Refused(refused.to_string()),
            EngineError::Invalid { problems } => {
                let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                PageError::Invalid(texts.join("; "))
            }
            EngineError::Overloaded { what: _, waiting: _ } => PageError::Busy,
            EngineError::ShuttingDown | EngineError::Unavailable(_) => PageError::Unavailable,
            other @ (EngineError::UnknownWorkflow { name: _, version: _ }
            | EngineError::SagaExists(_)
            | EngineError::KeyReused { key: _, saga: _ }
            | EngineError::DefinitionConflict { name: _, version: _ }
            | EngineError::Internal(_)) => PageError::internal(other),
        }
    }
}

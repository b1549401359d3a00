//! What can go wrong in the engine.

use workflows::ids::SagaId;
use workflows::{Problem, Refused};

/// Why the engine did not do what was asked. Unless it is [`EngineError::Unavailable`], nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Too much is waiting already; come back in a moment.
    #[error("the engine is at its limit: {waiting} {what} wait; try again in a moment")]
    Overloaded {
        /// What there is too much of.
        what: &'static str,
        /// How much of it.
        waiting: usize,
    },
    /// The engine is shutting down.
    #[error("the engine is shutting down; ask another replica")]
    ShuttingDown,
    /// Postgres can't be reached or does not answer. Whether the request was carried out is not known.
    #[error("Postgres is not available: {0}")]
    Unavailable(String),
    /// No such workflow or version.
    #[error("workflow {name:?}{} is not deployed", version.map(|v| format!(" version {v}")).unwrap_or_default())]
    UnknownWorkflow {
        /// The name.
        name: String,
        /// The version, if one was asked for.
        version: Option<u32>,
    },
    /// No such saga.
    #[error("saga {0} does not exist")]
    UnknownSaga(SagaId),
    /// A saga of this id exists already.
    #[error("saga {0} exists already")]
    SagaExists(SagaId),
    /// The idempotency key was used for another request.
    #[error("idempotency key {key:?} was used before with another request (saga {saga})")]
    KeyReused {
        /// The key.
        key: String,
        /// The saga it started.
        saga: SagaId,
    },
    /// The saga has moved on since the caller looked.
    #[error("saga {saga} is at entry {current} of its journal, not {expected}")]
    Moved {
        /// The saga.
        saga: SagaId,
        /// Where the caller thought it was.
        expected: u64,
        /// Where it is.
        current: u64,
    },
    /// The event does not fit the saga's state.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request is not valid.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Everything that is wrong, with JSON Pointers.
        problems: Vec<Problem>,
    },
    /// This version of the workflow exists, with another content.
    #[error(
        "workflow {name:?} version {version} is deployed already with another content: give the new one a new version"
    )]
    DefinitionConflict {
        /// The name.
        name: String,
        /// The version.
        version: u32,
    },
    /// A bug, or a row that can't be read; the log has more.
    #[error("internal error: {0}")]
    Internal(String),
}

impl EngineError {
    /// One problem with a request.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        EngineError::Invalid {
            problems: vec![Problem {
                pointer: pointer.into(),
                message: message.into(),
            }],
        }
    }
}

impl From<sqlx::Error> for EngineError {
    fn from(error: sqlx::Error) -> Self {
        match crate::store::classify(&error) {
            crate::store::Failure::Data => EngineError::Internal(format!("Postgres refused the data: {error}")),
            crate::store::Failure::Stale | crate::store::Failure::Transient => {
                EngineError::Unavailable(error.to_string())
            }
        }
    }
}

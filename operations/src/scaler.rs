//! Whatever starts and stops workers.

use async_trait::async_trait;
use thiserror::Error;

/// Why replicas could not be set.
#[derive(Debug, Error)]
pub enum ScaleError {
    /// It is away, or busy: later.
    #[error("the scaler can't be reached: {0}")]
    Away(String),
    /// It will not, whoever asks and when: there is no such target, or we may not.
    #[error("the scaler refuses: {0}")]
    Refused(String),
}

/// Starts and stops workers.
#[async_trait]
pub trait Scaler: Send + Sync {
    /// Has so many replicas of a target run from now on. Does not wait until they do. To ask for the same again changes nothing.
    async fn set(&self, target: &str, replicas: u32) -> Result<(), ScaleError>;
}

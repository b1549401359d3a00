//! Figures that are asked for once in a while, however many look at them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::error::PageError;
use crate::limits::ACQUIRE_TIMEOUT;

/// The last answer, and when it was true.
pub struct Fresh<T> {
    last: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Default for Fresh<T> {
    fn default() -> Self {
        Fresh { last: Mutex::default() }
    }
}

impl<T> Fresh<T> {
    /// The answer, if it isn't older than `age_max`, or a new one; who comes while it is asked for waits for it, but not for
    /// long: while the database is slow, pages must not queue up behind one another.
    pub async fn get(
        &self,
        age_max: Duration,
        ask: impl AsyncFnOnce() -> Result<T, PageError>,
    ) -> Result<Arc<T>, PageError> {
        let last = tokio::time::timeout(ACQUIRE_TIMEOUT, self.last.lock()).await;
        let mut last = last.map_err(|_| PageError::Busy)?;
        if let Some((at, known)) = last.as_ref()
            && at.elapsed() < age_max
        {
            return Ok(known.clone());
        }
        let known = Arc::new(ask().await?);
        *last = Some((Instant::now(), known.clone()));
        Ok(known)
    }

    /// The last answer however old, if there is one and nobody asks for another right now.
    pub fn last(&self) -> Option<Arc<T>> {
        let last = self.last.try_lock().ok()?;
        last.as_ref().map(|(_, known)| known.clone())
    }
}

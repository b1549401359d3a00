//! Figures that are asked for once in a while, however many look at them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

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
    /// The answer, if it isn't older than `age_max`, or a new one; who comes while it is asked for waits for it.
    pub async fn get<E>(&self, age_max: Duration, ask: impl AsyncFnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut last = self.last.lock().await;
        if let Some((at, known)) = last.as_ref()
            && at.elapsed() < age_max
        {
            return Ok(known.clone());
        }
        let known = Arc::new(ask().await?);
        *last = Some((Instant::now(), known.clone()));
        Ok(known)
    }
}

//! Whether the worker can work: each of its queues has been given its partitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the worker can work. Clones tell of the same worker.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// By queue. Empty until the worker has begun.
    queues: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Readiness {
    /// Every queue's consumer group has given us our share of its partitions, and we are not about to leave.
    pub fn is_ready(&self) -> bool {
        let queues = self.lock();
        !queues.is_empty() && queues.values().all(|ready| *ready)
    }

    /// The queues that are not ready.
    pub fn waiting_for(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(_, ready)| !**ready)
            .map(|(queue, _)| queue.clone())
            .collect()
    }

    pub(crate) fn set(&self, queue: &str, ready: bool) {
        let mut queues = self.lock();
        match queues.get_mut(queue) {
            Some(known) => *known = ready,
            None => {
                queues.insert(queue.to_owned(), ready);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

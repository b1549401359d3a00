//! Live sagas' states, kept in memory by the replica that last wrote them.
//!
//! A state from here may be old, if another replica moved the saga meanwhile. That does no harm: every write names the
//! journal entry it follows on, and a decision that writes nothing is made again on what Postgres has.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use workflows::ids::{SagaId, Timestamp};
use workflows::state::State;

use crate::definition_cache::Deployed;

/// What never changes about a saga.
#[derive(Debug)]
pub(crate) struct SagaMeta {
    pub(crate) business_key: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) created_at: Timestamp,
}

/// A saga's last known state.
#[derive(Clone, Debug)]
pub(crate) struct KnownSaga {
    pub(crate) definition: Arc<Deployed>,
    pub(crate) state: Arc<State>,
    /// Known of sagas that began here.
    pub(crate) meta: Option<Arc<SagaMeta>>,
    /// From memory, not read for this batch.
    pub(crate) cached: bool,
}

/// Keeps up to a number of sagas, and those used last.
#[derive(Debug)]
pub(crate) struct SagaCache {
    half: usize,
    /// What was used lately, and what was used before that. When the first is full it becomes the second: that is
    /// least-recently-used within a factor of two, without a list to keep in order.
    generations: Mutex<(HashMap<SagaId, KnownSaga>, HashMap<SagaId, KnownSaga>)>,
}

impl SagaCache {
    /// For up to `sagas_max`; with 0 nothing is kept.
    pub(crate) fn new(sagas_max: usize) -> Self {
        SagaCache {
            half: sagas_max / 2,
            generations: Mutex::default(),
        }
    }

    /// Those of `sagas` that are known.
    pub(crate) fn get(&self, sagas: impl Iterator<Item = SagaId>) -> HashMap<SagaId, KnownSaga> {
        let mut generations = self.lock();
        let mut found = HashMap::new();
        for saga in sagas {
            let known = match generations.0.get(&saga) {
                Some(known) => known.clone(),
                None => match generations.1.remove(&saga) {
                    Some(known) => {
                        generations.0.insert(saga, known.clone());
                        known
                    }
                    None => continue,
                },
            };
            found.insert(saga, known);
        }
        found
    }

    /// Whether it is known.
    pub(crate) fn has(&self, saga: SagaId) -> bool {
        let generations = self.lock();
        generations.0.contains_key(&saga) || generations.1.contains_key(&saga)
    }

    /// Notes states that were committed; none: the saga has ended.
    pub(crate) fn put(&self, sagas: impl Iterator<Item = (SagaId, Option<KnownSaga>)>) {
        let mut generations = self.lock();
        for (saga, known) in sagas {
            match known.filter(|_| self.half > 0) {
                Some(known) => {
                    if generations.0.len() >= self.half {
                        generations.1 = std::mem::take(&mut generations.0);
                    }
                    generations.0.insert(saga, KnownSaga { cached: true, ..known });
                }
                None => {
                    generations.0.remove(&saga);
                    generations.1.remove(&saga);
                }
            }
        }
    }

    /// Forgets these.
    pub(crate) fn forget(&self, sagas: impl Iterator<Item = SagaId>) {
        self.put(sagas.map(|saga| (saga, None)));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.lock() = Default::default();
    }

    fn lock(&self) -> MutexGuard<'_, (HashMap<SagaId, KnownSaga>, HashMap<SagaId, KnownSaga>)> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keeps_nothing_when_it_may_keep_nothing() {
        let cache = SagaCache::new(0);
        cache.forget(std::iter::once(SagaId(uuid::Uuid::nil())));
        assert!(cache.get(std::iter::once(SagaId(uuid::Uuid::nil()))).is_empty());
    }
}

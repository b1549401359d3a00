//! Those who wait for a saga to settle: to end, or to need an operator.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::ids::SagaId;
use workflows::state::Status;

use crate::cache::SagaCache;
use crate::error::EngineError;
use crate::options::{WAIT_POLL, WAIT_POLLS_FOR_OURS, WAIT_READ_MAX, WAITERS_MAX};
use crate::store::reads::{self, SagaRecord};

/// What a waiter is told: the saga as it is now.
pub(crate) type Settled = Arc<SagaRecord>;

/// Waiting for more is in vain.
pub(crate) fn is_settled(status: Status) -> bool {
    status.is_final() || status == Status::Failed
}

/// Who waits for which saga.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<HashMap<SagaId, Vec<oneshot::Sender<Settled>>>>,
    /// Settled here, and to be read before anybody can be told.
    unread: Mutex<HashSet<SagaId>>,
}

impl Waiters {
    /// Waits from now on. Dropping the receiver is enough to stop.
    pub(crate) fn register(&self, saga: SagaId) -> Result<oneshot::Receiver<Settled>, EngineError> {
        let mut waiting = self.lock();
        if waiting.len() >= WAITERS_MAX {
            return Err(EngineError::Overloaded {
                what: "callers that wait for sagas",
                waiting: waiting.len(),
            });
        }
        let (sender, receiver) = oneshot::channel();
        waiting.entry(saga).or_default().push(sender);
        Ok(receiver)
    }

    /// Whether anybody waits for this saga.
    pub(crate) fn wants(&self, saga: SagaId) -> bool {
        self.lock().contains_key(&saga)
    }

    /// Tells everybody who waits for this saga.
    pub(crate) fn settled(&self, saga: SagaId, record: Settled) {
        for waiter in self.lock().remove(&saga).into_iter().flatten() {
            // The waiter may have given up.
            let _ = waiter.send(record.clone());
        }
    }

    /// This saga has settled, and the next look reads it.
    pub(crate) fn unread(&self, saga: SagaId) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).insert(saga);
    }

    /// Notices what other replicas settled, or this one without knowing all of it (it had read no more than the state): one query for
    /// all who wait.
    ///
    /// What this replica has in memory it will most likely settle itself, and is asked for only now and then.
    pub(crate) async fn poll(&self, pool: PgPool, cache: &SagaCache, stop: CancellationToken) {
        let settled: Vec<Status> = Status::ALL.into_iter().filter(|status| is_settled(*status)).collect();
        let mut polls = 0_u32;
        while stop.run_until_cancelled(tokio::time::sleep(WAIT_POLL)).await.is_some() {
            polls = polls.wrapping_add(1);
            let mut ids = self.still_waited_for();
            let unread = std::mem::take(&mut *self.unread.lock().unwrap_or_else(PoisonError::into_inner));
            if !polls.is_multiple_of(WAIT_POLLS_FOR_OURS) {
                ids.retain(|id| unread.contains(&SagaId(*id)) || !cache.has(SagaId(*id)));
            }
            if ids.is_empty() {
                continue;
            }
            match reads::sagas_in(&pool, &ids, &settled, WAIT_READ_MAX).await {
                Ok(sagas) => sagas
                    .into_iter()
                    .for_each(|saga| self.settled(saga.summary.id, Arc::new(saga))),
                Err(error) => tracing::debug!(%error, "sagas that are waited for could not be read; trying again"),
            }
        }
    }

    fn still_waited_for(&self) -> Vec<Uuid> {
        let mut waiting = self.lock();
        waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
        waiting.keys().map(|saga| saga.0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, Vec<oneshot::Sender<Settled>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

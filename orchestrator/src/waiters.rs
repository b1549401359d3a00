//! Those who wait for a saga: until it is decided, or has ended, or needs an operator.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use workflows::ids::SagaId;
use workflows::state::Status;

use crate::cache::SagaCache;
use crate::client::{Until, is_settled};
use crate::error::EngineError;
use crate::options::{WAIT_POLL, WAIT_POLLS_FOR_OURS, WAIT_READ_MAX, WAITERS_MAX};
use crate::requests::StartedSaga;
use crate::store::reads::{self, SagaRecord, Wanted};

/// What a waiter is told: the saga as it is now.
pub(crate) type Reached = Arc<SagaRecord>;

/// Those who wait for one saga.
#[derive(Debug, Default)]
struct Waiting {
    until: Vec<(Until, oneshot::Sender<Reached>)>,
    /// Where the start would have been answered, were it not for those: closed, it would tell that the engine is gone.
    start: Option<oneshot::Sender<Result<StartedSaga, EngineError>>>,
}

/// Who waits for which saga.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<HashMap<SagaId, Waiting>>,
    /// Came so far here, and are to be read before anybody can be told.
    unread: Mutex<HashSet<SagaId>>,
}

impl Waiters {
    /// Waits from now on. Dropping the receiver is enough to stop.
    pub(crate) fn register(&self, saga: SagaId, until: Until) -> Result<oneshot::Receiver<Reached>, EngineError> {
        let mut waiting = self.lock();
        if waiting.len() >= WAITERS_MAX {
            return Err(EngineError::Overloaded {
                what: "callers that wait for sagas",
                waiting: waiting.len(),
            });
        }
        let (sender, receiver) = oneshot::channel();
        waiting.entry(saga).or_default().until.push((until, sender));
        Ok(receiver)
    }

    /// Whether anybody waits for this saga to come where it is.
    pub(crate) fn wants(&self, saga: SagaId, status: Status, pivoted: bool) -> bool {
        let waiting = self.lock();
        let waiters = waiting.get(&saga).map(|waiting| waiting.until.as_slice());
        let mut waiters = waiters.unwrap_or_default().iter();
        waiters.any(|(until, _)| until.is_reached(status, pivoted))
    }

    /// Keeps what a start is answered with for as long as somebody waits for the saga's end; without such a one it is let go.
    pub(crate) fn keep(&self, saga: SagaId, start: oneshot::Sender<Result<StartedSaga, EngineError>>) {
        if let Some(waiting) = self.lock().get_mut(&saga) {
            waiting.start = Some(start);
        }
    }

    /// Tells everybody who has waited for this saga to come where it is.
    pub(crate) fn reached(&self, record: &Reached) {
        let mut waiting = self.lock();
        let Entry::Occupied(mut waiters) = waiting.entry(record.summary.id) else {
            return;
        };
        let (status, pivoted) = (record.summary.status, record.state.pivoted);
        for (_, waiter) in waiters
            .get_mut()
            .until
            .extract_if(.., |(until, _)| until.is_reached(status, pivoted))
        {
            // The waiter may have given up.
            let _ = waiter.send(Arc::clone(record));
        }
        if waiters.get().until.is_empty() {
            waiters.remove();
        }
    }

    /// This saga has come where somebody waits for it, and the next look reads it.
    pub(crate) fn unread(&self, saga: SagaId) {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).insert(saga);
    }

    /// Notices what other replicas did, or this one without knowing all of it (it had read no more than the state): one query for
    /// all who wait.
    ///
    /// What this replica has in memory it will most likely settle itself, and is asked for only now and then.
    pub(crate) async fn poll(&self, pool: PgPool, cache: &SagaCache, stop: CancellationToken) {
        let settled: Vec<Status> = Status::ALL.into_iter().filter(|status| is_settled(*status)).collect();
        let mut polls = 0_u32;
        while stop.run_until_cancelled(tokio::time::sleep(WAIT_POLL)).await.is_some() {
            polls = polls.wrapping_add(1);
            let unread = std::mem::take(&mut *self.unread.lock().unwrap_or_else(PoisonError::into_inner));
            let ours_too = polls.is_multiple_of(WAIT_POLLS_FOR_OURS);
            let wanted = self.still_waited_for(|saga| ours_too || unread.contains(&saga) || !cache.has(saga));
            if wanted.settled.is_empty() && wanted.decided.is_empty() {
                continue;
            }
            match reads::sagas_that_came(&pool, &wanted, &settled, WAIT_READ_MAX).await {
                Ok(sagas) => sagas.into_iter().for_each(|saga| self.reached(&Arc::new(saga))),
                Err(error) => tracing::debug!(%error, "sagas that are waited for could not be read; trying again"),
            }
        }
    }

    /// The chosen ones of the sagas that somebody waits for.
    fn still_waited_for(&self, chosen: impl Fn(SagaId) -> bool) -> Wanted {
        let mut wanted = Wanted::default();
        self.lock().retain(
            |saga,
             Waiting {
                 until: waiters,
                 start: _,
             }| {
                waiters.retain(|(_, waiter)| !waiter.is_closed());
                if !waiters.is_empty() && chosen(*saga) {
                    let is_early = waiters.iter().any(|(until, _)| *until == Until::Decided);
                    let ids = if is_early {
                        &mut wanted.decided
                    } else {
                        &mut wanted.settled
                    };
                    ids.push(saga.0);
                }
                !waiters.is_empty()
            },
        );
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

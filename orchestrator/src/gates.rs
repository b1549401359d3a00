//! Queues that operators have paused, or limited to so many tasks a second.
//!
//! A batch holds the tasks of such queues instead of sending them: a row each, in its own transaction, and no deadline runs. What may go is let
//! through by whichever replica asks first, and paid for in the queue's one row, so a rate holds over all replicas. The hot path reads
//! nothing: it looks into a set in memory that is at most a second old.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use workflows::event::Event;

use crate::batcher::Shell;
use crate::inbound::{EventItem, Item, Source};
use crate::options::{HELD_TASK_LEASE, QUEUE_BURST, QUEUE_LOOK, QUEUE_TICK, TASKS_LET_THROUGH_MAX};
use crate::store;
use crate::store::queues::Queue;

/// The queues whose tasks are held.
#[derive(Default)]
pub(crate) struct Gates {
    closed: RwLock<Arc<HashSet<String>>>,
}

impl Gates {
    /// The queues whose tasks are held.
    pub(crate) fn closed(&self) -> Arc<HashSet<String>> {
        Arc::clone(&self.closed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What operators have said.
    pub(crate) fn set(&self, queues: &[Queue]) {
        let closed = queues.iter().filter(|queue| queue.paused || queue.rate.is_some());
        let closed: HashSet<String> = closed.map(|queue| queue.queue.clone()).collect();
        if *self.closed() != closed {
            *self.closed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(closed);
        }
    }
}

/// Follows what operators say, and lets held tasks through, until `stop`.
pub(crate) async fn keep(shell: Arc<Shell>, inbound: mpsc::Sender<Item>, stop: CancellationToken) {
    let mut wait = Duration::ZERO;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = match turn(&shell, &inbound).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::debug!(%error, "queues could not be looked at; trying again");
                QUEUE_LOOK
            }
        };
    }
}

/// Gives how long to wait before the next turn.
async fn turn(shell: &Shell, inbound: &mpsc::Sender<Item>) -> Result<Duration, sqlx::Error> {
    let queues = store::queues::all(&shell.pool).await?;
    shell.gates.set(&queues);
    if queues.iter().all(|queue| queue.paused) {
        return Ok(QUEUE_LOOK);
    }
    let (lease_s, burst_s) = (HELD_TASK_LEASE.as_secs_f64(), QUEUE_BURST.as_secs_f64());
    let free = store::queues::let_through(&shell.pool, lease_s, TASKS_LET_THROUGH_MAX, burst_s).await?;
    let count = free.len() as i64;
    metrics::counter!("sagaline_tasks_let_through_total").increment(free.len() as u64);
    for (saga, step) in free {
        let bytes = 64 + step.len();
        let item = EventItem {
            saga,
            event: Event::Release { step },
            source: Source::Queue,
            bytes,
        };
        // The batcher closes the channel only when the engine stops; then nothing more is to be done.
        let _ = inbound.send(Item::Event(item)).await;
    }
    let limited = queues.iter().any(|queue| queue.rate.is_some() && !queue.paused);
    Ok(if count >= TASKS_LET_THROUGH_MAX {
        Duration::ZERO
    } else if limited {
        QUEUE_TICK
    } else {
        QUEUE_LOOK
    })
}

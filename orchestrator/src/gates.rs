//! Queues whose tasks are held: those that operators have paused, or limited to so many tasks a second, and those whose workers don't keep up
//! ([`crate::backlog`]).
//!
//! A batch holds the tasks of such queues instead of sending them: a row each, in its own transaction, and no deadline runs. What may go is let
//! through by whichever replica asks first, as far as it has room for it, and a rate is paid for in the queue's one row, so it holds
//! over all replicas. The hot path reads nothing: it looks into a set in memory that is at most a second old.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use workflows::event::Event;

use crate::batcher::Shell;
use crate::inbound::{EventItem, Item, Source};
use crate::options::{
    CONCURRENCY_LOOK, FULL_TOLD, HELD_TASK_LEASE, NOTICE_AGE_MAX, QUEUE_BURST, QUEUE_LOOK, QUEUE_TICK,
    TASKS_LET_THROUGH_MAX,
};
use crate::store;
use crate::store::queues::Standing;

/// The queues whose tasks are held.
#[derive(Default)]
pub(crate) struct Gates {
    inner: Mutex<Inner>,
    /// A queue has become full.
    filled: Notify,
}

#[derive(Default)]
struct Inner {
    /// By an operator's word.
    said: HashSet<String>,
    /// With as many unanswered tasks as they may have.
    full: HashSet<String>,
    /// Both.
    closed: Arc<HashSet<String>>,
    /// When it was last said of a queue that it is full.
    told: HashMap<String, Instant>,
}

impl Inner {
    fn close(&mut self) {
        let closed: HashSet<String> = self.said.union(&self.full).cloned().collect();
        if *self.closed != closed {
            self.closed = Arc::new(closed);
        }
    }
}

impl Gates {
    /// The queues whose tasks are held.
    pub(crate) fn closed(&self) -> Arc<HashSet<String>> {
        Arc::clone(&self.lock().closed)
    }

    /// What operators have said.
    pub(crate) fn set(&self, queues: &[Standing]) {
        let closed = queues.iter().filter(|queue| queue.paused || queue.rate.is_some());
        let said = closed.map(|queue| queue.queue.clone()).collect();
        let mut inner = self.lock();
        if inner.said != said {
            inner.said = said;
            inner.close();
        }
    }

    /// Queues that have as many unanswered tasks as they may have.
    pub(crate) fn fill(&self, queues: impl IntoIterator<Item = String>) {
        let mut queues = queues.into_iter().peekable();
        if queues.peek().is_none() {
            return;
        }
        let mut inner = self.lock();
        let full_before = inner.full.len();
        for queue in queues {
            if inner.full.contains(&queue) {
                continue;
            }
            metrics::counter!("sagaline_queue_full_total", "queue" => queue.clone()).increment(1);
            if inner.told.get(&queue).is_none_or(|told| told.elapsed() > FULL_TOLD) {
                tracing::warn!(
                    queue,
                    "its workers don't keep up: further tasks wait until some are answered"
                );
                inner.told.insert(queue.clone(), Instant::now());
            }
            inner.full.insert(queue);
        }
        if inner.full.len() > full_before {
            inner.close();
            self.filled.notify_one();
        }
    }

    fn open(&self, queue: &str) {
        let mut inner = self.lock();
        if inner.full.remove(queue) {
            inner.close();
        }
    }

    fn full(&self) -> Vec<String> {
        self.lock().full.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows what operators say, and lets held tasks through, until `stop`.
pub(crate) async fn keep(shell: Arc<Shell>, inbound: mpsc::Sender<Item>, stop: CancellationToken) {
    let mut wait = Duration::ZERO;
    let mut asked = None;
    let rest = async |wait| {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shell.gates.filled.notified() => {}
        }
    };
    while stop.run_until_cancelled(rest(wait)).await.is_some() {
        wait = match turn(&shell, &inbound, &mut asked).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::debug!(%error, "queues could not be looked at; trying again");
                QUEUE_LOOK
            }
        };
    }
}

/// Gives how long to wait before the next turn.
async fn turn(
    shell: &Shell,
    inbound: &mpsc::Sender<Item>,
    asked: &mut Option<Instant>,
) -> Result<Duration, sqlx::Error> {
    let queues = store::queues::standing(&shell.pool).await?;
    shell.gates.set(&queues);
    let held = || queues.iter().filter(|queue| queue.held && !queue.paused);
    if held().next().is_some() && asked.is_none_or(|at: Instant| at.elapsed() > CONCURRENCY_LOOK) {
        *asked = Some(Instant::now());
        let alive = store::workers::concurrency(&shell.pool, NOTICE_AGE_MAX.as_secs_f64()).await?;
        shell.backlog.set_concurrency(alive);
    }
    let now = shell.clock.now();
    // Nothing waits for them any more.
    for full in shell.gates.full() {
        if !queues.iter().any(|queue| queue.held && queue.queue == full) && shell.backlog.has_room(&full, now) {
            shell.gates.open(&full);
        }
    }
    shell.backlog.report(now);
    let room = |queue: &Standing| shell.backlog.room_for_held(&queue.queue, now);
    let room = |queue: &Standing| {
        (
            queue.queue.clone(),
            i64::try_from(room(queue))
                .unwrap_or(i64::MAX)
                .min(TASKS_LET_THROUGH_MAX),
        )
    };
    let mut rooms: Vec<(String, i64)> = held().map(room).collect();
    rooms.retain(|(_, room)| *room > 0);
    let mut more = false;
    if !rooms.is_empty() {
        let (lease_s, burst_s) = (HELD_TASK_LEASE.as_secs_f64(), QUEUE_BURST.as_secs_f64());
        let free = store::queues::let_through(&shell.pool, lease_s, &rooms, burst_s).await?;
        metrics::counter!("sagaline_tasks_let_through_total").increment(free.len() as u64);
        for (queue, room) in &rooms {
            let gone = free.iter().filter(|(.., from)| from == queue).count() as i64;
            more |= gone >= TASKS_LET_THROUGH_MAX;
            if gone < *room {
                shell.gates.open(queue);
            }
        }
        for (saga, step, queue) in free {
            let bytes = 64 + step.len();
            let item = EventItem {
                saga,
                event: Event::Release { step },
                source: Source::Queue(shell.backlog.underway(&queue)),
                bytes,
            };
            // The batcher closes the channel only when the engine stops; then nothing more is to be done.
            let _ = inbound.send(Item::Event(item)).await;
        }
    }
    let limited = queues
        .iter()
        .any(|queue| !queue.paused && (queue.held || queue.rate.is_some()));
    Ok(if more {
        Duration::ZERO
    } else if limited || !shell.gates.full().is_empty() {
        QUEUE_TICK
    } else {
        QUEUE_LOOK
    })
}

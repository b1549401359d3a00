//! Starts a loop for each queue, and waits for all of them to leave.

use std::collections::BTreeSet;

use activities::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use transport::{GroupConsumer, Producer, TransportError, ensure_topics, reconnect::retry_until_connected};
use workflows::protocol::{RESULTS_TOPIC, WORKERS_TOPIC, poison_topic, tasks_topic};

use crate::entry::entries;
use crate::options::WorkerOptions;
use crate::presence::{self, InHand};
use crate::queue::QueueLoop;

/// What a worker has done in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tasks answered.
    pub answered: u64,
    /// Tasks that came after their deadline and were not begun.
    pub expired: u64,
    /// Tasks that were taken and not finished when the worker left; they come again elsewhere.
    pub abandoned: u64,
}

/// Why a worker can't work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No queue was named.
    #[error("a worker needs at least one queue; there are {known}")]
    NoQueues {
        /// The queues that have activities, joined.
        known: String,
    },
    /// A queue has no activities.
    #[error("there are no activities for queue {queue:?}; there are queues {known}")]
    UnknownQueue {
        /// The queue.
        queue: String,
        /// The queues that have activities, joined.
        known: String,
    },
    /// Kafka's client could not be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A queue's loop panicked; the others were told to leave.
    #[error("the loop of a queue ended in a panic")]
    Panicked,
}

/// The worker runtime.
pub struct Worker;

impl Worker {
    /// Works until `shutdown` is cancelled, then finishes what it has begun and leaves its groups.
    ///
    /// Waits for Kafka if it is not there yet, and creates the topics that are missing.
    ///
    /// # Errors
    /// If a queue is unknown, or Kafka's client can't be set up.
    pub async fn run(
        options: WorkerOptions,
        registry: Registry,
        shutdown: CancellationToken,
    ) -> Result<Summary, WorkerError> {
        let queues = check(&options, &registry)?;
        for queue in &queues {
            options.readiness.set(queue, false);
        }
        let topics = topics(&queues);
        let topics_there = retry_until_connected("Kafka", || async { ensure_topics(&options.kafka, &topics).await });
        let Some(broker) = shutdown.run_until_cancelled(topics_there).await else {
            return Ok(Summary::default());
        };
        let producer = Producer::new(&options.kafka)?;
        // Should one loop fail, the process should end and be started anew, not work on in part.
        let leave = shutdown.child_token();
        let in_hand = InHand::default();
        let announced = presence::activities(&registry, &queues);
        let presence = presence::announce(
            options.clone(),
            announced,
            in_hand.clone(),
            producer.clone(),
            leave.clone(),
        );
        let presence = tokio::spawn(presence);
        let mut loops = JoinSet::new();
        for queue in &queues {
            let topic = tasks_topic(queue);
            let consumer = GroupConsumer::new(&options.kafka, broker, &options.group(queue), &[&topic])?;
            let queue_loop = QueueLoop::new(
                queue,
                &options,
                producer.clone(),
                entries(&registry, queue),
                in_hand.of(queue),
            );
            loops.spawn(queue_loop.run(consumer, leave.clone()));
            tracing::info!(queue, worker = options.name, "working");
        }
        let mut total = Ok(Summary::default());
        while let Some(ended) = loops.join_next().await {
            leave.cancel();
            total = match (total, ended) {
                (Ok(total), Ok(summary)) => Ok(total.plus(summary)),
                (Err(error), _) => Err(error),
                (Ok(_), Err(_)) => Err(WorkerError::Panicked),
            };
        }
        leave.cancel();
        // Its goodbye has a limit of its own.
        let _ = presence.await;
        total
    }
}

impl Summary {
    fn plus(self, other: Summary) -> Summary {
        Summary {
            answered: self.answered + other.answered,
            expired: self.expired + other.expired,
            abandoned: self.abandoned + other.abandoned,
        }
    }
}

fn check(options: &WorkerOptions, registry: &Registry) -> Result<BTreeSet<String>, WorkerError> {
    let known = registry.queues();
    let joined = || known.iter().cloned().collect::<Vec<_>>().join(", ");
    if options.queues.is_empty() {
        return Err(WorkerError::NoQueues { known: joined() });
    }
    let wanted: BTreeSet<String> = options.queues.iter().cloned().collect();
    match wanted.iter().find(|queue| !known.contains(*queue)) {
        Some(queue) => Err(WorkerError::UnknownQueue {
            queue: queue.clone(),
            known: joined(),
        }),
        None => Ok(wanted),
    }
}

fn topics(queues: &BTreeSet<String>) -> Vec<String> {
    let of_queue = |queue: &String| [tasks_topic(queue), poison_topic(queue)];
    [RESULTS_TOPIC.to_owned(), WORKERS_TOPIC.to_owned()]
        .into_iter()
        .chain(queues.iter().flat_map(of_queue))
        .collect()
}

//! A member of a consumer group that commits only behind finished work.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::StreamExt;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::watch;

use crate::admin::BrokerKind;
use crate::config::KafkaConfig;
use crate::error::TransportError;
use crate::offsets::{OffsetTracker, Ticket};

/// How long a member may be silent before its partitions go to others: the broker's default lower limit, because a killed
/// worker's tasks wait this long.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// Four signs of life a session.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(1_500);
/// How long Apache Kafka keeps an empty fetch waiting; it answers at once when a message comes. A short wait costs an
/// idle broker most of a core.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// The same for the in-process broker, which answers only when this has passed: it is all of a hop's latency there.
const FETCH_WAIT_IN_PROCESS: Duration = Duration::from_millis(5);
/// Kilobytes that are fetched ahead, at most: what waits here is memory, and is fetched again after a crash.
const PREFETCH_KILOBYTES_MAX: usize = 16 * 1_024;
/// How long the first commit after a rest may take: it only decides what a crash repeats.
const COMMIT_IDLE: Duration = Duration::from_secs(1);
/// How long leaving the group may take before it is left to the session timeout.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member of a consumer group.
///
/// [`take`](Self::take) each message that [`recv`](Self::recv) gives, [`complete`](Self::complete) its ticket when its work is done
/// for good, and call [`commit`](Self::commit) from time to time: it commits what has nothing unfinished before it.
/// Rebalances happen inside `recv`; a revoked partition's finished work is committed then, and its tickets are void.
pub struct GroupConsumer {
    inner: StreamConsumer<GroupContext>,
    group: String,
}

/// Which partitions are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Counts the rebalances that reached us.
    pub generation: u64,
    /// Topic and partition.
    pub partitions: BTreeSet<(String, i32)>,
}

/// Follows rebalances; the consumer's own.
pub struct GroupContext {
    topics: Vec<String>,
    trackers: Mutex<Vec<OffsetTracker>>,
    assignment: watch::Sender<Assignment>,
}

impl GroupConsumer {
    /// Joins `group` for `topics`, which should be there: [`crate::ensure_topics`] also tells the kind of broker.
    ///
    /// # Errors
    /// If librdkafka refuses the settings or the subscription.
    pub fn new(config: &KafkaConfig, broker: BrokerKind, group: &str, topics: &[&str]) -> Result<Self, TransportError> {
        let fetch_wait = match broker {
            BrokerKind::Kafka => FETCH_WAIT,
            BrokerKind::InProcess => FETCH_WAIT_IN_PROCESS,
        };
        let mut client = config.client();
        client
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            // Partitions that stay with a member are worked on all through a rebalance.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string())
            .set("max.poll.interval.ms", config.busy_max.as_millis().to_string())
            .set("heartbeat.interval.ms", HEARTBEAT_EVERY.as_millis().to_string())
            .set("fetch.wait.max.ms", fetch_wait.as_millis().to_string())
            .set("fetch.error.backoff.ms", "100")
            // A second by default, during which a full prefetch queue may run empty.
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.max.messages.kbytes", PREFETCH_KILOBYTES_MAX.to_string());
        let context = GroupContext {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            trackers: Mutex::new(topics.iter().map(|_| OffsetTracker::new()).collect()),
            assignment: watch::Sender::new(Assignment::default()),
        };
        let inner: StreamConsumer<GroupContext> = client
            .create_with_context(context)
            .map_err(TransportError::kafka(format!("creating a consumer of group {group}")))?;
        inner.subscribe(topics).map_err(TransportError::kafka(format!(
            "subscribing group {group} to {topics:?}"
        )))?;
        Ok(GroupConsumer {
            inner,
            group: group.to_owned(),
        })
    }

    /// The group's name.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The next message. Cancel-safe. Errors are passing (librdkafka goes on by itself): log them and call again.
    ///
    /// # Errors
    /// What librdkafka reports.
    pub async fn recv(&self) -> Result<BorrowedMessage<'_>, KafkaError> {
        self.inner.recv().await
    }

    /// The next message if it is here already.
    pub fn recv_ready(&self) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        self.inner.stream().next().now_or_never().flatten()
    }

    /// Takes note of a message that consists of `parts` pieces of work. None if its partition was revoked meanwhile.
    pub fn take(&self, message: &BorrowedMessage<'_>, parts: u32) -> Option<Ticket> {
        let context = self.context();
        let topic = context.topic(message.topic())?;
        let ticket = context.trackers()[topic].take(message.partition(), message.offset(), parts)?;
        Some(ticket.of_topic(topic))
    }

    /// One piece of a message's work is done for good.
    pub fn complete(&self, ticket: Ticket) {
        self.complete_parts([(ticket, 1)]);
    }

    /// Pieces of messages' work are done for good.
    pub fn complete_parts(&self, finished: impl IntoIterator<Item = (Ticket, u32)>) {
        let mut trackers = self.context().trackers();
        for (ticket, parts) in finished {
            trackers[ticket.topic].complete_parts(ticket, parts);
        }
    }

    /// Messages taken and not finished, or behind one that isn't.
    pub fn open_messages(&self) -> usize {
        self.context().trackers().iter().map(OffsetTracker::open_messages).sum()
    }

    /// Commits what was finished since the last call, if anything, without waiting for the broker. Should that fail,
    /// a later call commits it.
    pub fn commit(&self) {
        if let Some(offsets) = self.context().due_commits()
            && let Err(error) = self.inner.commit(&offsets, CommitMode::Async)
        {
            self.context().commit_callback(Err(error), &offsets);
        }
    }

    /// The same at each of these ticks, which come seldom while nothing is in hand; then true.
    pub fn commit_at(&self, ticks: &mut tokio::time::Interval) -> bool {
        self.commit();
        let rests = self.open_messages() == 0;
        if rests {
            ticks.reset_after(COMMIT_IDLE);
        }
        rests
    }

    /// Our partitions, as they change.
    pub fn assignment(&self) -> watch::Receiver<Assignment> {
        self.context().assignment.subscribe()
    }

    /// Fetches nothing more for now. Keep calling `recv`: rebalances are still served there.
    ///
    /// # Errors
    /// What librdkafka reports.
    pub fn pause(&self) -> Result<(), TransportError> {
        self.inner
            .assignment()
            .and_then(|assigned| self.inner.pause(&assigned))
            .map_err(TransportError::kafka("pausing a consumer"))
    }

    /// Goes on fetching.
    ///
    /// # Errors
    /// What librdkafka reports.
    pub fn resume(&self) -> Result<(), TransportError> {
        self.inner
            .assignment()
            .and_then(|assigned| self.inner.resume(&assigned))
            .map_err(TransportError::kafka("resuming a consumer"))
    }

    /// Commits what is finished, waits for the broker to confirm it, and leaves the group.
    pub async fn close(self) {
        let (closed, done) = tokio::sync::oneshot::channel();
        // A thread of its own: a broker that is gone must not hold up the runtime's end.
        std::thread::spawn(move || {
            if let Some(offsets) = self.context().due_commits()
                && let Err(error) = self.inner.commit(&offsets, CommitMode::Sync)
            {
                tracing::warn!(group = self.group, %error, "the last commit failed; some messages will come again");
            }
            drop(self);
            let _ = closed.send(());
        });
        if tokio::time::timeout(LEAVE_TIMEOUT, done).await.is_err() {
            tracing::warn!("leaving the consumer group takes long; its session will run out instead");
        }
    }

    fn context(&self) -> &GroupContext {
        self.inner.client().context()
    }
}

impl GroupContext {
    fn topic(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic == name)
    }

    fn trackers(&self) -> MutexGuard<'_, Vec<OffsetTracker>> {
        // A tracker is consistent after each of its calls.
        self.trackers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due_commits(&self) -> Option<TopicPartitionList> {
        let mut due = TopicPartitionList::new();
        for (topic, tracker) in self.topics.iter().zip(self.trackers().iter_mut()) {
            for (partition, offset) in tracker.take_commits() {
                if let Err(error) = due.add_partition_offset(topic, partition, Offset::Offset(offset)) {
                    tracing::error!(topic, partition, offset, %error, "an offset can't be committed");
                }
            }
        }
        (due.count() > 0).then_some(due)
    }

    fn update(&self, changed: &TopicPartitionList, ours: bool) {
        let mut trackers = self.trackers();
        for element in changed.elements() {
            let Some(topic) = self.topic(element.topic()) else {
                continue;
            };
            if ours {
                trackers[topic].assign(element.partition());
            } else {
                trackers[topic].revoke(element.partition());
            }
        }
        let partitions = self
            .topics
            .iter()
            .zip(trackers.iter())
            .flat_map(|(topic, tracker)| tracker.assigned().map(move |partition| (topic.clone(), partition)))
            .collect();
        drop(trackers);
        self.assignment.send_modify(|assignment| {
            assignment.generation += 1;
            assignment.partitions = partitions;
        });
    }
}

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "kafka", %error, reason, "the Kafka client reports a problem and goes on trying");
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                tracing::debug!(topics = ?self.topics, count = partitions.count(), "partitions assigned");
                self.update(partitions, true);
            }
            Rebalance::Revoke(partitions) => {
                tracing::debug!(topics = ?self.topics, count = partitions.count(), "partitions revoked");
                // The last moment at which a commit for them is ours to make; once they are lost, it isn't any more.
                if !consumer.assignment_lost()
                    && let Some(offsets) = self.due_commits()
                    && let Err(error) = consumer.commit(&offsets, CommitMode::Async)
                {
                    self.commit_callback(Err(error), &offsets);
                }
                self.update(partitions, false);
            }
            Rebalance::Error(error) => tracing::warn!(topics = ?self.topics, %error, "a rebalance failed"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Err(error) = result else { return };
        tracing::debug!(topics = ?self.topics, %error, "a commit failed and will be repeated");
        let mut trackers = self.trackers();
        for element in offsets.elements() {
            if let Some(topic) = self.topic(element.topic()) {
                trackers[topic].commit_failed(element.partition());
            }
        }
    }
}

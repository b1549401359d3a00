//! What can go wrong between us and Kafka.

use rdkafka::error::KafkaError;

/// What can go wrong between us and Kafka.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A call to Kafka failed.
    #[error("{doing} failed: {source}")]
    Kafka {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: KafkaError,
    },
    /// The producer holds as many unsent messages as it may; the broker is slow or gone.
    #[error("{held} messages wait for Kafka already, which is the limit; is the broker reachable?")]
    Backlog {
        /// Messages that wait.
        held: usize,
    },
    /// The producer was closed before the broker acknowledged the message.
    #[error("the producer was closed before Kafka acknowledged the message")]
    Closed,
    /// A topic is there, but with another number of partitions.
    #[error(
        "topic {topic} has {found} partitions, but {wanted} are configured; every process must agree on the number \
         (add partitions to the topic, or change the setting)"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: usize,
        /// How many it should have.
        wanted: u32,
    },
    /// Topics did not appear after they had been created.
    #[error("topics {topics} did not appear within {waited_s} s")]
    TopicsMissing {
        /// Their names, joined.
        topics: String,
        /// How long we waited.
        waited_s: u64,
    },
    /// The broker that runs in this process could not be started.
    #[error("the in-process broker could not be started: {0}")]
    InProcess(String),
    /// Apache Kafka could not be fetched, started or stopped.
    #[error("Apache Kafka: {0}")]
    Apache(String),
}

impl TransportError {
    pub(crate) fn kafka(doing: impl Into<String>) -> impl FnOnce(KafkaError) -> TransportError {
        let doing = doing.into();
        move |source| TransportError::Kafka { doing, source }
    }
}

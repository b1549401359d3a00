//! How to reach Kafka, and the client settings that every producer and consumer of ours shares.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use workflows::protocol::WORKERS_TOPIC;

/// Partitions of a topic, unless said otherwise.
const PARTITIONS_DEFAULT: u32 = 10;

/// How long a request to the broker may take before the caller is told that it failed.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a consumer may be busy with what it has before its partitions go to others, unless said otherwise: Kafka's own default.
const BUSY_MAX: Duration = Duration::from_secs(300);

/// How to reach Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port`, several joined by commas.
    pub brokers: String,
    /// Names this client in the broker's logs and metrics.
    pub client_id: String,
    /// Partitions of every topic but the workers' ([`KafkaConfig::partitions_of`]). All processes must agree on it, for it chooses a saga's partition.
    pub partitions: u32,
    /// Copies of every partition of the topics that we create.
    pub replication: i32,
    /// How long a consumer may be busy with what it has before its partitions go to others (`max.poll.interval.ms`); at least six seconds.
    pub busy_max: Duration,
}

/// A topic's partitions, where there are so many of most.
pub(crate) fn partitions_of(topic: &str, partitions: u32) -> u32 {
    if topic == WORKERS_TOPIC { 1 } else { partitions }
}

impl KafkaConfig {
    /// The brokers at `brokers`, ten partitions, one copy.
    pub fn new(brokers: impl Into<String>, client_id: impl Into<String>) -> Self {
        KafkaConfig {
            brokers: brokers.into(),
            client_id: client_id.into(),
            partitions: PARTITIONS_DEFAULT,
            replication: 1,
            busy_max: BUSY_MAX,
        }
    }

    /// A topic's partitions. Workers' signs of life are few, and have one: shared out with the results among the same readers, as
    /// many as those would leave some of these with no results at all.
    pub fn partitions_of(&self, topic: &str) -> u32 {
        partitions_of(topic, self.partitions)
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            // Reconnect soon after an outage: librdkafka's own limit of ten seconds would show in a saga's latency.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            // Each idle broker connection would otherwise be reported as an error once it is closed.
            .set("log.connection.close", "false")
            // A topic or partition created by another process is seen within this time.
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("socket.nagle.disable", "true");
        client
    }
}

/// Sends librdkafka's complaints to `tracing`, as warnings: it goes on trying by itself.
#[derive(Clone, Debug, Default)]
pub struct QuietContext;

impl ClientContext for QuietContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "kafka", %error, reason, "the Kafka client reports a problem and goes on trying");
    }
}

impl rdkafka::consumer::ConsumerContext for QuietContext {}

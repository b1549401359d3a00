//! Creates the topics that are missing, and asks how far groups have read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{KafkaConfig, QuietContext, REQUEST_TIMEOUT};
use crate::error::TransportError;
use crate::in_process;

/// How long created topics may take to be seen.
const APPEAR_TIMEOUT: Duration = Duration::from_secs(15);
/// How often they are looked for.
const APPEAR_POLL: Duration = Duration::from_millis(20);

/// What kind of broker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerKind {
    /// Apache Kafka, or another that speaks as it does: it answers a waiting fetch as soon as a message comes.
    Kafka,
    /// librdkafka's, in our process or in another of ours: it answers a fetch only when its time has passed.
    InProcess,
}

/// Creates those of `topics` that are missing, with the configured partitions and copies, and waits until all can be used.
/// Says what it spoke to, which [`crate::GroupConsumer::new`] wants to know.
///
/// Retrying while no broker answers is up to the caller ([`crate::reconnect::retry_until_connected`]).
///
/// # Errors
/// If no broker answers within ten seconds, if a topic can't be created, or if one is there with too few partitions.
pub async fn ensure_topics(config: &KafkaConfig, topics: &[String]) -> Result<BrokerKind, TransportError> {
    let admin: AdminClient<QuietContext> = config
        .client()
        .create_with_context(QuietContext)
        .map_err(TransportError::kafka("creating the Kafka admin client"))?;
    let admin = Arc::new(admin);
    let Seen { missing, broker } = look(&admin, topics, config).await?;
    if missing.is_empty() {
        return Ok(broker);
    }
    match broker {
        // It has no request for it; its owner takes ours from a topic.
        BrokerKind::InProcess => in_process::request_topics(config, &missing).await?,
        BrokerKind::Kafka => create(&admin, &missing, config).await?,
    }
    wait_for(&admin, topics, config).await?;
    Ok(broker)
}

/// The offsets that a consumer group has committed for a topic, by partition; those without any are left out.
///
/// # Errors
/// If no broker answers within ten seconds.
pub async fn committed_offsets(
    config: &KafkaConfig,
    group: &str,
    topic: &str,
) -> Result<BTreeMap<i32, i64>, TransportError> {
    let mut asker = config.client();
    asker.set("group.id", group);
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, config.partitions as i32 - 1);
    let answer = tokio::task::spawn_blocking(move || {
        // It never subscribes, so it is no member and disturbs nobody.
        let asker: BaseConsumer<QuietContext> = asker.create_with_context(QuietContext)?;
        asker.committed_offsets(asked, REQUEST_TIMEOUT)
    })
    .await
    .map_err(|_| TransportError::Closed)?
    .map_err(TransportError::kafka(format!(
        "asking for the offsets of group {group}"
    )))?;
    let committed = |element: TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some((element.partition(), offset)),
        _ => None,
    };
    Ok(answer.elements().into_iter().filter_map(committed).collect())
}

async fn create(
    admin: &AdminClient<QuietContext>,
    missing: &[String],
    config: &KafkaConfig,
) -> Result<(), TransportError> {
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|topic| {
            NewTopic::new(
                topic,
                config.partitions_of(topic) as i32,
                TopicReplication::Fixed(config.replication),
            )
        })
        .collect();
    let options = AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT));
    let outcomes = admin
        .create_topics(&new, &options)
        .await
        .map_err(TransportError::kafka("creating topics"))?;
    for outcome in outcomes {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(TransportError::Kafka {
                    doing: format!("creating topic {topic}"),
                    source: KafkaError::AdminOp(code),
                });
            }
        }
    }
    Ok(())
}

async fn wait_for(
    admin: &Arc<AdminClient<QuietContext>>,
    topics: &[String],
    config: &KafkaConfig,
) -> Result<(), TransportError> {
    let begun = Instant::now();
    loop {
        let missing = look(admin, topics, config).await?.missing;
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > APPEAR_TIMEOUT {
            let topics = missing.join(", ");
            return Err(TransportError::TopicsMissing {
                topics,
                waited_s: APPEAR_TIMEOUT.as_secs(),
            });
        }
        tokio::time::sleep(APPEAR_POLL).await;
    }
}

/// What the broker says of itself.
struct Seen {
    /// Topics that are not there, or whose partitions have no leader yet.
    missing: Vec<String>,
    broker: BrokerKind,
}

async fn look(
    admin: &Arc<AdminClient<QuietContext>>,
    topics: &[String],
    config: &KafkaConfig,
) -> Result<Seen, TransportError> {
    let admin = Arc::clone(admin);
    // All topics: to ask for one by name would make some brokers create it, with a partition count of their own.
    let metadata = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, REQUEST_TIMEOUT))
        .await
        .map_err(|_| TransportError::Closed)?
        .map_err(TransportError::kafka(format!(
            "asking {} for its topics",
            config.brokers
        )))?;
    let present: BTreeMap<&str, _> = metadata
        .topics()
        .iter()
        .map(|topic| (topic.name(), topic.partitions()))
        .collect();
    let mut missing = Vec::new();
    for topic in topics {
        let wanted = config.partitions_of(topic);
        match present.get(topic.as_str()) {
            Some(partitions) if partitions.len() >= wanted as usize => {
                if partitions.len() > 1 && wanted == 1 {
                    let found = partitions.len();
                    tracing::warn!(
                        topic,
                        found,
                        "more partitions than one: results are shared out unevenly among orchestrators"
                    );
                }
                if partitions.iter().any(|partition| partition.leader() < 0) {
                    missing.push(topic.clone());
                }
            }
            Some([]) | None => missing.push(topic.clone()),
            Some(partitions) => {
                return Err(TransportError::Partitions {
                    topic: topic.clone(),
                    found: partitions.len(),
                    wanted,
                });
            }
        }
    }
    let broker = if present.contains_key(in_process::WISHES_TOPIC) {
        BrokerKind::InProcess
    } else {
        BrokerKind::Kafka
    };
    Ok(Seen { missing, broker })
}

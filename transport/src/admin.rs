//! Creates the topics that are missing, and asks how far groups have read.

use std::collections::BTreeMap;
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

/// Creates those of `topics` that are missing, with the configured partitions and copies, and waits until all can be used.
///
/// Retrying while no broker answers is up to the caller ([`crate::reconnect::retry_until_connected`]).
///
/// # Errors
/// If no broker answers within ten seconds, if a topic can't be created, or if one is there with too few partitions.
pub async fn ensure_topics(config: &KafkaConfig, topics: &[String]) -> Result<(), TransportError> {
    let admin: AdminClient<QuietContext> = config
        .client()
        .create_with_context(QuietContext)
        .map_err(TransportError::kafka("creating the Kafka admin client"))?;
    let admin = std::sync::Arc::new(admin);
    let lacking = missing(&admin, topics, config).await?;
    if lacking.is_empty() {
        return Ok(());
    }
    // librdkafka's in-process broker has no request for it; its owner takes ours from a topic.
    if missing(
        &admin,
        &[in_process::WISHES_TOPIC.to_owned()],
        &KafkaConfig {
            partitions: 1,
            ..config.clone()
        },
    )
    .await?
    .is_empty()
    {
        in_process::request_topics(config, &lacking).await?;
    } else {
        create(&admin, &lacking, config).await?;
    }
    wait_for(&admin, topics, config).await
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
                config.partitions as i32,
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
    admin: &std::sync::Arc<AdminClient<QuietContext>>,
    topics: &[String],
    config: &KafkaConfig,
) -> Result<(), TransportError> {
    let begun = Instant::now();
    loop {
        let missing = missing(admin, topics, config).await?;
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

/// Those that are not there, or whose partitions have no leader yet.
async fn missing(
    admin: &std::sync::Arc<AdminClient<QuietContext>>,
    topics: &[String],
    config: &KafkaConfig,
) -> Result<Vec<String>, TransportError> {
    let admin = std::sync::Arc::clone(admin);
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
        match present.get(topic.as_str()) {
            Some(partitions) if partitions.len() >= config.partitions as usize => {
                if partitions.iter().any(|partition| partition.leader() < 0) {
                    missing.push(topic.clone());
                }
            }
            Some([]) | None => missing.push(topic.clone()),
            Some(partitions) => {
                let (found, wanted) = (partitions.len(), config.partitions);
                return Err(TransportError::Partitions {
                    topic: topic.clone(),
                    found,
                    wanted,
                });
            }
        }
    }
    Ok(missing)
}

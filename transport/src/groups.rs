//! How far consumer groups are behind, and who is in them: asked of the broker, for people who look.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{KafkaConfig, QuietContext};
use crate::error::TransportError;

/// How long one question may take. Shorter than a request's usual limit: somebody looks at a page, and it is asked again soon.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(3);
/// Members of a group that are told of: more than anybody reads.
const MEMBERS_MAX: usize = 200;

/// Where a group stands on its topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStanding {
    /// Messages of the topic that the group has not finished; none: the topic could not be asked about.
    pub lag: Option<u64>,
    /// Who is in it; none: this broker does not tell (the one in our own process).
    pub members: Option<Vec<GroupMember>>,
}

/// One consumer of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// What it calls itself.
    pub client: String,
    /// From where it is connected.
    pub host: String,
}

/// How far `group` is behind on `topic`, and who is in it. Joins nothing and disturbs nobody.
///
/// # Errors
/// If the client can't be made.
pub async fn group_standing(config: &KafkaConfig, group: &str, topic: &str) -> Result<GroupStanding, TransportError> {
    let asker = GroupAsker::new(config, group, topic)?;
    let lag = match asker.lag().await {
        Ok(lag) => Some(lag),
        Err(error) => {
            tracing::debug!(%error, group, topic, "a group's lag could not be asked for");
            None
        }
    };
    // With the topic out of reach there is nobody to ask about members either.
    let members = match lag {
        Some(_) => asker.members().await,
        None => None,
    };
    // It waits for its connections to close.
    drop(tokio::task::spawn_blocking(move || drop(asker)));
    Ok(GroupStanding { lag, members })
}

/// Asks about one group again and again, by the same connections.
#[derive(Clone)]
pub struct GroupAsker {
    client: Arc<BaseConsumer<QuietContext>>,
    group: Arc<str>,
    topic: Arc<str>,
    partitions: i32,
}

impl GroupAsker {
    /// For what `group` has done of `topic`. Joins nothing and disturbs nobody.
    ///
    /// # Errors
    /// If the client can't be made.
    pub fn new(config: &KafkaConfig, group: &str, topic: &str) -> Result<GroupAsker, TransportError> {
        let client = config
            .client()
            .set("group.id", group)
            .create_with_context(QuietContext)
            .map_err(TransportError::kafka("creating a Kafka client"))?;
        Ok(GroupAsker {
            client: Arc::new(client),
            group: group.into(),
            topic: topic.into(),
            partitions: config.partitions as i32,
        })
    }

    /// Messages of the topic that the group has not finished.
    ///
    /// # Errors
    /// If the broker does not say.
    pub async fn lag(&self) -> Result<u64, TransportError> {
        let asked = self
            .ask(|asker| lag(&asker.client, &asker.topic, asker.partitions))
            .await?;
        asked.map_err(TransportError::kafka(format!("asking how far {} is", self.group)))
    }

    /// Who is in it; none: this broker does not tell.
    async fn members(&self) -> Option<Vec<GroupMember>> {
        self.ask(|asker| members(&asker.client, &asker.group))
            .await
            .unwrap_or_default()
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&GroupAsker) -> T + Send + 'static,
    ) -> Result<T, TransportError> {
        let asker = self.clone();
        tokio::task::spawn_blocking(move || {
            // What it has to say of its connections: nobody else takes that from it, and it would be kept.
            while asker.client.poll(Duration::ZERO).is_some() {}
            question(&asker)
        })
        .await
        .map_err(|_| TransportError::Closed)
    }
}

/// Asks whether a broker answers, again and again, by the same connections, which are made when it is first asked.
#[derive(Clone)]
pub struct BrokerProbe {
    config: KafkaConfig,
    client: Arc<OnceLock<BaseConsumer<QuietContext>>>,
}

impl BrokerProbe {
    /// For these brokers.
    pub fn new(config: &KafkaConfig) -> BrokerProbe {
        BrokerProbe {
            config: config.clone(),
            client: Arc::default(),
        }
    }

    /// Whether one answers.
    ///
    /// # Errors
    /// If none does, or the client can't be made.
    pub async fn ask(&self) -> Result<(), TransportError> {
        let probe = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let client = match probe.client.get() {
                Some(client) => client,
                None => {
                    let made = probe.config.client().create_with_context(QuietContext)?;
                    // Another may have been a moment earlier.
                    probe.client.get_or_init(|| made)
                }
            };
            // As above: nobody else takes it from it.
            while client.poll(Duration::ZERO).is_some() {}
            client.fetch_metadata(None, QUESTION_TIMEOUT).map(drop)
        });
        let answer = asked.await.map_err(|_| TransportError::Closed)?;
        answer.map_err(TransportError::kafka("asking the broker whether it is there"))
    }
}

fn lag(asker: &BaseConsumer<QuietContext>, topic: &str, partitions: i32) -> Result<u64, KafkaError> {
    let all = |offset: Offset| -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, offset)?;
        }
        Ok(list)
    };
    let committed = asker.committed_offsets(all(Offset::Invalid)?, QUESTION_TIMEOUT)?;
    // One question each for all partitions.
    let lows = ends(asker.offsets_for_times(all(Offset::Beginning)?, QUESTION_TIMEOUT)?)?;
    let highs = ends(asker.offsets_for_times(all(Offset::End)?, QUESTION_TIMEOUT)?)?;
    let mut lag = 0;
    for element in committed.elements() {
        element.error()?;
        let end = |ends: &BTreeMap<i32, i64>| ends.get(&element.partition()).copied().unwrap_or_default();
        let (low, high) = (end(&lows), end(&highs));
        // A group that has committed nothing yet begins at the topic's beginning; one whose messages are gone, there too.
        let done = match element.offset() {
            Offset::Offset(offset) => offset.max(low),
            _none => low,
        };
        lag += high.saturating_sub(done).max(0).unsigned_abs();
    }
    Ok(lag)
}

/// The offset of each partition. Of one that is empty, a broker may tell none.
fn ends(answer: TopicPartitionList) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut ends = BTreeMap::new();
    for element in answer.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            ends.insert(element.partition(), offset);
        }
    }
    Ok(ends)
}

fn members(asker: &BaseConsumer<QuietContext>, group: &str) -> Option<Vec<GroupMember>> {
    let list = asker.fetch_group_list(Some(group), QUESTION_TIMEOUT).ok()?;
    let found = list.groups().iter().find(|found| found.name() == group)?;
    let member = |member: &rdkafka::groups::GroupMemberInfo| GroupMember {
        client: member.client_id().to_owned(),
        host: member.client_host().trim_start_matches('/').to_owned(),
    };
    Some(found.members().iter().take(MEMBERS_MAX).map(member).collect())
}

//! How far consumer groups are behind, and who is in them: asked of the broker, for people who look.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
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
    let mut asker = config.client();
    asker.set("group.id", group);
    let (group, topic, partitions) = (group.to_owned(), topic.to_owned(), config.partitions as i32);
    tokio::task::spawn_blocking(move || {
        let asker: BaseConsumer<QuietContext> = asker
            .create_with_context(QuietContext)
            .map_err(TransportError::kafka("creating a Kafka client"))?;
        let lag = match lag(&asker, &topic, partitions) {
            Ok(lag) => Some(lag),
            Err(error) => {
                tracing::debug!(%error, group, topic, "a group's lag could not be asked for");
                None
            }
        };
        // With the topic out of reach there is nobody to ask about members either.
        let members = lag.and_then(|_| members(&asker, &group));
        Ok(GroupStanding { lag, members })
    })
    .await
    .map_err(|_| TransportError::Closed)?
}

fn lag(asker: &BaseConsumer<QuietContext>, topic: &str, partitions: i32) -> Result<u64, rdkafka::error::KafkaError> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, partitions - 1);
    let committed = asker.committed_offsets(asked, QUESTION_TIMEOUT)?;
    let mut lag = 0;
    for element in committed.elements() {
        let (low, high) = asker.fetch_watermarks(topic, element.partition(), QUESTION_TIMEOUT)?;
        // A group that has committed nothing yet begins at the topic's beginning; one whose messages are gone, there too.
        let done = match element.offset() {
            Offset::Offset(offset) => offset.max(low),
            _none => low,
        };
        lag += high.saturating_sub(done).max(0).unsigned_abs();
    }
    Ok(lag)
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

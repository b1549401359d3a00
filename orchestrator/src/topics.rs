//! Creates the Kafka topics that deployed definitions need, so that nothing depends on brokers creating them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use transport::{KafkaConfig, ensure_topics};
use workflows::protocol::{poison_topic, tasks_topic};

use crate::batcher::Shell;

/// How often newly deployed definitions are looked for; that is a look into memory. The producer keeps messages for
/// a topic that is not there yet for much longer.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long until an absent broker is tried again.
const BROKER_RETRY: Duration = Duration::from_secs(1);

/// Creates what is missing, until `stop`.
pub(crate) async fn keep(shell: Arc<Shell>, kafka: KafkaConfig, stop: CancellationToken) {
    let mut there: BTreeSet<String> = BTreeSet::new();
    let mut wait = Duration::ZERO;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = LOOK_INTERVAL;
        let missing: Vec<String> = wanted(&shell).difference(&there).cloned().collect();
        if missing.is_empty() {
            continue;
        }
        match stop.run_until_cancelled(ensure_topics(&kafka, &missing)).await {
            Some(Ok(_)) => there.extend(missing),
            Some(Err(error)) => {
                tracing::warn!(%error, "topics could not be created; trying again in {BROKER_RETRY:?}");
                wait = BROKER_RETRY;
            }
            None => return,
        }
    }
}

fn wanted(shell: &Shell) -> BTreeSet<String> {
    let mut topics = BTreeSet::new();
    for definition in shell.definitions.known() {
        topics.extend(definition.compiled.topics());
        for queue in definition.compiled.queues() {
            topics.insert(tasks_topic(&queue));
            topics.insert(poison_topic(&queue));
        }
    }
    topics
}

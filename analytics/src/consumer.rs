//! Takes the facts from Kafka and writes them down. Offsets are committed once their facts are.

use std::collections::BTreeSet;

use chrono::{NaiveDate, Utc};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use transport::reconnect::retry_until_connected;
use transport::{GroupConsumer, KafkaConfig, Ticket, ensure_topics};

use crate::fact::{Arrived, Fact, TOPICS};
use crate::limits::{
    BATCH_MAX, CLEAR_EVERY, CLEAR_LIMIT, CLICKHOUSE_BATCH_MAX, COMMIT_EVERY, KAFKA_PAUSE, RETRY_FIRST, RETRY_MAX,
};
use crate::store::{Store, StoreError};

/// The consumer group: any number of processes share its work.
pub const GROUP: &str = "sagaline-analytics";

/// Messages that were taken together.
#[derive(Default)]
struct Batch {
    facts: Vec<Fact>,
    tickets: Vec<Ticket>,
}

/// Writes facts down until `stop`; broker and store may come and go. While the store is away nothing is committed, so nothing is lost.
pub async fn run(store: impl Into<Store>, kafka: KafkaConfig, stop: CancellationToken) {
    let store = store.into();
    let Some(consumer) = stop.run_until_cancelled(join(&kafka, &store)).await else {
        return;
    };
    let mut days = BTreeSet::new();
    let mut commit = tokio::time::interval(COMMIT_EVERY);
    let mut clear = tokio::time::interval_at(Instant::now() + CLEAR_EVERY, CLEAR_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = commit.tick() => { consumer.commit_at(&mut commit); }
            _ = clear.tick() => {
                stop.run_until_cancelled(clear_away(&store, &mut days)).await;
            }
            message = consumer.recv() => match message {
                Ok(message) => {
                    let Some(batch) = stop.run_until_cancelled(gather(&consumer, &message, &store)).await else {
                        break;
                    };
                    // Dropped unfinished at `stop`: the offsets are not committed, so it comes again.
                    if stop.run_until_cancelled(write(&store, &mut days, &batch.facts)).await.is_some() {
                        consumer.complete_parts(batch.tickets.into_iter().map(|ticket| (ticket, 1)));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "reading facts failed; trying again");
                    tokio::time::sleep(KAFKA_PAUSE).await;
                }
            },
        }
    }
    consumer.close().await;
}

/// Joins the group, once the store can take facts, and the broker is there and has the topics.
async fn join(kafka: &KafkaConfig, store: &Store) -> GroupConsumer {
    retry_until_connected("the analytics' store", || store.prepare()).await;
    let topics = TOPICS.map(str::to_owned);
    retry_until_connected("Kafka", async || {
        let broker = ensure_topics(kafka, &topics).await?;
        GroupConsumer::new(kafka, broker, GROUP, &TOPICS)
    })
    .await
}

/// A message and those that are here already, or soon, if the store wants many at once.
async fn gather(consumer: &GroupConsumer, first: &BorrowedMessage<'_>, store: &Store) -> Batch {
    let until = Instant::now() + store.linger();
    let max = match store {
        Store::Postgres(_) => BATCH_MAX,
        Store::ClickHouse(_) => CLICKHOUSE_BATCH_MAX,
    };
    let mut batch = Batch::default();
    batch.add(consumer, first);
    while batch.tickets.len() < max {
        if let Some(next) = consumer.recv_ready() {
            let Ok(message) = next else { break };
            batch.add(consumer, &message);
        } else if Instant::now() < until {
            match tokio::time::timeout_at(until, consumer.recv()).await {
                Ok(Ok(message)) => batch.add(consumer, &message),
                Ok(Err(_)) | Err(_) => break,
            }
        } else {
            break;
        }
    }
    batch
}

impl Batch {
    fn add(&mut self, consumer: &GroupConsumer, message: &BorrowedMessage<'_>) {
        let Some(ticket) = consumer.take(message, 1) else {
            return;
        };
        self.tickets.push(ticket);
        let header = |name: &str| {
            let headers = message.headers()?;
            let found = headers.iter().find(|header| header.key == name)?;
            std::str::from_utf8(found.value?).ok()
        };
        let arrived = Arrived {
            topic: message.topic(),
            id: header("ce_id"),
            time: header("ce_time"),
            payload: message.payload().unwrap_or_default(),
        };
        match Fact::read(arrived, Utc::now()) {
            Ok(fact) => self.facts.push(fact),
            Err(why) => {
                metrics::counter!("sagaline_analytics_refused_total").increment(1);
                let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
                tracing::warn!(topic, partition, offset, %why, "a fact is not counted");
            }
        }
    }
}

/// Writes facts, however long the store is away.
async fn write(store: &Store, days: &mut BTreeSet<NaiveDate>, facts: &[Fact]) {
    let mut wait = RETRY_FIRST;
    loop {
        match store.record(facts, days).await {
            Ok(fresh) => {
                metrics::counter!("sagaline_analytics_facts_total").increment(fresh);
                return;
            }
            Err(error) => {
                // A partition that was believed to be there may be gone.
                days.clear();
                let wait_ms = wait.as_millis() as u64;
                metrics::counter!("sagaline_analytics_store_failures_total").increment(1);
                tracing::warn!(%error, wait_ms, "the analytics' store did not take facts; trying again");
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(RETRY_MAX);
                if let Err(error) = prepared_again(store, &error).await {
                    tracing::debug!(%error, "the analytics' store can't be made ready");
                }
            }
        }
    }
}

/// A ClickHouse that was put in another's place has no tables yet.
async fn prepared_again(store: &Store, error: &StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::ClickHouse(_) => store.prepare().await,
        StoreError::Postgres(_) | StoreError::Late(_) => Ok(()),
    }
}

/// Clears away what is over. What is left over is cleared the next time.
async fn clear_away(store: &Store, days: &mut BTreeSet<NaiveDate>) {
    let now = Utc::now();
    // Some of them may go.
    days.clear();
    match tokio::time::timeout(CLEAR_LIMIT, store.clear_away(now)).await {
        Ok(Ok(cleared)) => tracing::debug!(
            days = cleared.days,
            rows = cleared.rows,
            "what is over was cleared away"
        ),
        Ok(Err(error)) => tracing::warn!(%error, "what is over could not be cleared away; will try again"),
        Err(_) => tracing::warn!("what is over could not be cleared away in a minute; will try again"),
    }
}

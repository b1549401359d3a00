//! Takes the facts from Kafka and writes them down. Offsets are committed once their facts are.

use std::collections::BTreeSet;

use chrono::{NaiveDate, Utc};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use transport::reconnect::retry_until_connected;
use transport::{GroupConsumer, KafkaConfig, Ticket, ensure_topics};

use crate::fact::{Arrived, Fact, TOPICS};
use crate::limits::{
    BATCH_MAX, CLEAR_EVERY, CLEAR_LIMIT, CLEARED_MAX, COMMIT_EVERY, FACTS_KEPT_DAYS, KAFKA_PAUSE, MINUTES_KEPT_DAYS,
    RETRY_FIRST, RETRY_MAX,
};
use crate::store;

/// The consumer group: any number of processes share its work.
pub const GROUP: &str = "sagaline-analytics";

/// Messages that were taken together.
#[derive(Default)]
struct Batch {
    facts: Vec<Fact>,
    tickets: Vec<Ticket>,
}

/// Writes facts down until `stop`; broker and store may come and go. While the store is away nothing is committed, so nothing is lost.
pub async fn run(pool: PgPool, kafka: KafkaConfig, stop: CancellationToken) {
    let Some(consumer) = stop.run_until_cancelled(join(&kafka)).await else {
        return;
    };
    let mut days = BTreeSet::new();
    let mut commit = tokio::time::interval(COMMIT_EVERY);
    let mut clear = tokio::time::interval_at(Instant::now() + CLEAR_EVERY, CLEAR_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = commit.tick() => consumer.commit(),
            _ = clear.tick() => {
                stop.run_until_cancelled(clear_away(&pool, &mut days)).await;
            }
            message = consumer.recv() => match message {
                Ok(message) => {
                    let batch = gather(&consumer, &message);
                    // Dropped unfinished at `stop`: the offsets are not committed, so it comes again.
                    if stop.run_until_cancelled(write(&pool, &mut days, &batch.facts)).await.is_some() {
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

/// Joins the group, once the broker is there and has the topics.
async fn join(kafka: &KafkaConfig) -> GroupConsumer {
    let topics = TOPICS.map(str::to_owned);
    retry_until_connected("Kafka", async || {
        let broker = ensure_topics(kafka, &topics).await?;
        GroupConsumer::new(kafka, broker, GROUP, &TOPICS)
    })
    .await
}

/// A message and those that are here already.
fn gather(consumer: &GroupConsumer, first: &BorrowedMessage<'_>) -> Batch {
    let mut batch = Batch::default();
    batch.add(consumer, first);
    while batch.tickets.len() < BATCH_MAX
        && let Some(Ok(message)) = consumer.recv_ready()
    {
        batch.add(consumer, &message);
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
async fn write(pool: &PgPool, days: &mut BTreeSet<NaiveDate>, facts: &[Fact]) {
    let mut wait = RETRY_FIRST;
    loop {
        match try_write(pool, days, facts).await {
            Ok(fresh) => {
                metrics::counter!("sagaline_analytics_facts_total").increment(fresh.unsigned_abs());
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
            }
        }
    }
}

async fn try_write(pool: &PgPool, days: &mut BTreeSet<NaiveDate>, facts: &[Fact]) -> Result<i64, sqlx::Error> {
    if facts.is_empty() {
        return Ok(0);
    }
    let missing: BTreeSet<NaiveDate> = facts
        .iter()
        .map(|fact| fact.at.date_naive())
        .filter(|day| !days.contains(day))
        .collect();
    if !missing.is_empty() {
        store::make_days(pool, &missing).await?;
        days.extend(missing);
    }
    store::record(pool, facts).await
}

/// Clears away what is over. What is left over is cleared the next time.
async fn clear_away(pool: &PgPool, days: &mut BTreeSet<NaiveDate>) {
    let now = Utc::now();
    // A day more than facts are taken of, so that none is written into a day that goes.
    let facts_before = (now - chrono::Days::new(FACTS_KEPT_DAYS + 1)).date_naive();
    let minutes_before = now - chrono::Days::new(MINUTES_KEPT_DAYS);
    let cleared = async {
        let dropped = store::drop_days(pool, facts_before).await?;
        let (mut minutes, mut active) = (0, 0);
        // A full batch means that there is more.
        loop {
            let some = store::clear_minutes(pool, minutes_before, CLEARED_MAX).await?;
            let others = store::clear_active(pool, minutes_before, CLEARED_MAX).await?;
            (minutes, active) = (minutes + some, active + others);
            if some.max(others) < CLEARED_MAX.unsigned_abs() {
                return Ok::<_, sqlx::Error>((dropped, minutes, active));
            }
        }
    };
    days.retain(|day| *day >= facts_before);
    match tokio::time::timeout(CLEAR_LIMIT, cleared).await {
        Ok(Ok((days, minutes, active))) => tracing::debug!(days, minutes, active, "what is over was cleared away"),
        Ok(Err(error)) => tracing::warn!(%error, "what is over could not be cleared away; will try again"),
        Err(_) => tracing::warn!("what is over could not be cleared away in a minute; will try again"),
    }
}

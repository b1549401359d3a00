//! Takes workers' results from Kafka. Their offsets are committed once their transitions are.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use transport::{GroupConsumer, KafkaConfig, Outgoing, ensure_topics};
use workflows::event::Event;
use workflows::protocol::{PROTOCOL_VERSION, RESULTS_TOPIC, ResultEnvelope, TaskResult, WORKERS_TOPIC, poison_topic};

use crate::batcher::Shell;
use crate::inbound::{EventItem, Item, Source};

/// How often finished offsets are committed: what a crash repeats is at most this much, and harmless.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// How long until an absent broker is tried again.
const BROKER_RETRY: Duration = Duration::from_secs(1);
/// How long a message that nobody could read may take to be set aside.
const POISON_TIMEOUT: Duration = Duration::from_secs(10);

/// The name under which unreadable results are set aside.
const POISON_NAME: &str = "results";

/// Takes results until `stop`; the broker may come and go.
pub(crate) async fn consume(
    shell: Arc<Shell>,
    kafka: KafkaConfig,
    inbound: mpsc::Sender<Item>,
    stop: CancellationToken,
) {
    let Some(consumer) = stop.run_until_cancelled(join(&shell, &kafka)).await else {
        return;
    };
    let consumer = Arc::new(consumer);
    let mut assignment = consumer.assignment();
    let mut commit = tokio::time::interval(COMMIT_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = commit.tick() => { consumer.commit_at(&mut commit); }
            Ok(()) = assignment.changed() => {
                // Sagas of partitions that went elsewhere are moved by others from now on.
                shell.cache.clear();
                let ours: Vec<i32> = (assignment.borrow().partitions.iter())
                    .filter(|(topic, _)| topic == RESULTS_TOPIC)
                    .map(|(_, partition)| *partition)
                    .collect();
                shell.backlog.forget(!ours.is_empty());
                shell.publisher.reply_among(&ours);
            }
            message = consumer.recv() => match message {
                Ok(message) => {
                    // Dropped unfinished at `stop`: the offsets are not committed, so it comes again.
                    let taken = stop.run_until_cancelled(take(&shell, &consumer, &message, &inbound, &mut commit));
                    taken.await;
                }
                Err(error) => {
                    tracing::warn!(%error, "reading results failed; trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(inbound);
    close_when_finished(consumer).await;
}

/// Joins the group, once the broker is there and has the topics.
async fn join(shell: &Shell, kafka: &KafkaConfig) -> GroupConsumer {
    loop {
        let topics = [
            RESULTS_TOPIC.to_owned(),
            WORKERS_TOPIC.to_owned(),
            poison_topic(POISON_NAME),
        ];
        let joined = match ensure_topics(kafka, &topics).await {
            Ok(broker) => GroupConsumer::new(
                kafka,
                broker,
                &shell.options.results_group,
                &[RESULTS_TOPIC, WORKERS_TOPIC],
            ),
            Err(error) => Err(error),
        };
        match joined {
            Ok(consumer) => return consumer,
            Err(error) => tracing::warn!(%error, "Kafka is not available; trying again in {BROKER_RETRY:?}"),
        }
        tokio::time::sleep(BROKER_RETRY).await;
    }
}

/// What is under way keeps the consumer; it is closed when all of that is done, or left to the group's session time-out.
async fn close_when_finished(consumer: Arc<GroupConsumer>) {
    let mut consumer = consumer;
    for _ in 0..200 {
        match Arc::try_unwrap(consumer) {
            Ok(alone) => return alone.close().await,
            Err(shared) => consumer = shared,
        }
        consumer.commit();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// One message: its results become events, in their order.
async fn take(
    shell: &Shell,
    consumer: &Arc<GroupConsumer>,
    message: &rdkafka::message::BorrowedMessage<'_>,
    inbound: &mpsc::Sender<Item>,
    commit: &mut tokio::time::Interval,
) {
    let payload = message.payload().unwrap_or_default();
    if message.topic() == WORKERS_TOPIC {
        if let Some(ticket) = consumer.take(message, 1) {
            shell.presence.note(payload, shell.clock.now());
            consumer.complete(ticket);
        }
        return;
    }
    let Reading { results, poison } = read(payload);
    let parts = (results.len() + poison.len()) as u32;
    let Some(ticket) = consumer.take(message, parts) else {
        return;
    };
    metrics::counter!("sagaline_results_received_total").increment(results.len() as u64);
    for (bytes, error) in poison {
        set_aside(shell, message.partition(), bytes, &error).await;
        consumer.complete(ticket);
    }
    let bytes = payload.len() / results.len().max(1);
    for result in results {
        let item = Item::Event(EventItem {
            saga: result.token.saga,
            event: Event::Result(result),
            source: Source::Worker {
                consumer: Arc::clone(consumer),
                ticket,
            },
            bytes,
        });
        let sent = inbound.send(item);
        tokio::pin!(sent);
        // A full queue may stay full for as long as Postgres is away; finished offsets are committed meanwhile.
        loop {
            tokio::select! {
                biased;
                sent = &mut sent => {
                    if sent.is_err() {
                        return;
                    }
                    break;
                }
                _ = commit.tick() => consumer.commit(),
            }
        }
    }
}

/// What a message holds.
struct Reading {
    results: Vec<TaskResult>,
    /// What can't be read of it, and why.
    poison: Vec<(Vec<u8>, String)>,
}

/// An envelope whose results are looked at one by one.
#[derive(Deserialize)]
struct RawEnvelope<'a> {
    v: u32,
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

fn read(payload: &[u8]) -> Reading {
    match serde_json::from_slice::<ResultEnvelope>(payload) {
        Ok(envelope) if envelope.v == PROTOCOL_VERSION && !envelope.results.is_empty() => Reading {
            results: envelope.results,
            poison: Vec::new(),
        },
        Ok(envelope) => {
            let error = format!(
                "an envelope of version {} with {} results",
                envelope.v,
                envelope.results.len()
            );
            Reading {
                results: Vec::new(),
                poison: vec![(payload.to_vec(), error)],
            }
        }
        Err(error) => salvage(payload, &error),
    }
}

/// Reads what can be read of an envelope that is not as it should be.
fn salvage(payload: &[u8], error: &serde_json::Error) -> Reading {
    let envelope = match serde_json::from_slice::<RawEnvelope<'_>>(payload) {
        Ok(envelope) if envelope.v == PROTOCOL_VERSION && !envelope.results.is_empty() => envelope,
        Ok(_) | Err(_) => {
            return Reading {
                results: Vec::new(),
                poison: vec![(payload.to_vec(), error.to_string())],
            };
        }
    };
    let mut reading = Reading {
        results: Vec::new(),
        poison: Vec::new(),
    };
    for raw in envelope.results {
        match serde_json::from_str(raw.get()) {
            Ok(result) => reading.results.push(result),
            Err(error) => reading.poison.push((raw.get().as_bytes().to_vec(), error.to_string())),
        }
    }
    reading
}

/// Puts what nobody can read on the topic for that. It never blocks a partition: after a while it is only logged.
async fn set_aside(shell: &Shell, partition: i32, payload: Vec<u8>, error: &str) {
    metrics::counter!("sagaline_results_poison_total").increment(1);
    let start: Value = String::from_utf8_lossy(&payload[..payload.len().min(200)]).into();
    tracing::error!(partition, error, %start, "a result can't be read and is set aside");
    let message = Outgoing {
        topic: poison_topic(POISON_NAME),
        partition,
        key: None,
        headers: vec![("error".to_owned(), error.to_owned())],
        payload,
    };
    match tokio::time::timeout(POISON_TIMEOUT, shell.publisher.send(message)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "an unreadable result could not be set aside"),
        Err(_) => tracing::error!("an unreadable result could not be set aside in {POISON_TIMEOUT:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const GOOD: &str = r#"{"token":{"saga":"019a0000-0000-7000-8000-000000000000","step":"a","role":"run","attempt":1,"epoch":1},"outcome":"succeeded","output":1}"#;

    #[test]
    fn reads_the_good_and_keeps_the_bad() {
        let read = read(format!(r#"{{"v":1,"worker":"w","results":[{GOOD},{{"x":1}},{GOOD}]}}"#).as_bytes());
        assert_eq!((read.results.len(), read.poison.len()), (2, 1));
        assert_eq!(read.poison[0].0, br#"{"x":1}"#);
    }

    #[test]
    fn sets_aside_what_is_no_envelope() {
        for payload in [
            &b""[..],
            b"\xff\xfe",
            b"null",
            b"{}",
            br#"{"v":1,"worker":"w","results":[]}"#,
            br#"{"v":2,"worker":"w","results":[{}]}"#,
        ] {
            let read = read(payload);
            assert_eq!((read.results.len(), read.poison.len()), (0, 1), "{payload:?}");
        }
        let other_version = GOOD.replace("succeeded", "exploded");
        let read = read(format!(r#"{{"v":1,"worker":"w","results":[{other_version}]}}"#).as_bytes());
        assert_eq!((read.results.len(), read.poison.len()), (0, 1));
    }
}

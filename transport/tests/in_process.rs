//! The transport against the broker in this process.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::message;
use futures::stream::{FuturesUnordered, StreamExt as _};
use rdkafka::Message;
use tokio::time::timeout;
use transport::{
    Assignment, BrokerKind, GroupAsker, GroupConsumer, InProcessBroker, KafkaConfig, Producer, TransportError,
    committed_offsets, ensure_topics,
};
use workflows::protocol::{RESULTS_TOPIC, WORKERS_TOPIC};

const TOPIC: &str = "sagaline.tasks.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_created_once_with_the_configured_partitions() {
    let broker = InProcessBroker::start(10).unwrap();
    let config = broker.config("test");
    let topics = vec![TOPIC.to_owned(), "sagaline.results".to_owned()];
    for _ in 0..2 {
        let broker = ensure_topics(&config, &topics).await.unwrap();
        assert_eq!(broker, BrokerKind::InProcess);
    }
    let more = KafkaConfig {
        partitions: 20,
        ..config
    };
    let refused = ensure_topics(&more, &topics).await.unwrap_err();
    assert!(
        matches!(
            refused,
            TransportError::Partitions {
                found: 10,
                wanted: 20,
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_per_partition_and_groups_read_on_their_own() {
    let broker = InProcessBroker::start(3).unwrap();
    let config = broker.config("test");
    ensure_topics(&config, &[TOPIC.to_owned()]).await.unwrap();
    let producer = Producer::new(&config).unwrap();
    let sent: Vec<_> = (0..3_000).map(|n| producer.send(message(TOPIC, n % 3, n))).collect();
    for acknowledged in sent {
        acknowledged.await.unwrap();
    }
    let one = GroupConsumer::new(&config, BrokerKind::InProcess, "one", &[TOPIC]).unwrap();
    let other = GroupConsumer::new(&config, BrokerKind::InProcess, "other", &[TOPIC]).unwrap();
    for consumer in [one, other] {
        let mut next = [0, 1, 2];
        for _ in 0..3_000 {
            let message = consumer.recv().await.unwrap();
            let ticket = consumer.take(&message, 1).unwrap();
            let n: i32 = std::str::from_utf8(message.payload().unwrap())
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(n, next[message.partition() as usize]);
            next[message.partition() as usize] += 3;
            consumer.complete(ticket);
        }
        assert_eq!(consumer.open_messages(), 0);
        consumer.close().await;
    }
    let committed = committed_offsets(&config, "one", TOPIC).await.unwrap();
    assert_eq!(
        committed.into_iter().collect::<Vec<_>>(),
        [(0, 1_000), (1, 1_000), (2, 1_000)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_finished_comes_again_and_what_was_does_not() {
    let broker = InProcessBroker::start(1).unwrap();
    let config = broker.config("test");
    ensure_topics(&config, &[TOPIC.to_owned()]).await.unwrap();
    let producer = Producer::new(&config).unwrap();
    for n in 0..3 {
        producer.send(message(TOPIC, 0, n)).await.unwrap();
    }
    let first = GroupConsumer::new(&config, BrokerKind::InProcess, "group", &[TOPIC]).unwrap();
    let mut tickets = Vec::new();
    for _ in 0..3 {
        let message = first.recv().await.unwrap();
        tickets.push(first.take(&message, 1).unwrap());
    }
    // The second is not finished, so the third may not be committed.
    first.complete(tickets[0]);
    first.complete(tickets[2]);
    first.commit();
    first.close().await;
    let committed = committed_offsets(&config, "group", TOPIC).await.unwrap();
    assert_eq!(committed.get(&0), Some(&1));
    let second = GroupConsumer::new(&config, BrokerKind::InProcess, "group", &[TOPIC]).unwrap();
    let message = second.recv().await.unwrap();
    assert_eq!(message.offset(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_delays_and_loses_nothing() {
    let broker = InProcessBroker::start(1).unwrap();
    let config = broker.config("test");
    ensure_topics(&config, &[TOPIC.to_owned()]).await.unwrap();
    let producer = Producer::new(&config).unwrap();
    producer.send(message(TOPIC, 0, 0)).await.unwrap();
    broker.set_down(true).unwrap();
    let mut waiting: FuturesUnordered<_> = (1..50).map(|n| producer.send(message(TOPIC, 0, n))).collect();
    let early = timeout(Duration::from_millis(200), waiting.next()).await;
    assert!(early.is_err(), "acknowledged by a broker that is down");
    broker.set_down(false).unwrap();
    while let Some(acknowledged) = waiting.next().await {
        acknowledged.unwrap();
    }
    let consumer = GroupConsumer::new(&config, BrokerKind::InProcess, "group", &[TOPIC]).unwrap();
    for n in 0..50 {
        let message = consumer.recv().await.unwrap();
        assert_eq!(message.payload().unwrap(), n.to_string().as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_a_group_is_behind_is_asked_again_and_again() {
    let broker = InProcessBroker::start(3).unwrap();
    let config = broker.config("test");
    ensure_topics(&config, &[TOPIC.to_owned()]).await.unwrap();
    let asker = GroupAsker::new(&config, "group", TOPIC).unwrap();
    assert_eq!(asker.lag().await.unwrap(), 0);
    let producer = Producer::new(&config).unwrap();
    // The third partition stays empty.
    for n in 0..9 {
        producer.send_at_leisure(message(TOPIC, n % 2, n)).await.unwrap();
    }
    assert_eq!(asker.lag().await.unwrap(), 9);
    let consumer = GroupConsumer::new(&config, BrokerKind::InProcess, "group", &[TOPIC]).unwrap();
    for _ in 0..9 {
        let received = consumer.recv().await.unwrap();
        consumer.complete(consumer.take(&received, 1).unwrap());
    }
    consumer.close().await;
    assert_eq!(asker.lag().await.unwrap(), 0);
    producer.send(message(TOPIC, 2, 9)).await.unwrap();
    assert_eq!(asker.lag().await.unwrap(), 1);
    // Nobody answers: that is said, and the next question is answered again.
    broker.set_down(true).unwrap();
    asker.lag().await.unwrap_err();
    broker.set_down(false).unwrap();
    let answered = async { while !matches!(asker.lag().await, Ok(1)) {} };
    timeout(Duration::from_secs(30), answered)
        .await
        .expect("it is never answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_may_rest_and_wakes_when_something_is_sent() {
    /// A resting broker answers at least so late.
    const REST: Duration = Duration::from_millis(400);
    let broker = InProcessBroker::start(1).unwrap();
    let config = broker.config("test");
    ensure_topics(&config, &[TOPIC.to_owned()]).await.unwrap();
    let consumer = GroupConsumer::new(&config, BrokerKind::InProcess, "group", &[TOPIC]).unwrap();
    let producer = Producer::new(&config).unwrap();
    let answer_takes = async || {
        let asked = std::time::Instant::now();
        committed_offsets(&config, "group", TOPIC).await.unwrap();
        asked.elapsed()
    };
    broker.rest_when_idle();
    let rests = async { while answer_takes().await < REST {} };
    timeout(Duration::from_secs(60), rests).await.expect("it never rests");

    // The other tests of this process send too, so only this may be said: what is sent arrives, and keeps it awake.
    let wakes = async {
        for n in 0.. {
            producer.send(message(TOPIC, 0, n)).await.unwrap();
            assert_eq!(consumer.recv().await.unwrap().offset(), i64::from(n));
            if answer_takes().await < REST {
                break;
            }
        }
    };
    timeout(Duration::from_secs(30), wakes).await.expect("it never wakes");
}

/// However many orchestrators there are: results come to all of them, as evenly as they can be shared out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_shared_out_evenly_whatever_else_is_read_beside_them() {
    let broker = InProcessBroker::start(10).unwrap();
    let config = broker.config("test");
    let topics = [RESULTS_TOPIC, WORKERS_TOPIC];
    ensure_topics(&config, &topics.map(str::to_owned)).await.unwrap();
    let mut members = Vec::new();
    for count in 1..=4 {
        let member = Arc::new(GroupConsumer::new(&config, BrokerKind::InProcess, "group", &topics).unwrap());
        let reads = Arc::clone(&member);
        tokio::spawn(async move {
            loop {
                // Rebalances happen in here.
                let _ = reads.recv().await;
            }
        });
        members.push(member.assignment());
        let shared_out = async {
            loop {
                let of_results = |member: &tokio::sync::watch::Receiver<Assignment>| {
                    let ours = member.borrow();
                    ours.partitions
                        .iter()
                        .filter(|(topic, _)| topic == RESULTS_TOPIC)
                        .count()
                };
                let shares: Vec<usize> = members.iter().map(of_results).collect();
                // One of them reads the workers' topic instead of one more of these.
                if shares.iter().sum::<usize>() == 10 && shares.iter().all(|share| share + 1 >= 10 / count) {
                    return;
                }
                let changes = members.iter_mut().map(|member| Box::pin(member.changed()));
                futures::future::select_all(changes).await.0.unwrap();
            }
        };
        let in_time = timeout(Duration::from_secs(60), shared_out).await;
        assert!(in_time.is_ok(), "{count} members don't have their shares");
    }
}

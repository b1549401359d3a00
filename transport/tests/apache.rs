//! The transport against Apache Kafka. Skipped, saying so, where Java or Maven is missing; an error under `CI=true`.

#![allow(clippy::unwrap_used)]

mod common;

use common::message;
use rdkafka::Message;
use transport::apache::{ApacheKafka, available};
use transport::{BrokerKind, GroupAsker, GroupConsumer, Producer, ensure_topics};

const TOPIC: &str = "sagaline.tasks.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_and_commits_survive_a_kill_and_end_with_the_data() {
    if let Err(missing) = available() {
        assert!(std::env::var("CI").is_err(), "{missing}");
        eprintln!("skipped: {missing}");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut kafka = ApacheKafka::start(data.path(), 0).await.unwrap();
    let config = kafka.config("test");
    let broker = ensure_topics(&config, &[TOPIC.to_owned()]).await.unwrap();
    assert_eq!(broker, BrokerKind::Kafka);
    let producer = Producer::new(&config).unwrap();
    for n in 0..10 {
        producer.send(message(TOPIC, 0, n)).await.unwrap();
    }
    let asker = GroupAsker::new(&config, "group", TOPIC).unwrap();
    assert_eq!(asker.lag().await.unwrap(), 10);
    let consumer = GroupConsumer::new(&config, BrokerKind::Kafka, "group", &[TOPIC]).unwrap();
    for n in 0..5 {
        let received = consumer.recv().await.unwrap();
        assert_eq!(received.payload().unwrap(), n.to_string().as_bytes());
        let ticket = consumer.take(&received, 1).unwrap();
        consumer.complete(ticket);
    }
    consumer.close().await;
    assert_eq!(asker.lag().await.unwrap(), 5);

    kafka.kill();
    let waiting = producer.send(message(TOPIC, 0, 10));
    let kafka = kafka.restart().await.unwrap();
    waiting.await.unwrap();
    let consumer = GroupConsumer::new(&config, BrokerKind::Kafka, "group", &[TOPIC]).unwrap();
    for n in 5..11 {
        let received = next(&consumer).await;
        assert_eq!(received, n.to_string());
    }
    drop(consumer);

    let kafka = kafka.restart_empty().await.unwrap();
    ensure_topics(&config, &[TOPIC.to_owned()]).await.unwrap();
    producer.send(message(TOPIC, 0, 11)).await.unwrap();
    let consumer = GroupConsumer::new(&config, BrokerKind::Kafka, "group", &[TOPIC]).unwrap();
    assert_eq!(next(&consumer).await, "11");
    let pid = kafka.pid().unwrap();
    drop(kafka);
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "nothing is left behind"
    );
}

async fn next(consumer: &GroupConsumer) -> String {
    loop {
        match consumer.recv().await {
            Ok(message) => return String::from_utf8(message.payload().unwrap().to_vec()).unwrap(),
            Err(passing) => eprintln!("{passing}"),
        }
    }
}

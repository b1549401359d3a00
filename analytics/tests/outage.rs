//! The store is away for longer than a consumer may be busy: nothing is lost, and nothing is counted twice.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use analytics::fact::TOPICS;
use analytics::store::{Step, Store, Time};
use chrono::{TimeDelta, Utc};
use localpg::{LocalPostgres, Options};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use testkit::eventually;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use transport::{InProcessBroker, KafkaConfig, Outgoing, Producer};

/// How long a consumer may be busy before its partitions go to others: five minutes in production, and what ten minutes without a store are to that,
/// fifteen seconds are to this.
const BUSY_MAX: Duration = Duration::from_secs(6);
const AWAY: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_longer_than_a_consumer_may_be_busy_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = LocalPostgres::start(Options::new(folder.path())).await.unwrap();
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(1))
        .connect(&server.url("postgres"))
        .await
        .unwrap();
    let migrations = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    Migrator::new(migrations).await.unwrap().run(&pool).await.unwrap();
    let store = Store::from(pool);

    let broker = InProcessBroker::start(3).unwrap();
    broker.create_topics(&TOPICS.map(str::to_owned)).unwrap();
    let config = |client: &str| KafkaConfig {
        busy_max: BUSY_MAX,
        ..broker.config(client)
    };
    let stop = CancellationToken::new();
    // Two share the work, so that partitions can go from one to the other meanwhile.
    let running =
        ["one", "other"].map(|name| tokio::spawn(analytics::consumer::run(store.clone(), config(name), stop.clone())));
    let producer = Producer::new(&broker.config("test")).unwrap();
    let now = Utc::now();
    let send = async |numbers: std::ops::Range<i32>| {
        for n in numbers {
            let header = |name: &str, text: String| (name.to_owned(), text);
            let message = Outgoing {
                topic: "booking.confirmed".to_owned(),
                partition: n % 3,
                key: None,
                headers: vec![header("ce_id", format!("{n}")), header("ce_time", now.to_rfc3339())],
                payload: br#"{"eventId":"tour","totalCents":150,"currency":"usd"}"#.to_vec(),
            };
            producer.send(message).await.unwrap();
        }
    };
    let total = async || {
        let time = Time {
            from: now - TimeDelta::days(1),
            to: now + TimeDelta::days(1),
        };
        let counts = store.counts(Step::Day, time).await.unwrap_or_default();
        let cents: i64 = counts.iter().map(|count| count.cents).sum();
        (counts.iter().map(|count| count.facts).sum::<i64>(), cents)
    };
    send(0..300).await;
    eventually("the first are counted", LIMIT, async || total().await.0 == 300).await;

    server.stop_immediate();
    let since = Instant::now();
    let mut sent = 300;
    // Facts go on coming; some were sent before already.
    eventually("it has been away for long enough", LIMIT, async || {
        send(sent..sent + 20).await;
        send(sent - 10..sent).await;
        sent += 20;
        since.elapsed() > AWAY
    })
    .await;
    server.resume().unwrap();

    let all = i64::from(sent);
    eventually("all are counted, each once", LIMIT, async || {
        total().await == (all, all * 150)
    })
    .await;
    send(sent..sent + 1).await;
    eventually("it goes on", LIMIT, async || total().await.0 == all + 1).await;
    stop.cancel();
    for consumer in running {
        consumer.await.unwrap();
    }
    assert_eq!(total().await, (all + 1, (all + 1) * 150));
}

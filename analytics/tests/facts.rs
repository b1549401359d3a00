//! Facts from a broker into a store, each once.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use analytics::fact::{Arrived, Fact, TOPICS};
use analytics::store::{Step, Store, Time};
use chrono::{DateTime, TimeDelta, Utc};
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use transport::{InProcessBroker, Outgoing, Producer};

const LIMIT: Duration = Duration::from_secs(30);

fn confirmed(n: i32, at: DateTime<Utc>) -> Outgoing {
    let (booking, user) = (format!("booking-{n}"), n % 7);
    Outgoing {
        topic: "booking.confirmed".to_owned(),
        partition: n % 3,
        key: None,
        headers: vec![
            ("ce_id".to_owned(), format!("{booking}/1")),
            ("ce_time".to_owned(), at.to_rfc3339()),
        ],
        payload: format!(
            r#"{{"bookingId":"{booking}","eventId":"tour","userId":"usr_{user}","totalCents":150,"currency":"usd"}}"#
        )
        .into_bytes(),
    }
}

fn fact(n: i32, at: DateTime<Utc>) -> Fact {
    let message = confirmed(n, at);
    let arrived = Arrived {
        topic: &message.topic,
        id: Some(&message.headers[0].1),
        time: Some(&message.headers[1].1),
        payload: &message.payload,
    };
    Fact::read(arrived, Utc::now()).unwrap()
}

/// What all of time comes to, by this step: facts and cents.
async fn total(store: &Store, step: Step) -> (i64, i64) {
    let now = Utc::now();
    let time = Time {
        from: now - TimeDelta::days(30),
        to: now + TimeDelta::days(1),
    };
    let counts = store.counts(step, time).await.unwrap();
    counts.iter().fold((0, 0), |(facts, cents), count| {
        (facts + count.facts, cents + count.cents)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_late_facts_leave_counts_exact() {
    let database = testkit::migrated_database().await;
    let store = Store::from(database.pool.clone());
    let mut days = BTreeSet::new();
    let (now, late) = (Utc::now(), Utc::now() - TimeDelta::days(3));
    let first: Vec<Fact> = (0..20).map(|n| fact(n, now)).collect();
    assert_eq!(store.record(&first, &mut days).await.unwrap(), 20);
    assert_eq!(store.record(&first, &mut days).await.unwrap(), 0);
    // Twice in one batch, some known already, one of another day.
    let mut mixed: Vec<Fact> = (10..30).chain(20..30).map(|n| fact(n, now)).collect();
    mixed.push(fact(30, late));
    assert_eq!(store.record(&mixed, &mut days).await.unwrap(), 11);
    for step in [Step::Minute, Step::Hour, Step::Day] {
        assert_eq!(total(&store, step).await, (31, 31 * 150), "{step:?}");
    }
    let hour = TimeDelta::hours(1);
    let time = Time {
        from: now - hour,
        to: now + hour,
    };
    assert_eq!(store.active_users(time).await.unwrap(), 7);
    // After two weeks the minutes go, and after a quarter of a year the facts.
    store.clear_away(now + TimeDelta::days(15)).await.unwrap();
    assert_eq!(store.active_users(time).await.unwrap(), 0);
    assert_eq!(total(&store, Step::Minute).await, (0, 0));
    let cleared = store.clear_away(now + TimeDelta::days(100)).await.unwrap();
    assert_eq!(cleared.days, 2);
    assert_eq!(
        total(&store, Step::Day).await,
        (31, 31 * 150),
        "roll-ups outlive their facts"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_side_by_side_count_each_fact_once() {
    let database = testkit::migrated_database().await;
    let now = Utc::now();
    let store = Store::from(database.pool.clone());
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let store = store.clone();
            let mut facts: Vec<Fact> = (0..500).map(|n| fact(n, now)).collect();
            facts.rotate_left(writer * 80);
            tokio::spawn(async move { store.record(&facts, &mut BTreeSet::new()).await.unwrap() })
        })
        .collect();
    let mut fresh = 0;
    for writer in writers {
        fresh += writer.await.unwrap();
    }
    assert_eq!(fresh, 500);
    assert_eq!(total(&store, Step::Hour).await, (500, 500 * 150));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_delays_facts_and_loses_none() {
    let database = testkit::migrated_database().await;
    let broker = InProcessBroker::start(3).unwrap();
    broker.create_topics(&TOPICS.map(str::to_owned)).unwrap();
    let pool = database.pool.clone();
    let store = Store::from(pool.clone());
    // Away: every statement fails.
    sqlx::raw_sql("alter schema analytics rename to elsewhere")
        .execute(&pool)
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(analytics::consumer::run(
        pool.clone(),
        broker.config("test"),
        stop.clone(),
    ));
    let producer = Producer::new(&broker.config("test")).unwrap();
    let now = Utc::now();
    let mut messages: Vec<Outgoing> = (0..300).map(|n| confirmed(n, now)).collect();
    // Delivered twice, and one that nobody can read.
    messages.extend((0..100).map(|n| confirmed(n, now)));
    messages.push(Outgoing {
        payload: b"nonsense".to_vec(),
        ..confirmed(1_000, now)
    });
    for message in messages {
        producer.send(message).await.unwrap();
    }
    sqlx::raw_sql("alter schema elsewhere rename to analytics")
        .execute(&pool)
        .await
        .unwrap();
    eventually("all facts are counted", LIMIT, async || {
        total(&store, Step::Day).await == (300, 300 * 150)
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    // Whoever takes over begins behind what is written.
    let stop = CancellationToken::new();
    let running = tokio::spawn(analytics::consumer::run(
        pool.clone(),
        broker.config("test"),
        stop.clone(),
    ));
    producer.send(confirmed(300, now)).await.unwrap();
    eventually("the next fact is counted", LIMIT, async || {
        total(&store, Step::Day).await == (301, 301 * 150)
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}

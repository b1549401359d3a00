//! Facts from a broker into a store, each once.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use analytics::fact::{Arrived, Fact, TOPICS};
use analytics::store::{self, Step};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
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
async fn total(pool: &PgPool, step: Step) -> (i64, i64) {
    let now = Utc::now();
    let counts = store::counts(pool, step, now - TimeDelta::days(30), now + TimeDelta::days(1))
        .await
        .unwrap();
    counts.iter().fold((0, 0), |(facts, cents), count| {
        (facts + count.facts, cents + count.cents)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_late_facts_leave_counts_exact() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    let (now, late) = (Utc::now(), Utc::now() - TimeDelta::days(3));
    store::make_days(pool, &[now, late].map(|at| at.date_naive()).into())
        .await
        .unwrap();
    let first: Vec<Fact> = (0..20).map(|n| fact(n, now)).collect();
    assert_eq!(store::record(pool, &first).await.unwrap(), 20);
    assert_eq!(store::record(pool, &first).await.unwrap(), 0);
    // Twice in one batch, some known already, one of another day.
    let mut mixed: Vec<Fact> = (10..30).chain(20..30).map(|n| fact(n, now)).collect();
    mixed.push(fact(30, late));
    assert_eq!(store::record(pool, &mixed).await.unwrap(), 11);
    for step in [Step::Minute, Step::Hour, Step::Day] {
        assert_eq!(total(pool, step).await, (31, 31 * 150), "{step:?}");
    }
    let hour = TimeDelta::hours(1);
    assert_eq!(store::active_users(pool, now - hour, now + hour).await.unwrap(), 7);
    assert_eq!(store::drop_days(pool, now.date_naive()).await.unwrap(), 1);
    assert_eq!(
        total(pool, Step::Day).await,
        (31, 31 * 150),
        "roll-ups outlive their facts"
    );
    assert_eq!(store::clear_minutes(pool, now - hour, 10).await.unwrap(), 1);
    assert_eq!(store::clear_active(pool, now - hour, 10).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_side_by_side_count_each_fact_once() {
    let database = testkit::migrated_database().await;
    let now = Utc::now();
    store::make_days(&database.pool, &[now.date_naive()].into())
        .await
        .unwrap();
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let pool = database.pool.clone();
            let mut facts: Vec<Fact> = (0..500).map(|n| fact(n, now)).collect();
            facts.rotate_left(writer * 80);
            tokio::spawn(async move { store::record(&pool, &facts).await.unwrap() })
        })
        .collect();
    let mut fresh = 0;
    for writer in writers {
        fresh += writer.await.unwrap();
    }
    assert_eq!(fresh, 500);
    assert_eq!(total(&database.pool, Step::Hour).await, (500, 500 * 150));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_delays_facts_and_loses_none() {
    let database = testkit::migrated_database().await;
    let broker = InProcessBroker::start(3).unwrap();
    broker.create_topics(&TOPICS.map(str::to_owned)).unwrap();
    let pool = database.pool.clone();
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
        total(&pool, Step::Day).await == (300, 300 * 150)
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
        total(&pool, Step::Day).await == (301, 301 * 150)
    })
    .await;
    stop.cancel();
    running.await.unwrap();
}

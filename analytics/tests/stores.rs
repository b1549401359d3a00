//! Both stores count alike: the same facts, the same questions, the same answers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use analytics::fact::{Arrived, Fact, TOPICS, USER_ACTION};
use analytics::report::{self, Range, Report};
use analytics::store::{ClickHouse, Count, Step, Store, Time};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use proptest::prelude::Rng as _;
use proptest::test_runner::{Config, TestRng, TestRunner};
use serde_json::{Value, json};
use testkit::{ClickHouseServer, TestDatabase, eventually};
use tokio_util::sync::CancellationToken;
use transport::{InProcessBroker, Outgoing, Producer};

const LIMIT: Duration = Duration::from_secs(60);

async fn postgres() -> (TestDatabase, Store) {
    let database = testkit::migrated_database().await;
    let store = Store::from(database.pool.clone());
    (database, store)
}

async fn clickhouse() -> Option<(ClickHouseServer, Store)> {
    let server = ClickHouseServer::start()?;
    let store = Store::from(ClickHouse::new(server.url("shop").parse().unwrap()));
    store.prepare().await.unwrap();
    // Whoever is there already has them made again, and nothing changes.
    store.prepare().await.unwrap();
    Some((server, store))
}

fn message(id: &str, topic: &str, at: DateTime<Utc>, data: &Value) -> Outgoing {
    Outgoing {
        topic: topic.to_owned(),
        partition: 0,
        key: None,
        headers: vec![
            ("ce_id".to_owned(), id.to_owned()),
            ("ce_time".to_owned(), at.to_rfc3339()),
        ],
        payload: data.to_string().into_bytes(),
    }
}

fn fact(id: &str, topic: &str, at: DateTime<Utc>, data: &Value) -> Fact {
    let payload = data.to_string();
    let arrived = Arrived {
        topic,
        id: Some(id),
        time: Some(&at.to_rfc3339()),
        payload: payload.as_bytes(),
    };
    Fact::read(arrived, Utc::now()).unwrap()
}

/// What a shop might tell within three days, drawn by chance: bookings that go some way, users who look around, messages, and how the system was.
fn told(random: &mut TestRng, now: DateTime<Utc>) -> Vec<Fact> {
    let mut pick = |below: u64| random.next_u64() % below;
    let mut facts = Vec::new();
    for n in 0..300 {
        let at = now - TimeDelta::milliseconds(pick(3 * 24 * 3_600_000) as i64);
        let began = u64::try_from(at.timestamp_millis()).unwrap();
        let booking = uuid::Uuid::new_v7(uuid::Timestamp::from_unix_time(
            began / 1_000,
            (began % 1_000) as u32 * 1_000_000,
            0,
            0,
        ));
        let event = ["tour", "encore", "o'brien\\ \"x\"", "ünï"][pick(4) as usize];
        let currency = if event == "encore" { "eur" } else { "usd" };
        let data = json!({
            "bookingId": booking, "eventId": event, "userId": format!("usr_{}", pick(40)), "totalCents": pick(100_000),
            "amountCents": pick(100_000), "currency": currency,
        });
        let mut add = |topic: &str, after: u64| {
            let at = at + TimeDelta::milliseconds(after as i64);
            facts.push(fact(&format!("{n}/{topic}"), topic, at.min(now), &data));
        };
        let mut after = 0;
        let way = [
            "booking.initiated",
            "seat.reserved",
            "payment.requested",
            "payment.completed",
            "booking.confirmed",
        ];
        for topic in way.into_iter().take(1 + pick(5) as usize) {
            add(topic, after);
            after += pick(90_000);
        }
        if pick(4) == 0 {
            add(
                ["payment.failed", "payment.refunded", "booking.cancelled"][pick(3) as usize],
                after,
            );
        }
        if pick(3) == 0 {
            add(
                ["notification.email", "notification.delivered", "notification.failed"][pick(3) as usize],
                after,
            );
        }
        let action = ["event_viewed", "seats_viewed", "checkout_begun", "searched"][pick(4) as usize];
        let visitor = format!("day_{}", pick(30));
        let seen = json!({"action": action, "sessionId": visitor, "eventId": event, "userId": null});
        facts.push(fact(&format!("{n}/action"), USER_ACTION, at, &seen));
        if pick(10) == 0 {
            facts.push(fact(
                &format!("{n}/system"),
                "analytics.system-metrics",
                at,
                &json!({"activeUsers": pick(9)}),
            ));
        }
    }
    facts
}

/// In an order of our own: each database has one for texts.
fn sorted(mut counts: Vec<Count>) -> Vec<Count> {
    counts.sort_by(|a, b| (a.since, &a.kind, &a.event_id).cmp(&(b.since, &b.kind, &b.event_id)));
    counts
}

/// All that may be asked, of one store.
async fn answers(store: &Store, now: DateTime<Utc>) -> Vec<String> {
    let time = Time {
        from: now - TimeDelta::days(4),
        to: now + TimeDelta::minutes(1),
    };
    let some = ["tour".to_owned(), "o'brien\\ \"x\"".to_owned()];
    let mut answers = Vec::new();
    for step in [Step::Minute, Step::Hour, Step::Day] {
        // By minute, what the chart of a day may show.
        let from = if step == Step::Minute {
            now - TimeDelta::days(1)
        } else {
            time.from
        };
        let report: Report = report::report(store, Range::new(from, time.to, step).unwrap())
            .await
            .unwrap();
        answers.push(format!("{step:?}: {}", serde_json::to_string_pretty(&report).unwrap()));
        answers.push(format!(
            "{step:?}: {:?}",
            sorted(store.counts(step, time).await.unwrap())
        ));
        answers.push(format!(
            "{step:?}: {:?}",
            sorted(store.event_counts(step, time, &some).await.unwrap())
        ));
    }
    answers.push(format!("{:?}", sorted(store.event_totals(time, &some).await.unwrap())));
    answers.push(format!("{:?}", store.event_totals(time, &[]).await.unwrap()));
    let kinds = ["booking.confirmed", "booking.initiated", "nothing"];
    answers.push(format!("{:?}", store.kinds(time, kinds).await.unwrap()));
    answers.push(format!("{:?}", store.popular(Step::Minute, time, 2).await.unwrap()));
    answers.push(format!("{:?}", store.active_users(time).await.unwrap()));
    answers.push(format!("{:?}", store.funnel(time, Some(&some)).await.unwrap()));
    answers.push(format!("{:?}", store.funnel(time, Some(&[])).await.unwrap()));
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_tell_the_same_of_the_same_facts() {
    let (_database, postgres) = postgres().await;
    let Some((_server, clickhouse)) = clickhouse().await else {
        return;
    };
    let mut runner = TestRunner::new(Config::default());
    // To the millisecond, as events have it.
    let now = Utc::now().duration_trunc(TimeDelta::milliseconds(1)).unwrap();
    let facts = told(runner.rng(), now);
    assert_eq!(
        answers(&postgres, now).await,
        answers(&clickhouse, now).await,
        "of nothing"
    );
    for store in [&postgres, &clickhouse] {
        let mut days = BTreeSet::new();
        // In pieces, out of order, each twice or thrice, some within the same piece.
        for part in facts.chunks(170).rev() {
            let twice: Vec<Fact> = part.iter().chain(part.iter().take(20)).cloned().collect();
            store.record(&twice, &mut days).await.unwrap();
            store.record(&part[..part.len() / 2], &mut days).await.unwrap();
        }
    }
    let (ours, theirs) = (answers(&postgres, now).await, answers(&clickhouse, now).await);
    for (one, other) in ours.iter().zip(&theirs) {
        assert_eq!(one, other);
    }
    let time = Time {
        from: now - TimeDelta::days(4),
        to: now + TimeDelta::minutes(1),
    };
    let begun = facts.iter().filter(|fact| fact.kind == "booking.initiated").count() as i64;
    assert_eq!(clickhouse.kinds(time, ["booking.initiated"]).await.unwrap(), [begun]);
    assert_eq!(begun, 300);
}

/// Repeats, a store that is slow to be there, and one consumer after the other: the suite that both pass.
async fn counts_are_exact(store: Store) {
    let broker = InProcessBroker::start(3).unwrap();
    broker.create_topics(&TOPICS.map(str::to_owned)).unwrap();
    let producer = Producer::new(&broker.config("test")).unwrap();
    let now = Utc::now();
    let late = now - TimeDelta::days(3);
    let confirmed = |n: usize, at: DateTime<Utc>| {
        let data = json!({"bookingId": format!("b{n}"), "eventId": "tour", "userId": format!("u{}", n % 7), "totalCents": 150, "currency": "usd"});
        message(&format!("{n}"), "booking.confirmed", at, &data)
    };
    let time = Time {
        from: now - TimeDelta::days(30),
        to: now + TimeDelta::days(1),
    };
    let total = async || {
        let counts = store.counts(Step::Day, time).await.unwrap();
        let cents: i64 = counts.iter().map(|count| count.cents).sum();
        (counts.iter().map(|count| count.facts).sum::<i64>(), cents)
    };
    let mut wanted = 0;
    for round in 0..2 {
        let stop = CancellationToken::new();
        let running = tokio::spawn(analytics::consumer::run(
            store.clone(),
            broker.config("test"),
            stop.clone(),
        ));
        let first = round * 200;
        for n in (first..first + 250).chain(first..first + 100) {
            producer.send(confirmed(n, now)).await.unwrap();
        }
        producer.send(confirmed(9_000 + round, late)).await.unwrap();
        producer
            .send(message("x", "booking.confirmed", now, &json!("nonsense")))
            .await
            .unwrap();
        wanted = first as i64 + 250 + round as i64 + 1;
        eventually("all are counted, each once", LIMIT, async || {
            total().await == (wanted, wanted * 150)
        })
        .await;
        stop.cancel();
        running.await.unwrap();
    }
    assert_eq!(total().await, (wanted, wanted * 150));
    assert_eq!(store.active_users(time).await.unwrap(), 7);
    let range = Range::new(late, now, Step::Hour).unwrap();
    let report = report::report(&store, range).await.unwrap();
    assert_eq!(report.total.confirmed, wanted);
    let table = report::csv(&report);
    assert!(table.starts_with("since,activeUsers,initiated") && table.lines().count() == report.points.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_in_postgres() {
    let (_database, store) = postgres().await;
    counts_are_exact(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_exact_in_clickhouse() {
    let Some((_server, store)) = clickhouse().await else {
        return;
    };
    counts_are_exact(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_outlive_their_facts_in_both_stores() {
    let (_database, postgres) = postgres().await;
    let clickhouse = clickhouse().await;
    let stores = [Some(postgres), clickhouse.as_ref().map(|(_, store)| store.clone())];
    for store in stores.into_iter().flatten() {
        let now = Utc::now();
        let then = now - TimeDelta::days(80);
        let data = json!({"bookingId": "b", "eventId": "tour", "userId": "u", "totalCents": 150, "currency": "usd"});
        let facts = [
            fact("1", "booking.confirmed", then, &data),
            fact("2", "booking.confirmed", then, &data),
            fact("3", "booking.confirmed", now, &data),
        ];
        store.record(&facts, &mut BTreeSet::new()).await.unwrap();
        store.record(&facts, &mut BTreeSet::new()).await.unwrap();
        let later = now + TimeDelta::days(20);
        let cleared = store.clear_away(later).await.unwrap();
        assert_eq!(cleared.days, 1, "the facts of one day are over");
        assert_eq!(store.clear_away(later).await.unwrap().days, 0);
        let time = Time {
            from: now - TimeDelta::days(100),
            to: now + TimeDelta::days(1),
        };
        for step in [Step::Hour, Step::Day] {
            let counts = store.counts(step, time).await.unwrap();
            let facts: Vec<i64> = counts.iter().map(|count| count.facts).collect();
            assert_eq!(facts, [2, 1], "{step:?}: {counts:?}");
        }
    }
}

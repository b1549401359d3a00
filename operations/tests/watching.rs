//! Judging and deciding on a real Postgres, and the activity that carries decisions out.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use activities::{Handler, Registry, TaskContext};
use async_trait::async_trait;
use chrono::DurationRound as _;
use operations::gather::Sample;
use operations::rules::Metric;
use operations::scaler::{ScaleError, Scaler};
use operations::watch::{Plan, look};
use operations::{setting, store};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, Task, Token};

fn plan() -> Plan {
    Plan {
        rules: "HIGH_LOAD: active_users > 100 for 0s until < 80 for 0s scale worker-seats=10"
            .parse()
            .unwrap(),
        targets: "worker-seats=2..20".parse().unwrap(),
        cool_down: Duration::ZERO,
        every: Duration::from_secs(1),
        scales: true,
    }
}

fn users(count: f64) -> Sample {
    Sample::from([(Metric::ActiveUsers, count)])
}

/// The sagas that are to be started, which are then forgotten.
async fn wishes(pool: &PgPool) -> Vec<(String, Value)> {
    let wishes = store::wishes(pool, 100).await.unwrap();
    let ids: Vec<Uuid> = wishes.iter().map(|(id, ..)| *id).collect();
    store::told(pool, &ids).await.unwrap();
    wishes
        .into_iter()
        .map(|(_, workflow, input)| (workflow, input))
        .collect()
}

#[tokio::test]
async fn an_alert_is_raised_once_with_its_workers_and_ended_once() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    let plan = plan();
    look(&plan, pool, &users(1.0)).await.unwrap();
    let begun = wishes(pool).await;
    assert_eq!(
        begun.len(),
        1,
        "at first there are as many workers as there must be: {begun:?}"
    );
    assert_eq!(begun[0].1["targets"], json!([{"name": "worker-seats", "replicas": 2}]));

    for _ in 0..3 {
        look(&plan, pool, &users(120.0)).await.unwrap();
    }
    let mut raised = wishes(pool).await;
    raised.sort_by(|a, b| a.0.cmp(&b.0));
    let [(scale, scaled), (alert, told)] = raised.as_slice() else {
        panic!("{raised:?}")
    };
    assert_eq!((scale.as_str(), alert.as_str()), ("scale_out", "system_alert"));
    assert_eq!(scaled["targets"], json!([{"name": "worker-seats", "replicas": 10}]));
    assert_eq!(
        (&scaled["alerts"], &scaled["workers"]),
        (&json!(["HIGH_LOAD"]), &json!("worker-seats: 10"))
    );
    assert_eq!(
        (&told["state"], &told["value"], &told["threshold"]),
        (&json!("raised"), &json!(120.0), &json!(100.0))
    );

    // Nobody can tell how many there are: everything stays.
    look(&plan, pool, &Sample::new()).await.unwrap();
    assert_eq!(wishes(pool).await, []);

    look(&plan, pool, &users(10.0)).await.unwrap();
    let ended = wishes(pool).await;
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert!(
        ended
            .iter()
            .any(|(_, input)| input["state"] == "ended" && input["alertId"] == told["alertId"])
    );
    let alerts = store::alerts(pool, 10).await.unwrap();
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].ended_at.is_some(), "{alerts:?}");
}

#[tokio::test]
async fn only_one_of_many_who_look_at_once_judges() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    let plan = plan();
    let sample = users(120.0);
    futures::future::try_join_all((0..8).map(|_| look(&plan, pool, &sample)))
        .await
        .unwrap();
    let raised = wishes(pool).await;
    assert_eq!(
        raised.iter().filter(|(workflow, _)| workflow == "system_alert").count(),
        1,
        "{raised:?}"
    );
    assert_eq!(
        raised.iter().filter(|(workflow, _)| workflow == "scale_out").count(),
        1,
        "{raised:?}"
    );
}

#[tokio::test]
async fn a_rule_that_is_gone_takes_its_alert_along() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    let mut plan = plan();
    look(&plan, pool, &users(120.0)).await.unwrap();
    plan.rules.0.clear();
    look(&plan, pool, &users(120.0)).await.unwrap();
    assert!(store::alerts(pool, 10).await.unwrap()[0].ended_at.is_some());
    assert_eq!(store::wanted(pool).await.unwrap()["worker-seats"].replicas, 2);
}

/// A scaler that notes what it is told, and fails when it is to.
#[derive(Default)]
struct Scripted {
    told: Mutex<Vec<(String, u32)>>,
    fails: Mutex<Option<ScaleError>>,
}

#[async_trait]
impl Scaler for Scripted {
    async fn set(&self, target: &str, replicas: u32) -> Result<(), ScaleError> {
        if let Some(error) = self.fails.lock().unwrap().take() {
            return Err(error);
        }
        self.told.lock().unwrap().push((target.to_owned(), replicas));
        Ok(())
    }
}

/// What `scaling.set` makes of a decision.
async fn set(pool: &PgPool, scaler: &Arc<Scripted>, decision: i64, replicas: u32) -> Outcome {
    let mut registry = Registry::new();
    setting::register(&mut registry, pool.clone(), plan().targets, scaler.clone());
    let Some(Handler::Single(activity)) = registry.get("scaling", "scaling.set") else {
        panic!("it is registered")
    };
    let task = Task {
        token: Token {
            saga: SagaId(Uuid::now_v7()),
            step: "set".into(),
            role: Role::Run,
            attempt: 1,
            epoch: 1,
        },
        workflow: "scale_out".into(),
        activity: "scaling.set".into(),
        key: "key".into(),
        input: Value::Null,
        deadline: Timestamp(i64::MAX),
        traceparent: None,
    };
    let context = TaskContext::new(&task, CancellationToken::new());
    let input = json!({"decision": decision, "targets": [{"name": "worker-seats", "replicas": replicas}]});
    activity.run(&context, input).await
}

#[tokio::test]
async fn only_the_newest_decision_is_carried_out_and_none_past_the_limits() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    let scaler = Arc::new(Scripted::default());
    let decide = async |replicas: u32| {
        let changes = [("worker-seats".to_owned(), replicas)];
        store::want(pool, &changes, chrono::Utc::now()).await.unwrap()
    };
    let first = decide(5).await;
    let second = decide(7).await;
    assert!(matches!(set(pool, &scaler, second, 7).await, Outcome::Succeeded { .. }));
    // It comes late, and the newest comes twice.
    let late = set(pool, &scaler, first, 5).await;
    assert!(
        matches!(&late, Outcome::Succeeded { output } if output == &json!({"set": []})),
        "{late:?}"
    );
    assert!(matches!(set(pool, &scaler, second, 7).await, Outcome::Succeeded { .. }));
    let told = std::mem::take(&mut *scaler.told.lock().unwrap());
    assert_eq!(told, [("worker-seats".to_owned(), 7), ("worker-seats".to_owned(), 7)]);

    let third = decide(21).await;
    let refused = set(pool, &scaler, third, 21).await;
    assert!(
        matches!(&refused, Outcome::Failed { code, retryable: false, .. } if code == setting::PAST_LIMIT),
        "{refused:?}"
    );
    assert_eq!(*scaler.told.lock().unwrap(), []);
}

#[tokio::test]
async fn a_scaler_that_is_away_is_tried_again_and_one_that_refuses_is_not() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    let scaler = Arc::new(Scripted::default());
    let decision = store::want(pool, &[("worker-seats".to_owned(), 3)], chrono::Utc::now())
        .await
        .unwrap();
    for (error, code, tries_again) in [
        (ScaleError::Away("gone".into()), setting::SCALER_AWAY, true),
        (ScaleError::Refused("never".into()), setting::REFUSED, false),
    ] {
        *scaler.fails.lock().unwrap() = Some(error);
        let outcome = set(pool, &scaler, decision, 3).await;
        let Outcome::Failed {
            code: said, retryable, ..
        } = &outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((said.as_str(), *retryable), (code, tries_again));
    }
    assert!(matches!(
        set(pool, &scaler, decision, 3).await,
        Outcome::Succeeded { .. }
    ));
    assert_eq!(*scaler.told.lock().unwrap(), [("worker-seats".to_owned(), 3)]);
}

#[tokio::test]
async fn a_minutes_metrics_are_published_once_however_many_watch() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    let kafka = transport::InProcessBroker::start(2).unwrap();
    kafka.create_topics(&["sagaline.tasks.seats".to_owned()]).unwrap();
    let store = analytics::store::Store::from(pool.clone());
    let minute = (chrono::Utc::now() - chrono::TimeDelta::minutes(3)).duration_trunc(chrono::TimeDelta::minutes(1));
    let minute = minute.unwrap();
    // Whoever watched before has published until then.
    sqlx::query("update ops.watch set booking_minute = $1")
        .bind(minute)
        .execute(pool)
        .await
        .unwrap();
    let facts: Vec<analytics::fact::Fact> = (0..5)
        .map(|n| {
            let kind = if n < 3 { "booking.initiated" } else { "payment.completed" };
            let time = (minute + chrono::TimeDelta::seconds(61)).to_rfc3339();
            let data = json!({"bookingId": format!("b{n}"), "eventId": "tour", "userId": format!("u{n}"), "amountCents": 700, "currency": "usd"});
            let (id, payload) = (n.to_string(), data.to_string());
            let arrived = analytics::fact::Arrived {
                topic: kind,
                id: Some(&id),
                time: Some(&time),
                payload: payload.as_bytes(),
            };
            analytics::fact::Fact::read(arrived, chrono::Utc::now()).unwrap()
        })
        .collect();
    store.record(&facts, &mut Default::default()).await.unwrap();
    let sources = operations::gather::Sources {
        engine: pool.clone(),
        analytics: store,
        kafka: kafka.config("test"),
        group_prefix: "test-".to_owned(),
        askers: Default::default(),
    };
    let plan = plan();
    look(&plan, pool, &users(120.0)).await.unwrap();
    wishes(pool).await;
    let all = (0..6).map(|_| operations::metrics::wish(pool, &sources, &plan.targets));
    futures::future::try_join_all(all).await.unwrap();
    let told = wishes(pool).await;
    assert!(
        told.iter().all(|(workflow, _)| workflow == "platform_metrics"),
        "{told:?}"
    );
    let of = |kind: &str| -> Vec<&Value> {
        told.iter()
            .map(|(_, input)| input)
            .filter(|input| input["kind"] == kind)
            .collect()
    };
    // The minute may have turned while they looked.
    let system = of("system");
    assert!((1..=2).contains(&system.len()), "{told:?}");
    let metrics = &system[0]["metrics"];
    assert_eq!(
        (&metrics["alerts"], &metrics["wantedWorkers"]),
        (&json!(["HIGH_LOAD"]), &json!({"worker-seats": 10}))
    );
    assert!(
        metrics["outboxSeconds"].is_number() && metrics["activeUsers"].is_number(),
        "{metrics}"
    );
    let minutes: std::collections::BTreeSet<String> =
        of("booking").iter().map(|input| input["minute"].to_string()).collect();
    assert_eq!(minutes.len(), of("booking").len(), "each minute once: {told:?}");
    let first = &of("booking")[0]["metrics"];
    let expected = (minute + chrono::TimeDelta::minutes(1)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert_eq!(first["minute"], expected, "where the last one stopped");
    assert_eq!(
        (&first["initiated"], &first["revenueCents"]),
        (&json!(3), &json!({"usd": 1_400}))
    );
    assert_eq!(first["popularEvents"], json!([{"eventId": "tour", "bookings": 3}]));
}

/// More workers help a queue that they don't keep up with; not one that an operator has paused or limited.
#[tokio::test]
async fn tasks_that_wait_because_workers_dont_keep_up_are_counted() {
    let database = testkit::migrated_database().await;
    let pool = &database.pool;
    sqlx::query(
        "insert into saga.held_tasks (saga_id, step, queue, due_at)
         select gen_random_uuid(), 'only', queue, now()
         from (values ('seats'), ('payments'), ('email'), ('other')) as q(queue), generate_series(1, 3)",
    )
    .execute(pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into saga.queues (queue, paused, rate, changed_by, reason)
         values ('payments', true, null, 'ada', ''), ('email', false, 5, 'ada', ''), ('other', false, null, 'ada', '')",
    )
    .execute(pool)
    .await
    .unwrap();
    let asked = ["seats", "payments", "email", "nobody's"];
    let held = store::held_back(pool, &asked).await.unwrap();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [("seats".to_owned(), 3)]);
    let held = store::held_back(pool, &["other"]).await.unwrap();
    assert_eq!(held.get("other"), Some(&3), "what was said of it once is over");
}

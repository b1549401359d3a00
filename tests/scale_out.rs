//! More work than is done raises an alert, real worker processes come and do it, and go once it is done.
#![allow(clippy::unwrap_used)]

mod running;

use std::time::Duration;

use chrono::{DateTime, Utc};
use orchestrator::client::{EngineClient, HttpClient, StartRequest};
use running::Dev;
use serde_json::json;
use sqlx::PgPool;
use testkit::eventually;
use workflows::builder::{step, workflow};
use workflows::ids::SagaId;
use workflows::tickets::reference::QUEUE;

/// What the mission allows from the decision to more workers, of which a machine with other things to do may take all.
const LIMIT: Duration = Duration::from_secs(120);
/// Sagas that nobody works on.
const SAGAS: u64 = 50;

/// The processes that were started as workers by this one.
fn workers(parent: u32) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let read = |process: &std::fs::DirEntry, file: &str| std::fs::read_to_string(process.path().join(file)).ok();
    let is_worker = |process: &std::fs::DirEntry| {
        let ours = format!("PPid:\t{parent}\n");
        read(process, "status").is_some_and(|status| status.contains(&ours))
            && read(process, "cmdline").is_some_and(|line| line.contains("--with-parent"))
    };
    processes.filter(is_worker).count()
}

async fn start(engine: &HttpClient) -> Vec<SagaId> {
    let request = |n: u64| StartRequest {
        workflow: "errand".to_owned(),
        version: None,
        input: json!({ "n": n }),
        idempotency_key: None,
        tags: Default::default(),
        traceparent: None,
        wait: None,
    };
    let started = engine.start_bulk((1..=SAGAS).map(request).collect()).await.unwrap();
    started.into_iter().map(|started| started.unwrap().saga.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_come_when_work_piles_up_and_go_when_it_is_done() {
    let data = tempfile::tempdir().unwrap();
    let settings = [
        (
            "SAGALINE_ALERTS",
            "BACKLOG: queue_lag > 0.5 for 1s until < 0.5 for 5s scale worker-reference=2".to_owned(),
        ),
        ("SAGALINE_SCALE_TARGETS", "worker-reference=0..3".to_owned()),
        ("SAGALINE_SCALE_COOL_DOWN", "1s".to_owned()),
        ("SAGALINE_ALERTS_EVERY", "500ms".to_owned()),
    ];
    let dev = Dev::start(data.path(), &settings).await;
    let pool = PgPool::connect(dev.url("database")).await.unwrap();
    let engine = HttpClient::new(dev.url("ops")).unwrap();
    // Nobody in this process works on that queue.
    let errand = step("run", "reference.charge", QUEUE).input(json!({ "seatId": "none", "n": "=input.n" }));
    engine.deploy(workflow("errand", 1).then(errand).build()).await.unwrap();
    assert_eq!(workers(dev.process.id()), 0);

    let sagas = start(&engine).await;
    let ended = "select count(*), max(ended_at) from saga.sagas where id = any($1) and ended_at is not null";
    let ids: Vec<uuid::Uuid> = sagas.iter().map(|saga| saga.0).collect();
    let count = async || {
        let (count, last): (i64, Option<DateTime<Utc>>) =
            sqlx::query_as(ended).bind(&ids).fetch_one(&pool).await.unwrap();
        (count, last)
    };
    eventually("the work is done by workers that weren't there", LIMIT, async || {
        count().await.0 == SAGAS as i64
    })
    .await;
    let (raised, ended_at): (DateTime<Utc>, Option<DateTime<Utc>>) =
        sqlx::query_as("select raised_at, ended_at from ops.alerts order by raised_at limit 1")
            .fetch_one(&pool)
            .await
            .unwrap();
    let first: DateTime<Utc> = sqlx::query_scalar("select min(ended_at) from saga.sagas where id = any($1)")
        .bind(&ids)
        .fetch_one(&pool)
        .await
        .unwrap();
    let took = (first - raised).to_std().unwrap();
    eprintln!("from the alert to the new workers' first task done: {took:?} (the alert ended: {ended_at:?})");

    assert_eq!(workers(dev.process.id()), 2);
    eventually("the alert is over", LIMIT, async || {
        let open = "select count(*) from ops.alerts where ended_at is null";
        sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await.unwrap() == 0
    })
    .await;
    eventually("the workers are gone", LIMIT, async || workers(dev.process.id()) == 0).await;

    let metrics = dev
        .http
        .get(format!("{}/metrics", dev.url("ops")))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for metric in [
        r#"sagaline_alert{alert="BACKLOG"} 0"#,
        r#"sagaline_wanted_replicas{target="worker-reference"} 0"#,
    ] {
        assert!(metrics.contains(metric), "{metric} in {metrics}");
    }

    // Operations were told of it all.
    let told = "select distinct kind from ticketing.notifications where channel = 'slack' and sent_at is not null order by kind";
    eventually("operations were told", LIMIT, async || {
        let kinds: Vec<String> = sqlx::query_scalar(told).fetch_all(&pool).await.unwrap();
        kinds == ["alert_ended", "alert_raised", "workers_scaled"]
    })
    .await;
}

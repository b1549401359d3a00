//! What goes wrong around the engine: lost, repeated and unreadable messages, cut connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;
use workflows::protocol::Outcome;
use workflows::state::Status;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn results_that_come_again_change_nothing() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, workflows::tickets::reference::definition()).await;
    world.worker("reference", |task| {
        [reference(task), reference(task), reference(task)].concat()
    });
    let ids = start_all(&engine, (1..=60).map(reference_saga)).await;
    let counts = settle(&engine, &ids).await;
    assert_eq!(
        counts,
        BTreeMap::from([(Status::Completed, 57), (Status::Compensated, 3)])
    );
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, workflows::tickets::reference::definition()).await;
    world.worker("reference", reference);
    let pool = world.database.pool.clone();
    let cutting = tokio::spawn(async move {
        for _ in 0..30 {
            sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and application_name = 'sagaline-engine'",
            )
            .execute(&pool)
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    let mut ids = Vec::new();
    for wave in 0..30 {
        ids.extend(start_all(&engine, (0..20).map(|n| reference_saga(wave * 20 + n + 1))).await);
    }
    cutting.await.unwrap();
    let counts = settle(&engine, &ids).await;
    assert_eq!(
        counts,
        BTreeMap::from([(Status::Completed, 570), (Status::Compensated, 30)])
    );
    let count: i64 = sqlx::query_scalar("select count(*) from saga.sagas")
        .fetch_one(engine.pool())
        .await
        .unwrap();
    assert_eq!(count, 600, "no start was carried out twice");
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_read_blocks_nobody() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, definition("one", json!([step("a")]))).await;
    let stranger = format!(
        r#"{{"v":1,"worker":"w","results":[{{"token":{{"saga":"{}","step":"a","role":"run","attempt":1,"epoch":1}},
            "outcome":"succeeded","output":null}}]}}"#,
        Uuid::now_v7()
    );
    for payload in [&b"\xff\x00"[..], b"{\"v\":1}", b"[]", b"", stranger.as_bytes()] {
        world.send_result(payload).await;
    }
    world.worker("work", succeed);
    let ids = start_all(&engine, (0..20).map(|n| saga("one", json!(n)))).await;
    assert_eq!(settle(&engine, &ids).await, BTreeMap::from([(Status::Completed, 20)]));
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_text_from_workers_is_stored() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, definition("one", json!([step("a")]))).await;
    world.worker("work", |_| {
        vec![Outcome::Failed {
            code: "nul \0 ' \" ü".into(),
            message: "\0\u{1f3ab}".into(),
            retryable: false,
            details: json!({"\0": "\0"}),
        }]
    });
    let started = engine
        .start_saga_and_wait(saga("one", json!("in\0put")), LIMIT)
        .await
        .unwrap();
    assert_eq!(started.settled.unwrap().summary.status, Status::Compensated);
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_tasks_are_sent_again() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, definition("one", json!([step("a")]))).await;
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    world.worker("work", move |task| {
        // The first delivery of every task is lost.
        if counted.fetch_add(1, Ordering::Relaxed) < 10 {
            vec![]
        } else {
            succeed(task)
        }
    });
    let ids = start_all(&engine, (0..10).map(|n| saga("one", json!(n)))).await;
    until("all tasks were lost", async || seen.load(Ordering::Relaxed) >= 10).await;
    assert_eq!(engine.redispatch_all().await.unwrap(), 10);
    assert_eq!(settle(&engine, &ids).await, BTreeMap::from([(Status::Completed, 10)]));
    world.audit(&engine).await;
}

//! Whole runs, one replica and several, and what is removed afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestrator::options::Failpoint;
use orchestrator::store::reads::{self, SagaFilter};
use orchestrator::{EngineError, EngineOptions};
use serde_json::json;
use workflows::event::{Command, CommandEvent};
use workflows::ids::SagaId;
use workflows::state::Status;

use crate::support::*;

fn command(command: Command) -> CommandEvent {
    CommandEvent {
        command,
        by: "test".into(),
        reason: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_run_to_their_ends() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, workflows::tickets::reference::definition()).await;
    world.worker("reference", reference);
    let ids = start_all(&engine, (1..=200).map(reference_saga)).await;
    let counts = settle(&engine, &ids).await;
    assert_eq!(
        counts,
        BTreeMap::from([(Status::Completed, 190), (Status::Compensated, 10)])
    );
    world.audit(&engine).await;

    let undone = SagaFilter {
        status: vec![Status::Compensated],
        ..SagaFilter::default()
    };
    let listed = reads::list(engine.pool(), &undone, 50).await.unwrap();
    assert_eq!(listed.len(), 10);
    assert_eq!(listed[0].failure_code.as_deref(), Some("declined"));
    assert_eq!(listed[0].failure_step.as_deref(), Some("charge"));
    let all = reads::list(engine.pool(), &SagaFilter::default(), 7).await.unwrap();
    let next = SagaFilter {
        after: Some(all[6].id),
        ..SagaFilter::default()
    };
    let next = reads::list(engine.pool(), &next, 7).await.unwrap();
    assert!(
        all[6].id > next[0].id && next.len() == 7,
        "a page goes on where the last ended"
    );
    engine.shutdown().await;
    assert!(matches!(
        engine.start_saga(reference_saga(1)).await,
        Err(EngineError::ShuttingDown)
    ));
    let instances: i64 = sqlx::query_scalar("select count(*) from saga.instances")
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
    assert_eq!(instances, 0, "it has left");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_work_and_never_fight() {
    let mut world = World::new().await;
    let engines = [world.engine().await, world.engine().await];
    deploy(&engines[0], definition("two", json!([step("a"), step("b")]))).await;
    world.worker("work", succeed);
    // Both replicas send every saga commands all the while.
    let started = engines[0]
        .start_sagas((0..100).map(|n| saga("two", json!(n))).collect())
        .await;
    let ids: Arc<Vec<SagaId>> = Arc::new(started.into_iter().map(|started| started.unwrap().id).collect());
    let meddling: Vec<_> = engines
        .iter()
        .map(|engine| {
            let (engine, ids) = (engine.clone(), Arc::clone(&ids));
            tokio::spawn(async move {
                for id in ids.iter() {
                    let _ = engine.command(*id, command(Command::Pause {}), None).await;
                    let _ = engine.command(*id, command(Command::Resume {}), None).await;
                }
            })
        })
        .collect();
    for meddler in meddling {
        meddler.await.unwrap();
    }
    for id in ids.iter() {
        let _ = engines[1].command(*id, command(Command::Resume {}), None).await;
    }
    assert_eq!(
        settle(&engines[1], &ids).await,
        BTreeMap::from([(Status::Completed, 100)])
    );
    world.audit(&engines[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_publishes_what_a_dead_one_left() {
    let mut world = World::new().await;
    world.worker("work", succeed);
    let dying = world
        .engine_with(EngineOptions {
            failpoint: Failpoint::BeforePublish,
            ..options()
        })
        .await;
    deploy(&dying, definition("one", json!([step("a")]))).await;
    let started = dying.start_saga(saga("one", json!(1))).await.unwrap();
    dying.crash();
    drop(dying);
    let heir = world.engine().await;
    assert_eq!(
        settle(&heir, &[started.id]).await,
        BTreeMap::from([(Status::Completed, 1)])
    );
    world.audit(&heir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_removed() {
    let mut world = World::new().await;
    let engine = world
        .engine_with(EngineOptions {
            cache: false,
            ..options()
        })
        .await;
    deploy(&engine, definition("one", json!([step("a")]))).await;
    world.worker("work", succeed);
    let started = engine.start_saga(saga("one", json!(1))).await.unwrap();
    settle(&engine, &[started.id]).await;
    let pool = engine.pool();
    assert_eq!(
        orchestrator::store::retention::delete_ended(pool, 3600.0, 10)
            .await
            .unwrap(),
        0,
        "not yet old"
    );
    until("it is old", async || {
        orchestrator::store::retention::delete_ended(pool, 0.0, 10)
            .await
            .unwrap()
            == 1
    })
    .await;
    assert_eq!(
        orchestrator::store::retention::drop_journal_partitions(pool, 0.0)
            .await
            .unwrap(),
        0,
        "this week's"
    );
    sqlx::raw_sql(
        "do $$ begin execute format(
             'create table saga.journal_2020w01 partition of saga.journal for values from (%L) to (%L)',
             saga.first_id_at('2019-12-30Z'), saga.first_id_at('2020-01-06Z')); end $$",
    )
    .execute(pool)
    .await
    .unwrap();
    assert_eq!(
        orchestrator::store::retention::drop_journal_partitions(pool, 0.0)
            .await
            .unwrap(),
        1
    );
}

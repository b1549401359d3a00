//! Starts: keys, bad ones, definitions by version.

use std::collections::BTreeMap;

use orchestrator::{EngineError, NewSaga};
use serde_json::{Value, json};
use workflows::ids::SagaId;
use workflows::state::Status;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_one_saga() {
    let mut world = World::new().await;
    let engines = [world.engine().await, world.engine().await];
    deploy(&engines[0], definition("one", json!([step("a")]))).await;
    engines[1].definitions().refresh().await.unwrap();
    world.worker("work", succeed);
    let keyed = |input: Value| NewSaga {
        idempotency_key: Some("k \" 'ü".into()),
        ..saga("one", input)
    };
    let racing = (0..40).map(|n| {
        let (engine, new) = (engines[n % 2].clone(), keyed(json!(1)));
        tokio::spawn(async move { engine.start_saga(new).await.unwrap() })
    });
    let answers = futures::future::join_all(racing).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer.id == answers[0].id));
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    let other = engines[0].start_saga(keyed(json!(2))).await;
    assert!(matches!(other, Err(EngineError::KeyReused { .. })), "{other:?}");
    let again = engines[1].start_saga_and_wait(keyed(json!(1)), LIMIT).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.settled.unwrap().summary.status, Status::Completed);
    let count: i64 = sqlx::query_scalar("select count(*) from saga.sagas")
        .fetch_one(engines[0].pool())
        .await
        .unwrap();
    assert_eq!(count, 1);
    world.audit(&engines[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_starts_are_refused_by_themselves() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, definition("one", json!([step("a")]))).await;
    world.worker("work", succeed);
    let good = saga("one", json!(1));
    let bad = [
        NewSaga {
            workflow: "none".into(),
            ..good.clone()
        },
        NewSaga {
            version: Some(7),
            ..good.clone()
        },
        NewSaga {
            idempotency_key: Some("a\0b".into()),
            ..good.clone()
        },
        NewSaga {
            idempotency_key: Some(String::new()),
            ..good.clone()
        },
        NewSaga {
            business_key: Some("x".repeat(600)),
            ..good.clone()
        },
        NewSaga {
            tags: BTreeMap::from([("a".into(), "\0".into())]),
            ..good.clone()
        },
        NewSaga {
            input: json!("x".repeat(300_000)),
            ..good.clone()
        },
    ];
    let mut all = vec![good.clone()];
    all.extend(bad);
    all.push(good);
    let answers = engine.start_sagas(all).await;
    let accepted: Vec<SagaId> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .map(|s| s.id)
        .collect();
    assert_eq!(accepted.len(), 2, "{answers:?}");
    assert_eq!(
        settle(&engine, &accepted).await,
        BTreeMap::from([(Status::Completed, 2)])
    );
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_kept_by_version() {
    let world = World::new().await;
    let engines = [world.engine().await, world.engine().await];
    let one = definition("one", json!([step("a")]));
    let (first, created) = engines[0].definitions().deploy(one.clone()).await.unwrap();
    assert!(created);
    let (again, created) = engines[1].definitions().deploy(one.clone()).await.unwrap();
    assert!(!created && again.id == first.id);
    let changed = definition("one", json!([step("b")]));
    let conflict = engines[1].definitions().deploy(changed.clone()).await;
    assert!(
        matches!(conflict, Err(EngineError::DefinitionConflict { .. })),
        "{conflict:?}"
    );
    let second = workflows::definition::Definition { version: 2, ..changed };
    engines[1].definitions().deploy(second).await.unwrap();
    until("the other replica sees it", async || {
        engines[0].definitions().by_name("one", None).await.unwrap().version() == 2
    })
    .await;
}

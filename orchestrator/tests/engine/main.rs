//! The engine on real Postgres and a real broker: what goes well, and what goes wrong.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orchestrator::options::Failpoint;
use orchestrator::store::reads::{self, SagaFilter};
use orchestrator::{EngineError, EngineOptions, NewSaga, SignalReceipt};
use serde_json::{Value, json};
use uuid::Uuid;
use workflows::event::{Command, CommandEvent, Signal};
use workflows::ids::SagaId;
use workflows::protocol::Outcome;
use workflows::state::Status;

use support::*;

fn command(command: Command) -> CommandEvent {
    CommandEvent {
        command,
        by: "test".into(),
        reason: String::new(),
    }
}

fn signal(id: &str, name: &str) -> Signal {
    Signal {
        id: id.into(),
        name: name.into(),
        payload: json!({"from": id}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_run_to_their_ends() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(workflows::tickets::reference::definition())
        .await
        .unwrap();
    world.worker("reference", reference);
    let started = engine.start_sagas((1..=200).map(reference_saga).collect()).await;
    let ids: Vec<SagaId> = started.into_iter().map(|started| started.unwrap().id).collect();
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
async fn waiting_gives_the_end() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(workflows::tickets::reference::definition())
        .await
        .unwrap();
    world.worker("reference", reference);
    let (started, record) = engine.start_saga_and_wait(reference_saga(20), LIMIT).await.unwrap();
    let record = record.unwrap();
    assert_eq!(record.summary.status, Status::Compensated);
    assert_eq!(
        engine.saga(started.id).await.unwrap().unwrap(),
        record,
        "what was known is what is stored"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_come_again_change_nothing() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(workflows::tickets::reference::definition())
        .await
        .unwrap();
    world.worker("reference", |task| {
        [reference(task), reference(task), reference(task)].concat()
    });
    let started = engine.start_sagas((1..=60).map(reference_saga).collect()).await;
    let ids: Vec<SagaId> = started.into_iter().map(|started| started.unwrap().id).collect();
    let counts = settle(&engine, &ids).await;
    assert_eq!(
        counts,
        BTreeMap::from([(Status::Completed, 57), (Status::Compensated, 3)])
    );
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_the_work_and_never_fight() {
    let mut world = World::new().await;
    let engines = [world.engine().await, world.engine().await];
    engines[0]
        .definitions()
        .deploy(definition("two", json!([step("a"), step("b")])))
        .await
        .unwrap();
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
    dying
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
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
async fn a_key_gives_one_saga() {
    let mut world = World::new().await;
    let engines = [world.engine().await, world.engine().await];
    engines[0]
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
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
    let (again, record) = engines[1].start_saga_and_wait(keyed(json!(1)), LIMIT).await.unwrap();
    assert!(again.replayed);
    assert_eq!(record.unwrap().summary.status, Status::Completed);
    let count: i64 = sqlx::query_scalar("select count(*) from saga.sagas")
        .fetch_one(engines[0].pool())
        .await
        .unwrap();
    assert_eq!(count, 1);
    world.audit(&engines[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_taken_once_and_may_come_early() {
    let world = World::new().await;
    let engine = world.engine().await;
    let wait = json!([{"kind": "wait_for", "name": "paid", "signal": "paid", "deadline": "1h",
                       "on_deadline": {"to": "compensate"}},
                      {"kind": "wait_for", "name": "shipped", "signal": "shipped", "deadline": "1h",
                       "on_deadline": {"to": "compensate"}}]);
    engine.definitions().deploy(definition("waits", wait)).await.unwrap();
    let id = SagaId(Uuid::now_v7());
    assert_eq!(
        engine.signal(id, signal("s1", "paid")).await.unwrap(),
        SignalReceipt::Parked
    );
    assert_eq!(
        engine.signal(id, signal("s1", "paid")).await.unwrap(),
        SignalReceipt::Duplicate
    );
    let new = NewSaga {
        id: Some(id),
        ..saga("waits", json!({}))
    };
    engine.start_saga(new.clone()).await.unwrap();
    assert!(matches!(engine.start_saga(new).await, Err(EngineError::SagaExists(_))));
    let record = engine.saga(id).await.unwrap().unwrap();
    assert_eq!(
        (record.summary.status, record.summary.seq),
        (Status::Waiting, 2),
        "the early one was taken at once"
    );
    assert_eq!(
        engine.signal(id, signal("s1", "paid")).await.unwrap(),
        SignalReceipt::Duplicate
    );
    assert_eq!(
        engine.signal(id, signal("s2", "shipped")).await.unwrap(),
        SignalReceipt::Delivered
    );
    assert_eq!(settle(&engine, &[id]).await, BTreeMap::from([(Status::Completed, 1)]));
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_parked_while_its_saga_begins_is_delivered() {
    let world = World::new().await;
    let engine = world.engine().await;
    let wait = json!([{"kind": "wait_for", "name": "paid", "signal": "paid", "deadline": "1h",
                       "on_deadline": {"to": "compensate"}}]);
    engine.definitions().deploy(definition("waits", wait)).await.unwrap();
    let started = engine.start_saga(saga("waits", json!({}))).await.unwrap();
    // As if another replica had not yet seen the saga.
    sqlx::query("insert into saga.signals (saga_id, id, signal, delivered) values ($1, 's', $2, false)")
        .bind(started.id.0)
        .bind(json!(signal("s", "paid")).to_string())
        .execute(engine.pool())
        .await
        .unwrap();
    assert_eq!(
        settle(&engine, &[started.id]).await,
        BTreeMap::from([(Status::Completed, 1)])
    );
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_fire_and_attempts_run_out() {
    let mut world = World::new().await;
    let engines = [world.engine().await, world.engine().await];
    let mut slow = step("b");
    slow["attempt_timeout"] = json!("2s");
    slow["retry"] = json!({"initial": "100ms", "max_attempts": null});
    let flow = json!([{"kind": "sleep", "name": "nap", "duration": "200ms"}, slow]);
    engines[0]
        .definitions()
        .deploy(definition("timed", flow))
        .await
        .unwrap();
    let seen = Mutex::new(HashSet::new());
    // The first task of each saga is never answered.
    world.worker("work", move |task| {
        if seen.lock().unwrap().insert(task.token.saga) {
            vec![]
        } else {
            succeed(task)
        }
    });
    let started = engines[0]
        .start_sagas((0..30).map(|n| saga("timed", json!(n))).collect())
        .await;
    let ids: Vec<SagaId> = started.into_iter().map(|started| started.unwrap().id).collect();
    assert_eq!(
        settle(&engines[1], &ids).await,
        BTreeMap::from([(Status::Completed, 30)])
    );
    world.audit(&engines[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(workflows::tickets::reference::definition())
        .await
        .unwrap();
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
        let started = engine
            .start_sagas((0..20).map(|n| reference_saga(wave * 20 + n + 1)).collect())
            .await;
        ids.extend(started.into_iter().map(|started| started.unwrap().id));
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
    engine
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
    let stranger = format!(
        r#"{{"v":1,"worker":"w","results":[{{"token":{{"saga":"{}","step":"a","role":"run","attempt":1,"epoch":1}},
            "outcome":"succeeded","output":null}}]}}"#,
        Uuid::now_v7()
    );
    for payload in [&b"\xff\x00"[..], b"{\"v\":1}", b"[]", b"", stranger.as_bytes()] {
        world.send_result(payload).await;
    }
    world.worker("work", succeed);
    let started = engine
        .start_sagas((0..20).map(|n| saga("one", json!(n))).collect())
        .await;
    let ids: Vec<SagaId> = started.into_iter().map(|started| started.unwrap().id).collect();
    assert_eq!(settle(&engine, &ids).await, BTreeMap::from([(Status::Completed, 20)]));
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_text_from_workers_is_stored() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
    world.worker("work", |_| {
        vec![Outcome::Failed {
            code: "nul \0 ' \" ü".into(),
            message: "\0\u{1f3ab}".into(),
            retryable: false,
            details: json!({"\0": "\0"}),
        }]
    });
    let (_, record) = engine
        .start_saga_and_wait(saga("one", json!("in\0put")), LIMIT)
        .await
        .unwrap();
    assert_eq!(record.unwrap().summary.status, Status::Compensated);
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_carried_out_or_refused() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
    let started = engine.start_saga(saga("one", json!(1))).await.unwrap();
    let paused = engine
        .command(started.id, command(Command::Pause {}), Some(1))
        .await
        .unwrap();
    assert_eq!((paused.seq, paused.status), (2, Status::Paused));
    let moved = engine.command(started.id, command(Command::Resume {}), Some(1)).await;
    assert!(
        matches!(
            moved,
            Err(EngineError::Moved {
                expected: 1,
                current: 2,
                ..
            })
        ),
        "{moved:?}"
    );
    engine
        .command(started.id, command(Command::Resume {}), Some(2))
        .await
        .unwrap();
    let unknown = engine
        .command(SagaId(Uuid::now_v7()), command(Command::Pause {}), None)
        .await;
    assert!(matches!(unknown, Err(EngineError::UnknownSaga(_))), "{unknown:?}");
    world.worker("work", succeed);
    assert_eq!(
        settle(&engine, &[started.id]).await,
        BTreeMap::from([(Status::Completed, 1)])
    );
    let refused = engine.command(started.id, command(Command::Cancel {}), None).await;
    assert!(matches!(refused, Err(EngineError::Refused(_))), "{refused:?}");
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_tasks_are_sent_again() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
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
    let started = engine
        .start_sagas((0..10).map(|n| saga("one", json!(n))).collect())
        .await;
    let ids: Vec<SagaId> = started.into_iter().map(|started| started.unwrap().id).collect();
    until("all tasks were lost", async || seen.load(Ordering::Relaxed) >= 10).await;
    assert_eq!(engine.redispatch_all().await.unwrap(), 10);
    assert_eq!(settle(&engine, &ids).await, BTreeMap::from([(Status::Completed, 10)]));
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_starts_are_refused_by_themselves() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    engine
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_is_removed() {
    let mut world = World::new().await;
    let engine = world
        .engine_with(EngineOptions {
            cache: false,
            ..options()
        })
        .await;
    engine
        .definitions()
        .deploy(definition("one", json!([step("a")])))
        .await
        .unwrap();
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

//! Signals, timers, commands, and the waiting for an end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use orchestrator::client::Until;
use orchestrator::{EngineError, NewSaga, SignalReceipt};
use serde_json::json;
use uuid::Uuid;
use workflows::event::{Command, CommandEvent, Signal};
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

fn signal(id: &str, name: &str) -> Signal {
    Signal {
        id: id.into(),
        name: name.into(),
        payload: json!({"from": id}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_gives_the_end() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, workflows::tickets::reference::definition()).await;
    world.worker("reference", reference);
    let started = engine.start_saga_and_wait(reference_saga(20), LIMIT).await.unwrap();
    let record = started.settled.unwrap();
    assert_eq!(record.summary.status, Status::Compensated);
    assert_eq!(
        engine.saga(started.id).await.unwrap().unwrap(),
        record,
        "what was known is what is stored"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_decision_hears_of_it_before_the_end_on_every_replica() {
    let world = World::new().await;
    let (engine, other) = (world.engine().await, world.engine().await);
    let wait = |name: &str| {
        json!({"kind": "wait_for", "name": name, "signal": name, "deadline": "1h",
                                   "on_deadline": {"to": "compensate"}})
    };
    let nodes = json!([wait("paid"), {"kind": "pivot", "name": "sure"}, wait("shipped")]);
    deploy(&engine, definition("waits", nodes)).await;
    let id = engine.start_saga(saga("waits", json!({}))).await.unwrap().id;

    let here = engine.wait_until(id, Until::Decided, LIMIT);
    let there = other.wait_until(id, Until::Decided, LIMIT);
    let paid = async { engine.signal(id, signal("s1", "paid")).await.unwrap() };
    let (here, there, _) = tokio::join!(here, there, paid);
    for record in [here.unwrap().unwrap(), there.unwrap().unwrap()] {
        assert_eq!((record.summary.status, record.state.pivoted), (Status::Waiting, true));
    }
    let late = engine
        .wait_until(id, Until::Decided, Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(late.summary.status, Status::Waiting);

    let end = other.wait_until(id, Until::Settled, LIMIT);
    let shipped = async { engine.signal(id, signal("s2", "shipped")).await.unwrap() };
    let (end, _) = tokio::join!(end, shipped);
    assert_eq!(end.unwrap().unwrap().summary.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_taken_once_and_may_come_early() {
    let world = World::new().await;
    let engine = world.engine().await;
    let wait = json!([{"kind": "wait_for", "name": "paid", "signal": "paid", "deadline": "1h",
                       "on_deadline": {"to": "compensate"}},
                      {"kind": "wait_for", "name": "shipped", "signal": "shipped", "deadline": "1h",
                       "on_deadline": {"to": "compensate"}}]);
    deploy(&engine, definition("waits", wait)).await;
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
async fn a_scopes_deadline_moves_once_with_its_timer() {
    let world = World::new().await;
    let engine = world.engine().await;
    let flow = json!([{"kind": "scope", "name": "hold", "deadline": "1h", "on_deadline": {"to": "compensate"},
                       "extend": {"signal": "more_time", "by": "30m"},
                       "flow": [{"kind": "wait_for", "name": "paid", "signal": "paid", "deadline": "1d",
                                 "on_deadline": {"to": "compensate"}}]}]);
    deploy(&engine, definition("holds", flow)).await;
    let id = engine.start_saga(saga("holds", json!({}))).await.unwrap().id;
    let due = async || -> i64 {
        sqlx::query_scalar(
            "select (extract(epoch from min(due_at)) * 1000)::bigint from saga.timers where saga_id = $1",
        )
        .bind(id.0)
        .fetch_one(engine.pool())
        .await
        .unwrap()
    };
    let before = due().await;
    assert_eq!(
        engine.signal(id, signal("a", "more_time")).await.unwrap(),
        SignalReceipt::Delivered
    );
    assert_eq!(due().await - before, 30 * 60 * 1_000);
    // The same wish again, and another one, on another replica: once is once.
    let other = world.engine().await;
    assert_eq!(
        other.signal(id, signal("a", "more_time")).await.unwrap(),
        SignalReceipt::Duplicate
    );
    other.signal(id, signal("b", "more_time")).await.unwrap();
    assert_eq!(due().await - before, 30 * 60 * 1_000);
    other.signal(id, signal("c", "paid")).await.unwrap();
    assert_eq!(settle(&engine, &[id]).await, BTreeMap::from([(Status::Completed, 1)]));
    world.audit(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_parked_while_its_saga_begins_is_delivered() {
    let world = World::new().await;
    let engine = world.engine().await;
    let wait = json!([{"kind": "wait_for", "name": "paid", "signal": "paid", "deadline": "1h",
                       "on_deadline": {"to": "compensate"}}]);
    deploy(&engine, definition("waits", wait)).await;
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
    deploy(&engines[0], definition("timed", flow)).await;
    let seen = Mutex::new(HashSet::new());
    // The first task of each saga is never answered.
    world.worker("work", move |task| {
        if seen.lock().unwrap().insert(task.token.saga) {
            vec![]
        } else {
            succeed(task)
        }
    });
    let ids = start_all(&engines[0], (0..30).map(|n| saga("timed", json!(n)))).await;
    assert_eq!(
        settle(&engines[1], &ids).await,
        BTreeMap::from([(Status::Completed, 30)])
    );
    world.audit(&engines[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_carried_out_or_refused() {
    let mut world = World::new().await;
    let engine = world.engine().await;
    deploy(&engine, definition("one", json!([step("a")]))).await;
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

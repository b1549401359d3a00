//! Paused and limited queues, over two orchestrators; workers' signs of life.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use orchestrator::EngineOptions;
use orchestrator::store::{queues, workers};
use serde_json::json;
use sqlx::PgPool;
use transport::{Outgoing, Producer};
use uuid::Uuid;
use workflows::event::{Command, CommandEvent};
use workflows::ids::Timestamp;
use workflows::protocol::{AnnouncedActivity, QueueStanding, WORKERS_TOPIC, WorkerNotice};
use workflows::state::Status;

use crate::support::{World, definition, deploy, options, saga, settle, start_all, step, succeed, until};

async fn held(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from saga.held_tasks")
        .fetch_one(pool)
        .await
        .unwrap()
}

/// Sagas of one step.
async fn started(engines: &[&orchestrator::Engine], count: usize) -> Vec<workflows::ids::SagaId> {
    let mut all = Vec::new();
    for engine in engines {
        all.extend(start_all(engine, (0..count).map(|n| saga("one", json!({"n": n})))).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_gets_nothing_until_it_is_resumed() {
    let mut world = World::new().await;
    let pool = world.database.pool.clone();
    let (one, two) = (world.engine().await, world.engine().await);
    deploy(&one, definition("one", json!([step("only")]))).await;
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    world.worker("work", move |task| {
        counter.fetch_add(1, Ordering::SeqCst);
        succeed(task)
    });
    let first = started(&[&one, &two], 1).await;
    settle(&one, &first).await;
    queues::set(&pool, "work", Some(true), None, "ada", "the bank is down")
        .await
        .unwrap();
    // What is begun before a replica has heard of it still goes.
    let mut early = Vec::new();
    for engine in [&one, &two] {
        until("the replica has heard of the pause", async || {
            let before = held(&pool).await;
            early.extend(started(&[engine], 1).await);
            held(&pool).await > before
        })
        .await;
    }
    let waiting_before = held(&pool).await as usize;
    until("what went before the pause is done", async || {
        seen.load(Ordering::SeqCst) == first.len() + early.len() - waiting_before
    })
    .await;
    let done = seen.load(Ordering::SeqCst);
    let waiting = started(&[&one, &two], 20).await;
    assert_eq!(held(&pool).await as usize, waiting_before + 40);
    let outbox: i64 = sqlx::query_scalar("select count(*) from saga.outbox where messages > 0 and created_at > now()")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(outbox, 0);
    for id in &waiting {
        let record = two.saga(*id).await.unwrap().unwrap();
        assert_eq!(record.summary.status, Status::Waiting);
        assert_eq!(record.state.attempt_due(), None, "no deadline runs");
    }
    // One is cancelled meanwhile: it has nothing to undo, and waits for nothing any more.
    let cancel = CommandEvent {
        command: Command::Cancel {},
        by: String::new(),
        reason: String::new(),
    };
    one.command(waiting[0], cancel, None).await.unwrap();
    assert_eq!(held(&pool).await as usize, waiting_before + 39);
    // Replicas come and go; the pause stays.
    one.crash();
    two.shutdown().await;
    let (three, four) = (world.engine().await, world.engine().await);
    let more = started(&[&three, &four], 5).await;
    assert_eq!(held(&pool).await as usize, waiting_before + 49);
    assert_eq!(
        seen.load(Ordering::SeqCst),
        done,
        "a paused queue has been given a task"
    );
    queues::set(&pool, "work", Some(false), None, "ada", "the bank is back")
        .await
        .unwrap();
    let all: Vec<_> = waiting[1..].iter().chain(&more).chain(&early).copied().collect();
    let ends = settle(&three, &all).await;
    assert_eq!(ends.get(&Status::Completed), Some(&all.len()), "{ends:?}");
    assert_eq!(held(&pool).await, 0);
    assert_eq!(seen.load(Ordering::SeqCst), first.len() + all.len(), "each once");
    world.audit(&three).await;
    three.shutdown().await;
    four.shutdown().await;
}

/// A burst for which there is no worker yet: what is sent is bounded, what waits loses no time, and in the end none was tried twice.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_queue_answers_waits_in_postgres_and_loses_no_attempt() {
    const SAGAS: usize = 200;
    const LEAST: usize = 20;
    const BATCH: usize = 10;
    let mut world = World::new().await;
    let pool = world.database.pool.clone();
    let options = EngineOptions {
        unanswered_min: LEAST,
        sagas_per_batch_max: BATCH,
        ..options()
    };
    let (one, two) = (
        world.engine_with(options.clone()).await,
        world.engine_with(options).await,
    );
    deploy(&one, definition("one", json!([step("only")]))).await;
    until("the other has heard of the workflow", async || {
        two.definitions().by_name("one", None).await.is_ok()
    })
    .await;
    let mut all = started(&[&one], SAGAS).await;
    let sent = SAGAS as i64 - held(&pool).await;
    // Two batches at a time may see the same room.
    assert!(
        (LEAST as i64..=(LEAST + BATCH) as i64).contains(&sent),
        "{sent} were sent"
    );
    // Another replica has room of its own, for what the first one holds too: it may die.
    until("the other replica sends what it has room for", async || {
        SAGAS as i64 - held(&pool).await >= sent + LEAST as i64
    })
    .await;
    // Each begins anew when it has joined the group.
    let sent = SAGAS as i64 - held(&pool).await;
    assert!(sent <= (4 * LEAST + 2 * BATCH) as i64, "{sent} were sent");
    one.crash();
    all.extend(started(&[&two], 1).await);
    let attempts = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&attempts);
    world.worker("work", move |task| {
        most.fetch_max(task.token.attempt as usize, Ordering::SeqCst);
        succeed(task)
    });
    let ends = settle(&two, &all).await;
    assert_eq!(ends.get(&Status::Completed), Some(&all.len()), "{ends:?}");
    assert_eq!(held(&pool).await, 0);
    assert_eq!(attempts.load(Ordering::SeqCst), 1, "somebody lost an attempt");
    world.audit(&two).await;
    two.shutdown().await;
}

/// Workers that are away for longer than tasks have: after the first loss few are tried, until somebody answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_answers_is_given_a_few_until_somebody_does() {
    const SAGAS: usize = 1_000;
    let mut world = World::new().await;
    let pool = world.database.pool.clone();
    let one = world.engine().await;
    let mut slow = step("only");
    // Longer than what a queue is given at once, which is what its workers answer in three.
    slow["attempt_timeout"] = json!("5s");
    slow["retry"] = json!({"initial": "1h", "max_attempts": 2});
    deploy(&one, definition("one", json!([slow]))).await;
    // A few go each time, until it is seen that nobody answers them: more than a late queue is given, fewer than another.
    until("the queue is late", async || {
        started(&[&one], 10).await;
        held(&pool).await > 0
    })
    .await;
    let all = started(&[&one], SAGAS).await;
    let all: Vec<Uuid> = all.iter().map(|saga| saga.0).collect();
    let waiting = held(&pool).await;
    assert!(waiting > SAGAS as i64 * 3 / 4, "{waiting} wait");
    world.worker("work", succeed);
    until("none waits", async || held(&pool).await == 0).await;
    // What was just let through is under way; what lost its attempt waits for an hour.
    until("most are done at their first attempt", async || {
        let done = sqlx::query_scalar("select count(*) from saga.sagas where id = any($1) and status = 'completed'");
        let done: i64 = done.bind(&all).fetch_one(&pool).await.unwrap();
        done > SAGAS as i64 / 2
    })
    .await;
    one.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_over_two_orchestrators() {
    const RATE: f64 = 20.0;
    const SAGAS: usize = 30;
    let mut world = World::new().await;
    let pool = world.database.pool.clone();
    queues::set(&pool, "work", None, Some(Some(RATE)), "ada", "they asked for it")
        .await
        .unwrap();
    let (one, two) = (world.engine().await, world.engine().await);
    deploy(&one, definition("one", json!([step("only")]))).await;
    until("the other has heard of the workflow", async || {
        two.definitions().by_name("one", None).await.is_ok()
    })
    .await;
    world.worker("work", succeed);
    let begun = Instant::now();
    let all = started(&[&one, &two], SAGAS).await;
    let ends = settle(&two, &all).await;
    assert_eq!(ends.get(&Status::Completed), Some(&all.len()), "{ends:?}");
    // What may be made up for at the beginning is half a second's worth.
    let least = (all.len() as f64 - RATE / 2.0 - 1.0) / RATE;
    let took = begun.elapsed().as_secs_f64();
    assert!(took >= least, "{} tasks in {took} s at {RATE} a second", all.len());
    queues::set(&pool, "work", None, Some(None), "ada", "enough")
        .await
        .unwrap();
    world.audit(&one).await;
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_known_while_they_say_so() {
    let world = World::new().await;
    let pool = world.database.pool.clone();
    let engine = world.engine().await;
    until("the topic is there", async || {
        transport::ensure_topics(&world.kafka, &[WORKERS_TOPIC.to_owned()])
            .await
            .is_ok()
    })
    .await;
    let producer = Producer::new(&world.kafka).unwrap();
    let mut notice = WorkerNotice {
        v: 1,
        worker: Uuid::now_v7(),
        name: "w\0".into(),
        version: "1.2.3".into(),
        host: "h".into(),
        started_at: engine.now(),
        at: engine.now(),
        leaving: false,
        queues: vec![QueueStanding {
            queue: "work".into(),
            concurrency: 8,
            in_flight: 3,
        }],
        activities: vec![AnnouncedActivity {
            queue: "work".into(),
            activity: "work.only".into(),
            input: json!({"type": "object"}),
            output: json!(true),
            codes: vec!["no".into()],
        }],
    };
    let send = async |payload: Vec<u8>| {
        let message = Outgoing {
            topic: WORKERS_TOPIC.to_owned(),
            partition: 0,
            key: None,
            headers: Vec::new(),
            payload,
        };
        producer.send(message).await.unwrap();
    };
    send(b"nonsense".to_vec()).await;
    let old = WorkerNotice {
        worker: Uuid::now_v7(),
        at: Timestamp(notice.at.0 - 3_600_000),
        ..notice.clone()
    };
    send(serde_json::to_vec(&old).unwrap()).await;
    send(serde_json::to_vec(&notice).unwrap()).await;
    until("the worker is known", async || {
        workers::alive(&pool, 30.0, 10).await.unwrap().len() == 1
    })
    .await;
    let known = workers::alive(&pool, 30.0, 10).await.unwrap().remove(0);
    assert_eq!((known.id, known.queues.0[0].in_flight), (notice.worker, 3));
    let at_once = workers::concurrency(&pool, 30.0).await.unwrap();
    assert_eq!(at_once, [("work".to_owned(), i64::from(known.queues.0[0].concurrency))]);
    until("its activity is known", async || {
        workers::activity(&pool, "work", "work.only").await.unwrap().is_some()
    })
    .await;
    assert!(workers::activity(&pool, "work", "other").await.unwrap().is_none());
    notice.leaving = true;
    send(serde_json::to_vec(&notice).unwrap()).await;
    until("the worker has left", async || {
        workers::alive(&pool, 30.0, 10).await.unwrap().is_empty()
    })
    .await;
    engine.shutdown().await;
}

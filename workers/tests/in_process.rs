//! The worker on the broker in this process: every way in which a task can be answered, and none in which it is lost.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Bench, QUEUE, task, tasks, until};
use rdkafka::Message;
use rdkafka::message::Headers;
use serde_json::json;
use transport::{BrokerKind, GroupConsumer, InProcessBroker};
use workers::{Worker, WorkerError};
use workflows::ids::Timestamp;
use workflows::protocol::{Outcome, poison_topic, tasks_topic};

async fn bench() -> (InProcessBroker, Bench) {
    let broker = InProcessBroker::start(4).unwrap();
    let bench = Bench::new(broker.config("worker-test")).await;
    (broker, bench)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_is_answered_and_offsets_follow() {
    let (_broker, bench) = bench().await;
    let mut all = tasks("echo", 700);
    all.extend(tasks("double", 700));
    let messages = bench.send(&all).await;
    let worker = bench.start(bench.options());
    let readiness = worker.options.readiness.clone();
    let answers = bench.answers(&all).await;
    for (n, task) in all.iter().enumerate() {
        let expected = if n < 700 { n } else { (n - 700) * 2 };
        assert_eq!(
            answers[&task.token.saga],
            Outcome::Succeeded {
                output: json!(expected)
            }
        );
    }
    until("the worker says that it is ready", || readiness.is_ready()).await;
    let batches = bench.seen.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), 700);
    assert!(
        batches.iter().any(|size| *size > 50),
        "a poll's worth at once, not one by one: {batches:?}"
    );

    let summary = worker.leave().await;
    assert_eq!((summary.answered, summary.abandoned), (1_400, 0));
    assert!(!readiness.is_ready());
    assert_eq!(bench.committed().await, messages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_answered_too() {
    let (_broker, bench) = bench().await;
    let panics = task("panic", json!(null));
    let batch_panics = task("double", json!("panic"));
    let unknown = task("nobody.knows", json!(null));
    let mut endless = task("endless", json!(null));
    endless.deadline = Timestamp(chrono::Utc::now().timestamp_millis()).plus(Duration::from_secs(8));
    let mut late = task("echo", json!(null));
    late.deadline = Timestamp(1);
    let good = task("echo", json!("good"));
    bench.send(&[late.clone()]).await;
    let all = [panics, batch_panics, unknown, endless, good];
    bench.send(&all).await;
    let worker = bench.start(bench.options());
    let answers = bench.answers(&all).await;
    let answer = |n: usize| &answers[&all[n].token.saga];
    assert!(matches!(answer(0), Outcome::Unknown { message } if message.contains("on purpose")));
    assert!(matches!(answer(1), Outcome::Unknown { message } if message.contains("on purpose")));
    assert!(matches!(answer(2), Outcome::Failed { code, retryable: true, .. } if code == "unknown_activity"));
    assert!(matches!(answer(3), Outcome::Unknown { message } if message.contains("deadline")));
    assert_eq!(bench.seen.cancelled.load(Ordering::SeqCst), 1, "the activity was told");
    assert_eq!(answer(4), &Outcome::Succeeded { output: json!("good") });
    assert!(!answers.contains_key(&late.token.saga), "nobody waits for it");
    let summary = worker.leave().await;
    assert_eq!((summary.answered, summary.expired, summary.abandoned), (5, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_set_aside_and_blocks_nothing() {
    let (_broker, bench) = bench().await;
    let good = task("echo", json!(1));
    let partition = good.token.saga.partition(4) as i32;
    bench.send_raw(partition, b"\xff\xfenonsense").await;
    let item = serde_json::to_string(&good).unwrap();
    bench
        .send_raw(
            partition,
            format!("{{\"v\":1,\"tasks\":[{{\"bad\":1}},{item}]}}").as_bytes(),
        )
        .await;
    let behind = {
        let mut task = task("echo", json!(2));
        task.token.saga = good.token.saga;
        task.token.step = "b".into();
        task
    };
    let worker = bench.start(bench.options());
    assert_eq!(bench.answers(std::slice::from_ref(&good)).await.len(), 1);
    bench.send(std::slice::from_ref(&behind)).await;
    assert_eq!(bench.answers(&[behind]).await.len(), 1);
    worker.leave().await;
    assert_eq!(bench.committed().await, 3);

    let aside = GroupConsumer::new(
        &bench.config,
        BrokerKind::InProcess,
        "test-poison",
        &[&poison_topic(QUEUE)],
    )
    .unwrap();
    for (payload, says) in [
        (&b"\xff\xfenonsense"[..], "not a task envelope"),
        (b"{\"bad\":1}", "not a task"),
    ] {
        let message = aside.recv().await.unwrap();
        assert_eq!(message.payload().unwrap(), payload);
        let header = message.headers().unwrap().get(0);
        assert_eq!(header.key, "error");
        assert!(std::str::from_utf8(header.value.unwrap()).unwrap().contains(says));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_keep_a_long_task_alive_past_its_first_deadline() {
    let (_broker, bench) = bench().await;
    let worker = bench.start(bench.options());
    let readiness = worker.options.readiness.clone();
    until("ready", || readiness.is_ready()).await;
    let mut long = task("long", json!("done"));
    long.deadline = Timestamp(chrono::Utc::now().timestamp_millis()).plus(Duration::from_secs(1));
    bench.send(std::slice::from_ref(&long)).await;
    let mut heartbeats = 0;
    let outcome = loop {
        let results = bench.next_results().await;
        match &results[0].outcome {
            Outcome::Heartbeat {} => heartbeats += 1,
            outcome => break outcome.clone(),
        }
    };
    assert_eq!(outcome, Outcome::Succeeded { output: json!("done") });
    assert!(heartbeats >= 3, "{heartbeats}");
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_worker_finishes_what_it_has_begun() {
    let (_broker, bench) = bench().await;
    let gated = tasks("gate", 3);
    bench.send(&gated).await;
    let worker = bench.start(bench.options());
    until("they run", || bench.seen.runs.load(Ordering::SeqCst) == 3).await;
    worker.shutdown.cancel();
    bench.send(&tasks("echo", 1)).await;
    bench.seen.gate.notify_waiters();
    assert_eq!(bench.answers(&gated).await.len(), 3);
    let summary = worker.leave().await;
    assert_eq!((summary.answered, summary.abandoned), (3, 0));
    assert_eq!(bench.seen.runs.load(Ordering::SeqCst), 3, "nothing new was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaving_worker_does_not_wait_for_ever() {
    let (_broker, bench) = bench().await;
    let endless = tasks("endless", 2);
    bench.send(&endless).await;
    let mut options = bench.options();
    options.drain_timeout = Duration::from_millis(200);
    let worker = bench.start(options);
    until("they run", || bench.seen.runs.load(Ordering::SeqCst) == 2).await;
    let summary = worker.leave().await;
    assert_eq!(summary.answered, 2);
    let answers = bench.answers(&endless).await;
    assert!(
        answers
            .values()
            .all(|outcome| matches!(outcome, Outcome::Unknown { .. }))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_tasks_come_again() {
    let (_broker, bench) = bench().await;
    let gated = tasks("gate", 5);
    bench.send(&gated).await;
    let worker = bench.start(bench.options());
    until("they run", || bench.seen.runs.load(Ordering::SeqCst) == 5).await;
    // As much of a kill as a task can suffer: nothing is finished, answered or committed.
    worker.task.abort();
    let _ = worker.task.await;
    assert_eq!(bench.committed().await, 0);
    let next = bench.start(bench.options());
    until("they run again", || bench.seen.runs.load(Ordering::SeqCst) == 10).await;
    bench.seen.gate.notify_waiters();
    assert_eq!(bench.answers(&gated).await.len(), 5);
    next.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_a_queue_and_one_takes_over() {
    let (_broker, bench) = bench().await;
    let first = bench.start(bench.options());
    let second = bench.start(bench.options());
    let (one, other) = (first.options.readiness.clone(), second.options.readiness.clone());
    until("both are ready", || one.is_ready() && other.is_ready()).await;
    let before = tasks("echo", 400);
    bench.send(&before).await;
    assert_eq!(bench.answers(&before).await.len(), 400);
    let left = first.leave().await;
    let after = tasks("double", 400);
    bench.send(&after).await;
    assert_eq!(bench.answers(&after).await.len(), 400);
    let stayed = second.leave().await;
    assert!(left.answered > 0 && stayed.answered >= 400, "{left:?} {stayed:?}");
    assert!(left.answered + stayed.answered >= 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_when_nothing_gets_done() {
    let (_broker, bench) = bench().await;
    let mut options = bench.options();
    (options.concurrency, options.batch_max) = (10, 20);
    let gated = tasks("gate", 500);
    for chunk in gated.chunks(10) {
        bench.send(chunk).await;
    }
    let worker = bench.start(options);
    until("as many run as may", || bench.seen.runs.load(Ordering::SeqCst) == 10).await;
    // Longer than it takes until the consumer is paused; then all must still get done.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(bench.seen.runs.load(Ordering::SeqCst), 10);
    let seen = std::sync::Arc::clone(&bench.seen);
    let opener = tokio::spawn(async move {
        loop {
            seen.gate.notify_waiters();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(bench.answers(&gated).await.len(), 500);
    opener.abort();
    worker.leave().await;
    assert_eq!(bench.seen.runs.load(Ordering::SeqCst), 500, "none twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_survive_an_outage_of_the_broker() {
    let (broker, bench) = bench().await;
    let gated = tasks("gate", 4);
    bench.send(&gated).await;
    let worker = bench.start(bench.options());
    until("they run", || bench.seen.runs.load(Ordering::SeqCst) == 4).await;
    broker.set_down(true).unwrap();
    bench.seen.gate.notify_waiters();
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.set_down(false).unwrap();
    assert_eq!(bench.answers(&gated).await.len(), 4);
    worker.leave().await;
}

#[tokio::test]
async fn a_queue_without_activities_is_refused() {
    let (_broker, bench) = bench().await;
    let mut options = bench.options();
    options.queues = vec!["nope".into()];
    let refused = Worker::run(options, bench.registry(), Default::default())
        .await
        .unwrap_err();
    assert!(matches!(&refused, WorkerError::UnknownQueue { .. }));
    assert!(refused.to_string().contains("there are queues test"), "{refused}");
    assert_eq!(tasks_topic(QUEUE), "sagaline.tasks.test");
}

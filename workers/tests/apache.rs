//! The worker on Apache Kafka, which is killed meanwhile. Skipped, saying so, where Java or Maven is missing; an error under `CI=true`.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, tasks};
use transport::apache::{ApacheKafka, available};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_is_answered_although_the_broker_is_killed() {
    if let Err(missing) = available() {
        assert!(std::env::var("CI").is_err(), "{missing}");
        eprintln!("skipped: {missing}");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut kafka = ApacheKafka::start(data.path(), 0).await.unwrap();
    let bench = Bench::new(kafka.config("worker-test")).await;
    let first = bench.start(bench.options());
    let second = bench.start(bench.options());
    let mut all = tasks("double", 2_000);
    bench.send(&all).await;
    bench.answers(&all).await;

    all = tasks("echo", 2_000);
    bench.send(&all).await;
    kafka.kill();
    let _kafka = kafka.restart().await.unwrap();
    bench.answers(&all).await;
    let (first, second) = (first.leave().await, second.leave().await);
    assert!(first.answered + second.answered >= 4_000);
    assert_eq!(first.abandoned + second.abandoned, 0);
}

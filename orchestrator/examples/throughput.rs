//! How fast the engine is by itself: the reference workload, started through the handle instead of HTTP, with a
//! worker that does nothing, all in one process.
//!
//! `cargo run --release -p orchestrator --example throughput -- <database-url> [sagas] [in flight] [brokers]`
//!
//! The database must be empty or migrated; without brokers librdkafka's in-process one is used. For the whole platform's
//! speed, through real processes, see `sagaline bench saga`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use orchestrator::{Engine, EngineOptions, NewSaga};
use rdkafka::Message;
use serde_json::json;
use transport::{BrokerKind, GroupConsumer, InProcessBroker, KafkaConfig, Producer, pack_results};
use workflows::protocol::{Outcome, RESULTS_TOPIC, TaskEnvelope, TaskResult, tasks_topic};
use workflows::tickets::reference;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("the first argument is a database's URL")?;
    let sagas: u64 = arguments.next().as_deref().unwrap_or("50000").parse()?;
    let in_flight: u64 = arguments.next().as_deref().unwrap_or("256").parse()?;
    let brokers = arguments.next();
    let broker = if brokers.is_none() {
        Some(InProcessBroker::start(10)?)
    } else {
        None
    };
    let brokers = brokers
        .or(broker.as_ref().map(InProcessBroker::brokers))
        .ok_or("no broker")?;
    let kafka = KafkaConfig::new(brokers, "throughput");
    let broker = transport::ensure_topics(&kafka, &[tasks_topic(reference::QUEUE), RESULTS_TOPIC.to_owned()]).await?;

    let pool = sqlx::PgPool::connect(&url).await?;
    orchestrator::migrate(&pool).await?;
    let cache = std::env::var_os("NO_CACHE").is_none();
    let engine = Engine::start(
        EngineOptions {
            cache,
            ..EngineOptions::default()
        },
        pool,
        kafka.clone(),
    )
    .await?;
    engine.definitions().deploy(reference::definition()).await?;
    tokio::spawn(work(kafka, broker));

    // The first sagas wait for the consumers to join their groups; they don't count.
    run(&engine, 20 * in_flight.max(50), in_flight).await;
    let begun = Instant::now();
    let mut latencies = run(&engine, sagas, in_flight).await;
    let took = begun.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let result = json!({
        "sagas": sagas, "in_flight": in_flight, "cache": cache,
        "sagas_per_s": (sagas as f64 / took.as_secs_f64()).round(),
        "p50_ms": at(0.5), "p99_ms": at(0.99),
    });
    println!("{result}");
    engine.shutdown().await;
    Ok(())
}

/// Runs sagas, so many at a time; gives how long each took.
async fn run(engine: &Engine, sagas: u64, in_flight: u64) -> Vec<Duration> {
    let next = Arc::new(AtomicU64::new(0));
    let runners: Vec<_> = (0..in_flight)
        .map(|_| {
            let (engine, next) = (engine.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= sagas {
                        return latencies;
                    }
                    let input = json!({"seatId": format!("seat-{n}"), "n": n});
                    let new = NewSaga {
                        workflow: reference::NAME.to_owned(),
                        input,
                        ..NewSaga::default()
                    };
                    let begun = Instant::now();
                    match engine.start_saga_and_wait(new, Duration::from_secs(60)).await {
                        Ok(awaited) if awaited.settled.is_some() => latencies.push(begun.elapsed()),
                        other => eprintln!("saga {n} has not settled: {other:?}"),
                    }
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for runner in runners {
        latencies.extend(runner.await.expect("a runner does not panic"));
    }
    latencies
}

/// Answers every task at once; every twentieth charge is declined.
async fn work(kafka: KafkaConfig, broker: BrokerKind) -> Result<(), Failure> {
    let consumer = GroupConsumer::new(&kafka, broker, "throughput-worker", &[&tasks_topic(reference::QUEUE)])?;
    let producer = Producer::new(&kafka)?;
    loop {
        let message = consumer.recv().await?;
        let envelope: TaskEnvelope = serde_json::from_slice(message.payload().unwrap_or_default())?;
        let results: Vec<TaskResult> = envelope
            .tasks
            .into_iter()
            .map(|task| {
                let declined =
                    task.activity == "reference.charge" && task.input["n"].as_u64().is_some_and(|n| n % 20 == 0);
                let outcome = if declined {
                    let (code, message) = ("declined".to_owned(), "the card was declined".to_owned());
                    Outcome::Failed {
                        code,
                        message,
                        retryable: false,
                        details: json!(null),
                    }
                } else {
                    Outcome::Succeeded {
                        output: json!({"ok": true}),
                    }
                };
                TaskResult {
                    token: task.token,
                    outcome,
                }
            })
            .collect();
        for outgoing in pack_results("throughput", &results, producer.partitions())? {
            drop(producer.send(outgoing));
        }
    }
}

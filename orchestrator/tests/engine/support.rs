//! One helper for all tests of the engine: a database, a broker, engines, and a tiny worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orchestrator::store::{self, reads};
use orchestrator::{Engine, EngineOptions, NewSaga};
use rdkafka::Message;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use transport::{BrokerKind, GroupConsumer, InProcessBroker, KafkaConfig, Outgoing, Producer, pack_results};
use workflows::definition::Definition;
use workflows::ids::SagaId;
use workflows::protocol::{Outcome, RESULTS_TOPIC, Task, TaskEnvelope, TaskResult, tasks_topic};
use workflows::state::Status;

/// How long a test waits for what must come.
pub const LIMIT: Duration = Duration::from_secs(40);

/// What a test runs in.
pub struct World {
    pub database: testkit::TestDatabase,
    pub kafka: KafkaConfig,
    workers: Vec<JoinHandle<()>>,
    _broker: InProcessBroker,
}

impl World {
    pub async fn new() -> World {
        // SAGALINE_TEST_LOG=orchestrator=debug shows what the engine does.
        if let Ok(filter) = std::env::var("SAGALINE_TEST_LOG") {
            let _ = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_test_writer()
                .try_init();
        }
        let database = testkit::migrated_database().await;
        let broker = InProcessBroker::start(4).unwrap();
        let kafka = KafkaConfig {
            partitions: 4,
            ..KafkaConfig::new(broker.brokers(), "test")
        };
        transport::ensure_topics(
            &kafka,
            &[tasks_topic("work"), tasks_topic("reference"), RESULTS_TOPIC.to_owned()],
        )
        .await
        .unwrap();
        World {
            database,
            kafka,
            workers: Vec::new(),
            _broker: broker,
        }
    }

    pub async fn engine(&self) -> Engine {
        self.engine_with(options()).await
    }

    pub async fn engine_with(&self, options: EngineOptions) -> Engine {
        Engine::start(options, self.database.pool.clone(), self.kafka.clone())
            .await
            .unwrap()
    }

    /// A worker of `queue` that answers tasks by `answer`; each answer is sent as often as it is listed.
    pub fn worker(&mut self, queue: &str, answer: impl Fn(&Task) -> Vec<Outcome> + Send + Sync + 'static) {
        let consumer = GroupConsumer::new(
            &self.kafka,
            BrokerKind::InProcess,
            &format!("workers-{queue}"),
            &[&tasks_topic(queue)],
        )
        .unwrap();
        let producer = Producer::new(&self.kafka).unwrap();
        self.workers.push(tokio::spawn(async move {
            loop {
                let Ok(message) = consumer.recv().await else { continue };
                let envelope: TaskEnvelope = serde_json::from_slice(message.payload().unwrap()).unwrap();
                let mut results = Vec::new();
                for task in &envelope.tasks {
                    for outcome in answer(task) {
                        results.push(TaskResult {
                            token: task.token.clone(),
                            outcome,
                        });
                    }
                }
                for outgoing in pack_results("test", &results, producer.partitions()).unwrap() {
                    tokio::spawn(producer.send(outgoing));
                }
            }
        }));
    }

    /// Puts bytes on the results topic.
    pub async fn send_result(&self, payload: &[u8]) {
        let producer = Producer::new(&self.kafka).unwrap();
        let message = Outgoing {
            topic: RESULTS_TOPIC.to_owned(),
            partition: 0,
            key: None,
            headers: vec![],
            payload: payload.to_vec(),
        };
        producer.send(message).await.unwrap();
    }

    /// What must be true at the end of each test: the journal gives the state, and nothing is left in the outbox.
    pub async fn audit(&self, engine: &Engine) {
        let pool = &self.database.pool;
        let ids: Vec<uuid::Uuid> = sqlx::query_scalar("select id from saga.sagas")
            .fetch_all(pool)
            .await
            .unwrap();
        let journals = store::journal::load_journals(pool, &ids).await.unwrap();
        for id in ids {
            let saga = reads::saga(pool, SagaId(id)).await.unwrap().unwrap();
            let definition = engine.definitions().by_id(saga.summary.definition_id).await.unwrap();
            let journal = &journals[&SagaId(id)];
            let events = journal.iter().map(|(at, event)| (*at, event));
            let rebuilt = workflows::rebuild(&definition.compiled, SagaId(id), events)
                .unwrap()
                .unwrap();
            assert_eq!(rebuilt, *saga.state, "saga {id}");
            assert_eq!(saga.summary.status, saga.state.status());
            assert_eq!(saga.summary.seq, saga.state.seq);
            assert_eq!(journal.len() as u64, saga.state.seq);
            let due: Option<chrono::DateTime<chrono::Utc>> =
                sqlx::query_scalar("select due_at from saga.timers where saga_id = $1")
                    .bind(id)
                    .fetch_optional(pool)
                    .await
                    .unwrap();
            assert_eq!(due.is_some(), saga.state.timer_due().is_some(), "saga {id}: timer");
        }
        until("the outbox is empty", async || {
            sqlx::query_scalar::<_, i64>("select count(*) from saga.outbox")
                .fetch_one(pool)
                .await
                .unwrap()
                == 0
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

/// Options for tests: a dead replica is noticed soon.
pub fn options() -> EngineOptions {
    EngineOptions {
        instance_lease: Duration::from_secs(1),
        connections: 4,
        ..EngineOptions::default()
    }
}

/// Every run succeeds.
pub fn succeed(_: &Task) -> Vec<Outcome> {
    vec![Outcome::Succeeded {
        output: json!({"ok": true}),
    }]
}

/// The reference workload's charge is declined for every twentieth.
pub fn reference(task: &Task) -> Vec<Outcome> {
    if task.activity == "reference.charge" && task.input["n"].as_u64().unwrap().is_multiple_of(20) {
        return vec![Outcome::Failed {
            code: "declined".into(),
            message: "declined".into(),
            retryable: false,
            details: Value::Null,
        }];
    }
    succeed(task)
}

/// A saga of the reference workload.
pub fn reference_saga(n: u64) -> NewSaga {
    NewSaga {
        workflow: workflows::tickets::reference::NAME.into(),
        input: json!({"seatId": format!("s{n}"), "n": n}),
        ..NewSaga::default()
    }
}

/// A saga of any workflow.
pub fn saga(workflow: &str, input: Value) -> NewSaga {
    NewSaga {
        workflow: workflow.into(),
        input,
        ..NewSaga::default()
    }
}

/// A definition from its JSON.
pub fn definition(name: &str, flow: Value) -> Definition {
    serde_json::from_value(json!({"name": name, "version": 1, "flow": flow})).unwrap()
}

/// A step on the queue `work`.
pub fn step(name: &str) -> Value {
    json!({"kind": "step", "name": name, "activity": format!("work.{name}"), "queue": "work", "input": "=input",
           "attempt_timeout": "30s"})
}

/// Deploys a definition.
pub async fn deploy(engine: &Engine, definition: Definition) {
    engine.definitions().deploy(definition).await.unwrap();
}

/// Starts sagas, none of which may be refused.
pub async fn start_all(engine: &Engine, sagas: impl Iterator<Item = NewSaga>) -> Vec<SagaId> {
    let started = engine.start_sagas(sagas.collect()).await;
    started.into_iter().map(|started| started.unwrap().id).collect()
}

/// Waits until all sagas have settled; gives how many there are of each status.
pub async fn settle(engine: &Engine, sagas: &[SagaId]) -> BTreeMap<Status, usize> {
    let mut counts = BTreeMap::new();
    let engine = Arc::new(engine.clone());
    let waiting = sagas.iter().map(|id| {
        let engine = Arc::clone(&engine);
        async move { engine.wait(*id, LIMIT).await.unwrap().expect("the saga is there") }
    });
    for record in futures::future::join_all(waiting).await {
        *counts.entry(record.summary.status).or_default() += 1;
    }
    counts
}

/// Waits for a condition.
pub async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    testkit::eventually(what, LIMIT, condition).await;
}

//! A worker, its activities and an orchestrator's end of the line, for tests.

#![allow(clippy::unwrap_used, dead_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use activities::{Activity, BatchActivity, Registry, TaskContext};
use async_trait::async_trait;
use rdkafka::Message;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transport::{GroupConsumer, KafkaConfig, Outgoing, Producer, committed_offsets, ensure_topics, pack_tasks};
use uuid::Uuid;
use workers::{Summary, Worker, WorkerError, WorkerOptions};
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{
    Outcome, RESULTS_TOPIC, ResultEnvelope, Role, Task, TaskResult, Token, poison_topic, tasks_topic,
};

pub const QUEUE: &str = "test";
const LIMIT: Duration = Duration::from_secs(60);

/// What the activities saw.
#[derive(Default)]
pub struct Seen {
    pub runs: AtomicU32,
    pub batches: Mutex<Vec<usize>>,
    pub cancelled: AtomicU32,
    /// Lets `gate` tasks pass.
    pub gate: tokio::sync::Notify,
}

/// Behaves as its name says.
struct Single(&'static str, Arc<Seen>);

#[async_trait]
impl Activity for Single {
    fn name(&self) -> &'static str {
        self.0
    }

    fn heartbeat_every(&self) -> Option<Duration> {
        (self.0 == "long").then_some(Duration::from_millis(200))
    }

    async fn run(&self, context: &TaskContext, input: Value) -> Outcome {
        self.1.runs.fetch_add(1, Ordering::SeqCst);
        match self.0 {
            "echo" => {}
            "panic" => panic!("on purpose"),
            "gate" => self.1.gate.notified().await,
            "long" => tokio::time::sleep(Duration::from_millis(2_500)).await,
            "endless" => {
                context.cancelled.cancelled().await;
                self.1.cancelled.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            other => unreachable!("{other}"),
        }
        Outcome::Succeeded { output: input }
    }
}

struct Doubling(Arc<Seen>);

#[async_trait]
impl BatchActivity for Doubling {
    fn name(&self) -> &'static str {
        "double"
    }

    async fn run_batch(&self, tasks: Vec<(TaskContext, Value)>) -> Vec<Outcome> {
        self.0.batches.lock().unwrap().push(tasks.len());
        assert!(tasks.iter().all(|(_, input)| input != "panic"), "on purpose");
        let double = |(_, input): (TaskContext, Value)| Outcome::Succeeded {
            output: json!(input.as_i64().unwrap() * 2),
        };
        tasks.into_iter().map(double).collect()
    }
}

/// A worker that runs, and both ends of its topics.
pub struct Bench {
    pub config: KafkaConfig,
    pub seen: Arc<Seen>,
    pub producer: Producer,
    results: GroupConsumer,
}

/// One running worker.
pub struct Running {
    pub options: WorkerOptions,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<Summary, WorkerError>>,
}

impl Bench {
    pub async fn new(config: KafkaConfig) -> Self {
        let topics = vec![RESULTS_TOPIC.to_owned(), tasks_topic(QUEUE), poison_topic(QUEUE)];
        let broker = ensure_topics(&config, &topics).await.unwrap();
        let results = GroupConsumer::new(&config, broker, "test-orchestrator", &[RESULTS_TOPIC]).unwrap();
        let producer = Producer::new(&config).unwrap();
        Bench {
            config,
            seen: Arc::default(),
            producer,
            results,
        }
    }

    pub fn registry(&self) -> Registry {
        let mut registry = Registry::new();
        for name in ["echo", "panic", "gate", "long", "endless"] {
            registry.single(QUEUE, Arc::new(Single(name, Arc::clone(&self.seen))));
        }
        registry.batch(QUEUE, Arc::new(Doubling(Arc::clone(&self.seen))));
        registry
    }

    pub fn options(&self) -> WorkerOptions {
        WorkerOptions::new(self.config.clone(), vec![QUEUE.to_owned()])
    }

    pub fn start(&self, options: WorkerOptions) -> Running {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(Worker::run(options.clone(), self.registry(), shutdown.clone()));
        Running {
            options,
            shutdown,
            task,
        }
    }

    /// In how many messages.
    pub async fn send(&self, tasks: &[Task]) -> i64 {
        let messages = pack_tasks(tasks.iter().map(|task| (QUEUE, task)), self.config.partitions).unwrap();
        let count = messages.len() as i64;
        for message in messages {
            self.producer.send(message).await.unwrap();
        }
        count
    }

    pub async fn send_raw(&self, partition: i32, payload: &[u8]) {
        let (topic, payload) = (tasks_topic(QUEUE), payload.to_vec());
        let message = Outgoing {
            topic,
            partition,
            key: None,
            headers: Vec::new(),
            payload,
        };
        self.producer.send(message).await.unwrap();
    }

    /// The next results, heartbeats included.
    pub async fn next_results(&self) -> Vec<TaskResult> {
        let message = loop {
            match tokio::time::timeout(LIMIT, self.results.recv())
                .await
                .expect("results within the limit")
            {
                Ok(message) => break message,
                Err(error) => eprintln!("{error}"),
            }
        };
        let envelope: ResultEnvelope = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let wanted = envelope
            .results
            .iter()
            .all(|result| result.token.saga.partition(self.config.partitions) as i32 == message.partition());
        assert!(wanted, "results travel by saga");
        envelope.results
    }

    /// The final answers to these tasks, by saga; each task must get one.
    pub async fn answers(&self, tasks: &[Task]) -> HashMap<SagaId, Outcome> {
        let mut open: Vec<SagaId> = tasks.iter().map(|task| task.token.saga).collect();
        let mut answers = HashMap::new();
        while !open.is_empty() {
            for result in self.next_results().await {
                if result.outcome != (Outcome::Heartbeat {}) {
                    open.retain(|saga| *saga != result.token.saga);
                    answers.insert(result.token.saga, result.outcome);
                }
            }
        }
        answers
    }

    /// Messages committed by the workers' group, in all.
    pub async fn committed(&self) -> i64 {
        let group = self.options().group(QUEUE);
        committed_offsets(&self.config, &group, &tasks_topic(QUEUE))
            .await
            .unwrap()
            .values()
            .sum()
    }
}

impl Running {
    pub async fn leave(self) -> Summary {
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("leaves within the limit")
            .unwrap()
            .unwrap()
    }
}

pub fn task(activity: &str, input: Value) -> Task {
    let saga = SagaId(Uuid::now_v7());
    Task {
        token: Token {
            saga,
            step: "step".into(),
            role: Role::Run,
            attempt: 1,
            epoch: 0,
        },
        workflow: "test".into(),
        activity: activity.into(),
        key: format!("{saga}/step/1"),
        input,
        deadline: Timestamp(chrono::Utc::now().timestamp_millis()).plus(LIMIT),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

pub fn tasks(activity: &str, count: i64) -> Vec<Task> {
    (0..count).map(|n| task(activity, json!(n))).collect()
}

pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

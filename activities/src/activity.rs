//! What an activity is: one named piece of work that touches the outside, idempotent by its key.
//!
//! A worker finds it in a [`Registry`] by queue and name and runs it one task at a time ([`Activity`]) or for a whole
//! poll's tasks at once ([`BatchActivity`]). Activities are written against [`crate::typed`], which decodes
//! and encodes JSON; these traits are what the worker sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, Task};

/// What an activity knows of the task it works on, beside its input.
#[derive(Clone)]
pub struct TaskContext {
    /// The saga.
    pub saga: SagaId,
    /// The step's name within the definition.
    pub step: String,
    /// What the attempt does.
    pub role: Role,
    /// Counts the attempts of this role, from 1.
    pub attempt: u32,
    /// The idempotency key: the same for every attempt at one effect, and for its probe, fence and compensation.
    pub key: String,
    /// Past this instant nobody waits for the answer.
    pub deadline: Timestamp,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Cancelled when the answer is no longer wanted: the deadline has passed, or the worker leaves.
    pub cancelled: CancellationToken,
    heartbeat: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl TaskContext {
    /// The context of `task`, without anywhere to send heartbeats to.
    pub fn new(task: &Task, cancelled: CancellationToken) -> Self {
        TaskContext {
            saga: task.token.saga,
            step: task.token.step.clone(),
            role: task.token.role,
            attempt: task.token.attempt,
            key: task.key.clone(),
            deadline: task.deadline,
            traceparent: task.traceparent.clone(),
            cancelled,
            heartbeat: None,
        }
    }

    /// The same, with what [`TaskContext::heartbeat`] is to call. It must not block.
    pub fn with_heartbeat(mut self, send: impl Fn() + Send + Sync + 'static) -> Self {
        self.heartbeat = Some(Arc::new(send));
        self
    }

    /// Says that the work goes on, which extends the attempt's deadline. Never blocks.
    pub fn heartbeat(&self) {
        if let Some(send) = &self.heartbeat {
            send();
        }
    }

    /// How long until the deadline, by this machine's clock; zero once it is past.
    pub fn time_left(&self) -> Duration {
        let now = chrono::Utc::now().timestamp_millis();
        Duration::from_millis(u64::try_from(self.deadline.0.saturating_sub(now)).unwrap_or(0))
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("saga", &self.saga)
            .field("step", &self.step)
            .field("role", &self.role)
            .field("attempt", &self.attempt)
            .field("key", &self.key)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// An activity that works on one task at a time.
#[async_trait]
pub trait Activity: Send + Sync {
    /// As definitions name it, e.g. `payments.charge`.
    fn name(&self) -> &'static str;

    /// How often the worker is to send heartbeats while it runs; none: the activity is short, or sends its own.
    fn heartbeat_every(&self) -> Option<Duration> {
        None
    }

    /// Its contract, for announcements and checks at deploy.
    fn schemas(&self) -> Schemas {
        Schemas::default()
    }

    /// Does the work. Must be idempotent by `context.key`, and may be dropped at any await.
    async fn run(&self, context: &TaskContext, input: Value) -> Outcome;
}

/// An activity that works on all tasks of a poll at once.
#[async_trait]
pub trait BatchActivity: Send + Sync {
    /// As definitions name it, e.g. `seats.reserve`.
    fn name(&self) -> &'static str;

    /// Its contract, for announcements and checks at deploy.
    fn schemas(&self) -> Schemas {
        Schemas::default()
    }

    /// Does the work of every task and answers with as many outcomes, in the same order. Must be idempotent by
    /// each context's key, and may be dropped at any await. The same key may come twice in one batch.
    async fn run_batch(&self, tasks: Vec<(TaskContext, Value)>) -> Vec<Outcome>;
}

/// An activity's contract, as JSON Schemas. The default accepts and promises anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Schemas {
    /// Of its input.
    pub input: Value,
    /// Of its output.
    pub output: Value,
    /// The codes it fails with, besides `invalid_input` and `internal`.
    pub codes: Vec<&'static str>,
}

/// How a registered activity is run.
#[derive(Clone)]
pub enum Handler {
    /// Task by task.
    Single(Arc<dyn Activity>),
    /// All at once.
    Batch(Arc<dyn BatchActivity>),
}

impl Handler {
    /// The activity's name.
    pub fn name(&self) -> &'static str {
        match self {
            Handler::Single(activity) => activity.name(),
            Handler::Batch(activity) => activity.name(),
        }
    }

    /// The activity's contract.
    pub fn schemas(&self) -> Schemas {
        match self {
            Handler::Single(activity) => activity.schemas(),
            Handler::Batch(activity) => activity.schemas(),
        }
    }
}

/// A registered activity and its contract, as a worker announces it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// The queue it is registered under.
    pub queue: String,
    /// Its name.
    pub activity: &'static str,
    /// Its contract.
    #[serde(flatten)]
    pub schemas: Schemas,
}

/// The activities that a process can run, by queue and name.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: BTreeMap<String, BTreeMap<&'static str, Handler>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Registry::default()
    }

    /// Registers an activity that works task by task.
    ///
    /// # Panics
    /// If the queue already has one of that name: two would be a mistake in the program.
    pub fn single(&mut self, queue: &str, activity: Arc<dyn Activity>) -> &mut Self {
        self.insert(queue, Handler::Single(activity))
    }

    /// Registers an activity that works on whole batches.
    ///
    /// # Panics
    /// As [`Registry::single`].
    pub fn batch(&mut self, queue: &str, activity: Arc<dyn BatchActivity>) -> &mut Self {
        self.insert(queue, Handler::Batch(activity))
    }

    /// The activity of that name in that queue.
    pub fn get(&self, queue: &str, name: &str) -> Option<Handler> {
        self.handlers.get(queue)?.get(name).cloned()
    }

    /// The queues that have an activity.
    pub fn queues(&self) -> BTreeSet<String> {
        self.handlers.keys().cloned().collect()
    }

    /// Every activity with its contract, by queue and name.
    pub fn announcements(&self) -> Vec<Announcement> {
        let of_queue = |(queue, handlers): (&String, &BTreeMap<&'static str, Handler>)| {
            let announce = |handler: &Handler| Announcement {
                queue: queue.clone(),
                activity: handler.name(),
                schemas: handler.schemas(),
            };
            handlers.values().map(announce).collect::<Vec<_>>()
        };
        self.handlers.iter().flat_map(of_queue).collect()
    }

    fn insert(&mut self, queue: &str, handler: Handler) -> &mut Self {
        let name = handler.name();
        let before = self.handlers.entry(queue.to_owned()).or_default().insert(name, handler);
        assert!(
            before.is_none(),
            "the activity {name} is registered twice for the queue {queue}"
        );
        self
    }
}

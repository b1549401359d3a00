//! What orchestrator and workers say to each other over Kafka (docs/protocol.md): JSON envelopes of
//! up to [`ENVELOPE_ITEMS_MAX`] tasks or results.

mod result;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{SagaId, Timestamp};

/// Tasks or results in one Kafka message, at most. Among thousands of sagas in flight three hundred cost a tenth less CPU a saga than a
/// hundred (docs/performance.md); more would leave a large batch to fewer workers.
pub const ENVELOPE_ITEMS_MAX: usize = 300;
/// Bytes of one encoded envelope, at most; below Kafka's default `message.max.bytes` of 1 MB.
pub const ENVELOPE_BYTES_MAX: usize = 900_000;
/// The protocol's version, carried by each envelope.
pub const PROTOCOL_VERSION: u32 = 1;
/// The topic that carries results back.
pub const RESULTS_TOPIC: &str = "sagaline.results";

/// The topic on which workers say that they are alive.
pub const WORKERS_TOPIC: &str = "sagaline.workers";

/// The trace's id within a W3C `traceparent` (`version-trace-parent-flags`), as logs name it.
pub fn trace_id(traceparent: Option<&str>) -> &str {
    traceparent.and_then(|text| text.split('-').nth(1)).unwrap_or_default()
}

/// The topic of a queue's tasks.
pub fn tasks_topic(queue: &str) -> String {
    format!("sagaline.tasks.{queue}")
}

/// The topic on which a queue's unreadable messages are set aside, each with an `error` header.
pub fn poison_topic(queue: &str) -> String {
    format!("sagaline.poison.{queue}")
}

/// What an attempt does for its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Produce the step's effect.
    Run,
    /// Find out whether an attempt of unknown outcome had its effect.
    Probe,
    /// Find out, and make sure that an effect that did not happen can't happen any more.
    Fence,
    /// Undo the step's effect.
    Compensate,
}

/// Names one attempt. A result whose token is not the current one is stale.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// The saga.
    pub saga: SagaId,
    /// The step's name within the definition.
    pub step: String,
    /// What the attempt does.
    pub role: Role,
    /// Counts the attempts of this role, from 1.
    pub attempt: u32,
    /// Counts the step's activations and fences: a later one makes all earlier tokens stale.
    pub epoch: u32,
}

/// One unit of work for a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// To be given back with the result, unchanged.
    pub token: Token,
    /// The workflow's name, for logs.
    pub workflow: String,
    /// Which activity to run, e.g. `seats.reserve`.
    pub activity: String,
    /// The idempotency key, `saga/step/effect`: the same for every attempt at one effect, and for its
    /// probe, fence and compensation (which append their role to it where they need a key of their own).
    pub key: String,
    /// The activity's input.
    pub input: Value,
    /// Past this instant nobody waits for the answer: don't begin, and stop if begun.
    pub deadline: Timestamp,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Run, probe, fence: the effect has happened and this is its output. Compensate: it is undone.
    Succeeded {
        /// The activity's output.
        output: Value,
    },
    /// Run, probe, fence: the effect has definitely not happened. Compensate: it is definitely not undone.
    Failed {
        /// A stable code, which definitions route by, e.g. `seat_unavailable`, `card_declined`.
        code: String,
        /// For people.
        message: String,
        /// Whether another attempt might succeed.
        retryable: bool,
        /// More for whoever handles the failure (`steps.<name>.error.details` in expressions).
        #[serde(default, skip_serializing_if = "Value::is_null")]
        details: Value,
    },
    /// Nobody can tell: a time-out or a cut connection in mid-call.
    Unknown {
        /// For people.
        message: String,
    },
    /// The effect is under way elsewhere; probe again after this long, or when the step's wake-up signal comes.
    Pending {
        /// How long until the next probe.
        check_after_ms: u64,
        /// What is known so far (`steps.<name>.pending`).
        #[serde(default, skip_serializing_if = "Value::is_null")]
        details: Value,
    },
    /// Still working: extend the attempt's deadline.
    Heartbeat {},
}

/// A worker's answer to one task. In JSON, the outcome's fields stand beside the token.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
pub struct TaskResult {
    /// The task's token.
    pub token: Token,
    /// What came of it.
    #[schemars(flatten)]
    pub outcome: Outcome,
}

/// The message on a tasks topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskEnvelope {
    /// [`PROTOCOL_VERSION`].
    pub v: u32,
    /// The partition of [`RESULTS_TOPIC`] to answer on: one that is read by whoever has these sagas in memory. Without
    /// it each answer goes to the partition that its saga's id gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_partition: Option<u32>,
    /// 1 to [`ENVELOPE_ITEMS_MAX`] tasks.
    pub tasks: Vec<Task>,
}

/// The message on the results topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultEnvelope {
    /// [`PROTOCOL_VERSION`].
    pub v: u32,
    /// Who worked, for logs.
    pub worker: String,
    /// 1 to [`ENVELOPE_ITEMS_MAX`] results.
    pub results: Vec<TaskResult>,
}

/// The message on the workers' topic: a worker's sign of life, every ten seconds and when it leaves. For people who look; work needs none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerNotice {
    /// [`PROTOCOL_VERSION`].
    pub v: u32,
    /// The process, by an id that it has made itself when it began.
    pub worker: uuid::Uuid,
    /// What it calls itself, as in results.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// Where it runs.
    #[serde(default)]
    pub host: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it said this.
    pub at: Timestamp,
    /// It leaves: nothing more will come from it.
    #[serde(default)]
    pub leaving: bool,
    /// What it works on.
    pub queues: Vec<QueueStanding>,
    /// What its activities take and give: in its first message, and again every few minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activities: Vec<AnnouncedActivity>,
}

/// How a worker stands to one of its queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueStanding {
    /// The queue.
    pub queue: String,
    /// Single tasks that it runs at once.
    pub concurrency: u32,
    /// Tasks that it has taken and not yet answered.
    pub in_flight: u64,
}

/// What an activity takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnnouncedActivity {
    /// Its queue.
    pub queue: String,
    /// Its name.
    pub activity: String,
    /// The JSON Schema of its input.
    #[serde(default)]
    pub input: Value,
    /// The JSON Schema of its output.
    #[serde(default)]
    pub output: Value,
    /// The codes it fails with.
    #[serde(default)]
    pub codes: Vec<String>,
}

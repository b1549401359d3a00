//! What can happen to a saga. Each event that changed a saga is one journal entry; folding them through
//! [`crate::advance`] gives the saga's state again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::TaskResult;

/// Something that happens to a saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It begins.
    Started {
        /// The workflow's input.
        input: Value,
        /// W3C trace context of whoever began it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    },
    /// A worker answered.
    Result(TaskResult),
    /// A signal came.
    Signal(Signal),
    /// Time has passed: whatever is due by now happens.
    Tick {},
    /// An operator, or the API on a user's behalf, wants something.
    Command(CommandEvent),
    /// Tasks in flight may be lost (the broker forgot them): send them again, under the same tokens.
    Redispatch {},
    /// The attempts that these steps have just begun are not sent yet: their queues are paused, or let only so many through. Follows the
    /// event that began them at once, so that no worker has seen them.
    Hold {
        /// The steps.
        steps: Vec<String>,
    },
    /// The queue has let the step's held attempt through: it is sent now, and its time begins.
    Release {
        /// The step.
        step: String,
    },
}

/// A message to a saga from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// For deduplication, unique per saga.
    pub id: String,
    /// Which signal.
    pub name: String,
    /// What it says.
    #[serde(default)]
    pub payload: Value,
}

/// A command with who gave it and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandEvent {
    /// What is wanted.
    #[serde(flatten)]
    pub command: Command,
    /// Who.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What operators can do to a saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Try a failed (or waiting) step again now, with a fresh retry budget.
    Retry {
        /// Which step; left out, every step that waits for an operator or a retry.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// An input in place of the mapped one. It is a new effect, with a new idempotency key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
    },
    /// Go on as if the step had succeeded (or had been undone) with this output.
    Skip {
        /// Which step.
        step: String,
        /// Its output.
        #[serde(default)]
        output: Value,
    },
    /// End it: undo what was done, end `cancelled`. Refused after the pivot.
    Cancel {},
    /// Undo what was done, even after the pivot, end `compensated`.
    Compensate {},
    /// Undo what was done from this step on, and run on from there. Refused after the pivot.
    GoBack {
        /// The step to begin again with.
        step: String,
    },
    /// Dispatch nothing until resumed. Deadlines go on.
    Pause {},
    /// Go on.
    Resume {},
}

impl Command {
    /// Its name, as in the JSON form.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Retry { .. } => "retry",
            Command::Skip { .. } => "skip",
            Command::Cancel {} => "cancel",
            Command::Compensate {} => "compensate",
            Command::GoBack { .. } => "go_back",
            Command::Pause {} => "pause",
            Command::Resume {} => "resume",
        }
    }
}

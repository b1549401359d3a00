//! Where a saga stands: plain data, derived from its journal by [`crate::advance`] and by nothing else.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Signal;
use crate::ids::Timestamp;
use crate::protocol::Role;

/// The position of a node in the compiled definition.
pub type NodeIndex = u16;

/// What a saga is doing. Derived from its state, never set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A worker has something to do for it.
    Running,
    /// It waits: for a retry, a signal, a time.
    Waiting,
    /// It undoes what it did.
    Compensating,
    /// It ran to its end.
    Completed,
    /// It failed and all is undone.
    Compensated,
    /// Its request could not be met; all is undone.
    Rejected,
    /// Somebody ended it; all is undone.
    Cancelled,
    /// It needs an operator.
    Failed,
    /// An operator has stopped it.
    Paused,
}

impl Status {
    /// Every status, in the order of the enum.
    pub const ALL: [Status; 9] = [
        Status::Running,
        Status::Waiting,
        Status::Compensating,
        Status::Completed,
        Status::Compensated,
        Status::Rejected,
        Status::Cancelled,
        Status::Failed,
        Status::Paused,
    ];

    /// As in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Compensating => "compensating",
            Status::Completed => "completed",
            Status::Compensated => "compensated",
            Status::Rejected => "rejected",
            Status::Cancelled => "cancelled",
            Status::Failed => "failed",
            Status::Paused => "paused",
        }
    }

    /// Nothing more will happen, but for late results that are put right.
    pub fn is_final(self) -> bool {
        match self {
            Status::Completed | Status::Compensated | Status::Rejected | Status::Cancelled => true,
            Status::Running | Status::Waiting | Status::Compensating | Status::Failed | Status::Paused => false,
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Status::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a status; one of running, waiting, compensating, completed, compensated, rejected, cancelled, failed, paused"))
    }
}

/// The whole state of a saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Journal entries so far; the last one's sequence number.
    pub seq: u64,
    /// Which way it goes.
    #[serde(rename = "ph")]
    pub phase: Phase,
    /// The last epoch handed out.
    #[serde(rename = "ep")]
    pub epoch: u32,
    /// When it began.
    #[serde(rename = "at")]
    pub started_at: Timestamp,
    /// The workflow's input.
    #[serde(rename = "in")]
    pub input: Value,
    /// W3C trace context.
    #[serde(rename = "tp", default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// An operator has stopped it: nothing is dispatched.
    #[serde(rename = "pz", default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// The point of no return is behind it.
    #[serde(rename = "pv", default, skip_serializing_if = "is_false")]
    pub pivoted: bool,
    /// Nodes that are open now.
    #[serde(rename = "ac", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub active: BTreeMap<NodeIndex, Active>,
    /// What is known of each step that began, for expressions and for compensation.
    #[serde(rename = "re", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<NodeIndex, Record>,
    /// Steps whose effect must be undone if the saga ends, in order of completion.
    #[serde(rename = "do", default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<NodeIndex>,
    /// Signals nobody has waited for yet.
    #[serde(rename = "si", default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<Signal>,
    /// Why it ends or ended, other than by completion.
    #[serde(rename = "wy", default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// It undoes only what was done from this step on, and begins again there.
    #[serde(rename = "bk", default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
    /// Scopes whose deadline has been moved: each is once.
    #[serde(rename = "ex", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub extended: BTreeSet<NodeIndex>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Which way a saga goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Along its flow.
    #[serde(rename = "f")]
    Forward,
    /// It is ending: attempts in flight are settled, then effects are undone in reverse order.
    #[serde(rename = "u")]
    Undoing,
    /// It has ended.
    #[serde(rename = "e")]
    Ended,
}

/// Where a saga goes back to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Back {
    /// The step.
    #[serde(rename = "n")]
    pub to: NodeIndex,
    /// The open scopes around it, with their deadlines, which stay.
    #[serde(rename = "s", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scopes: BTreeMap<NodeIndex, Timestamp>,
}

/// Why a saga ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The status it will have: compensated, rejected or cancelled.
    pub status: Status,
    /// In a word or two, e.g. `EXPIRED`; published.
    pub reason: String,
    /// The step that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Its error, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
}

/// A node that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t")]
pub enum Active {
    /// A step (or its compensation, during undoing).
    #[serde(rename = "s")]
    Step(Work),
    /// A parallel.
    #[serde(rename = "p")]
    Parallel {
        /// Branches that have completed.
        #[serde(rename = "n")]
        completed: u32,
    },
    /// A scope.
    #[serde(rename = "c")]
    Scope {
        /// When its deadline is; none once it is past and being settled.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// A wait for a signal.
    #[serde(rename = "w")]
    WaitFor {
        /// Until when.
        #[serde(rename = "d")]
        deadline: Timestamp,
    },
    /// A sleep.
    #[serde(rename = "z")]
    Sleep {
        /// Until when.
        #[serde(rename = "d")]
        until: Timestamp,
    },
}

/// A step's open work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// What is being done.
    #[serde(rename = "r")]
    pub role: Role,
    /// Where that stands.
    #[serde(rename = "p")]
    pub progress: Progress,
    /// Attempts of this role so far.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// Part of the current token.
    #[serde(rename = "e")]
    pub epoch: u32,
    /// Attempts at running before the first probe, kept while probing.
    #[serde(rename = "ra", default, skip_serializing_if = "is_zero")]
    pub run_attempts: u32,
    /// When the whole step must be done.
    #[serde(rename = "tt", default, skip_serializing_if = "Option::is_none")]
    pub total_deadline: Option<Timestamp>,
    /// What an operator gave in place of the mapped input.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub edited_input: Option<Value>,
    /// Before its current attempt began it was not known either whether its effect is there.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub doubted: bool,
    /// Failures in a row, for people.
    #[serde(rename = "fl", default, skip_serializing_if = "is_zero")]
    pub failures: u32,
}

/// Where a step's open work stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t")]
pub enum Progress {
    /// To be dispatched, withheld because the saga is paused.
    #[serde(rename = "h")]
    Withheld,
    /// Dispatched; unanswered past this instant, its outcome is unknown.
    #[serde(rename = "f")]
    InFlight {
        /// See above.
        #[serde(rename = "d")]
        deadline: Timestamp,
    },
    /// The next attempt comes then.
    #[serde(rename = "b")]
    Backoff {
        /// See above.
        #[serde(rename = "u")]
        until: Timestamp,
    },
    /// Under way elsewhere; probed then, or at its signal.
    #[serde(rename = "w")]
    Pending {
        /// See above.
        #[serde(rename = "u")]
        until: Timestamp,
    },
    /// The attempt has begun, but its queue has not let it through yet: no worker has seen it, and its time does not run.
    #[serde(rename = "q")]
    Held {
        /// The queue has let it through while the saga was paused: it is sent at the resumption.
        #[serde(rename = "f", default, skip_serializing_if = "is_false")]
        free: bool,
    },
    /// Waits for an operator.
    #[serde(rename = "o")]
    Operator,
}

/// What is known of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The effect's number: part of the idempotency key.
    #[serde(rename = "k")]
    pub effect: u32,
    /// Whether the effect is there.
    #[serde(rename = "s")]
    pub standing: Standing,
    /// Its output, once succeeded.
    #[serde(rename = "o", default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// Its last error.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// The input it ran with, kept where a compensation, probe or fence will want it.
    #[serde(rename = "i", default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// Attempt and epoch of the answer that brought the success, to know its duplicates by.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub won_by: Option<(u32, u32)>,
}

/// Whether a step's effect is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Not as far as is known: not yet begun, or definitely failed.
    #[default]
    #[serde(rename = "n")]
    Absent,
    /// Nobody knows: an attempt is or was in flight.
    #[serde(rename = "d")]
    InDoubt,
    /// It is there.
    #[serde(rename = "y")]
    Present,
    /// It has been undone.
    #[serde(rename = "u")]
    Undone,
}

/// A step's error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepError {
    /// The code that definitions route by.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether another attempt was worth it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub retryable: bool,
    /// More, from the activity.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

//! A saga's state in words, for APIs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compile::Compiled;
use crate::ids::Timestamp;
use crate::state::{State, Status, StepError};

/// What is to be seen of a saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaView {
    /// What it is doing.
    pub status: Status,
    /// Journal entries so far.
    pub seq: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// The point of no return is behind it.
    pub pivoted: bool,
    /// The workflow's input.
    pub input: Value,
    /// Each step that began, by its place in the definition.
    pub steps: Vec<StepView>,
    /// Why it ends or ended, e.g. `EXPIRED`.
    pub reason: Option<String>,
    /// The step that made it end.
    pub failed_step: Option<String>,
    /// That step's error.
    pub error: Option<StepError>,
    /// The workflow's output, once completed.
    pub output: Value,
}

/// What is to be seen of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// The node's name.
    pub name: String,
    /// `step`, `scope`, `wait_for`, `sleep` or `parallel`.
    pub kind: String,
    /// `in_flight`, `backoff`, `pending`, `withheld`, `operator`, `waiting`; none: it is not open.
    pub progress: Option<String>,
    /// What is being done: `run`, `probe`, `fence` or `compensate`.
    pub role: Option<String>,
    /// Attempts of this role so far.
    pub attempt: u32,
    /// When something happens by itself: the deadline, the next attempt.
    pub until: Option<Timestamp>,
    /// `absent`, `in_doubt`, `present` or `undone`.
    pub standing: String,
    /// Its output.
    pub output: Value,
    /// Its last error.
    pub error: Option<StepError>,
}

/// A saga's state in words.
pub fn view(definition: &Compiled, state: &State) -> SagaView {
    let _ = (definition, state);
    unimplemented!()
}

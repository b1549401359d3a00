//! A saga's state in words, for APIs.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compile::{Compiled, Kind};
use crate::ids::{SagaId, Timestamp};
use crate::protocol::Role;
use crate::state::{Active, NodeIndex, Progress, Record, Standing, State, Status, StepError};

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
    /// It undoes what was done from this step on, to begin again there.
    #[serde(default)]
    pub back_to: Option<String>,
    /// Why it ends or ended, e.g. `EXPIRED`.
    pub reason: Option<String>,
    /// The step that made it end.
    pub failed_step: Option<String>,
    /// That step's error.
    pub error: Option<StepError>,
    /// The workflow's output, once completed.
    pub output: Value,
    /// Scopes whose deadline was moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extended: Vec<String>,
}

/// What is to be seen of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// The node's name.
    pub name: String,
    /// `step`, `scope`, `wait_for`, `sleep` or `parallel`.
    pub kind: String,
    /// `in_flight`, `backoff`, `pending`, `held`, `withheld`, `operator`, `waiting`; none: it is not open.
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
pub fn view(definition: &Compiled, saga: SagaId, state: &State) -> SagaView {
    let status = state.status();
    let ending = state.ending.as_ref();
    // Of a step that was gone back behind, only the number of its next effect is left.
    let begun = |node: &NodeIndex, record: &Record| {
        definition.step(*node).is_none() || record.standing != Standing::Absent || record.error.is_some()
    };
    let recorded = state.records.iter().filter(|(node, record)| begun(node, record));
    let known: BTreeSet<NodeIndex> = recorded
        .map(|(node, _)| node)
        .chain(state.active.keys())
        .copied()
        .collect();
    SagaView {
        status,
        seq: state.seq,
        started_at: state.started_at,
        pivoted: state.pivoted,
        input: state.input.clone(),
        steps: known
            .into_iter()
            .map(|node| step_view(definition, state, node))
            .collect(),
        back_to: state.back.as_ref().map(|back| definition.node(back.to).name.clone()),
        reason: ending.map(|ending| ending.reason.clone()),
        failed_step: ending.and_then(|ending| ending.step.clone()),
        error: ending.and_then(|ending| ending.error.clone()),
        extended: state
            .extended
            .iter()
            .map(|scope| definition.node(*scope).name.clone())
            .collect(),
        output: if status == Status::Completed {
            crate::advance::output(definition, saga, state)
        } else {
            Value::Null
        },
    }
}

fn step_view(definition: &Compiled, state: &State, node: NodeIndex) -> StepView {
    let record = state.records.get(&node);
    let mut view = StepView {
        name: definition.node(node).name.clone(),
        kind: kind(&definition.node(node).kind).to_owned(),
        progress: None,
        role: None,
        attempt: 0,
        until: None,
        standing: standing(record.map(|record| record.standing).unwrap_or_default()).to_owned(),
        output: record.map(|record| record.output.clone()).unwrap_or_default(),
        error: record.and_then(|record| record.error.clone()),
    };
    match state.active.get(&node) {
        None => {}
        Some(Active::Step(work)) => {
            let (progress, until) = match work.progress {
                Progress::Withheld => ("withheld", None),
                Progress::InFlight { deadline } => ("in_flight", Some(deadline)),
                Progress::Backoff { until } => ("backoff", Some(until)),
                Progress::Pending { until } => ("pending", Some(until)),
                Progress::Held { free: _ } => ("held", None),
                Progress::Operator => ("operator", None),
            };
            view.progress = Some(progress.to_owned());
            view.until = until;
            view.role = Some(role(work.role).to_owned());
            view.attempt = work.attempt;
        }
        Some(Active::Parallel { .. }) => view.progress = Some("waiting".to_owned()),
        Some(Active::Scope { deadline }) => {
            view.progress = Some("waiting".to_owned());
            view.until = *deadline;
        }
        Some(Active::WaitFor { deadline }) => {
            view.progress = Some("waiting".to_owned());
            view.until = Some(*deadline);
        }
        Some(Active::Sleep { until }) => {
            view.progress = Some("waiting".to_owned());
            view.until = Some(*until);
        }
    }
    view
}

fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Step(_) => "step",
        Kind::Parallel { .. } => "parallel",
        Kind::Scope { .. } => "scope",
        Kind::WaitFor { .. } => "wait_for",
        Kind::Sleep { .. } => "sleep",
        Kind::Choice { .. } => "choice",
        Kind::Emit { .. } => "emit",
        Kind::Pivot => "pivot",
        Kind::End { .. } => "end",
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Run => "run",
        Role::Probe => "probe",
        Role::Fence => "fence",
        Role::Compensate => "compensate",
    }
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Absent => "absent",
        Standing::InDoubt => "in_doubt",
        Standing::Present => "present",
        Standing::Undone => "undone",
    }
}

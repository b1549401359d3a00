//! The rows that a saga leaves when all of a batch's events have been applied to it.

use workflows::ids::{SagaId, Timestamp};
use workflows::state::{Active, NodeIndex, Progress, Status};

use super::{After, Current, Planner};
use crate::cache::KnownSaga;
use crate::text::clean;

impl Planner<'_> {
    /// The saga's rows, if anything changed.
    pub(super) fn row(&mut self, saga: SagaId, current: Current) {
        let state = &current.state;
        let changed = current.stored_seq != Some(state.seq);
        let timer = state.timer_due();
        if current.timer_claimed || (changed && timer != current.stored_timer) {
            match timer {
                Some(due) => {
                    self.write.timers.saga_id.push(saga.0);
                    self.write.timers.due_at.push(due.to_datetime());
                }
                None => self.write.timers_gone.push(saga.0),
            }
        }
        self.held_rows(saga, &current);
        let status = state.status();
        let attempt_due = state.attempt_due();
        let ended = status.is_final() && attempt_due.is_none() && timer.is_none();
        if changed {
            let (code, step) = failure(&current, status, ended);
            let attempt_due_at = attempt_due.map(Timestamp::to_datetime);
            match current.stored_seq {
                None => {
                    let rows = &mut self.write.inserted;
                    let meta = current.meta.as_deref();
                    let tags = meta.map(|meta| &meta.tags).filter(|tags| !tags.is_empty());
                    rows.id.push(saga.0);
                    rows.workflow.push(current.definition.name().to_owned());
                    rows.definition_id.push(current.definition.id);
                    rows.status.push(status.as_str());
                    rows.business_key.push(meta.and_then(|meta| meta.business_key.clone()));
                    rows.tags.push(tags.map(|tags| serde_json::json!(tags).to_string()));
                    rows.state.push(state.encode());
                    rows.seq.push(state.seq as i64);
                    rows.attempt_due_at.push(attempt_due_at);
                    rows.ended.push(ended);
                    rows.failure_code.push(code);
                    rows.failure_step.push(step);
                }
                Some(stored) => {
                    let rows = &mut self.write.updated;
                    rows.id.push(saga.0);
                    rows.expected_seq.push(stored as i64);
                    rows.seq.push(state.seq as i64);
                    rows.status.push(status.as_str());
                    rows.state.push(state.encode());
                    rows.attempt_due_at.push(attempt_due_at);
                    rows.ended.push(ended);
                    rows.failure_code.push(code);
                    rows.failure_step.push(step);
                }
            }
        }
        let known = KnownSaga {
            definition: current.definition,
            state: current.state,
            meta: current.meta,
            cached: false,
        };
        self.after.push(After {
            saga,
            known,
            status,
            stored_status: current.stored_status,
            ended,
        });
    }

    /// The rows of the steps that wait for their queues: like timers they follow from the state.
    fn held_rows(&mut self, saga: SagaId, current: &Current) {
        let held: Vec<NodeIndex> = current.state.held().collect();
        if held.is_empty() && current.stored_held.is_empty() && current.released.is_empty() {
            return;
        }
        let compiled = &current.definition.compiled;
        let names = |nodes: &[NodeIndex]| -> Vec<String> {
            let names = nodes.iter().filter_map(|node| compiled.node_name(*node));
            names.map(ToOwned::to_owned).collect()
        };
        let (now, before) = (names(&held), names(&current.stored_held));
        for step in before
            .iter()
            .chain(&current.released)
            .filter(|step| !now.contains(step))
        {
            self.write.unheld.push(saga.0, step);
        }
        for step in &now {
            // The last word counts: a step may have been held, and have gone on, several times in this batch.
            let queue = current.held.iter().rev().find(|(held, _)| held == step);
            if let Some((_, queue)) = queue {
                self.write.held.saga_id.push(saga.0);
                self.write.held.step.push(step.clone());
                self.write.held.queue.push(queue.clone());
            }
        }
    }
}

/// Failures in a row from which on a step counts as failing, though it is still being tried: one is everyday life.
const FAILURES_IN_TROUBLE: u32 = 2;
/// The code of a step that has no error of its own to show.
const NO_ANSWER: &str = "no_answer";

/// For lists: why a saga that has ended was not completed; of a live one, what a step fails with, if that is more than everyday
/// life. None, as for almost all, keeps its row out of every index of
/// failures, so that writing it stays cheap.
fn failure(current: &Current, status: Status, ended: bool) -> (Option<String>, Option<String>) {
    if let Some(ending) = current.state.ending.as_ref().filter(|_| ended) {
        let code = ending.error.as_ref().map_or(&ending.reason, |error| &error.code);
        return (Some(clean(code)), ending.step.as_deref().map(clean));
    }
    if status == Status::Failed && current.failure.0.is_some() {
        return current.failure.clone();
    }
    // Retried again and again counts as well: lists and the inbox find it by its code while it is still being tried.
    let troubled = current.state.active.iter().find_map(|(node, active)| match active {
        Active::Step(work) if work.progress == Progress::Operator || work.failures >= FAILURES_IN_TROUBLE => {
            Some(*node)
        }
        _ => None,
    });
    let Some(node) = troubled else {
        return (None, None);
    };
    let error = current
        .state
        .records
        .get(&node)
        .and_then(|record| record.error.as_ref());
    let code = error.map_or_else(|| NO_ANSWER.to_owned(), |error| clean(&error.code));
    let step = current.definition.compiled.node_name(node);
    (Some(code), step.map(clean))
}

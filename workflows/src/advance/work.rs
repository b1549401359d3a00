//! Attempts: dispatch, answers, retries, probes.

use serde_json::Value;

use crate::compile::{CompiledAction, CompiledStep};
use crate::definition::{Retry, Route, StepMoment};
use crate::effect::Effect;
use crate::ids::Timestamp;
use crate::limits::ANSWER_GRACE;
use crate::protocol::{Outcome, Role, Task, TaskResult, Token};
use crate::state::{Active, NodeIndex, Phase, Progress, Standing, StepError, Work};

use super::flow::{Todo, expression_error};
use super::variables::error_value;
use super::{Entry, Machine};

impl Machine<'_> {
    /// A step's turn has come.
    pub(super) fn begin_step(&mut self, node: NodeIndex) {
        self.open_step(node);
        self.dispatch(node);
    }

    /// Opens a step's work without dispatching it.
    pub(super) fn open_step(&mut self, node: NodeIndex) {
        let epoch = self.next_epoch();
        let total = self
            .definition
            .step(node)
            .and_then(|step| step.definition.total_timeout);
        let work = Work {
            role: Role::Run,
            progress: Progress::Withheld,
            attempt: 0,
            epoch,
            run_attempts: 0,
            total_deadline: total.map(|total| self.now.plus(total)),
            edited_input: None,
            doubted: false,
            failures: 0,
        };
        self.state.active.insert(node, Active::Step(work));
        let record = self.state.records.entry(node).or_default();
        record.effect = record.effect.max(1);
    }

    /// Turns an open step to a probe, a fence or a compensation, whose first attempt is dispatched.
    pub(super) fn begin_role(&mut self, node: NodeIndex, role: Role) {
        // A probe asks for the attempts before it; those stay valid answers no more either way.
        let epoch = self.next_epoch();
        if let Some(work) = self.work_mut(node) {
            if role == Role::Probe && work.role == Role::Run {
                work.run_attempts = work.attempt;
            }
            work.role = role;
            work.attempt = 0;
            work.epoch = epoch;
            if role != Role::Probe {
                work.total_deadline = None;
            }
        }
        self.dispatch(node);
    }

    /// Sends the next attempt, unless the saga is paused.
    pub(super) fn dispatch(&mut self, node: NodeIndex) {
        let (paused, now) = (self.state.paused, self.now);
        let Some(work) = self.work_mut(node) else { return };
        if paused {
            work.progress = Progress::Withheld;
            return;
        }
        if work.total_deadline.is_some_and(|total| total <= now) {
            return self.step_timed_out(node);
        }
        work.attempt += 1;
        let (role, attempt) = (work.role, work.attempt);
        self.note_doubt(node);
        if !self.send(node) {
            return;
        }
        match (role, attempt) {
            (Role::Run, 1) => self.publish_step(node, StepMoment::Started, 1, None),
            (Role::Run, _) => {
                let error = self.state.records.get(&node).and_then(|record| record.error.clone());
                self.publish_step(
                    node,
                    StepMoment::Retried,
                    attempt,
                    error.as_ref().map(|e| error_value(e, true)),
                );
            }
            (Role::Probe | Role::Fence | Role::Compensate, _) => {}
        }
    }

    /// Sends the current attempt. False: its input could not be made, and the step has failed.
    pub(super) fn send(&mut self, node: NodeIndex) -> bool {
        let Some(step) = self.definition.step(node) else {
            return false;
        };
        let Some(Active::Step(work)) = self.state.active.get(&node) else {
            return false;
        };
        let (role, attempt, epoch, total) = (work.role, work.attempt, work.epoch, work.total_deadline);
        let action = action(step, role);
        let input = match self.input(node, step, action) {
            Ok(input) => input,
            Err(message) => {
                self.mapping_failed(node, message);
                return false;
            }
        };
        let timeout = action.and_then(|action| action.definition.attempt_timeout);
        let by = self.now.plus(timeout.unwrap_or(step.definition.attempt_timeout));
        let by = total.map_or(by, |total| total.min(by));
        let record = self.state.records.entry(node).or_default();
        if role == Role::Run {
            record.standing = Standing::InDoubt;
            if step.keeps_input {
                record.input.clone_from(&input);
            }
        }
        let key = format!("{}/{}/{}", self.saga, step.definition.name, record.effect);
        if let Some(work) = self.work_mut(node) {
            work.progress = Progress::InFlight {
                deadline: by.plus(ANSWER_GRACE),
            };
        }
        let queue = action
            .and_then(|action| action.definition.queue.as_ref())
            .unwrap_or(&step.definition.queue);
        let task = Task {
            token: Token {
                saga: self.saga,
                step: step.definition.name.clone(),
                role,
                attempt,
                epoch,
            },
            workflow: self.definition.definition().name.clone(),
            activity: action
                .map_or(&step.definition.activity, |action| &action.definition.activity)
                .clone(),
            key,
            input,
            deadline: by,
            traceparent: self.state.traceparent.clone(),
        };
        self.push_effect(Effect::Dispatch {
            queue: queue.clone(),
            task,
        });
        true
    }

    fn input(&self, node: NodeIndex, step: &CompiledStep, action: Option<&CompiledAction>) -> Result<Value, String> {
        let record = self.state.records.get(&node);
        match action {
            Some(action) if action.input.is_null() => Ok(record.map(|record| record.input.clone()).unwrap_or_default()),
            Some(action) => action.input.evaluate(&self.scope()),
            None => match self.state.active.get(&node) {
                Some(Active::Step(work)) if work.edited_input.is_some() => {
                    Ok(work.edited_input.clone().unwrap_or_default())
                }
                // The same key goes with the same parameters.
                _mapped if step.keeps_input && record.is_some_and(|record| !record.input.is_null()) => {
                    Ok(record.map(|record| record.input.clone()).unwrap_or_default())
                }
                _mapped => step.input.evaluate(&self.scope()),
            },
        }
    }

    fn mapping_failed(&mut self, node: NodeIndex, message: String) {
        let error = StepError {
            code: "expression_failed".into(),
            message,
            retryable: false,
            details: Value::Null,
        };
        self.state.records.entry(node).or_default().error = Some(error.clone());
        match self.work_mut(node).map(|work| work.role) {
            Some(Role::Run) => self.fail_step(node, error),
            Some(Role::Probe | Role::Fence | Role::Compensate) => self.give_to_operator(node),
            None => {}
        }
    }

    /// A worker's answer.
    pub(super) fn result(&mut self, result: &TaskResult) -> Entry {
        let Some(&node) = self.definition.names.get(&result.token.step) else {
            return Some(("stale_result", None));
        };
        let token = &result.token;
        let current = match self.state.active.get(&node) {
            Some(Active::Step(work)) => {
                work.role == token.role
                    && work.attempt == token.attempt
                    && work.epoch == token.epoch
                    && matches!(work.progress, Progress::InFlight { .. })
            }
            _other => false,
        };
        if !current {
            return self.stale(node, result);
        }
        let entry = match (token.role, &result.outcome) {
            (role, Outcome::Heartbeat {}) => {
                self.heartbeat(node, role);
                "heartbeat"
            }
            (Role::Run | Role::Probe, Outcome::Succeeded { output }) => {
                self.succeeded(node, output.clone(), Some((token.attempt, token.epoch)));
                if token.role == Role::Run {
                    "step_succeeded"
                } else {
                    "probe_succeeded"
                }
            }
            (Role::Fence, Outcome::Succeeded { output }) => {
                self.record_success(node, output.clone(), Some((token.attempt, token.epoch)));
                self.settled(node, Standing::Present);
                "fence_succeeded"
            }
            (Role::Compensate, Outcome::Succeeded { .. }) => {
                self.undone(node, token.attempt);
                "compensated"
            }
            (
                role,
                Outcome::Failed {
                    code,
                    message,
                    retryable,
                    details,
                },
            ) => {
                let error = StepError {
                    code: code.clone(),
                    message: message.clone(),
                    retryable: *retryable,
                    details: details.clone(),
                };
                self.failed(node, role, error);
                failed_entry(role)
            }
            (role, Outcome::Unknown { message }) => {
                self.unknown(node, message.clone());
                unknown_entry(role)
            }
            (
                role,
                Outcome::Pending {
                    check_after_ms,
                    details,
                },
            ) => {
                self.pending(node, role, *check_after_ms, details);
                "step_pending"
            }
        };
        self.run_todo();
        Some((entry, Some(node)))
    }

    /// An answer to an attempt that is not the current one. Only a success that nobody will use matters.
    fn stale(&mut self, node: NodeIndex, result: &TaskResult) -> Entry {
        let token = &result.token;
        let Outcome::Succeeded { output } = &result.outcome else {
            return Some(("stale_result", Some(node)));
        };
        if token.role == Role::Compensate {
            return Some(("stale_result", Some(node)));
        }
        let Some(record) = self.state.records.get_mut(&node) else {
            return Some(("stale_result", Some(node)));
        };
        if record.won_by == Some((token.attempt, token.epoch)) {
            // The same answer once more, as Kafka may deliver it: not worth a journal entry.
            return None;
        }
        let undone = self.state.ending.is_some() || self.state.back.is_some();
        let going_back = undone && self.state.phase != Phase::Forward;
        let open = self.state.active.contains_key(&node);
        let nobody_will_use_it = matches!(record.standing, Standing::Undone | Standing::Absent);
        if open && record.standing == Standing::Absent && token.role != Role::Fence {
            // Its failure was known, and now a copy of the task has succeeded after all: it must be settled.
            record.standing = Standing::InDoubt;
        }
        if going_back && !open && nobody_will_use_it {
            record.standing = Standing::Present;
            record.output.clone_from(output);
            record.won_by = Some((token.attempt, token.epoch));
            self.undo_stray(node);
        }
        Some(("stale_result", Some(node)))
    }

    fn heartbeat(&mut self, node: NodeIndex, role: Role) {
        let Some(step) = self.definition.step(node) else { return };
        let timeout = action(step, role).and_then(|action| action.definition.attempt_timeout);
        let extended = self
            .now
            .plus(timeout.unwrap_or(step.definition.attempt_timeout))
            .plus(ANSWER_GRACE);
        if let Some(work) = self.work_mut(node) {
            let latest = work
                .total_deadline
                .map_or(extended, |total| total.plus(ANSWER_GRACE).min(extended));
            work.progress = Progress::InFlight { deadline: latest };
        }
    }

    /// The effect is there: the flow goes on.
    pub(super) fn succeeded(&mut self, node: NodeIndex, output: Value, won_by: Option<(u32, u32)>) {
        let attempt = self
            .work_mut(node)
            .map_or(0, |work| work.run_attempts.max(work.attempt));
        self.record_success(node, output, won_by);
        self.state.active.remove(&node);
        self.remember_done(node);
        self.publish_step(node, StepMoment::Succeeded, attempt, None);
        if self.definition.step(node).is_some_and(|step| step.definition.pivot) {
            self.pass_pivot();
        }
        self.todo.push(Todo::Complete(node));
    }

    fn record_success(&mut self, node: NodeIndex, output: Value, won_by: Option<(u32, u32)>) {
        let record = self.state.records.entry(node).or_default();
        record.standing = Standing::Present;
        record.output = output;
        record.error = None;
        record.won_by = won_by;
    }

    /// The attempt has definitely failed.
    fn failed(&mut self, node: NodeIndex, role: Role, error: StepError) {
        let Some(step) = self.definition.step(node) else { return };
        let absent = |action: &CompiledAction| action.definition.absent_codes.contains(&error.code);
        let record = self.state.records.entry(node).or_default();
        record.error = Some(error.clone());
        match role {
            Role::Run => {
                // While the key lives on, a repeated task may still have its effect under it.
                let fresh_key = !step.definition.same_key_codes.contains(&error.code);
                record.standing = if fresh_key { Standing::Absent } else { Standing::InDoubt };
                self.retry_or_fail(node, error, fresh_key);
            }
            Role::Probe => {
                let leaves_no_trace = step.probe.as_ref().is_some_and(absent);
                record.standing = if leaves_no_trace {
                    Standing::InDoubt
                } else {
                    Standing::Absent
                };
                if let Some(work) = self.work_mut(node) {
                    work.role = Role::Run;
                    work.attempt = work.run_attempts;
                }
                self.retry_or_fail(node, error, !leaves_no_trace);
            }
            Role::Fence => {
                record.standing = Standing::Absent;
                self.settled(node, Standing::Absent);
            }
            Role::Compensate => self.retry_action(node, Some(error)),
        }
    }

    /// Nobody knows what came of the attempt.
    pub(super) fn unknown(&mut self, node: NodeIndex, message: String) {
        let error = StepError {
            code: "unknown_outcome".into(),
            message,
            retryable: true,
            details: Value::Null,
        };
        self.state.records.entry(node).or_default().error = Some(error.clone());
        let has_probe = self.definition.step(node).is_some_and(|step| step.probe.is_some());
        match self.work_mut(node).map(|work| work.role) {
            Some(Role::Run) if has_probe => {
                self.publish_attempt_failed(node, &error, true);
                self.begin_role(node, Role::Probe);
            }
            Some(Role::Run) => self.retry_or_fail(node, error, false),
            Some(Role::Probe | Role::Fence | Role::Compensate) => self.retry_action(node, None),
            None => {}
        }
        self.run_todo();
    }

    fn pending(&mut self, node: NodeIndex, role: Role, check_after_ms: u64, details: &Value) {
        let Some(step) = self.definition.step(node) else { return };
        let check_after = std::time::Duration::from_millis(check_after_ms);
        match role {
            Role::Run | Role::Probe if step.probe.is_some() => {
                let until = self.now.plus(check_after);
                self.state.records.entry(node).or_default().output = details.clone();
                if let Some(work) = self.work_mut(node) {
                    if work.role == Role::Probe {
                        work.attempt = work.run_attempts;
                    }
                    work.role = Role::Run;
                    work.progress = Progress::Pending { until };
                }
                let woken = step.definition.wake_on.as_ref();
                let parked = self.state.parked.iter().position(|signal| Some(&signal.name) == woken);
                if let Some(at) = parked {
                    self.state.parked.remove(at);
                    self.probe_pending(node);
                }
            }
            // Without a probe there is nobody to ask; a fence or a compensation is asked again.
            Role::Run | Role::Probe => self.unknown(node, "pending, but the step has no probe".to_owned()),
            Role::Fence | Role::Compensate => {
                let until = self.now.plus(check_after);
                if let Some(work) = self.work_mut(node) {
                    work.progress = Progress::Backoff { until };
                }
            }
        }
    }

    /// Looks again at what was pending.
    pub(super) fn probe_pending(&mut self, node: NodeIndex) {
        self.begin_role(node, Role::Probe);
        self.run_todo();
    }

    /// After a failed attempt at running: another one, or the step has failed. `fresh_key`: the effect has definitely
    /// failed under its key, so the next attempt needs another.
    fn retry_or_fail(&mut self, node: NodeIndex, error: StepError, fresh_key: bool) {
        let Some(step) = self.definition.step(node) else { return };
        let (saga, now) = (self.saga, self.now);
        let Some(work) = self.work_mut(node) else { return };
        work.failures += 1;
        let retry = &step.definition.retry;
        let next = now.plus(retry.delay(work.attempt.max(1), saga, &step.definition.name));
        let worth_it = error.retryable && !retry.non_retryable.contains(&error.code);
        if worth_it && has_attempts_left(retry, work.attempt) && in_time(work, next) {
            work.progress = Progress::Backoff { until: next };
            if fresh_key {
                self.fresh_key(node);
            }
            self.publish_attempt_failed(node, &error, true);
        } else {
            self.publish_attempt_failed(node, &error, false);
            self.fail_step(node, error);
        }
    }

    pub(super) fn fresh_key(&mut self, node: NodeIndex) {
        if let Some(record) = self.state.records.get_mut(&node) {
            record.effect += 1;
            record.input = Value::Null;
        }
    }

    /// After a failed attempt at a probe, fence or compensation: another one, or an operator.
    fn retry_action(&mut self, node: NodeIndex, error: Option<StepError>) {
        let Some(step) = self.definition.step(node) else { return };
        let (saga, now) = (self.saga, self.now);
        let Some(work) = self.work_mut(node) else { return };
        work.failures += 1;
        let Some(retry) = action(step, work.role).map(|action| &action.definition.retry) else {
            return;
        };
        let worth_it = error
            .as_ref()
            .is_none_or(|error| error.retryable && !retry.non_retryable.contains(&error.code));
        if worth_it && has_attempts_left(retry, work.attempt) {
            let until = now.plus(retry.delay(work.attempt.max(1), saga, &step.definition.name));
            work.progress = Progress::Backoff { until };
        } else {
            self.give_to_operator(node);
        }
    }

    fn give_to_operator(&mut self, node: NodeIndex) {
        if let Some(work) = self.work_mut(node) {
            work.progress = Progress::Operator;
            self.publish_saga(crate::definition::SagaMoment::Failed);
        }
    }

    pub(super) fn step_timed_out(&mut self, node: NodeIndex) {
        let message = "the step's total time is over".to_owned();
        let error = StepError {
            code: "step_timeout".into(),
            message,
            retryable: false,
            details: Value::Null,
        };
        self.state.records.entry(node).or_default().error = Some(error.clone());
        self.fail_step(node, error);
    }

    /// No attempt is left: the error's route is taken.
    pub(super) fn fail_step(&mut self, node: NodeIndex, error: StepError) {
        let Some(step) = self.definition.step(node) else { return };
        self.publish_step(node, StepMoment::Failed, 0, Some(error_value(&error, false)));
        let by_default = match self.state.pivoted {
            true => Route::Operator {},
            false => Route::Compensate { reason: None },
        };
        let route = step
            .definition
            .routes
            .get(&error.code)
            .or(step.definition.otherwise.as_ref());
        self.follow(node, route.unwrap_or(&by_default), error);
    }

    fn publish_attempt_failed(&mut self, node: NodeIndex, error: &StepError, will_retry: bool) {
        let attempt = self.work_mut(node).map_or(0, |work| work.attempt);
        self.publish_step(
            node,
            StepMoment::AttemptFailed,
            attempt,
            Some(error_value(error, will_retry)),
        );
    }

    pub(super) fn publish_step(&mut self, node: NodeIndex, moment: StepMoment, attempt: u32, error: Option<Value>) {
        let definition = self.definition;
        let Some(step) = definition.step(node) else { return };
        for emit in step.emit.iter().filter(|emit| emit.on == moment) {
            let mut scope = self.scope();
            scope.attempt = attempt;
            scope.error.clone_from(&error);
            let wanted = emit
                .when
                .as_ref()
                .is_none_or(|when| when.holds(&scope).unwrap_or(false));
            if wanted {
                let data = emit.data.evaluate(&scope).unwrap_or_else(expression_error);
                self.publish(&emit.topic, data);
            }
        }
    }

    pub(super) fn work_mut(&mut self, node: NodeIndex) -> Option<&mut Work> {
        match self.state.active.get_mut(&node) {
            Some(Active::Step(work)) => Some(work),
            _other => None,
        }
    }
}

fn action(step: &CompiledStep, role: Role) -> Option<&CompiledAction> {
    match role {
        Role::Run => None,
        Role::Probe => step.probe.as_ref(),
        Role::Fence => step.fence.as_ref(),
        Role::Compensate => step.compensation.as_ref(),
    }
}

fn has_attempts_left(retry: &Retry, attempts: u32) -> bool {
    retry.max_attempts.is_none_or(|max| attempts < max)
}

fn in_time(work: &Work, next: Timestamp) -> bool {
    work.total_deadline.is_none_or(|total| next < total)
}

fn failed_entry(role: Role) -> &'static str {
    match role {
        Role::Run => "step_failed",
        Role::Probe => "probe_failed",
        Role::Fence => "fence_failed",
        Role::Compensate => "compensation_failed",
    }
}

fn unknown_entry(role: Role) -> &'static str {
    match role {
        Role::Run => "step_unknown",
        Role::Probe => "probe_unknown",
        Role::Fence => "fence_unknown",
        Role::Compensate => "compensation_unknown",
    }
}

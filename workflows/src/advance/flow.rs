//! Entering and completing nodes.

use serde_json::Value;

use crate::compile::Kind;
use crate::definition::{EndOutcome, Route, SagaMoment};
use crate::effect::Effect;
use crate::limits::NODES_PER_TRANSITION_MAX;
use crate::state::{Active, Ending, NodeIndex, Phase, Progress, Standing, Status, StepError};

use super::Machine;
use super::variables::Scope;

/// What is left to do in this transition. A list of its own instead of recursion, so that long flows of nodes that
/// take no time need no deep stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Todo {
    /// Begin a node.
    Enter(NodeIndex),
    /// A node has completed: go on behind it.
    Complete(NodeIndex),
    /// The flow has run to its end.
    Finish,
}

impl Machine<'_> {
    pub(super) fn begin(&mut self) {
        self.publish_saga(SagaMoment::Started);
        self.todo.push(self.definition.first.map_or(Todo::Finish, Todo::Enter));
        self.run_todo();
    }

    pub(super) fn run_todo(&mut self) {
        let mut passed = 0;
        while let Some(todo) = self.todo.pop() {
            passed += 1;
            assert!(
                passed <= NODES_PER_TRANSITION_MAX,
                "jumps go forward only, so a flow ends"
            );
            match todo {
                Todo::Enter(node) if self.is_reachable(node) => self.enter(node),
                Todo::Complete(node) if self.is_reachable(node) => self.complete(node),
                Todo::Finish if self.state.phase == Phase::Forward => self.finish(),
                // The saga, or the container, ended meanwhile.
                Todo::Enter(_) | Todo::Complete(_) | Todo::Finish => {}
            }
        }
    }

    /// The saga goes forward and all that holds the node is open.
    fn is_reachable(&self, node: NodeIndex) -> bool {
        self.state.phase == Phase::Forward
            && self
                .definition
                .ancestors(node)
                .all(|ancestor| match &self.definition.node(ancestor).kind {
                    Kind::Scope { .. } | Kind::Parallel { .. } => self.state.active.contains_key(&ancestor),
                    _choice => true,
                })
    }

    fn enter(&mut self, node: NodeIndex) {
        let definition = self.definition;
        match &definition.node(node).kind {
            Kind::Step(step) => match step.when.as_ref().map(|when| when.holds(&self.scope())).transpose() {
                Ok(None | Some(true)) => self.begin_step(node),
                Ok(Some(false)) => self.todo.push(Todo::Complete(node)),
                Err(message) => self.expression_failed(node, message),
            },
            Kind::Parallel { branches, .. } => {
                self.state.active.insert(node, Active::Parallel { completed: 0 });
                // An empty branch is complete at once. Pushed in reverse: the list is worked off from its end.
                let empty = branches.iter().filter(|branch| branch.is_none()).count() as u32;
                self.todo
                    .extend(branches.iter().rev().flatten().map(|first| Todo::Enter(*first)));
                self.count_branches(node, empty);
            }
            Kind::Scope { first, deadline, .. } => {
                // A scope that is entered anew has all of its time, and may have more of it again.
                self.state.extended.remove(&node);
                self.state.active.insert(
                    node,
                    Active::Scope {
                        deadline: Some(self.now.plus(*deadline)),
                    },
                );
                self.todo.push(first.map_or(Todo::Complete(node), Todo::Enter));
            }
            Kind::WaitFor { signal, deadline, .. } => {
                self.state.active.insert(
                    node,
                    Active::WaitFor {
                        deadline: self.now.plus(*deadline),
                    },
                );
                if let Some(at) = self.state.parked.iter().position(|parked| parked.name == *signal) {
                    let signal = self.state.parked.remove(at);
                    self.take_signal(node, signal.payload);
                }
            }
            Kind::Sleep { duration } => {
                self.state.active.insert(
                    node,
                    Active::Sleep {
                        until: self.now.plus(*duration),
                    },
                );
            }
            Kind::Choice { cases, otherwise } => {
                let mut taken = *otherwise;
                for (when, first) in cases {
                    match when.holds(&self.scope()) {
                        Ok(true) => {
                            taken = *first;
                            break;
                        }
                        Ok(false) => {}
                        Err(message) => return self.expression_failed(node, message),
                    }
                }
                self.todo.push(taken.map_or(Todo::Complete(node), Todo::Enter));
            }
            Kind::Emit { topic, data } => {
                let data = data.evaluate(&self.scope()).unwrap_or_else(expression_error);
                self.publish(topic, data);
                self.todo.push(Todo::Complete(node));
            }
            Kind::Pivot => {
                self.pass_pivot();
                self.todo.push(Todo::Complete(node));
            }
            Kind::End { outcome, reason } => {
                let reason = reason.clone().unwrap_or_else(|| definition.node(node).name.clone());
                let status = match outcome {
                    EndOutcome::Completed => {
                        self.abandon(|_| true);
                        return self.todo.push(Todo::Finish);
                    }
                    EndOutcome::Compensated => Status::Compensated,
                    EndOutcome::Rejected => Status::Rejected,
                };
                self.begin_undo(Ending {
                    status,
                    reason,
                    step: None,
                    error: None,
                });
            }
        }
    }

    /// Takes a signal's payload at a wait.
    pub(super) fn take_signal(&mut self, node: NodeIndex, payload: Value) {
        self.state.records.entry(node).or_default().output = payload;
        self.todo.push(Todo::Complete(node));
    }

    fn complete(&mut self, node: NodeIndex) {
        self.state.active.remove(&node);
        if let Some(next) = self.definition.node(node).next {
            return self.todo.push(Todo::Enter(next));
        }
        let Some(parent) = self.definition.node(node).parent else {
            return self.todo.push(Todo::Finish);
        };
        match &self.definition.node(parent).kind {
            Kind::Parallel { .. } => self.count_branches(parent, 1),
            _scope_or_choice => self.todo.push(Todo::Complete(parent)),
        }
    }

    fn count_branches(&mut self, node: NodeIndex, more: u32) {
        let Kind::Parallel { need, .. } = &self.definition.node(node).kind else {
            return;
        };
        let Some(Active::Parallel { completed }) = self.state.active.get_mut(&node) else {
            return;
        };
        *completed += more;
        if *completed >= *need {
            self.abandon_within(node);
            self.todo.push(Todo::Complete(node));
        }
    }

    pub(super) fn pass_pivot(&mut self) {
        self.state.pivoted = true;
        // Past the point of no return the saga only rolls forward: no deadline can end it any more.
        for active in self.state.active.values_mut() {
            if let Active::Scope { deadline } = active {
                *deadline = None;
            }
        }
    }

    /// Gives up whatever is open within a container.
    pub(super) fn abandon_within(&mut self, container: NodeIndex) {
        let definition = self.definition;
        self.abandon(|node| definition.is_within(node, container));
    }

    /// Gives up open nodes. A step whose outcome is in doubt is remembered, to be undone if the saga is.
    fn abandon(&mut self, which: impl Fn(NodeIndex) -> bool) {
        let nodes: Vec<NodeIndex> = self.state.active.keys().copied().filter(|node| which(*node)).collect();
        for node in nodes {
            self.state.active.remove(&node);
            let in_doubt = self
                .state
                .records
                .get(&node)
                .is_some_and(|record| record.standing == Standing::InDoubt);
            if in_doubt {
                self.remember_done(node);
            }
        }
    }

    /// The step's effect is (or may be) there, and can be undone.
    pub(super) fn remember_done(&mut self, node: NodeIndex) {
        let can_be_undone = self
            .definition
            .step(node)
            .is_some_and(|step| step.compensation.is_some());
        if can_be_undone && !self.state.done.contains(&node) {
            self.state.done.push(node);
        }
    }

    fn finish(&mut self) {
        self.state.phase = Phase::Ended;
        self.state.ending = None;
        self.state.parked.clear();
        self.publish_saga(SagaMoment::Completed);
    }

    /// Goes where an error leads; the node is still open.
    pub(super) fn follow(&mut self, node: NodeIndex, route: &Route, error: StepError) {
        let name = &self.definition.node(node).name;
        let ending = |status, reason: &Option<String>, error: StepError| Ending {
            status,
            reason: reason.clone().unwrap_or_else(|| error.code.clone()),
            step: Some(name.clone()),
            error: Some(error),
        };
        match route {
            Route::Compensate { .. } | Route::Reject { .. } | Route::Operator {} if self.state.pivoted => {
                self.ask_operator(node);
            }
            Route::Compensate { reason } => self.begin_undo(ending(Status::Compensated, reason, error)),
            Route::Reject { reason } => self.begin_undo(ending(Status::Rejected, reason, error)),
            Route::Operator {} => self.ask_operator(node),
            Route::Continue {} => {
                self.leave(node);
                self.todo.push(Todo::Complete(node));
            }
            Route::GoTo { node: target } => {
                self.leave(node);
                let target = self.definition.names[target];
                // What lies between here and there is left: scopes on the way out are closed.
                let outer: Vec<NodeIndex> = (self.definition.ancestors(node))
                    .take_while(|ancestor| Some(*ancestor) != self.definition.node(target).parent)
                    .collect();
                for container in outer {
                    self.abandon_within(container);
                    self.state.active.remove(&container);
                }
                self.todo.push(Todo::Enter(target));
            }
        }
    }

    /// Closes a node that did not succeed.
    fn leave(&mut self, node: NodeIndex) {
        self.state.active.remove(&node);
        self.abandon_within(node);
        if self
            .state
            .records
            .get(&node)
            .is_some_and(|record| record.standing == Standing::InDoubt)
        {
            self.remember_done(node);
        }
    }

    /// A step that can't go on by itself. A wait or scope has nothing to retry: past the pivot it just goes on.
    fn ask_operator(&mut self, node: NodeIndex) {
        match self.state.active.get_mut(&node) {
            Some(Active::Step(work)) => {
                work.progress = Progress::Operator;
                self.publish_saga(SagaMoment::Failed);
            }
            _wait_or_scope => {
                self.leave(node);
                self.todo.push(Todo::Complete(node));
            }
        }
    }

    /// An expression that decides the way could not be evaluated: an operator must look.
    fn expression_failed(&mut self, node: NodeIndex, message: String) {
        let error = StepError {
            code: "expression_failed".into(),
            message,
            retryable: false,
            details: Value::Null,
        };
        self.state.records.entry(node).or_default().error = Some(error.clone());
        if self.definition.step(node).is_some() {
            self.open_step(node);
            return self.fail_step(node, error);
        }
        // A choice: nothing can be retried there.
        let route = if self.state.pivoted {
            Route::Continue {}
        } else {
            Route::Compensate { reason: None }
        };
        self.follow(node, &route, error);
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope {
            definition: self.definition,
            saga: self.saga,
            state: self.state,
            error: None,
            attempt: 0,
        }
    }

    pub(super) fn publish_saga(&mut self, moment: SagaMoment) {
        let definition = self.definition;
        for emit in definition.emit.iter().filter(|emit| emit.on == moment) {
            let wanted = emit
                .when
                .as_ref()
                .is_none_or(|when| when.holds(&self.scope()).unwrap_or(false));
            if wanted {
                let data = emit.data.evaluate(&self.scope()).unwrap_or_else(expression_error);
                self.publish(&emit.topic, data);
            }
        }
    }
}

/// What is published where a fact's data could not be evaluated: the fact itself must not be lost.
pub(super) fn expression_error(message: String) -> Value {
    serde_json::json!({ "expressionError": message })
}

impl Machine<'_> {
    pub(super) fn push_effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

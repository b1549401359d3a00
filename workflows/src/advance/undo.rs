//! Ending early. First whatever is in flight is settled (fenced), then effects are undone, one after the other, in
//! reverse order of completion.

use crate::compile::Kind;
use crate::definition::{Route, SagaMoment, StepMoment};
use crate::protocol::Role;
use crate::state::{Active, Ending, NodeIndex, Phase, Standing, StepError};

use super::Machine;
use super::flow::Todo;

impl Machine<'_> {
    /// Turns round.
    pub(super) fn begin_undo(&mut self, ending: Ending) {
        self.state.phase = Phase::Undoing;
        self.state.ending = Some(ending);
        self.todo.clear();
        let open: Vec<NodeIndex> = self.state.active.keys().copied().collect();
        for node in open {
            self.settle(node);
        }
        self.continue_undo();
    }

    /// Makes an open node ready for the end: fences it if its outcome is in doubt and it can be, else closes it.
    pub(super) fn settle(&mut self, node: NodeIndex) {
        let in_doubt = self
            .state
            .records
            .get(&node)
            .is_some_and(|record| record.standing == Standing::InDoubt);
        let can_fence = self.definition.step(node).is_some_and(|step| step.fence.is_some());
        match self.state.active.get_mut(&node) {
            Some(Active::Step(work)) if work.role == Role::Fence => {}
            Some(Active::Step(_)) if in_doubt && can_fence => self.begin_role(node, Role::Fence),
            Some(_) => {
                self.state.active.remove(&node);
                if in_doubt {
                    self.remember_done(node);
                }
            }
            None => {}
        }
    }

    /// Undoes the latest effect that is left, once nothing is in flight; ends when there is none.
    pub(super) fn continue_undo(&mut self) {
        if self.state.phase != Phase::Undoing || !self.state.active.is_empty() {
            return;
        }
        match self.next_to_undo() {
            Some(node) => {
                self.open_step(node);
                self.begin_role(node, Role::Compensate);
            }
            None if self.state.back.is_some() => self.begin_again(),
            None => {
                self.state.phase = Phase::Ended;
                self.state.parked.clear();
                self.publish_saga(SagaMoment::Undone);
            }
        }
    }

    /// A scope's time is up: what is in flight in it is settled first.
    pub(super) fn scope_deadline(&mut self, scope: NodeIndex) {
        self.state.active.insert(scope, Active::Scope { deadline: None });
        let definition = self.definition;
        let inside: Vec<NodeIndex> = self
            .state
            .active
            .keys()
            .copied()
            .filter(|node| definition.is_within(*node, scope))
            .collect();
        for node in inside {
            self.settle(node);
        }
        self.scope_settled(scope);
        self.run_todo();
    }

    /// Goes where the deadline leads once nothing in the scope is open any more.
    fn scope_settled(&mut self, scope: NodeIndex) {
        let definition = self.definition;
        let Kind::Scope {
            last,
            on_deadline,
            accept_late,
            ..
        } = &definition.node(scope).kind
        else {
            return;
        };
        if self.state.active.keys().any(|node| definition.is_within(*node, scope)) {
            return;
        }
        let last_is_there = last
            .and_then(|last| self.state.records.get(&last))
            .is_some_and(|record| record.standing == Standing::Present);
        if *accept_late && last_is_there {
            return self.todo.push(Todo::Complete(scope));
        }
        let error = StepError {
            code: "deadline".to_owned(),
            message: format!("the deadline of {:?} has passed", definition.node(scope).name),
            retryable: false,
            details: serde_json::Value::Null,
        };
        match on_deadline {
            Route::Continue {} => self.todo.push(Todo::Complete(scope)),
            route => self.follow(scope, route, error),
        }
    }

    /// A fenced step is settled: for certain its effect is there, or it never will be.
    pub(super) fn settled(&mut self, node: NodeIndex, standing: Standing) {
        self.state.active.remove(&node);
        if standing == Standing::Present {
            self.remember_done(node);
        }
        match self.state.phase {
            Phase::Undoing => self.continue_undo(),
            Phase::Forward => {
                if standing == Standing::Present {
                    self.publish_step(node, StepMoment::Succeeded, 0, None);
                }
                let expired = self.definition.ancestors(node).filter(|ancestor| {
                    matches!(self.state.active.get(ancestor), Some(Active::Scope { deadline: None }))
                });
                // The outermost scope whose time is up decides.
                if let Some(scope) = expired.last() {
                    self.scope_settled(scope);
                }
                self.run_todo();
            }
            Phase::Ended => {}
        }
    }

    /// A compensation is done.
    pub(super) fn undone(&mut self, node: NodeIndex, attempt: u32) {
        self.state.active.remove(&node);
        if let Some(record) = self.state.records.get_mut(&node) {
            record.standing = Standing::Undone;
        }
        self.publish_step(node, StepMoment::Compensated, attempt, None);
        self.continue_undo();
    }

    /// A stale answer reports an effect that nobody will use: undo it, again if need be.
    pub(super) fn undo_stray(&mut self, node: NodeIndex) {
        self.remember_done(node);
        if self.state.phase == Phase::Ended {
            self.state.phase = Phase::Undoing;
            self.continue_undo();
        }
    }
}

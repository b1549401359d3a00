//! Going back to an earlier step: what was settled or done from there on is undone, in reverse order, and forgotten; then the
//! flow begins again with that step, under fresh keys.
//!
//! It is the same road as that of a saga that ends: nothing stays in flight, nothing is left half done, and a compensation that fails stops it in
//! front of an operator. Only a place that the flow passes on its way can be gone back to: not into one branch of a parallel,
//! nor into a scope that has been left. Deadlines of scopes around it stay: going back gives no more time.

use std::collections::BTreeMap;

use crate::compile::Kind;
use crate::ids::Timestamp;
use crate::state::{Active, Back, NodeIndex, Phase, Record, Standing};

use super::flow::Todo;
use super::{Machine, Refused};

impl Machine<'_> {
    pub(super) fn go_back(&mut self, step: &str) -> Result<NodeIndex, Refused> {
        let refuse = |hint: String| Err(Refused::new("go_back", self.state.status(), hint));
        if self.state.phase != Phase::Forward {
            return refuse("only a saga that goes forward can go back".to_owned());
        }
        if self.state.pivoted {
            return refuse("it is past its point of no return".to_owned());
        }
        let Some(&node) = self.definition.names.get(step) else {
            return refuse(format!("there is no step {step:?}"));
        };
        if self.definition.step(node).is_none() {
            return refuse(format!("{step:?} is not a step"));
        }
        if self.state.active.contains_key(&node) {
            return refuse(format!("{step:?} is open: `retry` begins it again"));
        }
        let begun = |record: &Record| record.standing != Standing::Absent || record.error.is_some();
        if !self.state.records.get(&node).is_some_and(begun) {
            return refuse(format!("{step:?} has not been begun"));
        }
        let scopes = match self.open_scopes(node) {
            Ok(scopes) => scopes,
            Err(hint) => return refuse(hint),
        };
        let mut open = self.state.active.keys().filter(|open| !scopes.contains_key(open));
        if open.any(|open| *open < node) {
            return refuse(format!("it is on its way to {step:?}"));
        }
        for scope in scopes.keys() {
            self.state.active.remove(scope);
        }
        self.state.back = Some(Back { to: node, scopes });
        self.state.phase = Phase::Undoing;
        self.todo.clear();
        let open: Vec<NodeIndex> = self.state.active.keys().copied().collect();
        for node in open {
            self.settle(node);
        }
        self.continue_undo();
        Ok(node)
    }

    /// The scopes around a step, all of them open and in time, or why it can't be gone back to.
    fn open_scopes(&self, node: NodeIndex) -> Result<BTreeMap<NodeIndex, Timestamp>, String> {
        let mut scopes = BTreeMap::new();
        for around in self.definition.ancestors(node) {
            let name = &self.definition.node(around).name;
            match (&self.definition.node(around).kind, self.state.active.get(&around)) {
                (Kind::Parallel { .. }, _) => {
                    return Err(format!(
                        "it stands in a branch of {name:?}, and the others can't go back with it"
                    ));
                }
                (
                    Kind::Scope { .. },
                    Some(Active::Scope {
                        deadline: Some(deadline),
                    }),
                ) => {
                    scopes.insert(around, *deadline);
                }
                (Kind::Scope { .. }, _) => return Err(format!("it stands in the scope {name:?}, which has been left")),
                _choice => {}
            }
        }
        Ok(scopes)
    }

    /// The latest effect that is to be undone and left; takes it.
    pub(super) fn next_to_undo(&mut self) -> Option<NodeIndex> {
        // Nodes are numbered in the flow's order, and jumps go forward only: what comes behind has a higher number.
        let from = self.state.back.as_ref().map_or(0, |back| back.to);
        let at = self.state.done.iter().rposition(|node| *node >= from)?;
        Some(self.state.done.remove(at))
    }

    /// Everything from there on is undone: the flow begins again.
    pub(super) fn begin_again(&mut self) {
        let Some(Back { to, scopes }) = self.state.back.take() else {
            return;
        };
        let definition = self.definition;
        // A step keeps the number of its effect, which is part of its key, and takes the next.
        let passed = self.state.records.split_off(&to);
        for (node, record) in passed {
            if definition.step(node).is_some() {
                let effect = record.effect + 1;
                self.state.records.insert(
                    node,
                    Record {
                        effect,
                        ..Record::default()
                    },
                );
            }
        }
        for (scope, deadline) in scopes {
            let deadline = Some(deadline);
            self.state.active.insert(scope, Active::Scope { deadline });
        }
        self.state.phase = Phase::Forward;
        self.todo.push(Todo::Enter(to));
        self.run_todo();
    }
}

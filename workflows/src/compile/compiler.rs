//! The way from a definition to its compiled form: one pass over the tree, in which everything that is wrong is noted with its
//! place.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::definition::{Action, Definition, Mapping, Node, Retry, Route, Scope, Step};
use crate::expr::{Expression, Template};
use crate::limits::{NESTING_MAX, NODES_MAX};
use crate::state::NodeIndex;

use super::{CompiledAction, CompiledEmit, CompiledNode, CompiledStep, Kind, Problem};

#[derive(Default)]
pub(super) struct Compiler {
    pub(super) nodes: Vec<CompiledNode>,
    /// Names that `steps.` may be followed by.
    steps: Vec<String>,
    seen: BTreeSet<String>,
    pub(super) signals: BTreeSet<String>,
    /// Signals that move deadlines, and where they stand.
    extensions: Vec<(String, String)>,
    /// Where a `go_to` stands, whence and whither.
    jumps: Vec<(String, NodeIndex, String)>,
    pub(super) problems: Vec<Problem>,
}

pub(super) struct Sequence {
    pub(super) first: Option<NodeIndex>,
    last: Option<NodeIndex>,
}

impl Compiler {
    fn problem(&mut self, pointer: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            pointer: pointer.to_owned(),
            message: message.into(),
        });
    }

    pub(super) fn collect_names(&mut self, flow: &[Node]) {
        for node in flow {
            match node {
                Node::Step(step) => self.steps.push(step.name.clone()),
                Node::WaitFor(wait) => self.steps.push(wait.name.clone()),
                Node::Parallel(parallel) => parallel.branches.iter().for_each(|branch| self.collect_names(branch)),
                Node::Scope(scope) => self.collect_names(&scope.flow),
                Node::Choice(choice) => {
                    choice.cases.iter().for_each(|case| self.collect_names(&case.flow));
                    self.collect_names(&choice.otherwise);
                }
                Node::Sleep(_) | Node::Emit(_) | Node::Pivot(_) | Node::End(_) => {}
            }
        }
    }

    pub(super) fn check_head(&mut self, definition: &Definition) {
        self.check_name("/name", &definition.name);
        if definition.version == 0 {
            self.problem("/version", "versions count from 1");
        }
        if definition.flow.is_empty() {
            self.problem("/flow", "a workflow needs at least one node");
        }
    }

    /// A signal that moves a deadline does nothing else: whoever waited for it would never get it.
    pub(super) fn check_extensions(&mut self) {
        for (pointer, signal) in std::mem::take(&mut self.extensions) {
            if signal.is_empty() {
                self.problem(&pointer, "must not be empty");
            } else if !self.signals.insert(signal.clone()) {
                self.problem(&pointer, format!("the signal {signal:?} has another meaning already"));
            }
        }
    }

    /// Names stand in keys, topics and expressions, so they are kept plain.
    fn check_name(&mut self, pointer: &str, name: &str) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if !starts || name.len() > 64 || !name.chars().all(plain) {
            self.problem(
                pointer,
                format!("{name:?} is no name: lower-case letters, digits and _, a letter first, at most 64"),
            );
        }
    }

    pub(super) fn sequence(
        &mut self,
        pointer: &str,
        flow: &[Node],
        parent: Option<NodeIndex>,
        depth: usize,
    ) -> Sequence {
        let mut sequence = Sequence {
            first: None,
            last: None,
        };
        if depth > NESTING_MAX {
            self.problem(pointer, format!("nested more than {NESTING_MAX} deep"));
            return sequence;
        }
        for (i, node) in flow.iter().enumerate() {
            if self.nodes.len() >= NODES_MAX {
                self.problem(pointer, format!("more than {NODES_MAX} nodes"));
                return sequence;
            }
            let index = self.node(&format!("{pointer}/{i}"), node, parent, depth);
            match sequence.last {
                Some(last) => self.nodes[usize::from(last)].next = Some(index),
                None => sequence.first = Some(index),
            }
            sequence.last = Some(index);
        }
        sequence
    }

    fn node(&mut self, pointer: &str, node: &Node, parent: Option<NodeIndex>, depth: usize) -> NodeIndex {
        let name = match node {
            Node::Step(node) => &node.name,
            Node::Parallel(node) => &node.name,
            Node::Scope(node) => &node.name,
            Node::WaitFor(node) => &node.name,
            Node::Sleep(node) => &node.name,
            Node::Choice(node) => &node.name,
            Node::Emit(node) => &node.name,
            Node::Pivot(node) => &node.name,
            Node::End(node) => &node.name,
        };
        self.check_name(&format!("{pointer}/name"), name);
        if !self.seen.insert(name.clone()) {
            self.problem(&format!("{pointer}/name"), format!("{name:?} is used twice"));
        }
        // The node's place is taken before its children's, so that containers come first.
        let index = self.nodes.len() as NodeIndex;
        self.nodes.push(CompiledNode {
            name: name.clone(),
            next: None,
            parent,
            kind: Kind::Pivot,
        });
        let kind = self.kind(pointer, node, index, depth);
        self.nodes[usize::from(index)].kind = kind;
        index
    }

    fn kind(&mut self, pointer: &str, node: &Node, index: NodeIndex, depth: usize) -> Kind {
        match node {
            Node::Step(step) => Kind::Step(Box::new(self.step(pointer, step, index))),
            Node::Parallel(parallel) => {
                let branches: Vec<_> = (parallel.branches.iter().enumerate())
                    .map(|(i, flow)| {
                        self.sequence(&format!("{pointer}/branches/{i}"), flow, Some(index), depth + 1)
                            .first
                    })
                    .collect();
                let need = parallel.need.unwrap_or(branches.len() as u32);
                if branches.is_empty() {
                    self.problem(&format!("{pointer}/branches"), "needs at least one branch");
                }
                if need == 0 || need as usize > branches.len() {
                    self.problem(&format!("{pointer}/need"), format!("must be 1 to {}", branches.len()));
                }
                Kind::Parallel { branches, need }
            }
            Node::Scope(scope) => self.scope(pointer, scope, index, depth),
            Node::WaitFor(wait) => {
                self.signals.insert(wait.signal.clone());
                self.route(&format!("{pointer}/on_deadline"), &wait.on_deadline, index);
                Kind::WaitFor {
                    signal: wait.signal.clone(),
                    deadline: wait.deadline,
                    on_deadline: wait.on_deadline.clone(),
                }
            }
            Node::Sleep(sleep) => Kind::Sleep {
                duration: sleep.duration,
            },
            Node::Choice(choice) => {
                let mut cases = Vec::new();
                for (i, case) in choice.cases.iter().enumerate() {
                    let at = format!("{pointer}/cases/{i}");
                    let when = self.expression(&format!("{at}/when"), &case.when);
                    let first = self
                        .sequence(&format!("{at}/flow"), &case.flow, Some(index), depth + 1)
                        .first;
                    cases.extend(when.map(|when| (when, first)));
                }
                let otherwise = self.sequence(
                    &format!("{pointer}/otherwise"),
                    &choice.otherwise,
                    Some(index),
                    depth + 1,
                );
                Kind::Choice {
                    cases,
                    otherwise: otherwise.first,
                }
            }
            Node::Emit(emit) => Kind::Emit {
                topic: self.topic(&format!("{pointer}/topic"), &emit.topic),
                data: self.template(&format!("{pointer}/data"), &emit.data),
            },
            Node::Pivot(_) => Kind::Pivot,
            Node::End(end) => Kind::End {
                outcome: end.outcome,
                reason: end.reason.clone(),
            },
        }
    }

    fn scope(&mut self, pointer: &str, scope: &Scope, index: NodeIndex, depth: usize) -> Kind {
        let inner = self.sequence(&format!("{pointer}/flow"), &scope.flow, Some(index), depth + 1);
        self.route(&format!("{pointer}/on_deadline"), &scope.on_deadline, index);
        if let Some(extend) = &scope.extend {
            if extend.by.is_zero() {
                self.problem(&format!("{pointer}/extend/by"), "must be longer than nothing");
            }
            self.extensions
                .push((format!("{pointer}/extend/signal"), extend.signal.clone()));
        }
        Kind::Scope {
            first: inner.first,
            last: inner.last,
            deadline: scope.deadline,
            on_deadline: scope.on_deadline.clone(),
            accept_late: scope.accept_late,
            extend: scope.extend.clone(),
        }
    }

    /// Deadlines can't lead to an operator: there would be nothing to retry.
    fn route(&mut self, pointer: &str, route: &Route, index: NodeIndex) {
        match route {
            Route::Operator {} => self.problem(pointer, "a deadline can't lead to an operator; use compensate"),
            Route::GoTo { node } => self.jumps.push((pointer.to_owned(), index, node.clone())),
            Route::Compensate { .. } | Route::Reject { .. } | Route::Continue {} => {}
        }
    }

    fn step(&mut self, pointer: &str, step: &Step, index: NodeIndex) -> CompiledStep {
        if step.activity.is_empty() || step.queue.is_empty() {
            self.problem(pointer, "a step names an activity and a queue");
        }
        self.topic(&format!("{pointer}/queue"), &step.queue);
        if step.attempt_timeout.is_zero() {
            self.problem(&format!("{pointer}/attempt_timeout"), "must be longer than nothing");
        }
        self.retry(&format!("{pointer}/retry"), &step.retry);
        for (code, route) in &step.routes {
            if let Route::GoTo { node } = route {
                self.jumps
                    .push((format!("{pointer}/routes/{code}"), index, node.clone()));
            }
        }
        if let Some(Route::GoTo { node }) = &step.otherwise {
            self.jumps.push((format!("{pointer}/otherwise"), index, node.clone()));
        }
        if let Some(signal) = &step.wake_on {
            self.signals.insert(signal.clone());
            if step.probe.is_none() {
                self.problem(&format!("{pointer}/wake_on"), "only a step with a probe can be woken");
            }
        }
        let compensation = self.action(pointer, "compensation", step.compensation.as_ref());
        let probe = self.action(pointer, "probe", step.probe.as_ref());
        let fence = self.action(pointer, "fence", step.fence.as_ref());
        let keeps_input = [&compensation, &probe, &fence]
            .into_iter()
            .flatten()
            .any(|action| action.input.is_null());
        CompiledStep {
            input: self.template(&format!("{pointer}/input"), &step.input),
            when: step
                .when
                .as_ref()
                .and_then(|source| self.expression(&format!("{pointer}/when"), source)),
            emit: (step.emit.iter().enumerate())
                .map(|(i, emit)| {
                    self.emit(
                        &format!("{pointer}/emit/{i}"),
                        emit.on,
                        &emit.topic,
                        &emit.data,
                        emit.when.as_ref(),
                    )
                })
                .collect(),
            compensation,
            probe,
            fence,
            keeps_input,
            definition: step.clone(),
        }
    }

    fn action(&mut self, pointer: &str, field: &str, action: Option<&Action>) -> Option<CompiledAction> {
        let action = action?;
        let pointer = format!("{pointer}/{field}");
        self.retry(&format!("{pointer}/retry"), &action.retry);
        let input = self.template(&format!("{pointer}/input"), &action.input);
        Some(CompiledAction {
            definition: action.clone(),
            input,
        })
    }

    fn retry(&mut self, pointer: &str, retry: &Retry) {
        if !(retry.factor >= 1.0 && retry.factor <= 100.0) {
            self.problem(&format!("{pointer}/factor"), "must be 1 to 100");
        }
        if !(0.0..=1.0).contains(&retry.jitter) {
            self.problem(&format!("{pointer}/jitter"), "must be 0 to 1");
        }
        if retry.max_attempts == Some(0) {
            self.problem(&format!("{pointer}/max_attempts"), "must be 1 or more");
        }
    }

    pub(super) fn emit<Moment>(
        &mut self,
        pointer: &str,
        on: Moment,
        topic: &str,
        data: &Mapping,
        when: Option<&String>,
    ) -> CompiledEmit<Moment> {
        CompiledEmit {
            on,
            topic: self.topic(&format!("{pointer}/topic"), topic),
            data: self.template(&format!("{pointer}/data"), data),
            when: when.and_then(|source| self.expression(&format!("{pointer}/when"), source)),
        }
    }

    /// As Kafka allows, and short enough to leave room for our prefixes.
    fn topic(&mut self, pointer: &str, topic: &str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.is_empty() || topic.len() > 200 || !topic.chars().all(allowed) {
            self.problem(
                pointer,
                format!("{topic:?} is no topic: letters, digits, . _ -, at most 200"),
            );
        }
        topic.to_owned()
    }

    pub(super) fn expression(&mut self, pointer: &str, source: &str) -> Option<Expression> {
        match Expression::compile(source.strip_prefix('=').unwrap_or(source), &self.steps) {
            Ok(expression) => Some(expression),
            Err(message) => {
                self.problem(pointer, message);
                None
            }
        }
    }

    pub(super) fn template(&mut self, pointer: &str, mapping: &Mapping) -> Template {
        match Template::compile(mapping, &self.steps) {
            Ok(template) => template,
            Err((at, message)) => {
                self.problem(&format!("{pointer}{at}"), message);
                Template::Literal(Value::Null)
            }
        }
    }

    /// A jump goes forward, within its own or an enclosing sequence, and not out of a parallel's branch.
    pub(super) fn check_jumps(&mut self) {
        for (pointer, from, to) in std::mem::take(&mut self.jumps) {
            let Some(target) = self.nodes.iter().position(|node| node.name == to) else {
                self.problem(&pointer, format!("there is no node {to:?}"));
                continue;
            };
            let mut at = Some(from);
            let mut found = false;
            while let Some(index) = at {
                let node = &self.nodes[usize::from(index)];
                found |= std::iter::successors(node.next, |next| self.nodes[usize::from(*next)].next)
                    .any(|next| usize::from(next) == target);
                let leaves_parallel = node
                    .parent
                    .is_some_and(|p| matches!(self.nodes[usize::from(p)].kind, Kind::Parallel { .. }));
                at = if leaves_parallel { None } else { node.parent };
            }
            if !found {
                self.problem(
                    &pointer,
                    format!("{to:?} is not a later node of the same or an enclosing sequence"),
                );
            }
        }
    }
}

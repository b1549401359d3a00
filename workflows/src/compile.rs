//! Definitions checked and made ready to run: the tree of nodes becomes a flat list whose positions are small
//! numbers, and every expression is compiled once.

mod compiler;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::definition::{Action, Definition, EndOutcome, Extend, Route, SagaMoment, Step, StepMoment};
use crate::expr::{Expression, Template};
use crate::state::NodeIndex;

use compiler::Compiler;

/// Something wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// A JSON Pointer to the place.
    pub pointer: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pointer, self.message)
    }
}

/// A definition, checked and made ready to run.
#[derive(Debug)]
pub struct Compiled {
    definition: Definition,
    hash: String,
    pub(crate) nodes: Vec<CompiledNode>,
    pub(crate) first: Option<NodeIndex>,
    pub(crate) names: HashMap<String, NodeIndex>,
    pub(crate) business_key: Option<Expression>,
    pub(crate) emit: Vec<CompiledEmit<SagaMoment>>,
    pub(crate) output: Template,
    pub(crate) signals: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct CompiledNode {
    pub(crate) name: String,
    /// The following node of its sequence.
    pub(crate) next: Option<NodeIndex>,
    /// The scope, parallel or choice it is in.
    pub(crate) parent: Option<NodeIndex>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Step(Box<CompiledStep>),
    Parallel {
        branches: Vec<Option<NodeIndex>>,
        need: u32,
    },
    Scope {
        first: Option<NodeIndex>,
        last: Option<NodeIndex>,
        deadline: Duration,
        on_deadline: Route,
        accept_late: bool,
        extend: Option<Extend>,
    },
    WaitFor {
        signal: String,
        deadline: Duration,
        on_deadline: Route,
    },
    Sleep {
        duration: Duration,
    },
    Choice {
        cases: Vec<(Expression, Option<NodeIndex>)>,
        otherwise: Option<NodeIndex>,
    },
    Emit {
        topic: String,
        data: Template,
    },
    Pivot,
    End {
        outcome: EndOutcome,
        reason: Option<String>,
    },
}

#[derive(Debug)]
pub(crate) struct CompiledStep {
    pub(crate) definition: Step,
    pub(crate) input: Template,
    pub(crate) when: Option<Expression>,
    pub(crate) compensation: Option<CompiledAction>,
    pub(crate) probe: Option<CompiledAction>,
    pub(crate) fence: Option<CompiledAction>,
    pub(crate) emit: Vec<CompiledEmit<StepMoment>>,
    /// The input must be kept: a probe, a fence or a compensation will want the very same.
    pub(crate) keeps_input: bool,
}

#[derive(Debug)]
pub(crate) struct CompiledAction {
    pub(crate) definition: Action,
    pub(crate) input: Template,
}

#[derive(Debug)]
pub(crate) struct CompiledEmit<Moment> {
    pub(crate) on: Moment,
    pub(crate) topic: String,
    pub(crate) data: Template,
    pub(crate) when: Option<Expression>,
}

impl Compiled {
    /// Checks a definition; all that is wrong is listed at once.
    pub fn new(definition: Definition) -> Result<Compiled, Vec<Problem>> {
        let mut compiler = Compiler::default();
        compiler.collect_names(&definition.flow);
        compiler.check_head(&definition);
        let business_key = definition
            .business_key
            .as_ref()
            .and_then(|source| compiler.expression("/business_key", source));
        let first = compiler.sequence("/flow", &definition.flow, None, 0).first;
        compiler.check_jumps();
        compiler.check_extensions();
        let emit = (definition.emit.iter().enumerate())
            .map(|(i, emit)| {
                compiler.emit(
                    &format!("/emit/{i}"),
                    emit.on,
                    &emit.topic,
                    &emit.data,
                    emit.when.as_ref(),
                )
            })
            .collect();
        let output = compiler.template("/output", &definition.output);
        if !compiler.problems.is_empty() {
            return Err(compiler.problems);
        }
        let names = (compiler.nodes.iter().enumerate())
            .map(|(i, node)| (node.name.clone(), i as NodeIndex))
            .collect();
        Ok(Compiled {
            hash: hash(&definition),
            definition,
            nodes: compiler.nodes,
            first,
            names,
            business_key,
            emit,
            output,
            signals: compiler.signals,
        })
    }

    /// How a scope's deadline can be moved.
    pub(crate) fn extension(&self, node: NodeIndex) -> Option<&Extend> {
        match &self.node(node).kind {
            Kind::Scope { extend, .. } => extend.as_ref(),
            _other => None,
        }
    }

    /// Whether a signal moves some scope's deadline.
    pub(crate) fn extends_a_scope(&self, signal: &str) -> bool {
        let is_one = |node: NodeIndex| self.extension(node).is_some_and(|extend| extend.signal == signal);
        (0..self.nodes.len() as NodeIndex).any(is_one)
    }

    /// The definition.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// SHA-256 of the canonical JSON form, in hex: the definition's identity.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The queues that its steps use, sorted.
    pub fn queues(&self) -> Vec<String> {
        let mut queues = BTreeSet::new();
        for node in &self.nodes {
            if let Kind::Step(step) = &node.kind {
                queues.insert(step.definition.queue.clone());
                for action in [&step.compensation, &step.probe, &step.fence].into_iter().flatten() {
                    queues.extend(action.definition.queue.clone());
                }
            }
        }
        queues.into_iter().collect()
    }

    /// The topics that it publishes facts on, sorted.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: BTreeSet<String> = self.emit.iter().map(|emit| emit.topic.clone()).collect();
        for node in &self.nodes {
            match &node.kind {
                Kind::Step(step) => topics.extend(step.emit.iter().map(|emit| emit.topic.clone())),
                Kind::Emit { topic, .. } => {
                    topics.insert(topic.clone());
                }
                _other @ (Kind::Parallel { .. }
                | Kind::Scope { .. }
                | Kind::WaitFor { .. }
                | Kind::Sleep { .. }
                | Kind::Choice { .. }
                | Kind::Pivot
                | Kind::End { .. }) => {}
            }
        }
        topics.into_iter().collect()
    }

    /// What the saga is about, from its input.
    pub fn business_key(&self, input: &Value) -> Option<String> {
        struct OnlyInput<'a>(&'a Value);
        impl crate::expr::Variables for OnlyInput<'_> {
            fn root<'a>(&'a self, name: &str) -> Option<std::borrow::Cow<'a, Value>> {
                (name == "input").then_some(std::borrow::Cow::Borrowed(self.0))
            }
            fn path<'a>(&'a self, path: &[String]) -> Option<std::borrow::Cow<'a, Value>> {
                let (root, rest) = path.split_first()?;
                let start = (root == "input").then_some(self.0)?;
                rest.iter()
                    .try_fold(start, |value, key| value.get(key))
                    .map(std::borrow::Cow::Borrowed)
            }
        }
        match self.business_key.as_ref()?.evaluate(&OnlyInput(input)).ok()? {
            Value::String(text) => Some(text),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// A node's name, as states know it by its index.
    pub fn node_name(&self, index: NodeIndex) -> Option<&str> {
        self.nodes.get(usize::from(index)).map(|node| node.name.as_str())
    }

    /// Queue and activity of the step that is named so; none: there is no such step.
    pub fn activity_of(&self, step: &str) -> Option<(&str, &str)> {
        let step = self.step(*self.names.get(step)?)?;
        Some((&step.definition.queue, &step.definition.activity))
    }

    pub(crate) fn node(&self, index: NodeIndex) -> &CompiledNode {
        &self.nodes[usize::from(index)]
    }

    /// The step at `index`; none if another kind of node is there.
    pub(crate) fn step(&self, index: NodeIndex) -> Option<&CompiledStep> {
        match &self.node(index).kind {
            Kind::Step(step) => Some(step),
            _other => None,
        }
    }

    /// Whether `node` lies within `container`, at any depth.
    pub(crate) fn is_within(&self, node: NodeIndex, container: NodeIndex) -> bool {
        self.ancestors(node).any(|ancestor| ancestor == container)
    }

    /// The containers of a node, innermost first.
    pub(crate) fn ancestors(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> + '_ {
        std::iter::successors(self.node(node).parent, |at| self.node(*at).parent)
    }
}

fn hash(definition: &Definition) -> String {
    // serde_json's maps are sorted, so the form is canonical.
    let canonical = serde_json::to_value(definition)
        .expect("a definition is plain data")
        .to_string();
    hex::encode(Sha256::digest(canonical.as_bytes()))
}

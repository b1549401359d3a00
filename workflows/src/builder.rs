//! Definitions written in Rust.
//!
//! ```
//! use std::time::Duration;
//! use serde_json::json;
//! use workflows::builder::{step, workflow};
//!
//! let definition = workflow("greeting", 1)
//!     .then(step("greet", "hello.greet", "hello").input(json!({ "name": "=input.name" })).undo("hello.forget"))
//!     .then(step("record", "hello.record", "hello").attempt_timeout(Duration::from_secs(5)).pivot())
//!     .build();
//! assert!(workflows::Compiled::new(definition).is_ok());
//! ```

use std::time::Duration;

use serde_json::Value;

use crate::definition::{
    Action, Definition, Mapping, Node, Parallel, Pivot, Retry, Route, SagaEmit, SagaMoment, Scope, Sleep, Step,
    StepEmit, StepMoment, WaitFor,
};

/// How long an attempt may go unanswered unless the step says otherwise.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Begins a definition.
pub fn workflow(name: &str, version: u32) -> WorkflowBuilder {
    WorkflowBuilder(Definition {
        name: name.to_owned(),
        version,
        description: String::new(),
        business_key: None,
        input_schema: Value::Null,
        flow: Vec::new(),
        emit: Vec::new(),
        output: Value::Null,
    })
}

/// Begins a step that runs `activity` on `queue`.
pub fn step(name: &str, activity: &str, queue: &str) -> StepBuilder {
    StepBuilder(Step {
        name: name.to_owned(),
        activity: activity.to_owned(),
        queue: queue.to_owned(),
        input: Value::Null,
        when: None,
        retry: Retry::default(),
        attempt_timeout: ATTEMPT_TIMEOUT,
        total_timeout: None,
        compensation: None,
        probe: None,
        fence: None,
        wake_on: None,
        routes: Default::default(),
        otherwise: None,
        same_key_codes: Vec::new(),
        emit: Vec::new(),
        pivot: false,
    })
}

/// An activity beside a step's own, given the step's input.
pub fn action(activity: &str) -> Action {
    Action {
        activity: activity.to_owned(),
        queue: None,
        input: Value::Null,
        retry: Retry::persistent(),
        attempt_timeout: None,
        absent_codes: Vec::new(),
    }
}

/// Branches that run at once; all must complete.
pub fn parallel(name: &str, branches: Vec<Vec<Node>>) -> Node {
    Node::Parallel(Parallel {
        name: name.to_owned(),
        branches,
        need: None,
    })
}

/// A part with a deadline, past which the saga is undone.
pub fn scope(name: &str, deadline: Duration, reason: &str, flow: Vec<Node>) -> Node {
    let on_deadline = Route::Compensate {
        reason: Some(reason.to_owned()),
    };
    Node::Scope(Scope {
        name: name.to_owned(),
        deadline,
        flow,
        on_deadline,
        accept_late: false,
        extend: None,
    })
}

/// A wait for a signal, past whose deadline the saga is undone.
pub fn wait_for(name: &str, signal: &str, deadline: Duration) -> Node {
    let on_deadline = Route::Compensate { reason: None };
    Node::WaitFor(WaitFor {
        name: name.to_owned(),
        signal: signal.to_owned(),
        deadline,
        on_deadline,
    })
}

/// A wait for a time.
pub fn sleep(name: &str, duration: Duration) -> Node {
    Node::Sleep(Sleep {
        name: name.to_owned(),
        duration,
    })
}

/// The point of no return.
pub fn pivot(name: &str) -> Node {
    Node::Pivot(Pivot { name: name.to_owned() })
}

/// See [`workflow`].
#[derive(Clone, Debug)]
pub struct WorkflowBuilder(Definition);

impl WorkflowBuilder {
    /// For people.
    pub fn description(mut self, text: &str) -> Self {
        self.0.description = text.to_owned();
        self
    }

    /// What the saga is about: a CEL expression over `input`.
    pub fn business_key(mut self, expression: &str) -> Self {
        self.0.business_key = Some(expression.to_owned());
        self
    }

    /// The next node.
    pub fn then(mut self, node: impl Into<Node>) -> Self {
        self.0.flow.push(node.into());
        self
    }

    /// A fact published when the saga gets somewhere.
    pub fn emit(mut self, on: SagaMoment, topic: &str, data: Mapping) -> Self {
        self.0.emit.push(SagaEmit {
            on,
            topic: topic.to_owned(),
            data,
            when: None,
        });
        self
    }

    /// The saga's result.
    pub fn output(mut self, mapping: Mapping) -> Self {
        self.0.output = mapping;
        self
    }

    /// The definition, unchecked: [`crate::Compiled::new`] checks it.
    pub fn build(self) -> Definition {
        self.0
    }
}

/// See [`step`].
#[derive(Clone, Debug)]
pub struct StepBuilder(Step);

impl StepBuilder {
    /// The activity's input.
    pub fn input(mut self, mapping: Mapping) -> Self {
        self.0.input = mapping;
        self
    }

    /// How failed attempts are repeated.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// How long one attempt may go unanswered.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.0.attempt_timeout = timeout;
        self
    }

    /// How long all attempts together may take.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.0.total_timeout = Some(timeout);
        self
    }

    /// The condition under which it runs at all.
    pub fn when(mut self, condition: &str) -> Self {
        self.0.when = Some(condition.to_owned());
        self
    }

    /// The activity that undoes it.
    pub fn undo(mut self, activity: &str) -> Self {
        self.0.compensation = Some(action(activity));
        self
    }

    /// The activity that finds out about attempts of unknown outcome, and which of its failures mean "no trace".
    pub fn probe(mut self, activity: &str, absent_codes: &[&str]) -> Self {
        let absent_codes = absent_codes.iter().map(|code| (*code).to_owned()).collect();
        self.0.probe = Some(Action {
            absent_codes,
            ..action(activity)
        });
        self
    }

    /// The same activity looks again at what is under way, for as long as it takes.
    pub fn look_again(mut self, retry: Retry) -> Self {
        self.0.probe = Some(Action {
            retry: Retry {
                max_attempts: None,
                ..retry
            },
            ..action(&self.0.activity)
        });
        self
    }

    /// Failures after which the idempotency key stays the same.
    pub fn same_key_codes(mut self, codes: &[&str]) -> Self {
        self.0.same_key_codes = codes.iter().map(|code| (*code).to_owned()).collect();
        self
    }

    /// The activity that settles attempts nobody wants any more.
    pub fn fence(mut self, activity: &str) -> Self {
        self.0.fence = Some(action(activity));
        self
    }

    /// Where an error code leads.
    pub fn route(mut self, code: &str, route: Route) -> Self {
        self.0.routes.insert(code.to_owned(), route);
        self
    }

    /// Where every other error leads.
    pub fn otherwise(mut self, route: Route) -> Self {
        self.0.otherwise = Some(route);
        self
    }

    /// A fact published as the step gets on.
    pub fn emit(mut self, on: StepMoment, topic: &str, data: Mapping) -> Self {
        self.0.emit.push(StepEmit {
            on,
            topic: topic.to_owned(),
            data,
            when: None,
        });
        self
    }

    /// Its success is the point of no return.
    pub fn pivot(mut self) -> Self {
        self.0.pivot = true;
        self
    }

    /// The step.
    pub fn build(self) -> Step {
        self.0
    }
}

impl From<StepBuilder> for Node {
    fn from(builder: StepBuilder) -> Node {
        Node::Step(Box::new(builder.0))
    }
}

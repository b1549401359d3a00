//! Random definitions in a random world: whatever happens, the saga ends, nothing is stuck, every effect of an undone
//! saga is undone, and the journal leads to the same state.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use workflows::builder::{parallel, scope, sleep, step, wait_for, workflow};
use workflows::definition::{Definition, Node, Retry, Route};
use workflows::effect::Effect;
use workflows::event::{Command, CommandEvent, Event, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, Task, TaskResult};
use workflows::state::{State, Status};
use workflows::{Compiled, advance, rebuild, start};

/// The shape of a flow; names are given afterwards.
#[derive(Clone, Debug)]
enum Shape {
    Step {
        undo: bool,
        probe: bool,
        fence: bool,
        route: u8,
    },
    Parallel(Vec<Vec<Shape>>, bool),
    Scope(Vec<Shape>, u64),
    Wait,
    Sleep,
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        6 => (any::<bool>(), any::<bool>(), any::<bool>(), 0..4_u8)
            .prop_map(|(undo, probe, fence, route)| Shape::Step { undo, probe, fence, route }),
        1 => Just(Shape::Wait),
        1 => Just(Shape::Sleep),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let flow = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            (prop::collection::vec(flow.clone(), 1..4), any::<bool>()).prop_map(|(b, one)| Shape::Parallel(b, one)),
            (flow, 1..100_u64).prop_map(|(flow, seconds)| Shape::Scope(flow, seconds)),
        ]
    })
}

fn nodes(shapes: &[Shape], next: &mut u32) -> Vec<Node> {
    shapes.iter().map(|shape| node(shape, next)).collect()
}

fn node(shape: &Shape, next: &mut u32) -> Node {
    *next += 1;
    let name = format!("n{next}");
    match shape {
        Shape::Step {
            undo,
            probe,
            fence,
            route,
        } => {
            let retry = Retry {
                max_attempts: Some(3),
                ..Retry::default()
            };
            let mut builder = step(&name, "do", "q")
                .retry(retry)
                .input(json!({ "id": "=saga.id" }))
                .same_key_codes(&["busy"]);
            if *undo {
                builder = builder.undo("undo");
            }
            if *probe {
                builder = builder.probe("probe", &["absent"]);
            }
            if *fence && *undo {
                builder = builder.fence("fence");
            }
            match route {
                0 => builder.otherwise(Route::Continue {}),
                1 => builder.otherwise(Route::Reject { reason: None }),
                _default => builder,
            }
            .into()
        }
        Shape::Parallel(branches, one) => {
            let branches: Vec<Vec<Node>> = branches.iter().map(|flow| nodes(flow, next)).collect();
            match parallel(&name, branches) {
                Node::Parallel(mut parallel) => {
                    parallel.need = one.then_some(1);
                    Node::Parallel(parallel)
                }
                other => other,
            }
        }
        Shape::Scope(flow, seconds) => scope(&name, Duration::from_secs(*seconds), "LATE", nodes(flow, next)),
        Shape::Wait => wait_for(&name, "go", Duration::from_secs(50)),
        Shape::Sleep => sleep(&name, Duration::from_secs(5)),
    }
}

fn definition(shapes: &[Shape]) -> Definition {
    nodes(shapes, &mut 0)
        .into_iter()
        .fold(workflow("random", 1), |flow, node| flow.then(node))
        .build()
}

/// The effects that are there, by key, and messages on their way.
#[derive(Default)]
struct World {
    effects: BTreeMap<String, bool>,
    closed: BTreeMap<String, bool>,
    tasks: Vec<Task>,
    results: Vec<TaskResult>,
    seen: Vec<(Task, TaskResult)>,
}

impl World {
    fn run(&mut self, task: &Task, how: u8) -> Outcome {
        let there = self.effects.get(&task.key).copied().unwrap_or(false);
        let done = || Outcome::Succeeded {
            output: json!({ "done": true }),
        };
        let fail = |code: &str, retryable| Outcome::Failed {
            code: code.into(),
            message: String::new(),
            retryable,
            details: Value::Null,
        };
        match (task.token.role, how) {
            (Role::Run, _) if self.closed.contains_key(&task.key) => fail("closed", false),
            (Role::Run, _) if there => done(),
            (Role::Run, 0) => fail("busy", true),
            (Role::Run, 1) => {
                // Stored under the key, as providers do.
                self.closed.insert(task.key.clone(), true);
                fail("no", false)
            }
            (_, 2) => Outcome::Unknown { message: "cut".into() },
            (Role::Run, 3) => {
                self.effects.insert(task.key.clone(), true);
                Outcome::Unknown { message: "cut".into() }
            }
            (Role::Run, _) => {
                self.effects.insert(task.key.clone(), true);
                done()
            }
            (Role::Probe | Role::Fence, _) if there => done(),
            (Role::Probe, _) => fail("absent", true),
            (Role::Fence, _) => {
                self.closed.insert(task.key.clone(), true);
                fail("absent", false)
            }
            (Role::Compensate, _) => {
                self.effects.remove(&task.key);
                self.closed.insert(task.key.clone(), true);
                Outcome::Succeeded { output: Value::Null }
            }
        }
    }
}

struct Run<'a> {
    definition: &'a Compiled,
    state: State,
    now: Timestamp,
    world: World,
    journal: Vec<(Timestamp, Event)>,
    /// The queue lets nothing through.
    gated: bool,
}

impl Run<'_> {
    fn apply(&mut self, event: Event) -> Result<(), TestCaseError> {
        let result = advance(self.definition, saga(), self.state.clone(), &event, self.now);
        let Ok(transition) = result else { return Ok(()) };
        if transition.journal.is_some() {
            self.journal.push((self.now, event));
        }
        let mut held = Vec::new();
        for effect in &transition.effects {
            if let Effect::Dispatch { task, .. } = effect {
                if self.gated {
                    held.push(task.token.step.clone());
                } else {
                    self.world.tasks.push(task.clone());
                }
            }
        }
        self.state = transition.state;
        if !held.is_empty() {
            self.apply(Event::Hold { steps: held })?;
        }
        let waits = self.due().is_some() || matches!(self.state.status(), Status::Failed | Status::Paused);
        let waits = waits || self.state.held().next().is_some();
        prop_assert!(
            self.state.status().is_final() || waits,
            "silently stuck: {:?}",
            self.state
        );
        Ok(())
    }

    fn due(&self) -> Option<Timestamp> {
        self.state.attempt_due().into_iter().chain(self.state.timer_due()).min()
    }

    fn go(&mut self, choice: u8, how: u8) -> Result<(), TestCaseError> {
        let pick = |len: usize| usize::from(how) % len.max(1);
        match choice {
            0..=4 if !self.world.tasks.is_empty() => {
                let task = self.world.tasks.remove(pick(self.world.tasks.len()));
                let outcome = self.world.run(&task, how % 8);
                let result = TaskResult {
                    token: task.token.clone(),
                    outcome,
                };
                self.world.seen.push((task, result.clone()));
                self.world.results.push(result);
                Ok(())
            }
            5..=10 if !self.world.results.is_empty() => {
                let result = self.world.results.remove(pick(self.world.results.len()));
                self.apply(Event::Result(result))
            }
            11 if !self.world.seen.is_empty() => {
                let (task, result) = self.world.seen[pick(self.world.seen.len())].clone();
                if how.is_multiple_of(2) {
                    self.world.tasks.push(task)
                } else {
                    self.world.results.push(result)
                }
                Ok(())
            }
            12 if !self.world.tasks.is_empty() => {
                self.world.tasks.remove(pick(self.world.tasks.len()));
                Ok(())
            }
            13 => {
                let signal = Signal {
                    id: format!("s{how}"),
                    name: "go".into(),
                    payload: json!(1),
                };
                self.apply(Event::Signal(signal))
            }
            14 => {
                let command = match how % 12 {
                    0 => Command::Cancel {},
                    1 => Command::Pause {},
                    2..=5 => Command::Resume {},
                    6 | 7 => Command::GoBack {
                        step: format!("n{}", usize::from(how / 12) % self.definition_nodes() + 1),
                    },
                    _retry => Command::Retry {
                        step: None,
                        input: None,
                    },
                };
                self.apply(Event::Command(CommandEvent {
                    command,
                    by: "op".into(),
                    reason: String::new(),
                }))
            }
            16 => {
                self.gated = how.is_multiple_of(2);
                Ok(())
            }
            17 => self.release(usize::from(how)),
            _wait => {
                if let Some(due) = self.due() {
                    self.now = self.now.max(due);
                    self.apply(Event::Tick {})?;
                }
                Ok(())
            }
        }
    }

    /// The queue lets one of its tasks through.
    fn release(&mut self, which: usize) -> Result<(), TestCaseError> {
        let held: Vec<_> = self.state.held().collect();
        if held.is_empty() {
            return Ok(());
        }
        let step = self.definition.node_name(held[which % held.len()]).unwrap().to_owned();
        let gated = std::mem::take(&mut self.gated);
        self.apply(Event::Release { step })?;
        self.gated = gated;
        Ok(())
    }

    fn definition_nodes(&self) -> usize {
        (0..)
            .take_while(|node| self.definition.node_name(*node).is_some())
            .count()
            .max(1)
    }

    /// From here on all goes well, and an operator helps.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        self.gated = false;
        for _ in 0..5_000 {
            if self.state.status() != Status::Paused {
                self.release(0)?;
            }
            let choice = if !self.world.tasks.is_empty() {
                0
            } else if !self.world.results.is_empty() {
                5
            } else if self.due().is_some() {
                15
            } else {
                match self.state.status() {
                    Status::Paused => self.command(Command::Resume {})?,
                    Status::Failed => self.command(Command::Retry {
                        step: None,
                        input: None,
                    })?,
                    _final => return Ok(()),
                }
                continue;
            };
            self.go(choice, 4)?;
        }
        Err(TestCaseError::fail(format!("no end: {:?}", self.state)))
    }

    fn command(&mut self, command: Command) -> Result<(), TestCaseError> {
        self.apply(Event::Command(CommandEvent {
            command,
            by: "op".into(),
            reason: String::new(),
        }))
    }
}

fn saga() -> SagaId {
    SagaId(uuid::Uuid::from_u128(9))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn every_saga_ends_clean(
        shapes in prop::collection::vec(shape(), 1..5),
        choices in prop::collection::vec((0..18_u8, any::<u8>()), 0..60),
    ) {
        let definition = Compiled::new(definition(&shapes)).unwrap();
        let started = start(&definition, saga(), json!({}), None, Timestamp(0)).unwrap();
        let journal = vec![(Timestamp(0), Event::Started { input: json!({}), traceparent: None })];
        let mut run = Run { definition: &definition, state: started.state, now: Timestamp(0), world: World::default(), journal, gated: false };
        for effect in started.effects {
            if let Effect::Dispatch { task, .. } = effect {
                run.world.tasks.push(task);
            }
        }
        for (choice, how) in choices {
            run.go(choice, how)?;
        }
        run.drain()?;
        let status = run.state.status();
        prop_assert!(status.is_final(), "{status:?}");
        if status != Status::Completed {
            // What can be undone is undone, under every key that was ever used.
            for key in run.world.effects.keys() {
                let name = key.split('/').nth(1).unwrap();
                prop_assert!(!undoable(definition.definition(), name), "{key} is left of a saga that is {status:?}");
            }
        }
        if status == Status::Completed {
            // Whatever was gone back behind is undone under its old key: no step has its effect twice.
            let mut there: Vec<&str> = run.world.effects.keys().map(|key| key.split('/').nth(1).unwrap()).collect();
            there.retain(|name| undoable(definition.definition(), name));
            let count = there.len();
            there.dedup();
            prop_assert!(there.len() == count, "an effect is there twice: {:?}", run.world.effects);
        }
        let entries = run.journal.iter().map(|(at, event)| (*at, event));
        let rebuilt = rebuild(&definition, saga(), entries).unwrap().unwrap();
        prop_assert_eq!(rebuilt, run.state);
    }
}

fn undoable(definition: &Definition, name: &str) -> bool {
    fn find(flow: &[Node], name: &str) -> bool {
        flow.iter().any(|node| match node {
            Node::Step(step) => step.name == name && step.compensation.is_some(),
            Node::Parallel(parallel) => parallel.branches.iter().any(|branch| find(branch, name)),
            Node::Scope(scope) => find(&scope.flow, name),
            _other => false,
        })
    }
    find(&definition.flow, name)
}

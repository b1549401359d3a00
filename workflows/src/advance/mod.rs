//! The transition function: an event meets a saga, and out come its new state and what is to be done.
//!
//! | module | what it holds |
//! |---|---|
//! | `flow` | entering and completing nodes |
//! | `work` | attempts: dispatch, answers, retries, probes |
//! | `undo` | ending early: settling what is in flight, then compensating in reverse order |
//! | `commands` | what operators want |
//! | `back` | going back to an earlier step |
//! | `hold` | attempts that their queue does not let through yet |
//! | `variables` | what expressions see |

mod back;
mod commands;
mod flow;
mod hold;
mod undo;
mod variables;
mod work;

use serde_json::Value;

use crate::compile::Compiled;
use crate::effect::{Effect, Fact};
use crate::event::{Event, Signal};
use crate::ids::{SagaId, Timestamp};
use crate::limits::{INPUT_BYTES_MAX, PARKED_SIGNALS_MAX};
use crate::protocol::Role;
use crate::size::json_bytes;
use crate::state::{Active, NodeIndex, Phase, Progress, State, Status, StepError};

use self::flow::Todo;

/// What an event did to a saga.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The new state. `state.seq` is the journal entry's number if `journal` is some, else unchanged.
    pub state: State,
    /// What the journal calls it (`started`, `step_succeeded`, `stale_result`, `timer`, …);
    /// none: nothing changed, nothing is to be written.
    pub journal: Option<&'static str>,
    /// The step it concerns.
    pub step: Option<String>,
    /// What the shell must do after commit.
    pub effects: Vec<Effect>,
}

/// What [`apply`] did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// As in [`Transition`].
    pub journal: Option<&'static str>,
    /// As in [`Transition`].
    pub step: Option<String>,
    /// As in [`Transition`].
    pub effects: Vec<Effect>,
}

/// Why an event does not fit a saga's state. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible: the saga is {status}; {hint}")]
pub struct Refused {
    /// The event.
    pub event: String,
    /// The saga's status.
    pub status: String,
    /// What would be possible.
    pub hint: String,
}

/// The first transition of a saga.
pub fn start(
    definition: &Compiled,
    saga: SagaId,
    input: Value,
    traceparent: Option<String>,
    now: Timestamp,
) -> Result<Transition, Refused> {
    if json_bytes(&input) > INPUT_BYTES_MAX {
        return Err(Refused {
            event: "start".to_owned(),
            status: "not there yet".to_owned(),
            hint: format!("an input has at most {INPUT_BYTES_MAX} bytes"),
        });
    }
    let mut state = State {
        seq: 1,
        phase: Phase::Forward,
        epoch: 0,
        started_at: now,
        input,
        traceparent,
        paused: false,
        pivoted: false,
        active: Default::default(),
        records: Default::default(),
        done: Vec::new(),
        parked: Vec::new(),
        ending: None,
        back: None,
        extended: Default::default(),
    };
    let mut machine = Machine::new(definition, saga, &mut state, now);
    machine.begin();
    let effects = machine.effects;
    Ok(Transition {
        state,
        journal: Some("started"),
        step: None,
        effects,
    })
}

/// Applies one event.
pub fn advance(
    definition: &Compiled,
    saga: SagaId,
    mut state: State,
    event: &Event,
    now: Timestamp,
) -> Result<Transition, Refused> {
    let applied = apply(definition, saga, &mut state, event, now)?;
    Ok(Transition {
        state,
        journal: applied.journal,
        step: applied.step,
        effects: applied.effects,
    })
}

/// Applies one event in place. A refused event leaves the state as it was.
pub fn apply(
    definition: &Compiled,
    saga: SagaId,
    state: &mut State,
    event: &Event,
    now: Timestamp,
) -> Result<Applied, Refused> {
    let status = state.status();
    let mut machine = Machine::new(definition, saga, state, now);
    machine.state.seq += 1;
    let outcome = match event {
        Event::Started { .. } => Err(Refused::new(
            "start",
            status,
            "it has begun already: start another with a new idempotency key",
        )),
        Event::Result(result) => Ok(machine.result(result)),
        Event::Signal(signal) => machine.signal(signal),
        Event::Tick {} => Ok(machine.tick().then_some(("timer", None))),
        Event::Command(command) => machine.command(&command.command),
        Event::Redispatch {} => Ok(machine.redispatch().then_some(("redispatched", None))),
        Event::Hold { steps } => Ok(machine.hold(steps)),
        Event::Release { step } => Ok(machine.release(step)),
    };
    let effects = std::mem::take(&mut machine.effects);
    match outcome {
        Ok(Some((journal, step))) => Ok(Applied {
            journal: Some(journal),
            step: step.map(|index| definition.node(index).name.clone()),
            effects,
        }),
        Ok(None) => {
            state.seq -= 1;
            debug_assert!(effects.is_empty(), "an event that changes nothing asks for nothing");
            Ok(Applied::default())
        }
        Err(refused) => {
            state.seq -= 1;
            Err(refused)
        }
    }
}

/// The state that a journal leads to; none for an empty one.
pub fn rebuild<'a>(
    definition: &Compiled,
    saga: SagaId,
    journal: impl IntoIterator<Item = (Timestamp, &'a Event)>,
) -> Result<Option<State>, Refused> {
    replay(definition, saga, journal, |_, _, _| {})
}

/// The same, showing each entry with the transition that came of it.
pub fn replay<'a>(
    definition: &Compiled,
    saga: SagaId,
    journal: impl IntoIterator<Item = (Timestamp, &'a Event)>,
    mut show: impl FnMut(Timestamp, &'a Event, &Transition),
) -> Result<Option<State>, Refused> {
    let mut state: Option<State> = None;
    for (now, event) in journal {
        let transition = match (state, event) {
            (None, Event::Started { input, traceparent }) => {
                start(definition, saga, input.clone(), traceparent.clone(), now)?
            }
            (Some(state), event) => advance(definition, saga, state, event, now)?,
            (None, _) => {
                return Err(Refused {
                    event: "rebuild".to_owned(),
                    status: "not there yet".to_owned(),
                    hint: "a journal begins with `started`".to_owned(),
                });
            }
        };
        show(now, event, &transition);
        state = Some(transition.state);
    }
    Ok(state)
}

impl Refused {
    fn new(event: &str, status: Status, hint: impl Into<String>) -> Refused {
        Refused {
            event: event.to_owned(),
            status: status.as_str().to_owned(),
            hint: hint.into(),
        }
    }
}

/// One transition under way.
struct Machine<'a> {
    definition: &'a Compiled,
    saga: SagaId,
    state: &'a mut State,
    now: Timestamp,
    effects: Vec<Effect>,
    facts: u32,
    todo: Vec<Todo>,
}

/// The workflow's output for a completed saga; null where it can't be made.
pub(crate) fn output(definition: &Compiled, saga: SagaId, state: &State) -> Value {
    let scope = variables::Scope {
        definition,
        saga,
        state,
        error: None,
        attempt: 0,
    };
    definition.output.evaluate(&scope).unwrap_or_default()
}

/// What the journal calls the event, and the step it concerns; none: nothing changed.
type Entry = Option<(&'static str, Option<NodeIndex>)>;

impl<'a> Machine<'a> {
    fn new(definition: &'a Compiled, saga: SagaId, state: &'a mut State, now: Timestamp) -> Self {
        Machine {
            definition,
            saga,
            state,
            now,
            effects: Vec::new(),
            facts: 0,
            todo: Vec::new(),
        }
    }

    fn next_epoch(&mut self) -> u32 {
        self.state.epoch += 1;
        self.state.epoch
    }

    fn publish(&mut self, topic: &str, data: Value) {
        let fact = Fact {
            saga: self.saga,
            seq: self.state.seq,
            index: self.facts,
            topic: topic.to_owned(),
            data,
            at: self.now,
        };
        self.facts += 1;
        self.effects.push(Effect::Publish(fact));
    }

    /// Whatever is due by now happens. False: nothing was.
    fn tick(&mut self) -> bool {
        let open: Vec<NodeIndex> = self.state.active.keys().copied().collect();
        let mut happened = false;
        // Containers come before what they hold, so an outer deadline wins over an inner one.
        for node in open {
            happened |= self.tick_node(node);
        }
        happened
    }

    fn tick_node(&mut self, node: NodeIndex) -> bool {
        let due = |at: Timestamp| at <= self.now;
        match self.state.active.get(&node) {
            None | Some(Active::Parallel { .. } | Active::Scope { deadline: None }) => false,
            Some(Active::Scope {
                deadline: Some(deadline),
            }) if due(*deadline) => {
                self.scope_deadline(node);
                true
            }
            Some(Active::WaitFor { deadline }) if due(*deadline) => {
                let message = "no signal came in time".to_owned();
                let error = StepError {
                    code: "deadline".into(),
                    message,
                    retryable: false,
                    details: Value::Null,
                };
                self.state.records.entry(node).or_default().error = Some(error.clone());
                if let crate::compile::Kind::WaitFor { on_deadline, .. } = &self.definition.node(node).kind {
                    self.follow(node, on_deadline, error);
                }
                self.run_todo();
                true
            }
            Some(Active::Sleep { until }) if due(*until) => {
                self.todo.push(Todo::Complete(node));
                self.run_todo();
                true
            }
            Some(Active::Step(work)) => match work.progress {
                Progress::InFlight { deadline } if due(deadline) => {
                    self.unknown(node, "no answer came in time".to_owned());
                    true
                }
                Progress::Backoff { until } if due(until) => {
                    self.dispatch(node);
                    self.run_todo();
                    true
                }
                Progress::Pending { until } if due(until) => {
                    self.probe_pending(node);
                    true
                }
                Progress::InFlight { .. }
                | Progress::Backoff { .. }
                | Progress::Pending { .. }
                | Progress::Withheld
                | Progress::Held { .. }
                | Progress::Operator => false,
            },
            Some(Active::Scope { .. } | Active::WaitFor { .. } | Active::Sleep { .. }) => false,
        }
    }

    fn signal(&mut self, signal: &Signal) -> Result<Entry, Refused> {
        let status = self.state.status();
        if !self.definition.signals.contains(&signal.name) {
            let known: Vec<&str> = self.definition.signals.iter().map(String::as_str).collect();
            let hint = match known.as_slice() {
                [] => "its workflow waits for no signals".to_owned(),
                names => format!("its workflow waits for {}", names.join(", ")),
            };
            return Err(Refused::new(&format!("signal {:?}", signal.name), status, hint));
        }
        if self.state.phase == Phase::Ended {
            return Ok(Some(("signal_ignored", None)));
        }
        if self.state.parked.iter().any(|parked| parked.id == signal.id) {
            return Ok(None);
        }
        if self.definition.extends_a_scope(&signal.name) {
            return Ok(Some(match self.extend(&signal.name) {
                Some(scope) => ("deadline_extended", Some(scope)),
                None => ("signal_ignored", None),
            }));
        }
        if let Some(node) = self.waiting_for(&signal.name) {
            self.take_signal(node, signal.payload.clone());
            self.run_todo();
            return Ok(Some(("signal", Some(node))));
        }
        if let Some(node) = self.pending_step(&signal.name) {
            self.probe_pending(node);
            return Ok(Some(("signal", Some(node))));
        }
        if self.is_wake_signal(&signal.name) {
            // It says no more than "look again", so one of its kind is enough.
            self.state.parked.retain(|parked| parked.name != signal.name);
        }
        if self.state.parked.len() >= PARKED_SIGNALS_MAX {
            let hint = format!("{PARKED_SIGNALS_MAX} signals already wait to be taken");
            return Err(Refused::new(&format!("signal {:?}", signal.name), status, hint));
        }
        self.state.parked.push(signal.clone());
        Ok(Some(("signal_parked", None)))
    }

    /// Moves the deadline of the open scope that this signal extends; none: there is none, it was moved before, or it is past.
    fn extend(&mut self, signal: &str) -> Option<NodeIndex> {
        if self.state.phase != Phase::Forward {
            return None;
        }
        let (definition, now) = (self.definition, self.now);
        let extended = &mut self.state.extended;
        self.state.active.iter_mut().find_map(|(node, active)| {
            let Active::Scope {
                deadline: Some(deadline),
            } = active
            else {
                return None;
            };
            let extend = definition.extension(*node).filter(|extend| extend.signal == signal)?;
            if *deadline <= now || !extended.insert(*node) {
                return None;
            }
            *deadline = deadline.plus(extend.by);
            Some(*node)
        })
    }

    fn waiting_for(&self, signal: &str) -> Option<NodeIndex> {
        let matches = |node: &NodeIndex| match &self.definition.node(*node).kind {
            crate::compile::Kind::WaitFor { signal: name, .. } => name == signal,
            _other => false,
        };
        self.state.active.keys().copied().find(matches)
    }

    fn pending_step(&self, signal: &str) -> Option<NodeIndex> {
        let pending = |active: &Active| match active {
            Active::Step(work) => work.role == Role::Run && matches!(work.progress, Progress::Pending { .. }),
            _other => false,
        };
        let wakes = |node: NodeIndex| {
            self.definition
                .step(node)
                .is_some_and(|step| step.definition.wake_on.as_deref() == Some(signal))
        };
        self.state
            .active
            .iter()
            .find(|(node, active)| pending(active) && wakes(**node))
            .map(|(node, _)| *node)
    }

    fn is_wake_signal(&self, signal: &str) -> bool {
        let wakes = |step: &crate::compile::CompiledStep| step.definition.wake_on.as_deref() == Some(signal);
        (0..self.definition.nodes.len() as NodeIndex)
            .filter_map(|node| self.definition.step(node))
            .any(wakes)
    }

    /// Sends every task in flight again, under the same token. False: there was none.
    fn redispatch(&mut self) -> bool {
        let open: Vec<NodeIndex> = self.state.active.keys().copied().collect();
        let mut any = false;
        for node in open {
            if let Some(Active::Step(work)) = self.state.active.get(&node)
                && matches!(work.progress, Progress::InFlight { .. })
            {
                any = true;
                self.send(node);
                self.run_todo();
            }
        }
        any
    }
}

impl State {
    /// What the saga is doing.
    pub fn status(&self) -> Status {
        let mut steps = self.active.values().filter_map(|active| match active {
            Active::Step(work) => Some(&work.progress),
            Active::Parallel { .. } | Active::Scope { .. } | Active::WaitFor { .. } | Active::Sleep { .. } => None,
        });
        match self.phase {
            Phase::Ended => self.ending.as_ref().map_or(Status::Completed, |ending| ending.status),
            _ if self.paused => Status::Paused,
            _ if steps.clone().any(|progress| *progress == Progress::Operator) => Status::Failed,
            Phase::Undoing => Status::Compensating,
            Phase::Forward => {
                let runs = |progress: &Progress| matches!(progress, Progress::InFlight { .. } | Progress::Withheld);
                if steps.any(runs) {
                    Status::Running
                } else {
                    Status::Waiting
                }
            }
        }
    }

    /// The earliest instant by which an attempt in flight must have been answered.
    pub fn attempt_due(&self) -> Option<Timestamp> {
        let deadline = |active: &Active| match active {
            Active::Step(work) => match work.progress {
                Progress::InFlight { deadline } => Some(deadline),
                Progress::Withheld
                | Progress::Held { .. }
                | Progress::Backoff { .. }
                | Progress::Pending { .. }
                | Progress::Operator => None,
            },
            Active::Parallel { .. } | Active::Scope { .. } | Active::WaitFor { .. } | Active::Sleep { .. } => None,
        };
        self.active.values().filter_map(deadline).min()
    }

    /// The earliest instant of anything else that comes by itself: retry, deadline, sleep, next probe.
    pub fn timer_due(&self) -> Option<Timestamp> {
        let due = |active: &Active| match active {
            Active::Step(work) => match work.progress {
                Progress::Backoff { until } | Progress::Pending { until } => Some(until),
                Progress::InFlight { .. } | Progress::Withheld | Progress::Held { .. } | Progress::Operator => None,
            },
            Active::Parallel { .. } => None,
            Active::Scope { deadline } => *deadline,
            Active::WaitFor { deadline } => Some(*deadline),
            Active::Sleep { until } => Some(*until),
        };
        self.active.values().filter_map(due).min()
    }

    /// Steps whose attempts wait for their queue to let them through.
    pub fn held(&self) -> impl Iterator<Item = NodeIndex> {
        let held = |active: &Active| match active {
            Active::Step(work) => work.progress == Progress::Held { free: false },
            Active::Parallel { .. } | Active::Scope { .. } | Active::WaitFor { .. } | Active::Sleep { .. } => false,
        };
        self.active
            .iter()
            .filter(move |(_, active)| held(active))
            .map(|(node, _)| *node)
    }

    /// As stored: compact JSON.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a state is plain data with string keys")
    }

    /// From storage.
    pub fn decode(text: &str) -> Result<State, serde_json::Error> {
        serde_json::from_str(text)
    }
}

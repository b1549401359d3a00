//! The transition function.

use crate::compile::Compiled;
use crate::effect::Effect;
use crate::event::Event;
use crate::ids::{SagaId, Timestamp};
use crate::state::{State, Status};

/// What an event did to a saga.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The new state. `state.seq` is the journal entry's number if `journal` is some, else unchanged.
    pub state: State,
    /// What the journal calls it (`started`, `step_succeeded`, `step_failed`, `stale_result`, `timer`, …);
    /// none: nothing changed, nothing is to be written.
    pub journal: Option<&'static str>,
    /// The step it concerns.
    pub step: Option<String>,
    /// What the shell must do after commit.
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
    input: serde_json::Value,
    traceparent: Option<String>,
    now: Timestamp,
) -> Result<Transition, Refused> {
    let _ = (definition, saga, input, traceparent, now);
    unimplemented!()
}

/// Applies one event.
pub fn advance(
    definition: &Compiled,
    saga: SagaId,
    state: State,
    event: &Event,
    now: Timestamp,
) -> Result<Transition, Refused> {
    let _ = (definition, saga, state, event, now);
    unimplemented!()
}

/// The state that a journal leads to.
pub fn rebuild<'a>(
    definition: &Compiled,
    saga: SagaId,
    journal: impl IntoIterator<Item = (Timestamp, &'a Event)>,
) -> Result<Option<State>, Refused> {
    let _ = (definition, saga, journal.into_iter().count());
    unimplemented!()
}

impl State {
    /// What the saga is doing.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// The earliest instant by which an attempt in flight must have been answered.
    pub fn attempt_due(&self) -> Option<Timestamp> {
        unimplemented!()
    }

    /// The earliest instant of anything else that comes by itself: retry, deadline, sleep, next probe.
    pub fn timer_due(&self) -> Option<Timestamp> {
        unimplemented!()
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

//! Moving a scope's deadline: once, by a signal, while it is ahead.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use workflows::builder::{scope, step, wait_for, workflow};
use workflows::definition::{Definition, Extend, Node};
use workflows::event::{Command, CommandEvent, Event, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::state::{State, Status};
use workflows::tickets::booking::{self, Durations};
use workflows::{Compiled, advance, rebuild, start, view};

const SAGA: SagaId = SagaId(Uuid::from_u128(7));
const MINUTE: i64 = 60_000;

fn definition() -> Definition {
    let inner = vec![
        step("reserve", "test.reserve", "test").into(),
        wait_for("paid", "paid", Duration::from_secs(24 * 60 * 60)),
    ];
    let mut hold = scope("hold", Duration::from_secs(15 * 60), "EXPIRED", inner);
    if let Node::Scope(scope) = &mut hold {
        scope.extend = Some(Extend {
            signal: "more_time".to_owned(),
            by: Duration::from_secs(5 * 60),
        });
    }
    workflow("extending", 1).then(hold).build()
}

/// A saga and its journal.
struct Run {
    definition: Compiled,
    state: State,
    journal: Vec<(Timestamp, Event)>,
}

impl Run {
    fn new(definition: Definition) -> Run {
        let definition = Compiled::new(definition).unwrap();
        let started = start(&definition, SAGA, Value::Null, None, Timestamp(0)).unwrap();
        let first = Event::Started {
            input: Value::Null,
            traceparent: None,
        };
        Run {
            definition,
            state: started.state,
            journal: vec![(Timestamp(0), first)],
        }
    }

    /// What the journal calls it.
    fn apply(&mut self, at: i64, event: Event) -> Option<&'static str> {
        let done = advance(&self.definition, SAGA, self.state.clone(), &event, Timestamp(at)).unwrap();
        self.state = done.state;
        if done.journal.is_some() {
            self.journal.push((Timestamp(at), event));
        }
        // The journal is the truth, and the state survives being stored.
        let journal = self.journal.iter().map(|(at, event)| (*at, event));
        assert_eq!(rebuild(&self.definition, SAGA, journal).unwrap().unwrap(), self.state);
        assert_eq!(State::decode(&self.state.encode()).unwrap(), self.state);
        done.journal
    }

    fn more_time(&mut self, at: i64, id: &str) -> Option<&'static str> {
        let signal = Signal {
            id: id.to_owned(),
            name: "more_time".to_owned(),
            payload: Value::Null,
        };
        self.apply(at, Event::Signal(signal))
    }

    fn is_expired(&self) -> bool {
        view(&self.definition, SAGA, &self.state).reason.as_deref() == Some("EXPIRED")
    }
}

#[test]
fn a_deadline_moves_once_and_then_holds() {
    let mut run = Run::new(definition());
    assert_eq!(run.state.timer_due(), Some(Timestamp(15 * MINUTE)));
    assert_eq!(run.more_time(MINUTE, "a"), Some("deadline_extended"));
    assert_eq!(run.state.timer_due(), Some(Timestamp(20 * MINUTE)));
    assert_eq!(view(&run.definition, SAGA, &run.state).extended, ["hold"]);
    // Neither the same nor another wish moves it again.
    assert_eq!(run.more_time(2 * MINUTE, "a"), Some("signal_ignored"));
    assert_eq!(run.more_time(2 * MINUTE, "b"), Some("signal_ignored"));
    run.apply(15 * MINUTE, Event::Tick {});
    assert!(!run.is_expired());
    run.apply(20 * MINUTE, Event::Tick {});
    assert!(run.is_expired());
}

#[test]
fn a_wish_that_comes_too_late_is_ignored() {
    // At the deadline to the millisecond, though nobody has acted on it yet.
    let mut run = Run::new(definition());
    assert_eq!(run.more_time(15 * MINUTE, "a"), Some("signal_ignored"));
    run.apply(15 * MINUTE, Event::Tick {});
    assert!(run.is_expired());
    assert_eq!(run.more_time(16 * MINUTE, "b"), Some("signal_ignored"));
    // While it is being undone.
    let mut run = Run::new(definition());
    let cancel = CommandEvent {
        command: Command::Cancel {},
        by: String::new(),
        reason: String::new(),
    };
    run.apply(MINUTE, Event::Command(cancel));
    assert_ne!(run.state.status(), Status::Running);
    assert_eq!(run.more_time(2 * MINUTE, "a"), Some("signal_ignored"));
}

#[test]
fn a_signal_that_moves_a_deadline_means_nothing_else() {
    let mut wrong = definition();
    wrong.flow.push(wait_for("again", "more_time", Duration::from_secs(1)));
    let problems = Compiled::new(wrong).unwrap_err();
    assert_eq!(problems[0].pointer, "/flow/0/extend/signal");
    let mut wrong = definition();
    if let Node::Scope(scope) = &mut wrong.flow[0] {
        scope.extend.as_mut().unwrap().by = Duration::ZERO;
    }
    assert_eq!(Compiled::new(wrong).unwrap_err()[0].pointer, "/flow/0/extend/by");
    // Written and read again it is the same.
    let text = serde_json::to_value(definition()).unwrap();
    assert_eq!(
        text["flow"][0]["extend"],
        json!({"signal": "more_time", "by": "5m"}),
        "{text}"
    );
    assert_eq!(serde_json::from_value::<Definition>(text).unwrap(), definition());
}

#[test]
fn a_shop_may_give_nobody_more_time() {
    let durations = Durations {
        hold_extension: Duration::ZERO,
        ..Durations::default()
    };
    let definition = booking::definition(&durations);
    assert!(!serde_json::to_string(&definition).unwrap().contains("extend"));
    let text = serde_json::to_string(&booking::definition(&Durations::default())).unwrap();
    assert!(text.contains(booking::EXTEND_SIGNAL));
}

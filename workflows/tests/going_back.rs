//! Going back to an earlier step, and attempts that their queue holds: what exactly happens, and what is refused.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use workflows::builder::{parallel, scope, step, workflow};
use workflows::definition::{Definition, Route};
use workflows::effect::Effect;
use workflows::event::{Command, CommandEvent, Event};
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, Task, TaskResult};
use workflows::state::{State, Status};
use workflows::{Compiled, advance, rebuild, start, view};

struct Run {
    definition: Compiled,
    state: State,
    now: Timestamp,
    tasks: Vec<Task>,
    journal: Vec<(Timestamp, Event)>,
}

fn saga() -> SagaId {
    SagaId(uuid::Uuid::from_u128(7))
}

impl Run {
    fn new(definition: Definition) -> Run {
        let definition = Compiled::new(definition).unwrap();
        let input = json!({});
        let started = start(&definition, saga(), input.clone(), None, Timestamp(0)).unwrap();
        let event = Event::Started {
            input,
            traceparent: None,
        };
        let mut run = Run {
            definition,
            state: started.state,
            now: Timestamp(0),
            tasks: Vec::new(),
            journal: vec![(Timestamp(0), event)],
        };
        run.take(started.effects);
        run
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Dispatch { task, .. } = effect {
                self.tasks.push(task);
            }
        }
    }

    fn apply(&mut self, event: Event) -> Result<(), String> {
        let outcome = advance(&self.definition, saga(), self.state.clone(), &event, self.now);
        let transition = outcome.map_err(|refused| refused.to_string())?;
        assert!(transition.journal.is_some(), "{event:?} changed nothing");
        self.state = transition.state;
        self.journal.push((self.now, event));
        self.take(transition.effects);
        Ok(())
    }

    fn answer(&mut self, outcome: Outcome) -> Task {
        let task = self.tasks.remove(0);
        let token = task.token.clone();
        self.apply(Event::Result(TaskResult { token, outcome })).unwrap();
        task
    }

    fn well(&mut self) -> Task {
        self.answer(Outcome::Succeeded {
            output: json!({"done": true}),
        })
    }

    fn command(&mut self, command: Command) -> Result<(), String> {
        self.apply(Event::Command(CommandEvent {
            command,
            by: "ada".into(),
            reason: "why".into(),
        }))
    }

    fn back(&mut self, step: &str) -> Result<(), String> {
        self.command(Command::GoBack { step: step.to_owned() })
    }

    /// What is to be done now, and under which key.
    fn next(&self) -> (Role, String) {
        let task = &self.tasks[0];
        let key = task.key.split_once('/').unwrap().1;
        (task.token.role, key.to_owned())
    }

    fn check(&self) {
        let journal = self.journal.iter().map(|(at, event)| (*at, event));
        assert_eq!(rebuild(&self.definition, saga(), journal).unwrap().unwrap(), self.state);
        assert_eq!(State::decode(&self.state.encode()).unwrap(), self.state);
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        code: "no".into(),
        message: "no".into(),
        retryable: false,
        details: Value::Null,
    }
}

/// `a`, then in a scope `b`, `c` and `d`, of which `d` has nothing that undoes it; failures go to an operator.
fn flow() -> Definition {
    let undoable = |name: &str| step(name, "do", "q").undo("undo").otherwise(Route::Operator {});
    let inside = vec![
        undoable("b").into(),
        undoable("c").into(),
        step("d", "do", "q").otherwise(Route::Operator {}).into(),
    ];
    workflow("flow", 1)
        .then(undoable("a"))
        .then(scope("s", Duration::from_secs(100), "LATE", inside))
        .then(step("e", "do", "q").pivot())
        .then(step("f", "do", "q"))
        .build()
}

#[test]
fn what_came_behind_is_undone_first_and_begins_again_under_new_keys() {
    let mut run = Run::new(flow());
    for _ in 0..3 {
        run.well();
    }
    run.answer(failed());
    assert_eq!(run.state.status(), Status::Failed);
    let deadline = run.state.timer_due();
    run.back("b").unwrap();
    assert_eq!(run.state.status(), Status::Compensating);
    assert_eq!(view(&run.definition, saga(), &run.state).back_to.as_deref(), Some("b"));
    assert_eq!(run.state.timer_due(), None, "the scope's deadline waits meanwhile");
    run.check();
    assert_eq!(run.next(), (Role::Compensate, "c/1".into()));
    run.well();
    assert_eq!(run.next(), (Role::Compensate, "b/1".into()));
    run.well();
    // `a` stays as it is.
    assert_eq!(run.next(), (Role::Run, "b/2".into()));
    assert_eq!(run.state.timer_due(), deadline, "going back gives no more time");
    assert!(
        run.back("c").unwrap_err().contains("has not been begun"),
        "nothing can be skipped"
    );
    for key in ["b/2", "c/2", "d/2", "e/1", "f/1"] {
        assert_eq!(run.next(), (Role::Run, key.into()));
        run.well();
    }
    assert_eq!(run.state.status(), Status::Completed);
    run.check();
}

#[test]
fn it_can_be_cancelled_on_its_way_back() {
    let mut run = Run::new(flow());
    for _ in 0..3 {
        run.well();
    }
    run.back("b").unwrap();
    run.tasks.retain(|task| task.token.role == Role::Compensate);
    assert!(run.back("b").unwrap_err().contains("goes forward"));
    run.command(Command::Cancel {}).unwrap();
    for key in ["c/1", "b/1", "a/1"] {
        assert_eq!(run.next(), (Role::Compensate, key.into()));
        run.well();
    }
    assert_eq!(run.state.status(), Status::Cancelled);
    run.check();
}

#[test]
fn a_compensation_that_fails_on_the_way_back_waits_for_an_operator() {
    let mut run = Run::new(flow());
    run.well();
    run.well();
    run.answer(failed());
    run.back("a").unwrap();
    run.answer(failed());
    assert_eq!(run.state.status(), Status::Failed);
    run.command(Command::Retry {
        step: Some("b".into()),
        input: None,
    })
    .unwrap();
    run.well();
    run.well();
    assert_eq!(run.next(), (Role::Run, "a/2".into()));
    run.check();
}

#[test]
fn where_it_is_not_sound_it_is_refused() {
    let mut run = Run::new(flow());
    for (step, why) in [
        ("a", "is open"),
        ("b", "not been begun"),
        ("s", "not a step"),
        ("x", "no step"),
    ] {
        assert!(run.back(step).unwrap_err().contains(why), "{step}");
    }
    for _ in 0..4 {
        run.well();
    }
    assert!(run.back("b").unwrap_err().contains("has been left"));
    run.well();
    assert!(run.back("a").unwrap_err().contains("point of no return"));
    run.well();
    assert!(run.back("a").unwrap_err().contains("goes forward"));
    let branches = vec![vec![step("x", "do", "q").into(), step("y", "do", "q").into()], vec![]];
    let mut run = Run::new(workflow("p", 1).then(parallel("both", branches)).build());
    run.well();
    assert!(run.back("x").unwrap_err().contains("branch"));
}

#[test]
fn a_held_attempt_has_no_deadline_until_it_goes() {
    let mut run = Run::new(flow());
    let task = run.tasks.remove(0);
    run.apply(Event::Hold {
        steps: vec!["a".into()],
    })
    .unwrap();
    assert_eq!((run.state.attempt_due(), run.state.timer_due()), (None, None));
    assert_eq!(run.state.status(), Status::Waiting);
    run.now = Timestamp(1_000_000);
    run.command(Command::Pause {}).unwrap();
    run.apply(Event::Release { step: "a".into() }).unwrap();
    assert!(run.tasks.is_empty(), "the saga is paused");
    run.command(Command::Resume {}).unwrap();
    let sent = &run.tasks[0];
    assert_eq!((&sent.token, &sent.key), (&task.token, &task.key));
    assert!(sent.deadline > run.now && sent.deadline > task.deadline);
    run.check();
    // Cancelled while held, nothing has to be settled: nobody has seen it.
    run.well();
    run.tasks.clear();
    run.apply(Event::Hold {
        steps: vec!["b".into()],
    })
    .unwrap();
    run.command(Command::Cancel {}).unwrap();
    assert_eq!(run.next(), (Role::Compensate, "a/1".into()));
    run.check();
}

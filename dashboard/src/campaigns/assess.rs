//! One saga of a campaign: what would come of its command, and later what has come of it. Pure: the saga's state in, words out.

use serde_json::Value;
use workflows::Compiled;
use workflows::effect::Effect;
use workflows::event::{Command, CommandEvent, Event};
use workflows::ids::{SagaId, Timestamp};
use workflows::limits::INPUT_BYTES_MAX;
use workflows::state::{State, Status};
use workflows::{SagaView, StepView};

use super::plan::{Action, Plan};

/// What the dry run says of one saga.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// What would happen, or why it can't be done.
    pub verdict: Result<String, String>,
    /// The step it failed at.
    pub step: Option<String>,
    /// The error it failed with.
    pub code: Option<String>,
    /// The steps whose effects are there.
    pub effects: Vec<String>,
    /// The money that it is about.
    pub money_cents: Option<i64>,
}

/// What has come of a saga since its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Waiting,
    /// It failed again, with this code, and tries again by itself.
    Struggling(String),
    /// It is past its step, or has ended as it should.
    Passed(String),
    /// It waits for an operator again, or has ended because of its step.
    Failed {
        /// Where.
        step: String,
        /// How.
        code: String,
    },
}

/// Runs the command on the saga's state and writes nothing.
pub fn assess(definition: &Compiled, saga: SagaId, state: &State, plan: &Plan, now: Timestamp) -> Assessment {
    let view = workflows::view(definition, saga, state);
    let (step, code) = failing(&view, plan.action.step());
    let verdict = command(definition, saga, state, &plan.action, now).and_then(|command| {
        let event = Event::Command(CommandEvent {
            command,
            by: String::new(),
            reason: String::new(),
        });
        let done = workflows::advance(definition, saga, state.clone(), &event, now);
        let transition = done.map_err(|refused| refused.to_string())?;
        if transition.journal.is_none() {
            return Err("it would change nothing".to_owned());
        }
        Ok(in_words(&transition.state, &transition.effects))
    });
    Assessment {
        verdict,
        step,
        code,
        effects: present(&view),
        money_cents: money(&view.input, plan.money_field.as_deref()),
    }
}

fn in_words(after: &State, effects: &[Effect]) -> String {
    let tasks: Vec<String> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Dispatch { queue, task } => Some(format!("{} to {queue}", task.activity)),
            Effect::Publish(_) => None,
        })
        .collect();
    let status = after.status();
    if tasks.is_empty() {
        format!("becomes {}", status.as_str())
    } else {
        format!("becomes {}, sends {}", status.as_str(), tasks.join(", "))
    }
}

/// The steps whose effects are there.
fn present(view: &SagaView) -> Vec<String> {
    let present = view
        .steps
        .iter()
        .filter(|step| step.kind == "step" && step.standing == "present");
    present.map(|step| step.name.clone()).collect()
}

/// The command for this saga; a patch is applied to the very input that a retry would send.
pub fn command(
    definition: &Compiled,
    saga: SagaId,
    state: &State,
    action: &Action,
    now: Timestamp,
) -> Result<Command, String> {
    let Some(patch) = action.patch() else {
        return Ok(action.command());
    };
    let view = workflows::view(definition, saga, state);
    let step = failing(&view, action.step())
        .0
        .ok_or("no step of it waits to be tried again")?;
    let plain = Command::Retry {
        step: Some(step.clone()),
        input: None,
    };
    let event = Event::Command(CommandEvent {
        command: plain,
        by: String::new(),
        reason: String::new(),
    });
    let done = workflows::advance(definition, saga, state.clone(), &event, now);
    let transition = done.map_err(|refused| refused.to_string())?;
    let sent = transition.effects.into_iter().find_map(|effect| match effect {
        Effect::Dispatch { queue: _, task } if task.token.step == step => Some(task.input),
        Effect::Dispatch { .. } | Effect::Publish(_) => None,
    });
    let mut input = sent.ok_or("its step would not be sent, so there is no input to patch")?;
    merge(&mut input, patch);
    if input.to_string().len() > INPUT_BYTES_MAX {
        return Err(format!("its input would have more than {INPUT_BYTES_MAX} bytes"));
    }
    Ok(Command::Retry {
        step: Some(step),
        input: Some(input),
    })
}

/// A JSON merge patch, RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(object) = target else { return };
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The step that failed, and how; the one that was named, if one was.
fn failing(view: &SagaView, named: Option<&str>) -> (Option<String>, Option<String>) {
    let code = |step: &StepView| step.error.as_ref().map(|error| error.code.clone());
    let found = match named {
        Some(named) => view.steps.iter().find(|step| step.name == named),
        None => ["operator", "backoff", "pending"].into_iter().find_map(|progress| {
            view.steps
                .iter()
                .find(|step| step.progress.as_deref() == Some(progress))
        }),
    };
    match found {
        Some(step) => (Some(step.name.clone()), code(step)),
        None => (
            view.failed_step.clone(),
            view.error.as_ref().map(|error| error.code.clone()),
        ),
    }
}

/// What has come of it. `step` is the one that had failed.
pub fn judge(definition: &Compiled, saga: SagaId, state: &State, action: &Action, step: Option<&str>) -> Outcome {
    let view = workflows::view(definition, saga, state);
    if view.status.is_final() {
        return ended(&view, action, step);
    }
    let open = |step: &&StepView| step.progress.is_some() && step.role.is_some();
    match action {
        Action::Retry { .. } | Action::Skip { .. } => {
            match view.steps.iter().filter(open).find(|it| Some(it.name.as_str()) == step) {
                Some(step) => of_step(step),
                None => Outcome::Passed("past its step".to_owned()),
            }
        }
        Action::Cancel {} | Action::Compensate {} => {
            let outcomes: Vec<Outcome> = view.steps.iter().filter(open).map(of_step).collect();
            let worst = outcomes.iter().find(|it| matches!(it, Outcome::Failed { .. }));
            let worst = worst.or_else(|| outcomes.iter().find(|it| matches!(it, Outcome::Struggling(_))));
            worst.cloned().unwrap_or(Outcome::Waiting)
        }
        Action::Resume {} if view.status == Status::Paused => Outcome::Waiting,
        Action::Resume {} => match view
            .steps
            .iter()
            .filter(open)
            .map(of_step)
            .find(|it| matches!(it, Outcome::Failed { .. }))
        {
            Some(failed) => failed,
            None => Outcome::Passed("goes on".to_owned()),
        },
    }
}

fn of_step(step: &StepView) -> Outcome {
    let code = step.error.as_ref().map(|error| error.code.clone()).unwrap_or_default();
    match step.progress.as_deref() {
        Some("operator") => Outcome::Failed {
            step: step.name.clone(),
            code,
        },
        Some("backoff") => Outcome::Struggling(code),
        Some(_) | None => Outcome::Waiting,
    }
}

fn ended(view: &SagaView, action: &Action, step: Option<&str>) -> Outcome {
    let because_of_step = view.failed_step.is_some() && view.failed_step.as_deref() == step;
    match action {
        Action::Retry { .. } | Action::Skip { .. } | Action::Resume {} if because_of_step => Outcome::Failed {
            step: step.unwrap_or_default().to_owned(),
            code: view.error.as_ref().map(|error| error.code.clone()).unwrap_or_default(),
        },
        Action::Retry { .. } | Action::Skip { .. } | Action::Resume {} | Action::Cancel {} | Action::Compensate {} => {
            Outcome::Passed(format!("ended {}", view.status.as_str()))
        }
    }
}

/// The money of an input, in cents. Exact: no floating point is calculated with.
fn money(input: &Value, field: Option<&str>) -> Option<i64> {
    let fields = match &field {
        Some(field) => std::slice::from_ref(field),
        None => &["totalCents", "totalAmount"][..],
    };
    fields.iter().find_map(|field| {
        let Value::Number(number) = input.get(field)? else {
            return None;
        };
        if field.ends_with("Cents") {
            number.as_i64()
        } else {
            cents(&number.to_string())
        }
    })
}

/// `300`, `299.5` or `299.50`, in cents.
fn cents(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 2 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: i64 = format!("{part:0<2}").parse().ok()?;
    let negative = whole.starts_with('-');
    let cents = whole.parse::<i64>().ok()?.checked_mul(100)?;
    cents.checked_add(if negative { -part } else { part })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;
    use workflows::protocol::{Outcome as Answer, Role, TaskResult, Token};
    use workflows::state::Active;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn definition() -> Compiled {
        let text = json!({"name": "pay", "version": 1, "flow": [
            {"kind": "step", "name": "hold", "activity": "a.hold", "queue": "q",
             "compensation": {"activity": "a.free"}, "attempt_timeout": "1m"},
            {"kind": "step", "name": "charge", "activity": "a.charge", "queue": "q", "attempt_timeout": "1m",
             "input": {"cents": "=input.totalCents", "card": "bad"},
             "retry": {"max_attempts": 2}, "otherwise": {"to": "operator"}},
            {"kind": "step", "name": "mail", "activity": "a.mail", "queue": "q", "attempt_timeout": "1m"}]});
        Compiled::new(serde_json::from_value(text).unwrap()).unwrap()
    }

    fn saga() -> SagaId {
        SagaId("0193a2b4-0000-7000-8000-000000000000".parse().unwrap())
    }

    fn answer(definition: &Compiled, state: State, outcome: Answer) -> State {
        let (step, work) = state
            .active
            .iter()
            .find_map(|(node, active)| match active {
                Active::Step(work) => Some((["hold", "charge", "mail"][usize::from(*node)], work.clone())),
                _other => None,
            })
            .unwrap();
        let token = Token {
            saga: saga(),
            step: step.to_owned(),
            role: Role::Run,
            attempt: work.attempt,
            epoch: work.epoch,
        };
        let event = Event::Result(TaskResult { token, outcome });
        workflows::advance(definition, saga(), state, &event, NOW)
            .unwrap()
            .state
    }

    fn declined(retryable: bool) -> Answer {
        let (code, message) = ("declined".to_owned(), "no".to_owned());
        Answer::Failed {
            code,
            message,
            retryable,
            details: Value::Null,
        }
    }

    fn succeeded() -> Answer {
        serde_json::from_value(json!({"outcome": "succeeded", "output": {}})).unwrap()
    }

    /// A saga that waits for an operator at `charge`.
    fn stuck(definition: &Compiled) -> State {
        let input = json!({"totalCents": 30_000});
        let state = workflows::start(definition, saga(), input, None, NOW).unwrap().state;
        let state = answer(definition, state, succeeded());
        answer(definition, state, declined(false))
    }

    fn apply(definition: &Compiled, state: State, plan: &Plan) -> State {
        let command = command(definition, saga(), &state, &plan.action, NOW).unwrap();
        let event = Event::Command(CommandEvent {
            command,
            by: "x".to_owned(),
            reason: "y".to_owned(),
        });
        workflows::advance(definition, saga(), state, &event, NOW)
            .unwrap()
            .state
    }

    #[test]
    fn a_dry_run_says_what_would_happen_and_what_is_at_stake() {
        let definition = definition();
        let plan = Plan::new(Action::Retry {
            step: None,
            input_patch: None,
        });
        let found = assess(&definition, saga(), &stuck(&definition), &plan, NOW);
        assert_eq!(found.verdict, Ok("becomes running, sends a.charge to q".to_owned()));
        assert_eq!(
            (found.step.as_deref(), found.code.as_deref()),
            (Some("charge"), Some("declined"))
        );
        assert_eq!(
            (found.effects, found.money_cents),
            (vec!["hold".to_owned()], Some(30_000))
        );
        let resume = assess(
            &definition,
            saga(),
            &stuck(&definition),
            &Plan::new(Action::Resume {}),
            NOW,
        );
        assert!(resume.verdict.unwrap_err().contains("not paused"));
    }

    #[test]
    fn a_patch_changes_the_input_that_would_be_sent() {
        let definition = definition();
        let patch = json!({"card": "good", "cents": null});
        let action = Action::Retry {
            step: None,
            input_patch: Some(patch),
        };
        let made = command(&definition, saga(), &stuck(&definition), &action, NOW).unwrap();
        let wanted = Command::Retry {
            step: Some("charge".to_owned()),
            input: Some(json!({"card": "good"})),
        };
        assert_eq!(made, wanted);
    }

    #[test]
    fn an_item_is_past_its_step_or_failed_again() {
        let definition = definition();
        let plan = Plan::new(Action::Retry {
            step: None,
            input_patch: None,
        });
        let look = |state: &State| judge(&definition, saga(), state, &plan.action, Some("charge"));
        let state = apply(&definition, stuck(&definition), &plan);
        assert_eq!(look(&state), Outcome::Waiting);
        let backoff = answer(&definition, state.clone(), declined(true));
        assert_eq!(look(&backoff), Outcome::Struggling("declined".to_owned()));
        let failed = answer(&definition, state.clone(), declined(false));
        assert_eq!(
            look(&failed),
            Outcome::Failed {
                step: "charge".to_owned(),
                code: "declined".to_owned()
            }
        );
        let passed = answer(&definition, state, succeeded());
        assert!(matches!(look(&passed), Outcome::Passed(_)), "mail is another step");
    }

    #[test]
    fn compensation_is_watched_to_its_end() {
        let definition = definition();
        let plan = Plan::new(Action::Compensate {});
        let state = apply(&definition, stuck(&definition), &plan);
        assert_eq!(
            judge(&definition, saga(), &state, &plan.action, Some("charge")),
            Outcome::Waiting
        );
    }

    #[test]
    fn money_is_exact() {
        for (amount, wanted) in [
            (json!({"totalAmount": 299.5}), Some(29_950)),
            (json!({"totalAmount": 300}), Some(30_000)),
            (json!({"totalAmount": 0.1}), Some(10)),
            (json!({"totalAmount": 0.123}), None),
            (json!({"totalAmount": "300"}), None),
            (json!({"totalCents": 5}), Some(5)),
            (json!({"other": 5}), None),
        ] {
            assert_eq!(money(&amount, None), wanted, "{amount}");
        }
        assert_eq!(money(&json!({"price": 2}), Some("price")), Some(200));
        assert_eq!(cents("-1.05"), Some(-105));
    }
}

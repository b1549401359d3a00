//! What is different between two attempts at a step: of one saga, or of two. Pure: journals in, differences out.
//!
//! An attempt is what the engine sent (folded from the journal) and what came back. Two of them are compared as JSON, value by
//! value; each place that differs is named by its JSON Pointer (RFC 6901).

use serde::Serialize;
use serde_json::{Map, Value, json};
use workflows::effect::Effect;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, TaskResult, Token};
use workflows::{Compiled, Refused, replay};

/// Changes that one difference lists: who has more to look at compares the files.
pub const CHANGES_MAX: usize = 500;

/// One attempt at a step: what was sent, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Which one.
    pub token: Token,
    /// The queue it was sent to.
    pub queue: String,
    /// What was to be run.
    pub activity: String,
    /// Its idempotency key.
    pub key: String,
    /// The activity's input.
    pub input: Value,
    /// When it was sent.
    pub from: Timestamp,
    /// When it was answered.
    pub to: Option<Timestamp>,
    /// The answer, as workers write it; null: there is none.
    pub outcome: Value,
}

impl Attempt {
    /// The effect, or its undoing, has been achieved by it.
    pub fn has_succeeded(&self) -> bool {
        self.outcome["outcome"] == "succeeded"
    }

    /// What two attempts are compared by. Tokens, keys and instants always differ, and say nothing.
    fn document(&self) -> Value {
        json!({"queue": self.queue, "activity": self.activity, "input": self.input, "outcome": self.outcome})
    }
}

/// A place where two attempts differ; a side that is left out does not have it.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Change {
    /// A JSON Pointer; it begins with `/input` for what was sent, with `/outcome` for what came back.
    pub path: String,
    /// There.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The attempts of a saga in the order in which they were sent, with their answers.
///
/// An error: the journal doesn't begin with the saga, or doesn't fit the definition.
pub fn attempts<'a>(
    definition: &Compiled,
    saga: SagaId,
    journal: impl IntoIterator<Item = (Timestamp, &'a Event)>,
) -> Result<Vec<Attempt>, Refused> {
    let mut attempts: Vec<Attempt> = Vec::new();
    replay(definition, saga, journal, |at, event, transition| {
        if let Event::Result(result) = event {
            answered(&mut attempts, at, result);
        }
        for effect in &transition.effects {
            let Effect::Dispatch { queue, task } = effect else {
                continue;
            };
            // Sent again after the broker lost it, an attempt is still the same one.
            if attempts.iter().any(|attempt| attempt.token == task.token) {
                continue;
            }
            attempts.push(Attempt {
                token: task.token.clone(),
                queue: queue.clone(),
                activity: task.activity.clone(),
                key: task.key.clone(),
                input: task.input.clone(),
                from: at,
                to: None,
                outcome: Value::Null,
            });
        }
    })?;
    Ok(attempts)
}

fn answered(attempts: &mut [Attempt], at: Timestamp, result: &TaskResult) {
    // A sign of life is no answer.
    if matches!(result.outcome, Outcome::Heartbeat {}) {
        return;
    }
    let open = attempts
        .iter_mut()
        .rev()
        .find(|attempt| attempt.token == result.token && attempt.to.is_none());
    if let Some(attempt) = open {
        attempt.to = Some(at);
        // An outcome is plain data, so it is JSON in any case.
        attempt.outcome = serde_json::to_value(&result.outcome).unwrap_or_default();
    }
}

/// The last attempt at running `step`; none: it was never begun.
pub fn last<'a>(attempts: &'a [Attempt], step: &str) -> Option<&'a Attempt> {
    of(attempts, step).last()
}

/// The one before `attempt`, at running the same step.
pub fn previous<'a>(attempts: &'a [Attempt], attempt: &Attempt) -> Option<&'a Attempt> {
    of(attempts, &attempt.token.step)
        .take_while(|earlier| earlier.token != attempt.token)
        .last()
}

/// The last attempt at running `step` that succeeded.
pub fn passed<'a>(attempts: &'a [Attempt], step: &str) -> Option<&'a Attempt> {
    of(attempts, step).filter(|attempt| attempt.has_succeeded()).last()
}

fn of<'a>(attempts: &'a [Attempt], step: &str) -> impl Iterator<Item = &'a Attempt> {
    attempts
        .iter()
        .filter(move |attempt| attempt.token.role == Role::Run && attempt.token.step == step)
}

/// Where two attempts differ, in the order of their paths, at most [`CHANGES_MAX`] places; and whether there are more.
pub fn between(before: &Attempt, after: &Attempt) -> (Vec<Change>, bool) {
    changes(&before.document(), &after.document())
}

/// Where two values differ: likewise.
pub fn changes(before: &Value, after: &Value) -> (Vec<Change>, bool) {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    let more = found.len() > CHANGES_MAX;
    found.truncate(CHANGES_MAX);
    (found, more)
}

/// Values are as deep as the JSON that was read, which serde_json bounds.
fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    // One too many tells that there are more.
    if before == after || found.len() > CHANGES_MAX {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => compare_fields(path, before, after, found),
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for place in 0..before.len().max(after.len()) {
                let path = format!("{path}/{place}");
                compare(&path, before.get(place), after.get(place), found);
            }
        }
        (before, after) => found.push(Change {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn compare_fields(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Vec<Change>) {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        compare(&path, before.get(name), after.get(name), found);
    }
}

#[cfg(test)]
mod tests;

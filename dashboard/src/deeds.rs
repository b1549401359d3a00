//! What can be done to one saga, by a page or by the API: what it needs, what would come of it, and the deed.

use orchestrator::Deployed;
use orchestrator::client::{EngineClient, LocalClient};
use orchestrator::store::reads::SagaRecord;
use orchestrator::store::workers;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workflows::effect::Effect;
use workflows::event::{Command, CommandEvent, Event, Signal};
use workflows::ids::SagaId;
use workflows::limits::INPUT_BYTES_MAX;

use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::approvals::{self, Asked, What};
use crate::comparison;
use crate::error::PageError;
use crate::limits::{OUTCOME_MAX, REASON_MAX, SCHEMA_PROBLEMS_MAX};
use crate::pages::{standing, text};
use crate::store::audit::{self, Begun};

/// What somebody wants done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deed {
    /// Which command, or `signal`, or `note`.
    pub command: String,
    /// The step, or the signal's name.
    pub step: String,
    /// An input, an output, a payload as JSON; or nothing.
    pub text: String,
    /// Why; or the note.
    pub reason: String,
    /// The journal's end when the operator looked.
    pub seq: u64,
}

/// What is to happen.
enum Wish {
    Command(Command),
    Signal(Signal),
    Note,
}

/// A reason that says something.
pub fn reason(text: &str) -> Result<&str, PageError> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > REASON_MAX {
        return Err(PageError::Invalid(format!("say why, in 1 to {REASON_MAX} characters")));
    }
    Ok(text)
}

impl Deed {
    /// It changes what the saga goes on with, or undoes it.
    pub fn is_grave(&self) -> bool {
        match self.command.as_str() {
            "skip" | "compensate" | "go_back" => true,
            "retry" => !self.text.trim().is_empty(),
            _other => false,
        }
    }

    /// It gives a step another input.
    pub fn edits_input(&self) -> bool {
        self.command == "retry" && !self.text.trim().is_empty()
    }

    /// What it would change nothing but the page.
    pub fn is_note(&self) -> bool {
        self.command == "note"
    }

    /// The least role that may, or that may ask for it where a second person decides.
    pub fn needed(&self, mission: &Mission) -> Role {
        if self.is_grave() && !mission.options.second_person {
            Role::Approver
        } else {
            Role::Operator
        }
    }

    /// Whether somebody else has to agree.
    pub fn needs_second_person(&self, mission: &Mission) -> bool {
        self.is_grave() && mission.options.second_person
    }

    fn wish(&self, by: &str) -> Result<Wish, String> {
        if self.text.len() > INPUT_BYTES_MAX {
            return Err(format!("this has more than {INPUT_BYTES_MAX} bytes"));
        }
        let value = || -> Result<Option<Value>, String> {
            match self.text.trim() {
                "" => Ok(None),
                text => serde_json::from_str(text)
                    .map(Some)
                    .map_err(|error| format!("this is not JSON: {error}")),
            }
        };
        let step = || -> Result<String, String> {
            if self.step.is_empty() {
                Err("a name is missing".to_owned())
            } else {
                Ok(self.step.clone())
            }
        };
        Ok(match self.command.as_str() {
            "retry" => Wish::Command(Command::Retry {
                step: Some(self.step.clone()).filter(|step| !step.is_empty()),
                input: value()?,
            }),
            "skip" => Wish::Command(Command::Skip {
                step: step()?,
                output: value()?.unwrap_or_default(),
            }),
            "cancel" => Wish::Command(Command::Cancel {}),
            "compensate" => Wish::Command(Command::Compensate {}),
            "go_back" => Wish::Command(Command::GoBack { step: step()? }),
            "pause" => Wish::Command(Command::Pause {}),
            "resume" => Wish::Command(Command::Resume {}),
            "signal" => Wish::Signal(Signal {
                // The journal shows the id, and so who it was. The form's place makes a double click one signal.
                id: format!("operator:{by}:{}:{}", self.seq, self.step),
                name: step()?,
                payload: value()?.unwrap_or_default(),
            }),
            "note" => Wish::Note,
            other => return Err(format!("{other:?} is nothing that can be done")),
        })
    }
}

/// Does it, or asks for a second person's approval.
pub async fn ask_or_do(mission: &Mission, operator: &Operator, saga: SagaId, deed: &Deed) -> Result<Asked, PageError> {
    deed.wish(&operator.name).map_err(PageError::Invalid)?;
    operator.must_be(deed.needed(mission))?;
    let why = reason(&deed.reason)?;
    if deed.needs_second_person(mission) {
        check_place(mission, saga, deed).await?;
        let id = approvals::ask(mission, operator, What::Deed(saga, deed.clone()), why).await?;
        return Ok(Asked::Pending(id));
    }
    carry_out(mission, saga, deed, &operator.name, why)
        .await
        .map(Asked::Done)
}

/// The saga, if it is where whoever wants this has looked.
async fn check_place(mission: &Mission, saga: SagaId, deed: &Deed) -> Result<SagaRecord, PageError> {
    let record = orchestrator::store::reads::saga(&mission.pool, saga).await?;
    let record = record.ok_or_else(|| PageError::NotFound(format!("the saga {saga}")))?;
    if record.summary.seq != deed.seq && !deed.is_note() {
        // The engine compares once more, in the command's transaction; for signals this is all there is.
        return Err(PageError::Moved {
            expected: deed.seq,
            current: record.summary.seq,
        });
    }
    if deed.edits_input() {
        let definition = mission.engine.definitions().by_id(record.summary.definition_id).await?;
        check_input(mission, &definition, deed).await?;
    }
    Ok(record)
}

/// An edited input has the shape that the step's activity takes, if a worker has said which. What is no JSON is told elsewhere.
pub async fn check_input(mission: &Mission, definition: &Deployed, deed: &Deed) -> Result<(), PageError> {
    let Ok(input) = serde_json::from_str::<Value>(&deed.text) else {
        return Ok(());
    };
    let Some((queue, activity)) = definition
        .compiled
        .activity_of(&deed.step)
        .filter(|_| deed.edits_input())
    else {
        return Ok(());
    };
    let announced = workers::activity(&mission.pool, queue, activity).await?;
    let Some(schema) = announced
        .map(|announced| announced.input)
        .filter(|schema| !schema.is_null())
    else {
        return Ok(());
    };
    let validator = match jsonschema::validator_for(&schema) {
        Ok(validator) => validator,
        // Some other program's mistake; the activity itself looks at its input.
        Err(error) => {
            tracing::warn!(queue, activity, %error, "an announced schema can't be used");
            return Ok(());
        }
    };
    let problems: Vec<String> = validator
        .iter_errors(&input)
        .take(SCHEMA_PROBLEMS_MAX)
        .map(|error| {
            format!(
                "{}: {}",
                error.instance_path(),
                text::shortened(&error.to_string(), OUTCOME_MAX)
            )
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(PageError::Invalid(format!(
        "this is not what {activity} takes: {}",
        problems.join("; ")
    )))
}

/// Does it in somebody's name. First the trail, then the deed: what isn't written down isn't done. The transaction that does it says so in the
/// trail; here is added how the saga was left.
pub async fn carry_out(mission: &Mission, saga: SagaId, deed: &Deed, by: &str, why: &str) -> Result<String, PageError> {
    let before = check_place(mission, saga, deed).await?;
    let wish = deed.wish(by).map_err(PageError::Invalid)?;
    if matches!(wish, Wish::Note) {
        audit::add_note(&mission.pool, saga.0, by, why).await?;
        return Ok("done".to_owned());
    }
    let mut was = json!({"status": before.summary.status.as_str(), "entry": before.summary.seq});
    if deed.command == "retry" && deed.is_grave() {
        was["input"] = json!(comparison::last_input(mission, saga, &deed.step).await);
    }
    let begun = Begun {
        operator: by,
        action: &deed.command,
        saga: saga.0,
        entry: i64::try_from(deed.seq).unwrap_or(i64::MAX),
        reason: why,
        details: json!({"step": deed.step, "text": deed.text, "before": was}),
    };
    let trail = audit::begin(&mission.pool, begun).await?;
    let client = LocalClient::new(mission.engine.clone());
    let done: Result<(String, Value), PageError> = match wish {
        Wish::Command(command) => {
            let input = match &command {
                Command::Retry { step: _, input } => input.clone(),
                _other => None,
            };
            let event = CommandEvent {
                command,
                by: by.to_owned(),
                reason: why.to_owned(),
            };
            let done = client.command_at(saga, event, Some(deed.seq)).await;
            done.map(|saga| {
                let mut is = json!({"status": saga.view.status.as_str(), "entry": saga.view.seq});
                if let Some(input) = input {
                    is["input"] = input;
                }
                (format!("done: entry {}", saga.view.seq), is)
            })
            .map_err(PageError::from)
        }
        Wish::Signal(signal) => {
            let done = client.signal(saga, signal).await;
            done.map(|receipt| (format!("done: {receipt:?}"), json!({"receipt": format!("{receipt:?}")})))
                .map_err(PageError::from)
        }
        Wish::Note => return Err(PageError::internal("a note is no deed of the engine's")),
    };
    match done {
        Ok((outcome, is)) => {
            audit::finish(&mission.pool, trail, &outcome, Some(is)).await?;
            Ok(outcome)
        }
        // It may still be done: whoever does it says so.
        Err(error @ (PageError::Unavailable | PageError::Internal)) => Err(error),
        Err(error) => {
            audit::finish(&mission.pool, trail, &format!("refused: {error}"), None).await?;
            Err(error)
        }
    }
}

/// What would come of it, in sentences; an error says why nothing would. Nothing is written.
pub fn consequences(
    mission: &Mission,
    record: &SagaRecord,
    definition: &Deployed,
    deed: &Deed,
    by: &str,
) -> Result<Vec<String>, String> {
    let now = mission.engine.now();
    let event = match deed.wish(by)? {
        Wish::Command(command) => Event::Command(CommandEvent {
            command,
            by: by.to_owned(),
            reason: String::new(),
        }),
        Wish::Signal(signal) => Event::Signal(signal),
        Wish::Note => {
            return Ok(vec![
                "The note is shown on the saga's page. Nothing else changes.".to_owned(),
            ]);
        }
    };
    let (id, before) = (record.summary.id, record.state.status());
    let state = workflows::state::State::clone(&record.state);
    let transition = workflows::advance(&definition.compiled, id, state, &event, now);
    let transition = transition.map_err(|refused| refused.to_string())?;
    if transition.journal.is_none() {
        return Err("It would change nothing.".to_owned());
    }
    let after = workflows::view(&definition.compiled, id, &transition.state);
    let mut found = vec![format!(
        "The saga is {}, and will be {}.",
        before.as_str(),
        after.status.as_str()
    )];
    found.extend(transition.effects.iter().map(|effect| match effect {
        Effect::Dispatch { queue, task } => {
            let (activity, step, key) = (&task.activity, &task.token.step, &task.key);
            format!("{activity} is sent to the queue {queue}, for {step} (key {key}).")
        }
        Effect::Publish(fact) => format!("{} is published.", fact.topic),
    }));
    found.extend(standing::sentences(&after, now));
    Ok(found)
}

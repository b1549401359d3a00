//! Doing something to a saga: first what would come of it, by the engine's own pure function; then, with a reason, the deed.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use orchestrator::client::{EngineClient, LocalClient};
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::effect::Effect;
use workflows::event::{Command, CommandEvent, Event, Signal};
use workflows::limits::INPUT_BYTES_MAX;

use super::saga::load;
use super::{Frame, Page, html, standing};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::REASON_MAX;
use crate::store::audit;

/// What the forms carry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deed {
    command: String,
    /// The step, or the signal's name.
    step: String,
    /// An input, an output, a payload as JSON; or a note.
    text: String,
    reason: String,
    /// The journal's end when the operator looked.
    seq: u64,
    /// `do`: it has been looked at.
    stage: String,
}

/// What is to happen.
enum Wish {
    Command(Command),
    Signal(Signal),
    Note,
}

#[derive(Template)]
#[template(path = "act.html")]
struct ActPage {
    frame: Frame,
    id: String,
    deed: Deed,
    title: String,
    takes: &'static str,
    seq: u64,
    problem: String,
    consequences: Vec<String>,
    ready: bool,
}

/// The form, with the consequence where it is known already.
pub async fn show(
    state: State<Mission>,
    operator: Extension<Operator>,
    id: Path<String>,
    Query(deed): Query<Deed>,
) -> Page {
    preview(state.0, operator.0, &id, deed).await
}

/// Shows the consequence again, or does it.
pub async fn act(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Form(deed): Form<Deed>,
) -> Page {
    if deed.stage != "do" {
        return preview(mission, operator, &id, deed).await;
    }
    let wish = wish(&deed, &operator).map_err(PageError::Invalid)?;
    operator.must_be(needed(&deed))?;
    let reason = deed.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_MAX {
        return Err(PageError::Invalid(format!("say why, in 1 to {REASON_MAX} characters")));
    }
    let (record, _) = load(&mission, &id).await?;
    let saga = record.summary.id;
    if record.summary.seq != deed.seq && !matches!(wish, Wish::Note) {
        // The engine compares once more, in the command's transaction; for signals this is all there is.
        return Err(PageError::Moved {
            expected: deed.seq,
            current: record.summary.seq,
        });
    }
    let details = json!({"step": deed.step, "text": deed.text, "seq": deed.seq});
    // First the trail, then the deed: what isn't written down isn't done.
    let trail = audit::begin(&mission.pool, &operator.name, &deed.command, saga.0, reason, details).await?;
    let client = LocalClient::new(mission.engine.clone());
    let done: Result<String, PageError> = match wish {
        Wish::Command(command) => {
            let event = CommandEvent {
                command,
                by: operator.name.clone(),
                reason: reason.to_owned(),
            };
            let done = client.command_at(saga, event, Some(deed.seq)).await;
            done.map(|saga| format!("done: entry {}", saga.view.seq))
                .map_err(PageError::from)
        }
        Wish::Signal(signal) => {
            let done = client.signal(saga, signal).await;
            done.map(|receipt| format!("done: {receipt:?}"))
                .map_err(PageError::from)
        }
        Wish::Note => {
            let done = audit::add_note(&mission.pool, saga.0, &operator.name, reason).await;
            done.map(|()| "done".to_owned()).map_err(PageError::from)
        }
    };
    let outcome = match &done {
        Ok(outcome) => outcome.clone(),
        Err(error) => format!("refused: {error}"),
    };
    audit::finish(&mission.pool, trail, &outcome).await?;
    done?;
    Ok(back(&id))
}

fn back(id: &str) -> Response {
    Redirect::to(&format!("/sagas/{id}")).into_response()
}

async fn preview(mission: Mission, operator: Operator, id: &str, deed: Deed) -> Page {
    operator.must_be(Role::Operator)?;
    let (record, definition) = load(&mission, id).await?;
    let mut page = ActPage {
        frame: Frame::new(&operator, "sagas"),
        id: record.summary.id.to_string(),
        title: title(&deed),
        takes: takes(&deed.command),
        seq: record.state.seq,
        problem: String::new(),
        consequences: Vec::new(),
        ready: false,
        deed,
    };
    let now = mission.engine.now();
    let event = match wish(&page.deed, &operator) {
        Ok(Wish::Command(command)) => Event::Command(CommandEvent {
            command,
            by: operator.name.clone(),
            reason: String::new(),
        }),
        Ok(Wish::Signal(signal)) => Event::Signal(signal),
        Ok(Wish::Note) => {
            page.ready = true;
            page.consequences
                .push("The note is shown on the saga's page. Nothing else changes.".to_owned());
            return html(&page);
        }
        Err(problem) => {
            // An empty form is no mistake yet.
            if !page.deed.text.is_empty() || !page.deed.stage.is_empty() || page.takes.is_empty() {
                page.problem = problem;
            }
            return html(&page);
        }
    };
    if let Err(error) = operator.must_be(needed(&page.deed)) {
        page.problem = error.to_string();
        return html(&page);
    }
    let before = record.state.status();
    let state = workflows::state::State::clone(&record.state);
    match workflows::advance(&definition.compiled, record.summary.id, state, &event, now) {
        Err(refused) => page.problem = refused.to_string(),
        Ok(transition) if transition.journal.is_none() => page.problem = "It would change nothing.".to_owned(),
        Ok(transition) => {
            let after = workflows::view(&definition.compiled, record.summary.id, &transition.state);
            page.consequences.push(format!(
                "The saga is {before}, and will be {}.",
                after.status.as_str(),
                before = before.as_str()
            ));
            for effect in &transition.effects {
                page.consequences.push(match effect {
                    Effect::Dispatch { queue, task } => {
                        format!(
                            "{} is sent to the queue {queue}, for {} (key {}).",
                            task.activity, task.token.step, task.key
                        )
                    }
                    Effect::Publish(fact) => format!("{} is published.", fact.topic),
                });
            }
            page.consequences.extend(standing::sentences(&after, now));
            page.ready = true;
        }
    }
    html(&page)
}

fn title(deed: &Deed) -> String {
    if deed.step.is_empty() {
        deed.command.clone()
    } else {
        format!("{} {}", deed.command, deed.step)
    }
}

/// What the text field is for; empty: there is none.
fn takes(command: &str) -> &'static str {
    match command {
        "retry" => "Another input as JSON; empty: the one it had",
        "skip" => "The output to go on with, as JSON; empty: null",
        "signal" => "The payload as JSON; empty: null",
        _other => "",
    }
}

/// The least role that may.
fn needed(deed: &Deed) -> Role {
    match deed.command.as_str() {
        "skip" | "compensate" => Role::Approver,
        "retry" if !deed.text.trim().is_empty() => Role::Approver,
        _other => Role::Operator,
    }
}

fn wish(deed: &Deed, operator: &Operator) -> Result<Wish, String> {
    if deed.text.len() > INPUT_BYTES_MAX {
        return Err(format!("this has more than {INPUT_BYTES_MAX} bytes"));
    }
    let value = || -> Result<Option<Value>, String> {
        match deed.text.trim() {
            "" => Ok(None),
            text => serde_json::from_str(text)
                .map(Some)
                .map_err(|error| format!("this is not JSON: {error}")),
        }
    };
    let step = || -> Result<String, String> {
        if deed.step.is_empty() {
            Err("a name is missing".to_owned())
        } else {
            Ok(deed.step.clone())
        }
    };
    Ok(match deed.command.as_str() {
        "retry" => Wish::Command(Command::Retry {
            step: Some(step()?),
            input: value()?,
        }),
        "skip" => Wish::Command(Command::Skip {
            step: step()?,
            output: value()?.unwrap_or_default(),
        }),
        "cancel" => Wish::Command(Command::Cancel {}),
        "compensate" => Wish::Command(Command::Compensate {}),
        "pause" => Wish::Command(Command::Pause {}),
        "resume" => Wish::Command(Command::Resume {}),
        "signal" => Wish::Signal(Signal {
            // The journal shows the id, and so who it was. The form's place makes a double click one signal.
            id: format!("operator:{}:{}:{}", operator.name, deed.seq, deed.step),
            name: step()?,
            payload: value()?.unwrap_or_default(),
        }),
        "note" => Wish::Note,
        other => return Err(format!("{other:?} is nothing that can be done")),
    })
}

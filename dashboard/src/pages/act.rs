//! Doing something to a saga: first what would come of it, by the engine's own pure function; then, with a reason, the deed.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use serde::Deserialize;

use super::saga::load;
use super::{Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::approvals::Asked;
use crate::deeds::{self, Deed};
use crate::error::PageError;

/// What the forms carry: the deed, and whether it has been looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    command: String,
    step: String,
    text: String,
    reason: String,
    seq: u64,
    /// `do`: it has been looked at.
    stage: String,
}

impl Wanted {
    fn split(self) -> (Deed, String) {
        let Wanted {
            command,
            step,
            text,
            reason,
            seq,
            stage,
        } = self;
        (
            Deed {
                command,
                step,
                text,
                reason,
                seq,
            },
            stage,
        )
    }
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
    second_person: bool,
}

/// The form, with the consequence where it is known already.
pub async fn show(
    state: State<Mission>,
    operator: Extension<Operator>,
    id: Path<String>,
    Query(wanted): Query<Wanted>,
) -> Page {
    let (deed, stage) = wanted.split();
    preview(state.0, operator.0, &id, deed, &stage).await
}

/// Shows the consequence again, or does it.
pub async fn act(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Form(wanted): Form<Wanted>,
) -> Page {
    let (deed, stage) = wanted.split();
    if stage != "do" {
        return preview(mission, operator, &id, deed, &stage).await;
    }
    let saga = id.parse().map_err(|_| PageError::NotFound(format!("the saga {id}")))?;
    match deeds::ask_or_do(&mission, &operator, saga, &deed).await? {
        Asked::Done(_) => Ok(Redirect::to(&format!("/sagas/{id}")).into_response()),
        Asked::Pending(request) => Ok(Redirect::to(&format!("/approvals/{request}")).into_response()),
    }
}

async fn preview(mission: Mission, operator: Operator, id: &str, deed: Deed, stage: &str) -> Page {
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
        second_person: deed.needs_second_person(&mission),
        deed,
    };
    if let Err(error) = operator.must_be(page.deed.needed(&mission)) {
        page.problem = error.to_string();
        return html(&page);
    }
    if let Err(error) = deeds::check_input(&mission, &definition, &page.deed).await {
        page.problem = error.to_string();
        return html(&page);
    }
    match deeds::consequences(&mission, &record, &definition, &page.deed, &operator.name) {
        Ok(consequences) => {
            page.consequences = consequences;
            page.ready = true;
        }
        // An empty form is no mistake yet.
        Err(problem) if !page.deed.text.is_empty() || !stage.is_empty() || page.takes.is_empty() => {
            page.problem = problem;
        }
        Err(_) => {}
    }
    html(&page)
}

fn title(deed: &Deed) -> String {
    let command = deed.command.replace('_', " ");
    match (deed.step.as_str(), deed.command.as_str()) {
        ("", _) => command,
        (step, "go_back") => format!("{command} to {step}"),
        (step, _other) => format!("{command} {step}"),
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

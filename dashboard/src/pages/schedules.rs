//! Schedules: when they fire, what came of it, and what one may do to them.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use orchestrator::client::{EngineClient, Firing, LocalClient, Schedule};
use serde::Deserialize;
use workflows::ids::Timestamp;

use super::text::{self, ago};
use super::{Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::PAGE_FIRINGS;
use crate::schedules::{self, Wish, word};

#[derive(Template)]
#[template(path = "schedules.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    cron: String,
    time_zone: String,
    workflow: String,
    overlap: String,
    paused: bool,
    next: String,
    last: String,
}

#[derive(Template)]
#[template(path = "schedule.html")]
struct SchedulePage {
    frame: Frame,
    row: Row,
    input: String,
    firings: Vec<FiringRow>,
    may_act: bool,
}

struct FiringRow {
    due: String,
    origin: String,
    outcome: String,
    saga: String,
    note: String,
}

/// Lists them.
pub async fn list(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let now = mission.engine.now();
    let schedules = LocalClient::new(mission.engine.clone()).schedules().await?;
    html(&List {
        frame: Frame::new(&operator, "schedules"),
        rows: schedules.iter().map(|schedule| row(schedule, now)).collect(),
    })
}

/// Shows one.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Page {
    let client = LocalClient::new(mission.engine.clone());
    let schedule = client.schedule(&name).await?;
    let schedule = schedule.ok_or_else(|| PageError::NotFound(format!("the schedule {name}")))?;
    let firings = client.firings(&name, PAGE_FIRINGS).await?;
    html(&SchedulePage {
        frame: Frame::new(&operator, "schedules"),
        row: row(&schedule, mission.engine.now()),
        input: text::json(&schedule.input, &operator),
        firings: firings.into_iter().map(firing).collect(),
        may_act: operator.role >= Role::Operator,
    })
}

fn row(schedule: &Schedule, now: Timestamp) -> Row {
    let version = schedule.version.map(|version| format!(" v{version}"));
    let at = |at: Timestamp| format!("{} ({})", ago(at, now), at.to_rfc3339());
    Row {
        name: schedule.name.clone(),
        cron: schedule.cron.clone(),
        time_zone: schedule.time_zone.clone(),
        workflow: format!("{}{}", schedule.workflow, version.unwrap_or_default()),
        overlap: word(&schedule.overlap),
        paused: schedule.paused,
        next: schedule.next_due_at.map_or_else(|| "never".to_owned(), at),
        last: schedule.last_due_at.map_or_else(|| "never".to_owned(), at),
    }
}

fn firing(firing: Firing) -> FiringRow {
    FiringRow {
        due: firing.due_at.to_rfc3339(),
        origin: word(&firing.origin),
        outcome: word(&firing.outcome),
        saga: firing.saga.map(|saga| saga.to_string()).unwrap_or_default(),
        note: firing.note.unwrap_or_default(),
    }
}

/// What the forms carry.
#[derive(Deserialize)]
pub struct Deed {
    word: String,
    reason: String,
    /// For a backfill: from then on, in UTC, as browsers write local times.
    #[serde(default)]
    from: String,
    /// Until before then.
    #[serde(default)]
    to: String,
}

/// Pauses, resumes, runs now, or makes up for what was missed.
pub async fn act(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Form(deed): Form<Deed>,
) -> Page {
    let wish = Wish::parse(&deed.word, &deed.from, &deed.to)?;
    schedules::act(&mission, &operator, &name, wish, &deed.reason).await?;
    Ok(Redirect::to(&format!("/schedules/{name}")).into_response())
}

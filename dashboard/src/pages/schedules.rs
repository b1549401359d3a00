//! Schedules: when they fire, what came of it, and what one may do to them.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use chrono::{DateTime, NaiveDateTime, Utc};
use orchestrator::client::{EngineClient, Firing, LocalClient, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::json;
use workflows::ids::Timestamp;

use super::text::{self, ago};
use super::{Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{PAGE_FIRINGS, REASON_MAX};
use crate::store::audit;

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

/// The word that stands for it in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _none => String::new(),
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
    operator.must_be(Role::Operator)?;
    let reason = deed.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_MAX {
        return Err(PageError::Invalid(format!("say why, in 1 to {REASON_MAX} characters")));
    }
    let wish = match deed.word.as_str() {
        "pause" => Wish::Pause(true),
        "resume" => Wish::Pause(false),
        "run" => Wish::Run,
        "backfill" => Wish::Backfill(instant(&deed.from)?, instant(&deed.to)?),
        other => {
            return Err(PageError::Invalid(format!(
                "{other:?} is nothing that can be done to a schedule"
            )));
        }
    };
    let client = LocalClient::new(mission.engine.clone());
    if client.schedule(&name).await?.is_none() {
        return Err(PageError::NotFound(format!("the schedule {name}")));
    }
    let details = json!({"schedule": name, "from": deed.from, "to": deed.to});
    let action = format!("schedule {}", deed.word);
    // First the trail, then the deed: what isn't written down isn't done.
    let trail = audit::begin_other(&mission.pool, &operator.name, &action, reason, details).await?;
    let done = match wish {
        Wish::Pause(paused) => client.pause_schedule(&name, paused).await.map(|_| "done".to_owned()),
        Wish::Run => client
            .run_schedule(&name)
            .await
            .map(|firing| format!("done: {}", word(&firing.outcome))),
        Wish::Backfill(from, to) => client
            .backfill_schedule(&name, from, to)
            .await
            .map(|firings| format!("done: {} firings", firings.len())),
    };
    let outcome = match &done {
        Ok(outcome) => outcome.clone(),
        Err(error) => format!("refused: {error}"),
    };
    audit::finish(&mission.pool, trail, &outcome).await?;
    done?;
    Ok(Redirect::to(&format!("/schedules/{name}")).into_response())
}

enum Wish {
    Pause(bool),
    Run,
    Backfill(Timestamp, Timestamp),
}

/// `2026-12-01T10:00`, with seconds or without, in UTC.
fn instant(text: &str) -> Result<Timestamp, PageError> {
    let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
    let read = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let at: Option<DateTime<Utc>> = read.map(|at| at.and_utc());
    at.map(Timestamp::from)
        .ok_or_else(|| PageError::Invalid(format!("{text:?} is no time like 2026-12-01T10:00 (UTC)")))
}

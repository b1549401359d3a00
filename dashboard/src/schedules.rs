//! What can be done to a schedule, by a page or by the API.

use chrono::{DateTime, NaiveDateTime, Utc};
use orchestrator::client::{EngineClient, LocalClient};
use serde::Serialize;
use serde_json::json;
use workflows::ids::Timestamp;

use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::deeds;
use crate::error::PageError;
use crate::store::audit;

/// What is to be done.
pub enum Wish {
    /// Fire no more, or again.
    Pause(bool),
    /// Fire now.
    Run,
    /// Make up for the due times of this range.
    Backfill(Timestamp, Timestamp),
}

impl Wish {
    /// From its word; the range is a backfill's.
    pub fn parse(word: &str, from: &str, to: &str) -> Result<Wish, PageError> {
        match word {
            "pause" => Ok(Wish::Pause(true)),
            "resume" => Ok(Wish::Pause(false)),
            "run" => Ok(Wish::Run),
            "backfill" => Ok(Wish::Backfill(instant(from)?, instant(to)?)),
            other => Err(PageError::Invalid(format!(
                "{other:?} is nothing that can be done to a schedule"
            ))),
        }
    }

    fn action(&self) -> &'static str {
        match self {
            Wish::Pause(true) => "schedule pause",
            Wish::Pause(false) => "schedule resume",
            Wish::Run => "schedule run",
            Wish::Backfill(_, _) => "schedule backfill",
        }
    }
}

/// Does it; gives what came of it. First the trail, then the deed: what isn't written down isn't done.
pub async fn act(
    mission: &Mission,
    operator: &Operator,
    name: &str,
    wish: Wish,
    reason: &str,
) -> Result<String, PageError> {
    operator.must_be(Role::Operator)?;
    let reason = deeds::reason(reason)?;
    let client = LocalClient::new(mission.engine.clone());
    let schedule = client.schedule(name).await?;
    let before = schedule.ok_or_else(|| PageError::NotFound(format!("the schedule {name}")))?;
    let mut details = json!({"schedule": name, "before": {"paused": before.paused}});
    match &wish {
        Wish::Pause(paused) => details["after"] = json!({"paused": paused}),
        Wish::Run => {}
        Wish::Backfill(from, to) => {
            details["from"] = json!(from.to_rfc3339());
            details["to"] = json!(to.to_rfc3339());
        }
    }
    let trail = audit::begin_other(&mission.pool, &operator.name, wish.action(), reason, details).await?;
    let done = match wish {
        Wish::Pause(paused) => client.pause_schedule(name, paused).await.map(|_| "done".to_owned()),
        Wish::Run => client
            .run_schedule(name)
            .await
            .map(|firing| format!("done: {}", word(&firing.outcome))),
        Wish::Backfill(from, to) => client
            .backfill_schedule(name, from, to)
            .await
            .map(|firings| format!("done: {} firings", firings.len())),
    };
    let outcome = match &done {
        Ok(outcome) => outcome.clone(),
        Err(error) => format!("refused: {error}"),
    };
    audit::finish(&mission.pool, trail, &outcome).await?;
    Ok(done?)
}

/// The word that stands for it in JSON.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _none => String::new(),
    }
}

/// `2026-12-01T10:00`, with seconds or without, in UTC; or RFC 3339.
fn instant(text: &str) -> Result<Timestamp, PageError> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp(at.timestamp_millis()));
    }
    let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
    let read = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let at: Option<DateTime<Utc>> = read.map(|at| at.and_utc());
    at.map(Timestamp::from)
        .ok_or_else(|| PageError::Invalid(format!("{text:?} is no time like 2026-12-01T10:00 (UTC)")))
}

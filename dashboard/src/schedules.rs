//! What can be done to a schedule, by a page or by the API.

use chrono::{DateTime, NaiveDateTime, Utc};
use orchestrator::client::{EngineClient, Firing, LocalClient};
use orchestrator::schedules;
use serde::Serialize;
use serde_json::{Value, json};
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

/// Does it; gives what came of it. The deed and its row of the trail are one transaction. What was refused has a row too.
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
    if client.schedule(name).await?.is_none() {
        return Err(PageError::NotFound(format!("the schedule {name}")));
    }
    match decided(mission, operator, name, &wish, reason).await {
        Ok(Done::Paused) => Ok("done".to_owned()),
        // Some replica begins the sagas; if it can be this one at once, all the better.
        Ok(Done::Run(firing)) => {
            let firing = schedules::begun(&mission.engine, firing).await?;
            Ok(format!("done: {}", word(&firing.outcome)))
        }
        Ok(Done::Backfilled(firings)) => {
            schedules::start_claimed(&mission.engine, schedules::LEASE).await?;
            Ok(format!("done: {firings} firings"))
        }
        Err(error) => {
            let details = details(name, &wish);
            let outcome = format!("refused: {error}");
            audit::record(&mission.pool, &operator.name, wish.action(), reason, details, &outcome).await?;
            Err(error)
        }
    }
}

enum Done {
    Paused,
    Run(Firing),
    Backfilled(usize),
}

fn details(name: &str, wish: &Wish) -> Value {
    match wish {
        Wish::Pause(_) | Wish::Run => json!({"schedule": name}),
        Wish::Backfill(from, to) => json!({"schedule": name, "from": from.to_rfc3339(), "to": to.to_rfc3339()}),
    }
}

async fn decided(
    mission: &Mission,
    operator: &Operator,
    name: &str,
    wish: &Wish,
    reason: &str,
) -> Result<Done, PageError> {
    let engine = &mission.engine;
    let mut details = details(name, wish);
    let mut transaction = mission.pool.begin().await?;
    let (done, outcome) = match wish {
        Wish::Pause(paused) => {
            let (was, now) = schedules::pause_within(engine, &mut transaction, name, *paused).await?;
            details["before"] = json!({"paused": was});
            details["after"] = json!({"paused": now.paused});
            (Done::Paused, "done".to_owned())
        }
        Wish::Run => {
            let firing = schedules::claim_now_within(engine, &mut transaction, name).await?;
            details["due"] = json!(firing.due_at.to_rfc3339());
            (Done::Run(firing), "done".to_owned())
        }
        Wish::Backfill(from, to) => {
            let firings = schedules::claim_past_within(engine, &mut transaction, name, *from, *to).await?;
            let count = firings.len();
            (Done::Backfilled(count), format!("done: {count} firings"))
        }
    };
    audit::record(
        &mut *transaction,
        &operator.name,
        wish.action(),
        reason,
        details,
        &outcome,
    )
    .await?;
    transaction.commit().await?;
    Ok(done)
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

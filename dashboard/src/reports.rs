//! How sales go and how the platform is, from the analytics' store; and what is out of the ordinary.

use analytics::report::{self, Range, Report};
use analytics::store::{Step, StoreError};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{ALERTS_SHOWN_MAX, REPORT_LIMIT};

/// The time that is asked about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The first moment, down to the beginning of its step; empty: a day before `to`.
    #[serde(default)]
    pub from: String,
    /// Until before this moment, up to the end of its step; empty: now.
    #[serde(default)]
    pub to: String,
    /// `minute`, `hour` (which it is when empty) or `day`.
    #[serde(default)]
    pub step: String,
    /// `json` (which it is when left out) or `csv`, where there is a choice.
    #[serde(default)]
    pub format: Format,
}

/// How it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A document.
    #[default]
    Json,
    /// A table: a line for each step.
    Csv,
}

impl Asked {
    /// In whole steps.
    pub fn range(&self, now: DateTime<Utc>) -> Result<Range, PageError> {
        let step = match self.step.trim() {
            "" | "hour" => Step::Hour,
            "minute" => Step::Minute,
            "day" => Step::Day,
            other => {
                return Err(PageError::Invalid(format!(
                    "step: {other:?} is not `minute`, `hour` or `day`"
                )));
            }
        };
        let to = moment("to", &self.to)?.unwrap_or(now);
        let from = moment("from", &self.from)?.unwrap_or(to - TimeDelta::days(1));
        Range::new(from, to, step).map_err(|problem| PageError::Invalid(format!("from, to: {problem}")))
    }
}

/// A day's beginning, or a moment; without an offset it is in UTC, as browsers write times.
fn moment(name: &str, text: &str) -> Result<Option<DateTime<Utc>>, PageError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let day = || text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    let local = || NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").ok();
    let instant = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc));
    let found = instant().or_else(|| local().or_else(day).map(|at| at.and_utc()));
    // Beyond these no step can be counted to.
    let years = DateTime::UNIX_EPOCH..=DateTime::UNIX_EPOCH + TimeDelta::days(365 * 200);
    found.filter(|at| years.contains(at)).map(Some).ok_or_else(|| {
        PageError::Invalid(format!(
            "{name}: {text:?} is no day (2027-06-11) and no moment (2027-06-11T20:00:00Z)"
        ))
    })
}

/// The report.
pub async fn of(mission: &Mission, range: Range) -> Result<Report, PageError> {
    let Some(store) = &mission.analytics else {
        return Err(PageError::NotFound("a store of the analytics".to_owned()));
    };
    let asked = tokio::time::timeout(REPORT_LIMIT, report::report(store, range));
    match asked.await.unwrap_or(Err(StoreError::Late(REPORT_LIMIT))) {
        Ok(report) => Ok(report),
        Err(StoreError::Postgres(error)) => Err(error.into()),
        Err(error @ (StoreError::ClickHouse(_) | StoreError::Late(_))) => {
            tracing::warn!(%error, "the analytics' store does not answer");
            Err(PageError::Unavailable)
        }
    }
}

/// What is out of the ordinary, and what was.
#[derive(Serialize, JsonSchema)]
pub struct Alerts {
    /// The rules, and how each stands.
    pub rules: Vec<Rule>,
    /// How many workers are wanted.
    pub targets: Vec<Target>,
    /// The alerts of the last 90 days, the newest first.
    pub alerts: Vec<Alert>,
}

/// A rule.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What its alert is called.
    pub name: String,
    /// As the settings have it.
    pub rule: String,
    /// `quiet`, `pending`, `firing` or `recovering`.
    pub standing: String,
    /// Since when it is pending or recovering, RFC 3339.
    pub since: Option<String>,
    /// The metric that it is about.
    pub metric: String,
    /// The metric's value; none: it can't be told.
    pub value: Option<f64>,
    /// When it was looked at last, RFC 3339.
    pub judged_at: String,
}

/// A kind of worker.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its name.
    pub name: String,
    /// How many are wanted.
    pub replicas: i32,
    /// Since when, RFC 3339.
    pub since: String,
    /// When the scaler was told, RFC 3339; none: not yet.
    pub told_at: Option<String>,
}

/// An alert.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its rule.
    pub name: String,
    /// What it is about.
    pub metric: String,
    /// The metric's value when it was raised.
    pub value: f64,
    /// Above which it was.
    pub threshold: f64,
    /// When it was raised, RFC 3339.
    pub raised_at: String,
    /// When it ended, RFC 3339; none: it goes on.
    pub ended_at: Option<String>,
}

/// Looks.
pub async fn alerts(mission: &Mission) -> Result<Alerts, PageError> {
    use operations::store;
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let rules = store::rule_standings(&mission.pool).await?.into_iter().map(|row| Rule {
        name: row.name,
        rule: row.rule,
        standing: row.standing,
        since: row.since.map(text),
        metric: row.metric,
        value: row.value,
        judged_at: text(row.judged_at),
    });
    let targets = store::target_standings(&mission.pool)
        .await?
        .into_iter()
        .map(|row| Target {
            name: row.name,
            replicas: row.replicas,
            since: text(row.since),
            told_at: row.told_at.map(text),
        });
    let alerts = store::alerts(&mission.pool, ALERTS_SHOWN_MAX)
        .await?
        .into_iter()
        .map(|row| Alert {
            name: row.name,
            metric: row.metric,
            value: row.value,
            threshold: row.threshold,
            raised_at: text(row.raised_at),
            ended_at: row.ended_at.map(text),
        });
    Ok(Alerts {
        rules: rules.collect(),
        targets: targets.collect(),
        alerts: alerts.collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn days_moments_and_what_browsers_write_are_read() {
        let read = |text: &str| moment("from", text).unwrap().map(|at| at.to_rfc3339());
        assert_eq!(read("2027-06-11").as_deref(), Some("2027-06-11T00:00:00+00:00"));
        assert_eq!(read("2027-06-11T20:30").as_deref(), Some("2027-06-11T20:30:00+00:00"));
        assert_eq!(
            read("2027-06-11T20:30:00+02:00").as_deref(),
            Some("2027-06-11T18:30:00+00:00")
        );
        assert_eq!(read(" "), None);
        for wrong in ["yesterday", "2027-13-01", "-9999-01-01", "+20000-01-01"] {
            assert!(moment("from", wrong).is_err(), "{wrong}");
        }
    }
}

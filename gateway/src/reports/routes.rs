//! `/analytics/events`: what organisers ask.

use analytics::store::Count;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::figures::{self, Figures};
use super::range::Range;
use crate::app::App;
use crate::events::organiser::Organiser;
use crate::events::routes::no_event;
use crate::events::store::events;
use crate::http::extract::{Parameters, PathId};
use crate::http::page;
use crate::http::text::{self, path_segment};
use crate::limits::{EVENTS_PAGE_DEFAULT, ID_CHARS_MAX};
use crate::problem::{Problem, ProblemDetails};
use crate::users::accounts::time;

/// The time that is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportParameters {
    /// The first moment, down to the beginning of its step; left out: a day before `to`.
    #[param(example = "2027-06-11T00:00:00Z")]
    from: Option<String>,
    /// Until before this moment, up to the end of its step; left out: now.
    to: Option<String>,
    /// `minute`, `hour` (which it is when left out) or `day`, in UTC. Minutes are known for two weeks.
    step: Option<String>,
    /// `json` (which it is when left out) or `csv`.
    #[param(inline)]
    format: Option<Format>,
}

/// How it is told.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A document.
    #[default]
    Json,
    /// A table: a line for each step in which something happened.
    Csv,
}

/// How an event sells.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventReport {
    /// The event.
    event_id: String,
    /// The first moment.
    #[schema(format = "date-time")]
    from: String,
    /// The first moment that is not in it.
    #[schema(format = "date-time")]
    to: String,
    /// `minute`, `hour` or `day`.
    step: &'static str,
    /// Of the amounts; left out: there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "usd")]
    currency: Option<String>,
    /// All of it.
    total: Figures,
    /// Each step in which something happened.
    points: Vec<Point>,
}

/// A step.
#[derive(Serialize, ToSchema)]
pub struct Point {
    /// When it begins.
    #[schema(format = "date-time")]
    since: String,
    #[serde(flatten)]
    figures: Figures,
}

/// How one of the organisation's events sells.
///
/// By what the domain events said: a few seconds behind, each counted once.
#[utoipa::path(
    get,
    path = "/analytics/events/{eventId}",
    tag = "organisers",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event"), ReportParameters),
    responses(
        (status = 200, description = "How it sells", body = EventReport),
        (status = 400, description = "A parameter is not known or can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "No such event of the organisation", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn event(
    State(app): State<App>,
    organiser: Organiser,
    PathId(id): PathId,
    Parameters(asked): Parameters<ReportParameters>,
) -> Result<Response, Problem> {
    let range = asked.range()?;
    if !organiser.has(&app, &id).await? {
        return Err(no_event());
    }
    let only = [id.clone()];
    let counts = app.analytics().event_counts(range.step, range.time(), &only).await?;
    let points = figures::by_step(&counts)
        .into_iter()
        .map(|(since, counts)| Point {
            since: time(since),
            figures: Figures::of(counts),
        })
        .collect();
    let report = EventReport {
        event_id: id,
        from: time(range.from),
        to: time(range.to),
        step: range.step.as_str(),
        currency: figures::currency(&counts),
        total: Figures::of(&counts),
        points,
    };
    Ok(match asked.format.unwrap_or_default() {
        Format::Json => Json(report).into_response(),
        Format::Csv => ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], table(&report)).into_response(),
    })
}

impl ReportParameters {
    fn range(&self) -> Result<Range, Problem> {
        Range::read(
            self.from.as_deref(),
            self.to.as_deref(),
            self.step.as_deref(),
            Utc::now(),
        )
    }
}

/// Instants, numbers and our own words: nothing that a spreadsheet takes for a formula.
fn table(report: &EventReport) -> String {
    let mut lines = vec![
        "since,initiated,confirmed,cancelled,conversionRate,secondsToConfirm,paymentsCompleted,paymentsFailed,revenue,refunded,currency"
            .to_owned(),
    ];
    let currency = report.currency.as_deref().unwrap_or_default();
    let or_nothing = |share: Option<f64>| share.map(|share| share.to_string()).unwrap_or_default();
    for Point { since, figures } in &report.points {
        lines.push(format!(
            "{since},{},{},{},{},{},{},{},{},{},{}",
            figures.initiated,
            figures.confirmed,
            figures.cancelled,
            or_nothing(figures.conversion_rate),
            or_nothing(figures.seconds_to_confirm),
            figures.payments_completed,
            figures.payments_failed,
            figures.revenue,
            figures.refunded,
            currency.chars().filter(char::is_ascii_alphabetic).collect::<String>(),
        ));
    }
    lines.join("\r\n") + "\r\n"
}

/// Where to go on, and the time that is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsParameters {
    /// Those after the event of this id, as `next` gives it.
    after: Option<String>,
    /// The first moment, down to the beginning of its hour; left out: a day before `to`.
    from: Option<String>,
    /// Until before this moment, up to the end of its hour; left out: now.
    to: Option<String>,
}

/// A page of the organisation's events.
#[derive(Serialize, ToSchema)]
pub struct EventsReport {
    /// The events, those made first first.
    events: Vec<EventTotal>,
    /// The path of the next page; left out: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An event, and what it comes to.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventTotal {
    /// The event.
    event_id: String,
    /// Its name.
    name: String,
    /// Of the amounts.
    currency: String,
    #[serde(flatten)]
    figures: Figures,
}

/// How the organisation's events sell.
#[utoipa::path(
    get,
    path = "/analytics/events",
    tag = "organisers",
    security(("access_token" = [])),
    params(EventsParameters),
    responses(
        (status = 200, description = "The events", body = EventsReport),
        (status = 400, description = "A parameter is not known or can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn events(
    State(app): State<App>,
    organiser: Organiser,
    Parameters(asked): Parameters<EventsParameters>,
) -> Result<Json<EventsReport>, Problem> {
    if let Some(after) = &asked.after {
        text::check(after, ID_CHARS_MAX).map_err(|message| Problem::malformed("?after", message))?;
    }
    let range = Range::read(asked.from.as_deref(), asked.to.as_deref(), None, Utc::now())?;
    let limit = i64::from(EVENTS_PAGE_DEFAULT);
    let rows = events::list(app.pool(), organiser.organisation, asked.after.as_deref(), limit + 1).await?;
    let (rows, has_more) = page::cut(rows, limit);
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let next = ids.last().filter(|_| has_more).map(|last| {
        let (from, to) = (time(range.from), time(range.to));
        format!("/analytics/events?after={}&from={from}&to={to}", path_segment(last))
    });
    let counts = app.analytics().event_totals(range.time(), &ids).await?;
    let of = |id: &str| {
        let its = |count: &&Count| count.event_id == id;
        Figures::of(counts.iter().filter(its))
    };
    let total = |row: events::Row| EventTotal {
        figures: of(&row.id),
        event_id: row.id,
        name: row.name,
        currency: row.currency,
    };
    Ok(Json(EventsReport {
        events: rows.into_iter().map(total).collect(),
        next,
    }))
}

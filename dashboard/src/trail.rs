//! The audit trail's filters, and the trail as a file: read page by page, sent as it is read.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDateTime, Utc};
use futures::stream;
use serde::Deserialize;
use serde_json::json;
use workflows::ids::SagaId;

use crate::access::Operator;
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{EXPORT_AUDIT_MAX, EXPORT_AUDIT_PAGE};
use crate::pages::export::cell;
use crate::pages::text::seen;
use crate::paging::NEWEST;
use crate::store::audit::{self, Entry, Filter};

/// Which entries, as addresses say it; what is left out, or empty, is any.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Wanted {
    /// Of this operator
    pub who: String,
    /// Of this action, e.g. `retry`
    pub action: String,
    /// About this saga
    pub saga: String,
    /// Not before this instant: RFC 3339, or as browsers write local times, in UTC
    pub since: String,
    /// Before this instant
    pub until: String,
}

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As RFC 4180 has it.
    Csv,
    /// An array of what the API gives.
    Json,
}

impl Wanted {
    /// As the store takes it.
    pub fn filter(&self) -> Result<Filter, PageError> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let saga = text(&self.saga).map(|id| {
            let id: Result<SagaId, _> = id.parse();
            id.map(|id| id.0)
                .map_err(|_| PageError::Invalid(format!("{:?} is not the id of a saga", self.saga)))
        });
        Ok(Filter {
            operator: text(&self.who),
            action: text(&self.action),
            saga: saga.transpose()?,
            since: text(&self.since).map(|at| instant(&at)).transpose()?,
            until: text(&self.until).map(|at| instant(&at)).transpose()?,
        })
    }

    /// As part of an address, without what is left out.
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.pairs() {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }

    fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("who", &self.who),
            ("action", &self.action),
            ("saga", &self.saga),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }
}

fn instant(text: &str) -> Result<DateTime<Utc>, PageError> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
    let read = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    read.map(|at| at.and_utc())
        .ok_or_else(|| PageError::Invalid(format!("{text:?} is no time like 2026-12-01T10:00 (UTC)")))
}

/// An entry as who is looking may see it.
pub fn shown(mut entry: Entry, operator: &Operator) -> Entry {
    entry.details = seen(&entry.details, operator);
    for side in [&mut entry.before, &mut entry.after].into_iter().flatten() {
        *side = seen(side, operator);
    }
    entry
}

const COLUMNS: [&str; 10] = [
    "id", "at", "operator", "action", "saga", "reason", "outcome", "before", "after", "details",
];

struct Export {
    mission: Mission,
    operator: Operator,
    filter: Filter,
    format: Format,
    before: i64,
    sent: usize,
    done: bool,
}

/// The file. That it was asked for is in the trail too.
pub async fn export(
    mission: Mission,
    operator: Operator,
    wanted: &Wanted,
    format: Format,
) -> Result<Response, PageError> {
    let filter = wanted.filter()?;
    let details = json!({"filter": wanted.query()});
    audit::done(&mission.pool, &operator.name, "export audit", details).await?;
    let export = Export {
        mission,
        operator,
        filter,
        format,
        before: NEWEST,
        sent: 0,
        done: false,
    };
    let body = stream::try_unfold(export, |mut export| async {
        let part = export.next().await?;
        Ok::<_, PageError>(part.map(|part| (part, export)))
    });
    let (kind, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
        Format::Json => ("application/json", "attachment; filename=\"audit.json\""),
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(body)).into_response())
}

impl Export {
    /// The next part of the file; none: it is complete. An error breaks the connection off, so that half a file isn't taken for one.
    async fn next(&mut self) -> Result<Option<String>, PageError> {
        if self.done {
            return Ok(None);
        }
        // For the reading only: who takes the file slowly holds nothing.
        let turn = self.mission.exports.acquire().await.map_err(PageError::internal)?;
        let found = audit::page(&self.mission.pool, &self.filter, self.before, EXPORT_AUDIT_PAGE).await?;
        drop(turn);
        let first = self.before == NEWEST;
        let mut part = match (first, self.format) {
            (true, Format::Csv) => format!("{}\r\n", COLUMNS.join(",")),
            (true, Format::Json) => "[".to_owned(),
            (false, _) => String::new(),
        };
        self.before = found.last().map_or(0, |last| last.id);
        self.done = (found.len() as i64) < EXPORT_AUDIT_PAGE || self.sent + found.len() >= EXPORT_AUDIT_MAX;
        for entry in found {
            let object = json!(shown(entry, &self.operator));
            match self.format {
                Format::Csv => part.push_str(&line(&object)),
                Format::Json => {
                    part.push_str(if self.sent == 0 { "\n" } else { ",\n" });
                    part.push_str(&object.to_string());
                }
            }
            self.sent += 1;
        }
        if self.done && self.format == Format::Json {
            part.push_str("\n]\n");
        }
        Ok(Some(part))
    }
}

fn line(object: &serde_json::Value) -> String {
    let cells: Vec<String> = COLUMNS
        .iter()
        .map(|column| match &object[*column] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => cell(text),
            other => cell(&other.to_string()),
        })
        .collect();
    format!("{}\r\n", cells.join(","))
}

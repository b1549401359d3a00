//! What a search finds as a file: read page by page, sent as it is read, so that its size costs no memory.

use std::fmt::Write as _;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use futures::stream;
use orchestrator::store::reads::{self, SagaFilter, SagaSummary};
use serde::Deserialize;
use serde_json::json;

use super::{Page, search};
use crate::access::Operator;
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{EXPORT_PAGE, EXPORT_SAGAS_MAX};
use crate::store::audit;

/// What is asked for.
#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    q: String,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Csv,
    Json,
}

/// The columns, by the names that the API uses.
const COLUMNS: [&str; 11] = [
    "id",
    "workflow",
    "version",
    "status",
    "businessKey",
    "failureStep",
    "failureCode",
    "tags",
    "startedAt",
    "updatedAt",
    "endedAt",
];

struct Export {
    mission: Mission,
    filter: SagaFilter,
    format: Format,
    sent: usize,
    state: Sending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Begin,
    Pages,
    Done,
}

/// The file.
pub async fn get(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Wanted { q, format }): Query<Wanted>,
) -> Page {
    let search = search::parse(&q, mission.engine.now()).map_err(PageError::Invalid)?;
    if search.saga.is_some() {
        return Err(PageError::Invalid(
            "an id is one saga's: its page has all of it".to_owned(),
        ));
    }
    audit::done(&mission.pool, &operator.name, "export", json!({"search": q})).await?;
    let export = Export {
        mission,
        filter: search.filter,
        format,
        sent: 0,
        state: Sending::Begin,
    };
    let body = stream::try_unfold(export, |mut export| async {
        let part = export.next().await?;
        Ok::<_, PageError>(part.map(|part| (part, export)))
    });
    let (kind, name) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"sagas.csv\""),
        Format::Json => ("application/json", "attachment; filename=\"sagas.json\""),
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(body)).into_response())
}

impl Export {
    /// The next part of the file; none: it is complete. An error breaks the connection off, so that half a file isn't taken for one.
    async fn next(&mut self) -> Result<Option<String>, PageError> {
        match self.state {
            Sending::Done => Ok(None),
            Sending::Begin => {
                self.state = Sending::Pages;
                Ok(Some(match self.format {
                    Format::Csv => format!("{}\r\n", COLUMNS.join(",")),
                    Format::Json => "[".to_owned(),
                }))
            }
            Sending::Pages => {
                // For the reading only: who takes the file slowly holds nothing.
                let turn = self.mission.exports.acquire().await.map_err(PageError::internal)?;
                let found = reads::list(&self.mission.pool, &self.filter, EXPORT_PAGE).await?;
                drop(turn);
                let mut part = String::new();
                for saga in &found {
                    // From memory, but for a definition's first saga.
                    let definition = self.mission.engine.definitions().by_id(saga.definition_id).await?;
                    match self.format {
                        Format::Csv => csv(&mut part, saga, definition.version()),
                        Format::Json => {
                            part.push_str(if self.sent == 0 { "\n" } else { ",\n" });
                            part.push_str(&object(saga, definition.version()).to_string());
                        }
                    }
                    self.sent += 1;
                }
                self.filter.after = found.last().map(|last| last.id);
                if found.len() < EXPORT_PAGE as usize || self.sent >= EXPORT_SAGAS_MAX {
                    self.state = Sending::Done;
                    if self.format == Format::Json {
                        part.push_str("\n]\n");
                    }
                }
                Ok(Some(part))
            }
        }
    }
}

fn object(saga: &SagaSummary, version: u32) -> serde_json::Value {
    json!({
        "id": saga.id,
        "workflow": saga.workflow,
        "version": version,
        "status": saga.status,
        "businessKey": saga.business_key,
        "failureStep": saga.failure_step,
        "failureCode": saga.failure_code,
        "tags": saga.tags,
        "startedAt": saga.created_at.to_rfc3339(),
        "updatedAt": saga.updated_at.to_rfc3339(),
        "endedAt": saga.ended_at.map(|at| at.to_rfc3339()),
    })
}

fn csv(out: &mut String, saga: &SagaSummary, version: u32) {
    let object = object(saga, version);
    for (place, column) in COLUMNS.iter().enumerate() {
        let text = match &object[*column] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if place > 0 {
            out.push(',');
        }
        // Writing to a String can't fail.
        let _ = write!(out, "{}", cell(&text));
    }
    out.push_str("\r\n");
}

/// A cell that spreadsheets take as text, not as a formula (OWASP: CSV injection), quoted as in RFC 4180.
pub fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n', '\'', ';']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("=1+1", "\"'=1+1\""),
            ("-2", "\"'-2\""),
            ("@x", "\"'@x\""),
            ("\tx", "\"'\tx\""),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("a\r\n=b", "\"a\r\n=b\""),
        ] {
            assert_eq!(cell(text), wanted, "{text:?}");
        }
    }
}

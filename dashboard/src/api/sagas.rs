//! Sagas: lists, each one, its journal, what can be done to it.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use orchestrator::store::reads::{self, SagaSummary};
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::ids::SagaId;

use super::problem::ApiError;
use super::{Answer, Body, Path, Query};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::approvals::Asked;
use crate::deeds::{self, Deed};
use crate::error::PageError;
use crate::limits::{API_PAGE_MAX, PAGE_SAGAS};
use crate::pages::saga::load;
use crate::pages::search;
use crate::pages::standing;
use crate::pages::text::seen;

/// Which sagas.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    #[serde(default)]
    q: String,
    after: Option<SagaId>,
    limit: Option<u32>,
}

/// A page of the list, newest first.
pub async fn list(State(mission): State<Mission>, Query(wanted): Query<Wanted>) -> Answer {
    let limit = wanted.limit.unwrap_or(PAGE_SAGAS).clamp(1, API_PAGE_MAX);
    let search = search::parse(&wanted.q, mission.engine.now()).map_err(PageError::Invalid)?;
    let mut found = match search.saga {
        Some(saga) => {
            let record = reads::saga(&mission.pool, saga).await?;
            record.map(|record| record.summary).into_iter().collect()
        }
        None => {
            let mut filter = search.filter;
            filter.after = wanted.after;
            reads::list(&mission.pool, &filter, limit + 1).await?
        }
    };
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.id);
    let mut items = Vec::with_capacity(found.len());
    for saga in found {
        items.push(summary(&mission, saga).await?);
    }
    Ok(Json(json!({"items": items, "next": next, "cut": search.cut})).into_response())
}

async fn summary(mission: &Mission, saga: SagaSummary) -> Result<Value, PageError> {
    // From memory, but for a definition's first saga.
    let version = mission.engine.definitions().by_id(saga.definition_id).await?.version();
    Ok(json!({
        "id": saga.id, "workflow": saga.workflow, "version": version, "status": saga.status.as_str(),
        "businessKey": saga.business_key, "tags": saga.tags, "seq": saga.seq,
        "createdAt": saga.created_at.to_rfc3339(), "updatedAt": saga.updated_at.to_rfc3339(),
        "endedAt": saga.ended_at.map(|at| at.to_rfc3339()),
        "failureStep": saga.failure_step, "failureCode": saga.failure_code}))
}

/// One saga, with its journal's end as its `ETag`.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Answer {
    let (record, definition) = load(&mission, &id).await?;
    let mut view = workflows::view(&definition.compiled, record.summary.id, &record.state);
    let sentences = standing::sentences(&view, mission.engine.now());
    view.input = seen(&view.input, &operator);
    view.output = seen(&view.output, &operator);
    for step in &mut view.steps {
        step.output = seen(&step.output, &operator);
        if let Some(error) = &mut step.error {
            error.details = seen(&error.details, &operator);
        }
    }
    if let Some(error) = &mut view.error {
        error.details = seen(&error.details, &operator);
    }
    let tag = etag(record.summary.seq);
    let mut body = summary(&mission, record.summary).await?;
    body["standing"] = json!(sentences);
    for field in ["input", "output", "steps", "pivoted", "reason", "error"] {
        body[field] = json!(view)[field].take();
    }
    Ok(([(header::ETAG, tag)], Json(body)).into_response())
}

fn etag(seq: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{seq}\"")).expect("digits and quotes")
}

/// Where a journal's page begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// A page of its journal, oldest first.
pub async fn journal(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Query(After { after, limit }): Query<After>,
) -> Answer {
    let (record, _) = load(&mission, &id).await?;
    let limit = limit.unwrap_or(API_PAGE_MAX).clamp(1, API_PAGE_MAX);
    let found = reads::journal(&mission.pool, record.summary.id, after, limit).await?;
    let next = found
        .last()
        .map(|last| last.seq)
        .filter(|last| *last < record.summary.seq);
    let items: Vec<Value> = found
        .into_iter()
        .map(|entry| {
            let topics: Vec<&str> = entry.facts.iter().map(|fact| fact.topic.as_str()).collect();
            let by = match &entry.event {
                workflows::event::Event::Command(command) => json!({"by": command.by, "reason": command.reason}),
                _other => Value::Null,
            };
            json!({"seq": entry.seq, "at": entry.at.to_rfc3339(), "kind": entry.kind, "step": entry.step,
                   "command": by, "published": topics, "event": seen(&json!(entry.event), &operator)})
        })
        .collect();
    Ok(Json(json!({"items": items, "next": next})).into_response())
}

/// What is to be done.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// `retry`, `skip`, `cancel`, `compensate`, `pause`, `resume`, `signal` or `note`.
    command: String,
    /// The step, or the signal's name.
    #[serde(default)]
    step: String,
    /// An input for a retry, an output for a skip, a payload for a signal.
    value: Option<Value>,
    /// Why; or the note.
    #[serde(default)]
    reason: String,
}

impl Wish {
    fn deed(self, seq: u64) -> Deed {
        let text = self.value.map(|value| value.to_string()).unwrap_or_default();
        Deed {
            command: self.command,
            step: self.step,
            text,
            reason: self.reason,
            seq,
        }
    }
}

/// What would come of it.
pub async fn dry_run(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Body(wish): Body<Wish>,
) -> Answer {
    operator.must_be(Role::Operator)?;
    let (record, definition) = load(&mission, &id).await?;
    let deed = wish.deed(record.summary.seq);
    deeds::check_input(&mission, &definition, &deed).await?;
    let found = deeds::consequences(&mission, &record, &definition, &deed, &operator.name);
    let tag = etag(record.summary.seq);
    let body = match found {
        Ok(consequences) => json!({"possible": true, "consequences": consequences,
                                   "needsApproval": deed.needs_second_person(&mission)}),
        Err(why) => json!({"possible": false, "why": why}),
    };
    Ok(([(header::ETAG, tag)], Json(body)).into_response())
}

/// Does it, if the saga is still where `If-Match` says; without one, wherever it is.
pub async fn command(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(wish): Body<Wish>,
) -> Answer {
    let (record, _) = load(&mission, &id).await?;
    let (saga, current) = (record.summary.id, record.summary.seq);
    let deed = wish.deed(if_match(&headers)?.unwrap_or(current));
    match deeds::ask_or_do(&mission, &operator, saga, &deed).await? {
        Asked::Done(outcome) => Ok(Json(json!({"outcome": outcome})).into_response()),
        Asked::Pending(request) => Ok(pending(request)),
    }
}

/// It waits for a second person.
pub fn pending(request: i64) -> Response {
    let location = HeaderValue::from_str(&format!("/api/approvals/{request}")).expect("a path of digits");
    let body = json!({"outcome": "waits for a second person", "approval": request});
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response()
}

fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let seq = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok());
    match seq {
        Some(seq) => Ok(Some(seq)),
        None => Err(ApiError::Malformed(
            "If-Match is the `ETag` of the saga as you saw it, such as \"7\"".to_owned(),
        )),
    }
}

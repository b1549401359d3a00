//! Sagas: lists, each one, its journal, what can be done to it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use orchestrator::store::reads::{self, SagaSummary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use workflows::StepView;
use workflows::event::Event;
use workflows::ids::SagaId;
use workflows::state::{Status, StepError};

use super::problem::ApiError;
use super::{Answer, Body, Items, Outcome, Path, Query};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::approvals::Asked;
use crate::comparison::{self, With};
use crate::deeds::{self, Deed};
use crate::error::PageError;
use crate::limits::{API_PAGE_MAX, PAGE_SAGAS};
use crate::pages::graph::{self, Line};
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

/// A saga of a list.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaItem {
    /// Its id.
    id: SagaId,
    /// Its workflow.
    workflow: String,
    /// The workflow's version.
    version: u32,
    /// What it is doing.
    status: Status,
    /// What it is about.
    business_key: Option<String>,
    /// Its labels.
    tags: BTreeMap<String, String>,
    /// The end of its journal.
    seq: u64,
    /// When it was accepted, RFC 3339.
    created_at: String,
    /// When it last changed, RFC 3339.
    updated_at: String,
    /// When it ended, RFC 3339.
    ended_at: Option<String>,
    /// Where it fails, or has failed.
    failure_step: Option<String>,
    /// How.
    failure_code: Option<String>,
}

/// A page of sagas.
#[derive(Serialize, JsonSchema)]
pub struct SagaPage {
    /// The sagas.
    items: Vec<SagaItem>,
    /// The next page's `after`.
    next: Option<SagaId>,
    /// No index narrows this search, so it looks back one day only.
    cut: bool,
}

/// Where a saga stands.
#[derive(Serialize, JsonSchema)]
pub struct SagaDetail {
    #[serde(flatten)]
    item: SagaItem,
    /// Why it stands where it stands, and what is next, in sentences.
    standing: Vec<String>,
    /// Its input; redacted for viewers.
    input: Value,
    /// Its output; likewise.
    output: Value,
    /// Each step that has begun.
    steps: Vec<StepView>,
    /// The point of no return is behind it.
    pivoted: bool,
    /// Why it ends or ended.
    reason: Option<String>,
    /// The error that made it end.
    error: Option<StepError>,
}

/// A page of the list
///
/// By a search as on the page: `workflow:booking status:stuck error:card_declined`.
#[utoipa::path(get, path = "/sagas", tag = "sagas",
    params(("q" = Option<String>, Query, description = "The search"),
           ("after" = Option<String>, Query, description = "The last saga of the page before"),
           ("limit" = Option<u32>, Query, description = "1 to 500; 50 if left out")),
    responses(
    (status = 200, description = "Newest first, or as the search says", body = ref("#/components/schemas/SagaPage")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
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
    let cut = search.cut;
    Ok(Json(SagaPage { items, next, cut }).into_response())
}

async fn summary(mission: &Mission, saga: SagaSummary) -> Result<SagaItem, PageError> {
    // From memory, but for a definition's first saga.
    let version = mission.engine.definitions().by_id(saga.definition_id).await?.version();
    Ok(SagaItem {
        id: saga.id,
        workflow: saga.workflow,
        version,
        status: saga.status,
        business_key: saga.business_key,
        tags: saga.tags,
        seq: saga.seq,
        created_at: saga.created_at.to_rfc3339(),
        updated_at: saga.updated_at.to_rfc3339(),
        ended_at: saga.ended_at.map(|at| at.to_rfc3339()),
        failure_step: saga.failure_step,
        failure_code: saga.failure_code,
    })
}

/// One saga
///
/// Its `ETag` is the end of its journal, for `If-Match` of commands.
#[utoipa::path(get, path = "/sagas/{id}", tag = "sagas",
    params(("id" = String, Path, description = "The saga")),
    responses(
    (status = 200, description = "Where it stands", body = ref("#/components/schemas/SagaDetail")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
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
    let body = SagaDetail {
        item: summary(&mission, record.summary).await?,
        standing: sentences,
        input: view.input,
        output: view.output,
        steps: view.steps,
        pivoted: view.pivoted,
        reason: view.reason,
        error: view.error,
    };
    Ok(([(header::ETAG, tag)], Json(body)).into_response())
}

fn etag(seq: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{seq}\"")).expect("digits and quotes")
}

/// A saga on its workflow's graph.
#[derive(Serialize, JsonSchema)]
pub struct SagaGraph {
    #[serde(flatten)]
    item: SagaItem,
    /// Why it stands where it stands, and what is next, in sentences.
    standing: Vec<String>,
    /// The point of no return is behind it.
    pivoted: bool,
    /// The workflow's nodes in their order, each with how far the saga has come with it.
    nodes: Vec<Line>,
}

/// One saga on its workflow's graph
#[utoipa::path(get, path = "/sagas/{id}/graph", tag = "sagas",
    params(("id" = String, Path, description = "The saga")),
    responses(
    (status = 200, description = "The nodes with its marks", body = ref("#/components/schemas/SagaGraph")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn graph(State(mission): State<Mission>, Path(id): Path<String>) -> Answer {
    let (record, definition) = load(&mission, &id).await?;
    let view = workflows::view(&definition.compiled, record.summary.id, &record.state);
    let tag = etag(record.summary.seq);
    let body = SagaGraph {
        item: summary(&mission, record.summary).await?,
        standing: standing::sentences(&view, mission.engine.now()),
        pivoted: view.pivoted,
        nodes: graph::lines(definition.compiled.definition(), &standing::marks(&view)),
    };
    Ok(([(header::ETAG, tag)], Json(body)).into_response())
}

/// Where a journal's page begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// Who gave a command, and why.
#[derive(Serialize, JsonSchema)]
pub struct Given {
    /// Who.
    by: String,
    /// Why.
    reason: String,
}

/// An entry of a journal.
#[derive(Serialize, JsonSchema)]
pub struct JournalEntry {
    /// Its number.
    seq: u64,
    /// When, RFC 3339.
    at: String,
    /// What happened.
    kind: String,
    /// To which step.
    step: Option<String>,
    /// Who wanted it, if it is a command.
    command: Option<Given>,
    /// Topics of the domain events that it published.
    published: Vec<String>,
    /// All of it; redacted for viewers.
    event: Value,
}

/// A page of its journal, oldest first
#[utoipa::path(get, path = "/sagas/{id}/journal", tag = "sagas",
    params(("id" = String, Path, description = "The saga"),
           ("after" = Option<u64>, Query, description = "Only what came after this entry"),
           ("limit" = Option<u32>, Query, description = "1 to 500; 500 if left out")),
    responses(
    (status = 200, description = "Entries", body = ref("#/components/schemas/Journal")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
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
    let items = found.into_iter().map(|entry| {
        let command = match &entry.event {
            Event::Command(command) => Some(Given {
                by: command.by.clone(),
                reason: command.reason.clone(),
            }),
            _other => None,
        };
        JournalEntry {
            seq: entry.seq,
            at: entry.at.to_rfc3339(),
            command,
            published: entry.facts.into_iter().map(|fact| fact.topic).collect(),
            event: seen(&json!(entry.event), &operator),
            kind: entry.kind,
            step: entry.step,
        }
    });
    let items = items.collect();
    Ok(Json(Items { items, next }).into_response())
}

/// With what a saga's attempt is compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    step: Option<String>,
    #[serde(default)]
    with: String,
}

/// What differs between two attempts at a step
///
/// The saga's last one, beside the one before it, that of another saga, or that of the last saga that passed the step.
#[utoipa::path(get, path = "/sagas/{id}/difference", tag = "sagas",
    params(("id" = String, Path, description = "The saga"),
           ("step" = Option<String>, Query, description = "Left out: the step that failed, or was tried last"),
           ("with" = Option<String>, Query, description = "`previous`, `passed` or the id of a saga; left out: the attempt before, or where there is none the last saga that passed")),
    responses(
    (status = 200, description = "Where they differ; values are redacted for viewers", body = ref("#/components/schemas/Compared")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn difference(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Query(Beside { step, with }): Query<Beside>,
) -> Answer {
    let (record, _) = load(&mission, &id).await?;
    let with = With::parse(&with)?;
    let found = comparison::compare(&mission, record.summary.id, step.as_deref(), with, &operator).await?;
    Ok(Json(found).into_response())
}

/// What is to be done to a saga.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// `retry`, `skip`, `cancel`, `compensate`, `pause`, `resume`, `go_back`, `signal` or `note`.
    command: String,
    /// The step, also that to go back to; or the signal's name.
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

/// What would come of something.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// It can be done.
    possible: bool,
    /// If so, what would come of it, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consequences: Vec<String>,
    /// And whether a second person has to agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_approval: Option<bool>,
    /// If not, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What would come of it
///
/// By the engine's own pure function on the saga's state; nothing is done. For operators.
#[utoipa::path(post, path = "/sagas/{id}/dry-run", tag = "sagas",
    params(("id" = String, Path, description = "The saga")),
    request_body(content = ref("#/components/schemas/Wish"), content_type = "application/json"),
    responses(
    (status = 200, description = "What would be", body = ref("#/components/schemas/DryRun")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
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
        Ok(consequences) => DryRun {
            possible: true,
            consequences,
            needs_approval: Some(deed.needs_second_person(&mission)),
            why: None,
        },
        Err(why) => DryRun {
            possible: false,
            consequences: Vec::new(),
            needs_approval: None,
            why: Some(why),
        },
    };
    Ok(([(header::ETAG, tag)], Json(body)).into_response())
}

/// Does it
///
/// If the saga is still where `If-Match` says; without one, wherever it is. For operators; what is grave waits for a second person.
#[utoipa::path(post, path = "/sagas/{id}/commands", tag = "sagas",
    params(("id" = String, Path, description = "The saga"),
           ("If-Match" = Option<String>, Header, description = "The `ETag` of the saga as it was looked at")),
    request_body(content = ref("#/components/schemas/Wish"), content_type = "application/json"),
    responses(
    (status = 200, description = "Done", body = ref("#/components/schemas/Outcome")),
    (status = 202, description = "It waits for a second person", body = ref("#/components/schemas/Pending")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
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
        Asked::Done(outcome) => Ok(Json(Outcome { outcome }).into_response()),
        Asked::Pending(request) => Ok(pending(request)),
    }
}

/// It waits for a second person.
#[derive(Serialize, JsonSchema)]
pub struct Pending {
    /// So much in words.
    outcome: &'static str,
    /// The request.
    approval: i64,
}

/// The answer that says so.
pub fn pending(request: i64) -> Response {
    let location = HeaderValue::from_str(&format!("/api/approvals/{request}")).expect("a path of digits");
    let body = Pending {
        outcome: "waits for a second person",
        approval: request,
    };
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

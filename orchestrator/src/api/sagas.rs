//! `/v1/sagas`: start, look at, list, signal and command.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflows::event::{Command, CommandEvent, Signal};

use super::extract::{self, Params, SagaPath};
use super::problem::{ApiError, ProblemDetails};
use super::{BULK_BODY_BYTES_MAX, Items, Ops, SINGLE_BODY_BYTES_MAX};
use crate::client::{
    ClientError, JOURNAL_PAGE_MAX, ListFilter, SagaDetail, SignalReceipt, StartRequest, Started, StartedBrief, Until,
};

/// What came of a bulk start, in the order of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BulkAnswer {
    /// One for each start.
    pub items: Vec<BulkItem>,
}

/// What came of one start of many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkItem {
    /// The HTTP status this start would have had alone.
    pub status: u16,
    /// The saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga: Option<SagaDetail>,
    /// It had been started before.
    #[serde(default)]
    pub replayed: bool,
    /// Why it was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemDetails>,
}

impl BulkItem {
    fn new(result: Result<Started, ClientError>) -> Self {
        match result {
            Ok(Started { saga, replayed }) => BulkItem {
                status: started_status(replayed).as_u16(),
                saga: Some(saga),
                replayed,
                problem: None,
            },
            Err(error) => {
                let problem = ProblemDetails::from(error);
                BulkItem {
                    status: problem.status,
                    saga: None,
                    replayed: false,
                    problem: Some(problem),
                }
            }
        }
    }

    /// As the client interface has it.
    pub(crate) fn into_result(self) -> Result<Started, ClientError> {
        match (self.saga, self.problem) {
            (Some(saga), _) => Ok(Started {
                saga,
                replayed: self.replayed,
            }),
            (None, Some(problem)) => Err(problem.into()),
            (None, None) => Err(ClientError::Unavailable {
                message: "a bulk item without saga and problem".to_owned(),
            }),
        }
    }
}

/// What became of a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalAnswer {
    /// The signal's id, made up here if the request had none.
    pub id: String,
    /// What became of it.
    pub receipt: SignalReceipt,
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalBody {
    /// For deduplication, unique per saga; left out, each request is a new signal.
    #[serde(default)]
    pub id: Option<String>,
    /// Which signal.
    pub name: String,
    /// What it says.
    #[serde(default)]
    pub payload: Value,
}

fn started_status(replayed: bool) -> StatusCode {
    if replayed { StatusCode::OK } else { StatusCode::CREATED }
}

/// A saga with its sequence number as ETag.
fn tagged(status: StatusCode, saga: &impl Serialize, seq: u64) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(saga).map_err(|error| ClientError::Unavailable {
        message: error.to_string(),
    })?;
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{seq}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Start a saga, or (with an array for a body) many.
///
/// With an `Idempotency-Key` that was used before, the saga of then is the answer (200); with another body it is
/// refused (422). With `Prefer: wait=N` the answer comes once the saga has settled, or with its state after N seconds.
#[utoipa::path(post, path = "/v1/sagas", tag = "sagas",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same saga"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer once settled, at most N (60) seconds later; `return=minimal`: with `id`, `status` and `seq` alone"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context")),
    request_body(content = ref("#/components/schemas/StartBody"), content_type = "application/json"),
    responses(
        (status = 200, description = "It had been started before (or: the bulk's answers)", body = ref("#/components/schemas/StartAnswer")),
        (status = 201, description = "Started; durable", body = ref("#/components/schemas/SagaDetail")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn start(State(ops): State<Ops>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return bulk(&ops, &headers, &body).await;
    }
    extract::limit(&body, SINGLE_BODY_BYTES_MAX)?;
    let mut request: StartRequest = extract::json(&headers, &body)?;
    if let Some(key) = extract::idempotency_key(&headers)? {
        if request.idempotency_key.as_ref().is_some_and(|other| *other != key) {
            return Err(ClientError::invalid("/idempotencyKey", "differs from the Idempotency-Key header").into());
        }
        request.idempotency_key = Some(key);
    }
    request.traceparent = extract::traceparent(&headers);
    request.wait = extract::prefer_wait(&headers);
    let waited = request.wait.is_some();
    let minimal = extract::prefer_minimal(&headers);

    let (mut response, id, replayed) = if minimal {
        let StartedBrief { saga, replayed } = ops.client.start_brief(request).await?;
        (tagged(started_status(replayed), &saga, saga.seq)?, saga.id, replayed)
    } else {
        let Started { saga, replayed } = ops.client.start(request).await?;
        (
            tagged(started_status(replayed), &saga, saga.view.seq)?,
            saga.id,
            replayed,
        )
    };
    let answer = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/sagas/{id}")) {
        answer.insert(header::LOCATION, location);
    }
    if replayed {
        answer.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    let applied = match (waited, minimal) {
        (true, true) => "wait, return=minimal",
        (true, false) => "wait",
        (false, true) => "return=minimal",
        (false, false) => return Ok(response),
    };
    answer.insert("preference-applied", HeaderValue::from_static(applied));
    Ok(response)
}

/// Start up to 1,000 sagas in one batch.
#[utoipa::path(post, path = "/v1/sagas:bulk", tag = "sagas",
    request_body(content = ref("#/components/schemas/BulkBody"), content_type = "application/json"),
    responses(
        (status = 200, description = "One answer each, in order", body = ref("#/components/schemas/BulkAnswer")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn start_bulk(State(ops): State<Ops>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    bulk(&ops, &headers, &body).await
}

async fn bulk(ops: &Ops, headers: &HeaderMap, body: &Bytes) -> Result<Response, ApiError> {
    extract::limit(body, BULK_BODY_BYTES_MAX)?;
    if extract::idempotency_key(headers)?.is_some() {
        let message = "a bulk has a key for each start: put `idempotencyKey` into the items";
        return Err(ProblemDetails::malformed("@idempotency-key", message).into());
    }
    let mut requests: Vec<StartRequest> = extract::json(headers, body)?;
    let traceparent = extract::traceparent(headers);
    for request in &mut requests {
        request.traceparent.clone_from(&traceparent);
    }
    let results = ops.client.start_bulk(requests).await?;
    let answer = BulkAnswer {
        items: results.into_iter().map(BulkItem::new).collect(),
    };
    Ok(axum::Json(answer).into_response())
}

/// Which of up to 1,000 idempotency keys a saga was begun with.
#[utoipa::path(post, path = "/v1/keys:used", tag = "sagas",
    request_body(content = Vec<String>, content_type = "application/json"),
    responses(
        (status = 200, description = "Those of the keys that were used: `{\"items\": […]}`"),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn used_keys(State(ops): State<Ops>, headers: HeaderMap, body: Bytes) -> Result<Response, ApiError> {
    extract::limit(&body, SINGLE_BODY_BYTES_MAX)?;
    let used = ops.client.used_keys(extract::json(&headers, &body)?).await?;
    let items = used.into_iter().collect();
    Ok(axum::Json(Items::<String> { items }).into_response())
}

/// Where a saga stands. With `Prefer: wait=N`, once it has settled, or is decided.
#[utoipa::path(get, path = "/v1/sagas/{id}", tag = "sagas",
    params(
        ("id" = String, Path, description = "The saga's id"),
        ("until" = Option<String>, Query, description = "What is waited for: `settled` (ended, or an operator must act; the default), or `decided` (past its point of no return, or being undone, as well)"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer once it has come so far, at most N (60) seconds later"),
        ("If-None-Match" = Option<String>, Header, description = "An ETag: 304 if nothing has changed")),
    responses(
        (status = 200, description = "The saga; its ETag is its sequence number", body = ref("#/components/schemas/SagaDetail")),
        (status = 304, description = "Nothing has changed"),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn get(
    State(ops): State<Ops>,
    SagaPath(saga): SagaPath,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let until = match params.one("until")? {
        Some(text) => text
            .parse()
            .map_err(|error: String| ProblemDetails::malformed("?until", error))?,
        None => Until::default(),
    };
    params.end(&["until"])?;
    let found = match extract::prefer_wait(&headers) {
        Some(wait) => ops.client.wait(saga, until, wait).await?,
        None => ops.client.get(saga).await?,
    };
    let found = found.ok_or_else(|| ClientError::no_saga(saga))?;
    let etag = format!("\"{}\"", found.view.seq);
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    tagged(StatusCode::OK, &found, found.view.seq)
}

/// Sagas, newest first, a page at a time.
#[utoipa::path(get, path = "/v1/sagas", tag = "sagas",
    params(
        ("status" = Option<String>, Query, description = "One or several, with commas between or repeated"),
        ("workflow" = Option<String>, Query, description = "Of this workflow"),
        ("businessKey" = Option<String>, Query, description = "About this"),
        ("tag" = Option<String>, Query, description = "With this label: `name=value`"),
        ("createdAfter" = Option<String>, Query, description = "Accepted at or after: RFC 3339 or milliseconds"),
        ("createdBefore" = Option<String>, Query, description = "Accepted before: RFC 3339 or milliseconds"),
        ("cursor" = Option<String>, Query, description = "An earlier page's `next`"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 if left out")),
    responses(
        (status = 200, description = "A page", body = ref("#/components/schemas/SagaPage")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn list(State(ops): State<Ops>, mut params: Params) -> Result<Response, ApiError> {
    let mut status = Vec::new();
    for text in params.many("status") {
        status.push(
            text.parse()
                .map_err(|message: String| ProblemDetails::malformed("?status", message))?,
        );
    }
    let tag = match params.one("tag")? {
        None => None,
        Some(text) => match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => return Err(ProblemDetails::malformed("?tag", format!("{text:?} is not `name=value`")).into()),
        },
    };
    let filter = ListFilter {
        status,
        tag,
        workflow: params.one("workflow")?,
        business_key: params.one("businessKey")?,
        created_after: params.instant("createdAfter")?,
        created_before: params.instant("createdBefore")?,
        cursor: params.one("cursor")?,
        limit: params.number("limit")?,
    };
    params.end(&[
        "status",
        "workflow",
        "businessKey",
        "tag",
        "createdAfter",
        "createdBefore",
        "cursor",
        "limit",
    ])?;
    Ok(axum::Json(ops.client.list(filter).await?).into_response())
}

/// A saga's journal: every event, in order, with the domain events it published.
#[utoipa::path(get, path = "/v1/sagas/{id}/journal", tag = "sagas",
    params(
        ("id" = String, Path, description = "The saga's id"),
        ("after" = Option<u64>, Query, description = "Entries after this one; 0: from the beginning"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 1,000 if left out")),
    responses(
        (status = 200, description = "Entries", body = ref("#/components/schemas/Journal")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn journal(
    State(ops): State<Ops>,
    SagaPath(saga): SagaPath,
    mut params: Params,
) -> Result<Response, ApiError> {
    let after = params.number("after")?.unwrap_or(0);
    let limit = params.number("limit")?.unwrap_or(JOURNAL_PAGE_MAX);
    params.end(&["after", "limit"])?;
    let items = ops.client.journal(saga, after, limit).await?;
    Ok(axum::Json(Items { items }).into_response())
}

/// Give a saga a signal. One that comes before its saga is kept until then.
#[utoipa::path(post, path = "/v1/sagas/{id}/signals", tag = "sagas",
    params(("id" = String, Path, description = "The saga's id")),
    request_body(content = ref("#/components/schemas/SignalBody"), content_type = "application/json"),
    responses(
        (status = 200, description = "Stored, delivered or a repetition", body = ref("#/components/schemas/SignalAnswer")),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn signal(
    State(ops): State<Ops>,
    SagaPath(saga): SagaPath,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    extract::limit(&body, SINGLE_BODY_BYTES_MAX)?;
    let SignalBody { id, name, payload } = extract::json(&headers, &body)?;
    let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let receipt = ops
        .client
        .signal(
            saga,
            Signal {
                id: id.clone(),
                name,
                payload,
            },
        )
        .await?;
    Ok(axum::Json(SignalAnswer { id, receipt }).into_response())
}

/// Do something to a saga on an operator's behalf: retry, skip, cancel, compensate, pause, resume.
#[utoipa::path(post, path = "/v1/sagas/{id}/commands", tag = "sagas",
    params(
        ("id" = String, Path, description = "The saga's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the saga as you saw it; if it has moved on since: 412")),
    request_body(content = ref("#/components/schemas/CommandEvent"), content_type = "application/json"),
    responses(
        (status = 200, description = "Done; the saga after it", body = ref("#/components/schemas/SagaDetail")),
        (status = 409, description = "Not possible in this state", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json"),
        (status = 412, description = "The saga has moved on", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ref("#/components/schemas/ProblemDetails"), content_type = "application/problem+json")))]
pub async fn command(
    State(ops): State<Ops>,
    SagaPath(saga): SagaPath,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    extract::limit(&body, SINGLE_BODY_BYTES_MAX)?;
    let expected = extract::if_match(&headers)?;
    let event: CommandEvent = extract::json(&headers, &body)?;
    refuse_unknown_fields(&event.command, &body)?;
    let saga = ops.client.command_at(saga, event, expected).await?;
    tagged(StatusCode::OK, &saga, saga.view.seq)
}

/// Serde can't refuse unknown fields of a flattened enum, so it is done here: a misspelt `step` must not make a
/// retry of one step a retry of all.
fn refuse_unknown_fields(command: &Command, body: &Bytes) -> Result<(), ApiError> {
    let own: &[&str] = match command {
        Command::Retry { step: _, input: _ } => &["step", "input"],
        Command::Skip { step: _, output: _ } => &["step", "output"],
        Command::GoBack { step: _ } => &["step"],
        Command::Cancel {} | Command::Compensate {} | Command::Pause {} | Command::Resume {} => &[],
    };
    let fields: std::collections::BTreeMap<String, serde::de::IgnoredAny> = extract::from_json(body)?;
    for field in fields.keys() {
        if !["command", "by", "reason"].contains(&field.as_str()) && !own.contains(&field.as_str()) {
            let message = format!(
                "unknown field; {:?} takes {own:?}, beside command, by and reason",
                command.name()
            );
            return Err(ProblemDetails::malformed(format!("/{field}"), message).into());
        }
    }
    Ok(())
}

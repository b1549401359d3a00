//! The inbox, approvals, the audit trail.

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Body, Items, Outcome, Path, Query};
use crate::access::Operator;
use crate::app::Mission;
use crate::approvals::{self, Approval, Decision};
use crate::inbox;
use crate::limits::{API_PAGE_MAX, PAGE_APPROVALS, PAGE_AUDIT};
use crate::pages::text::seen;
use crate::paging::{self, NEWEST};
use crate::store::approvals as store;
use crate::store::audit as entries;
use crate::trail::{Format, Wanted, shown};

/// Sagas that are stuck in the same way.
#[derive(Serialize, JsonSchema)]
pub struct StuckGroup {
    /// Their workflow.
    workflow: String,
    /// Its version.
    version: u32,
    /// Where they fail.
    step: String,
    /// How.
    code: String,
    /// In which way they are stuck, in words.
    kind: &'static str,
    /// How many.
    sagas: i64,
    /// When the first of them changed last.
    first: DateTime<Utc>,
    /// When the last of them did.
    last: DateTime<Utc>,
    /// Names the group.
    fingerprint: String,
}

/// What is in trouble, by fingerprint: the inbox
#[utoipa::path(get, path = "/stuck", tag = "sagas",
    responses(
    (status = 200, description = "The worst first", body = ref("#/components/schemas/Stuck")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn stuck(State(mission): State<Mission>) -> Answer {
    // As it is now: a script that has just done something must not be told how it was.
    let inbox = inbox::ask(&mission).await?;
    let items = inbox.groups.into_iter().map(|group| StuckGroup {
        kind: group.kind.words().1,
        workflow: group.workflow,
        version: group.version,
        step: group.step,
        code: group.code,
        sagas: group.sagas,
        first: group.first,
        last: group.last,
        fingerprint: group.fingerprint,
    });
    Ok(Json(Items::all(items.collect())).into_response())
}

/// Which requests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    before: Option<i64>,
    /// Only what can still be decided.
    #[serde(default)]
    pending: bool,
}

/// Requests for a second person's approval, the newest first
#[utoipa::path(get, path = "/approvals", tag = "approvals",
    params(("before" = Option<i64>, Query, description = "Only those before this one"),
           ("pending" = Option<bool>, Query, description = "Only what can still be decided")),
    responses(
    (status = 200, description = "A page", body = ref("#/components/schemas/ApprovalPage")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn approvals(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Requests { before, pending }): Query<Requests>,
) -> Answer {
    let found = store::list(&mission.pool, pending, before.unwrap_or(NEWEST), PAGE_APPROVALS).await?;
    let next = paging::next(&found, PAGE_APPROVALS, |last| last.id);
    let items = found.into_iter().map(|request| view(request, &operator)).collect();
    Ok(Json(Items { items, next }).into_response())
}

fn view(mut request: Approval, operator: &Operator) -> Approval {
    request.deed = seen(&request.deed, operator);
    request
}

/// One request
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals",
    params(("id" = i64, Path, description = "The request")),
    responses(
    (status = 200, description = "It", body = ref("#/components/schemas/Approval")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn approval(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
) -> Answer {
    let request = approvals::get(&mission, id).await?;
    Ok(Json(view(request, &operator)).into_response())
}

/// A decision.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// `approve`, `reject` or `withdraw`.
    decision: String,
}

/// Decides a request
///
/// Approved, it is done at once. For approvers; one's own request can only be withdrawn.
#[utoipa::path(post, path = "/approvals/{id}", tag = "approvals",
    params(("id" = i64, Path, description = "The request")),
    request_body(content = ref("#/components/schemas/Decided"), content_type = "application/json"),
    responses(
    (status = 200, description = "What came of it", body = ref("#/components/schemas/Outcome")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn decide(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
    Body(Decided { decision }): Body<Decided>,
) -> Answer {
    let outcome = approvals::decide(&mission, &operator, id, Decision::parse(&decision)?).await?;
    Ok(Json(Outcome { outcome }).into_response())
}

/// A page of the trail.
#[derive(Deserialize)]
pub struct Page {
    before: Option<i64>,
    limit: Option<u32>,
}

/// The audit trail, the newest first
#[utoipa::path(get, path = "/audit", tag = "audit",
    params(("before" = Option<i64>, Query, description = "Only those before this one"),
           ("limit" = Option<u32>, Query, description = "1 to 500; 100 if left out"),
           Wanted),
    responses(
    (status = 200, description = "A page; before, after and details are redacted for viewers", body = ref("#/components/schemas/AuditPage")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn audit(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(wanted): Query<Wanted>,
    Query(Page { before, limit }): Query<Page>,
) -> Answer {
    let limit = limit.map_or(PAGE_AUDIT, |limit| i64::from(limit.clamp(1, API_PAGE_MAX)));
    let found = entries::page(&mission.pool, &wanted.filter()?, before.unwrap_or(NEWEST), limit).await?;
    let next = paging::next(&found, limit, |last| last.id);
    let items = found.into_iter().map(|entry| shown(entry, &operator)).collect();
    Ok(Json(Items { items, next }).into_response())
}

/// In which form.
#[derive(Deserialize)]
pub struct As {
    format: Format,
}

/// The audit trail as a file
///
/// At most 100,000 entries, the newest first.
#[utoipa::path(get, path = "/audit/export", tag = "audit",
    params(("format" = String, Query, description = "`csv` or `json`"),
           Wanted),
    responses(
    (status = 200, description = "The file; before, after and details are redacted for viewers", content_type = "text/csv", body = String),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn export(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(wanted): Query<Wanted>,
    Query(As { format }): Query<As>,
) -> Answer {
    Ok(crate::trail::export(mission, operator, &wanted, format).await?)
}

//! The inbox, approvals, the audit trail.

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Before, Body, Path, Query};
use crate::access::Operator;
use crate::app::Mission;
use crate::approvals::{self, Approval, Decision};
use crate::inbox;
use crate::limits::{PAGE_APPROVALS, PAGE_AUDIT};
use crate::pages::text::seen;
use crate::paging::{self, NEWEST};
use crate::store::approvals as store;
use crate::store::audit as entries;

/// What is in trouble, by fingerprint: the inbox.
pub async fn stuck(State(mission): State<Mission>) -> Answer {
    // As it is now: a script that has just done something must not be told how it was.
    let inbox = inbox::ask(&mission).await?;
    let item = |group: &inbox::Group| {
        let (_, kind) = group.kind.words();
        json!({"workflow": group.workflow, "version": group.version, "step": group.step, "code": group.code, "kind": kind,
               "sagas": group.sagas, "first": group.first, "last": group.last, "fingerprint": group.fingerprint})
    };
    let items: Vec<Value> = inbox.groups.iter().map(item).collect();
    Ok(Json(json!({"items": items, "next": null})).into_response())
}

/// Which requests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    before: Option<i64>,
    /// Only what can still be decided.
    #[serde(default)]
    pending: bool,
}

/// Requests for approval, newest first.
pub async fn approvals(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Wanted { before, pending }): Query<Wanted>,
) -> Answer {
    let found = store::list(&mission.pool, pending, before.unwrap_or(NEWEST), PAGE_APPROVALS).await?;
    let next = paging::next(&found, PAGE_APPROVALS, |last| last.id);
    let items: Vec<Value> = found.into_iter().map(|request| view(request, &operator)).collect();
    Ok(Json(json!({"items": items, "next": next})).into_response())
}

fn view(mut request: Approval, operator: &Operator) -> Value {
    request.deed = seen(&request.deed, operator);
    json!(request)
}

/// One request.
pub async fn approval(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
) -> Answer {
    let request = approvals::get(&mission, id).await?;
    Ok(Json(view(request, &operator)).into_response())
}

/// A decision.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// `approve`, `reject` or `withdraw`.
    decision: String,
}

/// Decides.
pub async fn decide(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
    Body(Decided { decision }): Body<Decided>,
) -> Answer {
    let outcome = approvals::decide(&mission, &operator, id, Decision::parse(&decision)?).await?;
    Ok(Json(json!({"outcome": outcome})).into_response())
}

/// The audit trail, newest first.
pub async fn audit(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Before { before }): Query<Before>,
) -> Answer {
    let mut found = entries::page(&mission.pool, before.unwrap_or(NEWEST), PAGE_AUDIT).await?;
    let next = paging::next(&found, PAGE_AUDIT, |last| last.id);
    for entry in &mut found {
        entry.details = seen(&entry.details, &operator);
    }
    Ok(Json(json!({"items": found, "next": next})).into_response())
}

//! Campaigns.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::sagas::pending;
use super::{Answer, Before, Body, Path, Query};
use crate::access::Operator;
use crate::app::Mission;
use crate::approvals::Asked;
use crate::campaigns::plan::Plan;
use crate::campaigns::{self, Source, Steer};
use crate::error::PageError;
use crate::limits::{API_PAGE_MAX, ITEM_GROUPS_MAX, PAGE_CAMPAIGNS};
use crate::pages::text::seen;
use crate::paging::{self, NEWEST};
use crate::store::campaigns::{self as store, Campaign};

/// A page of them, newest first.
pub async fn list(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Before { before }): Query<Before>,
) -> Answer {
    let found = store::list(&mission.pool, before.unwrap_or(NEWEST), PAGE_CAMPAIGNS).await?;
    let next = paging::next(&found, PAGE_CAMPAIGNS, |last| last.id);
    let items: Vec<Value> = found.into_iter().map(|campaign| view(campaign, &operator)).collect();
    Ok(Json(json!({"items": items, "next": next})).into_response())
}

fn view(campaign: Campaign, operator: &Operator) -> Value {
    let mut plan = json!(campaign.plan);
    // A patch or an output may hold what viewers don't see.
    for name in ["inputPatch", "output"] {
        if let Some(value) = plan["action"].get_mut(name) {
            *value = seen(value, operator);
        }
    }
    json!({
        "id": campaign.id, "phase": campaign.phase, "note": campaign.note, "search": campaign.search,
        "parent": campaign.parent, "reason": campaign.reason, "createdBy": campaign.created_by,
        "createdAt": campaign.created_at.to_rfc3339(), "changedAt": campaign.changed_at.to_rfc3339(),
        "round": campaign.round, "plan": plan})
}

/// A campaign to be planned.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct New {
    /// The sagas of this search; or those
    search: Option<String>,
    /// that failed in this campaign.
    failed_of: Option<i64>,
    reason: String,
    plan: Plan,
}

/// Plans one.
pub async fn create(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Body(new): Body<New>,
) -> Answer {
    let source = match (new.search, new.failed_of) {
        (Some(search), None) => Source::Search(search),
        (None, Some(parent)) => Source::FailedOf(parent),
        (Some(_), Some(_)) | (None, None) => {
            return Err(PageError::Invalid("either `search` or `failedOf` says which sagas".to_owned()).into());
        }
    };
    let id = campaigns::create(&mission, &operator, &new.reason, source, new.plan).await?;
    let campaign = campaigns::get(&mission, id).await?;
    let location = HeaderValue::from_str(&format!("/api/campaigns/{id}")).expect("a path of digits");
    let body = Json(view(campaign, &operator));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body).into_response())
}

/// One, with its items counted.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
) -> Answer {
    let mut body = view(campaigns::get(&mission, id).await?, &operator);
    body["states"] = json!(store::states(&mission.pool, id).await?);
    body["groups"] = json!(store::groups(&mission.pool, id, ITEM_GROUPS_MAX).await?);
    Ok(Json(body).into_response())
}

/// Which items.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    state: Option<String>,
    #[serde(default)]
    after: i32,
}

/// Its items, one by one.
pub async fn items(
    State(mission): State<Mission>,
    Path(id): Path<i64>,
    Query(Which { state, after }): Query<Which>,
) -> Answer {
    campaigns::get(&mission, id).await?;
    let limit = i64::from(API_PAGE_MAX);
    let items = store::item_rows(&mission.pool, id, state.as_deref(), after, limit).await?;
    let next = paging::next(&items, limit, |last| last.ordinal);
    Ok(Json(json!({"items": items, "next": next})).into_response())
}

/// Why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Why {
    reason: String,
}

/// Starts, pauses, resumes or ends one.
pub async fn steer(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path((id, steer)): Path<(i64, String)>,
    Body(Why { reason }): Body<Why>,
) -> Answer {
    let steer = Steer::parse(&steer)?;
    match campaigns::steer(&mission, &operator, id, steer, &reason).await? {
        Asked::Done(_) => Ok(Json(view(campaigns::get(&mission, id).await?, &operator)).into_response()),
        Asked::Pending(request) => Ok(pending(request)),
    }
}

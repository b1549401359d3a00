//! Campaigns.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sagas::pending;
use super::{Answer, Before, Body, Items, Path, Query};
use crate::access::Operator;
use crate::app::Mission;
use crate::approvals::Asked;
use crate::campaigns::decide::Phase;
use crate::campaigns::plan::Plan;
use crate::campaigns::{self, Source, Steer};
use crate::error::PageError;
use crate::limits::{API_PAGE_MAX, ITEM_GROUPS_MAX, PAGE_CAMPAIGNS};
use crate::pages::text::seen;
use crate::paging::{self, NEWEST};
use crate::store::campaigns::{self as store, Campaign, Group, StateCount};

/// The campaigns, the newest first
#[utoipa::path(get, path = "/campaigns", tag = "campaigns",
    params(("before" = Option<i64>, Query, description = "Only those before this one")),
    responses(
    (status = 200, description = "A page", body = ref("#/components/schemas/CampaignPage")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn list(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Before { before }): Query<Before>,
) -> Answer {
    let found = store::list(&mission.pool, before.unwrap_or(NEWEST), PAGE_CAMPAIGNS).await?;
    let next = paging::next(&found, PAGE_CAMPAIGNS, |last| last.id);
    let items = found.into_iter().map(|campaign| view(campaign, &operator)).collect();
    Ok(Json(Items { items, next }).into_response())
}

/// A campaign.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CampaignItem {
    /// Its number.
    id: i64,
    /// Where it is.
    phase: Phase,
    /// Why it is there.
    note: String,
    /// What was searched for.
    search: String,
    /// It retries what failed in this one.
    parent: Option<i64>,
    /// Why it was made.
    reason: String,
    /// By whom.
    created_by: String,
    /// When, RFC 3339.
    created_at: String,
    /// Since when it is in its phase, RFC 3339.
    changed_at: String,
    /// How often it was started or resumed.
    round: i32,
    /// What it does, and how carefully; an output or a patch is redacted for viewers.
    plan: Value,
}

/// A campaign with its items counted.
#[derive(Serialize, JsonSchema)]
pub struct CampaignDetail {
    #[serde(flatten)]
    campaign: CampaignItem,
    /// By state.
    states: Vec<StateCount>,
    /// By state and reason, the largest groups.
    groups: Vec<Group>,
}

fn view(campaign: Campaign, operator: &Operator) -> CampaignItem {
    let mut plan = json!(campaign.plan);
    // A patch or an output may hold what viewers don't see.
    for name in ["inputPatch", "output"] {
        if let Some(value) = plan["action"].get_mut(name) {
            *value = seen(value, operator);
        }
    }
    CampaignItem {
        id: campaign.id,
        phase: campaign.phase,
        note: campaign.note,
        search: campaign.search,
        parent: campaign.parent,
        reason: campaign.reason,
        created_by: campaign.created_by,
        created_at: campaign.created_at.to_rfc3339(),
        changed_at: campaign.changed_at.to_rfc3339(),
        round: campaign.round,
        plan,
    }
}

/// A campaign to be planned.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "NewCampaign")]
pub struct New {
    /// The sagas of this search; or those
    search: Option<String>,
    /// that failed in this campaign.
    failed_of: Option<i64>,
    /// Why.
    reason: String,
    /// What to do, and how carefully.
    plan: Plan,
}

/// Plans a campaign
///
/// Its sagas are written down and dry-run; nothing is done to them. For operators.
#[utoipa::path(post, path = "/campaigns", tag = "campaigns",
    request_body(content = ref("#/components/schemas/NewCampaign"), content_type = "application/json"),
    responses(
    (status = 201, description = "Planned", body = ref("#/components/schemas/CampaignItem")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
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

/// A campaign with its items counted
#[utoipa::path(get, path = "/campaigns/{id}", tag = "campaigns",
    params(("id" = i64, Path, description = "The campaign")),
    responses(
    (status = 200, description = "It", body = ref("#/components/schemas/CampaignDetail")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
) -> Answer {
    let body = CampaignDetail {
        campaign: view(campaigns::get(&mission, id).await?, &operator),
        states: store::states(&mission.pool, id).await?,
        groups: store::groups(&mission.pool, id, ITEM_GROUPS_MAX).await?,
    };
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

/// A campaign's items
#[utoipa::path(get, path = "/campaigns/{id}/items", tag = "campaigns",
    params(("id" = i64, Path, description = "The campaign"),
           ("state" = Option<String>, Query, description = "Only those in this state"),
           ("after" = Option<i32>, Query, description = "Only those behind this one")),
    responses(
    (status = 200, description = "A page", body = ref("#/components/schemas/CampaignItems")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn items(
    State(mission): State<Mission>,
    Path(id): Path<i64>,
    Query(Which { state, after }): Query<Which>,
) -> Answer {
    campaigns::get(&mission, id).await?;
    let limit = i64::from(API_PAGE_MAX);
    let items = store::item_rows(&mission.pool, id, state.as_deref(), after, limit).await?;
    let next = paging::next(&items, limit, |last| last.ordinal);
    Ok(Json(Items { items, next }).into_response())
}

/// Why.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// Why.
    reason: String,
}

/// Starts, pauses, resumes or ends a campaign
///
/// For operators; a start may wait for a second person.
#[utoipa::path(post, path = "/campaigns/{id}/{steer}", tag = "campaigns",
    params(("id" = i64, Path, description = "The campaign"),
           ("steer" = String, Path, description = "`start`, `pause`, `resume` or `abort`")),
    request_body(content = ref("#/components/schemas/Why"), content_type = "application/json"),
    responses(
    (status = 200, description = "Done", body = ref("#/components/schemas/CampaignItem")),
    (status = 202, description = "It waits for a second person", body = ref("#/components/schemas/Pending")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
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

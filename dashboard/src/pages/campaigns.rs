//! Campaigns: the list, the form, and each one with its items.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use serde::Deserialize;
use serde_json::Value;

use super::text::{ago, amount};
use super::{Before, Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::approvals::Asked;
use crate::campaigns::plan::{Action, Plan};
use crate::campaigns::{self, Source, Steer};
use crate::error::PageError;
use crate::limits::{ITEM_GROUPS_MAX, PAGE_CAMPAIGNS, PAGE_ITEMS};
use crate::paging;
use crate::store::campaigns::{self as store, Campaign, Group, ItemRow, StateCount};

#[derive(Template)]
#[template(path = "campaigns.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<i64>,
}

struct Row {
    id: i64,
    phase: &'static str,
    note: String,
    action: &'static str,
    what: String,
    by: String,
    reason: String,
    created: String,
}

/// Shows them, the newest first.
pub async fn list(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(from): Query<Before>,
) -> Page {
    let now = mission.engine.now();
    let found = store::list(&mission.pool, from.number(), PAGE_CAMPAIGNS).await?;
    let next = paging::next(&found, PAGE_CAMPAIGNS, |last| last.id);
    let row = |campaign: Campaign| Row {
        id: campaign.id,
        phase: campaign.phase.as_str(),
        what: what(&campaign),
        note: campaign.note,
        action: campaign.plan.action.name(),
        by: campaign.created_by,
        reason: campaign.reason,
        created: ago(campaign.created_at, now),
    };
    html(&List {
        frame: Frame::new(&operator, "campaigns"),
        rows: found.into_iter().map(row).collect(),
        next,
    })
}

fn what(campaign: &Campaign) -> String {
    match campaign.parent {
        Some(parent) => format!("what failed in campaign {parent}"),
        None => campaign.search.clone(),
    }
}

/// What the form of a new campaign carries.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Wanted {
    q: String,
    /// Retry what failed in this campaign.
    parent: Option<i64>,
    command: String,
    step: String,
    /// A patch of the input, or the output to skip with, as JSON.
    text: String,
    canary: String,
    rate: u32,
    in_flight_max: u32,
    failure_percent_max: u32,
    same_failures_max: u32,
    patience_seconds: u32,
    money_field: String,
    reason: String,
}

impl Default for Wanted {
    fn default() -> Self {
        let plan = Plan::new(Action::Resume {});
        Wanted {
            q: String::new(),
            parent: None,
            command: "retry".to_owned(),
            step: String::new(),
            text: String::new(),
            canary: String::new(),
            rate: plan.rate,
            in_flight_max: plan.in_flight_max,
            failure_percent_max: plan.failure_percent_max,
            same_failures_max: plan.same_failures_max,
            patience_seconds: plan.patience_seconds,
            money_field: String::new(),
            reason: String::new(),
        }
    }
}

#[derive(Template)]
#[template(path = "campaign_new.html")]
struct NewPage {
    frame: Frame,
    wanted: Wanted,
}

/// The form.
pub async fn form(Extension(operator): Extension<Operator>, Query(wanted): Query<Wanted>) -> Page {
    operator.must_be(Role::Operator)?;
    let frame = Frame::new(&operator, "campaigns");
    html(&NewPage { frame, wanted })
}

/// Makes it.
pub async fn create(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Form(wanted): Form<Wanted>,
) -> Page {
    let plan = plan(&wanted).map_err(PageError::Invalid)?;
    let source = match wanted.parent {
        Some(parent) => Source::FailedOf(parent),
        None => Source::Search(wanted.q),
    };
    let id = campaigns::create(&mission, &operator, &wanted.reason, source, plan).await?;
    Ok(Redirect::to(&format!("/campaigns/{id}")).into_response())
}

fn plan(wanted: &Wanted) -> Result<Plan, String> {
    let value = match wanted.text.trim() {
        "" => None,
        text => Some(serde_json::from_str::<Value>(text).map_err(|error| format!("this is not JSON: {error}"))?),
    };
    let step = Some(wanted.step.trim().to_owned()).filter(|step| !step.is_empty());
    let action = match wanted.command.as_str() {
        "retry" => Action::Retry {
            step,
            input_patch: value,
        },
        "skip" => Action::Skip {
            step: step.ok_or("say which step is to be skipped")?,
            output: value.unwrap_or_default(),
        },
        "cancel" => Action::Cancel {},
        "compensate" => Action::Compensate {},
        "resume" => Action::Resume {},
        other => return Err(format!("{other:?} is nothing that can be done")),
    };
    let canary = match wanted.canary.trim() {
        "" => None,
        text => Some(text.parse().map_err(|_| "the canary is a whole number".to_owned())?),
    };
    Ok(Plan {
        canary,
        rate: wanted.rate,
        in_flight_max: wanted.in_flight_max,
        failure_percent_max: wanted.failure_percent_max,
        same_failures_max: wanted.same_failures_max,
        patience_seconds: wanted.patience_seconds,
        money_field: Some(wanted.money_field.trim().to_owned()).filter(|field| !field.is_empty()),
        ..Plan::new(action)
    })
}

/// Which items a campaign's page shows.
#[derive(Deserialize)]
pub struct Shown {
    #[serde(default)]
    state: String,
    #[serde(default)]
    after: i32,
}

#[derive(Template)]
#[template(path = "campaign.html")]
struct CampaignPage {
    frame: Frame,
    id: i64,
    phase: &'static str,
    note: String,
    by: String,
    reason: String,
    created: String,
    what: String,
    href: String,
    plan: String,
    steers: Vec<Steer>,
    states: Vec<StateRow>,
    groups: Vec<GroupRow>,
    items: Vec<ItemView>,
    state: String,
    next: Option<i32>,
    failed: bool,
    moving: bool,
}

struct StateRow {
    count: StateCount,
    money: String,
}

struct GroupRow {
    group: Group,
    money: String,
}

struct ItemView {
    row: ItemRow,
    failure: String,
    effects: String,
    money: String,
}

/// Shows one.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
    Query(Shown { state, after }): Query<Shown>,
) -> Page {
    let campaign = campaigns::get(&mission, id).await?;
    let states = store::states(&mission.pool, id).await?;
    let groups = store::groups(&mission.pool, id, ITEM_GROUPS_MAX).await?;
    let wanted = Some(state.as_str()).filter(|state| !state.is_empty());
    let items = store::item_rows(&mission.pool, id, wanted, after, PAGE_ITEMS).await?;
    let may = operator.role >= Role::Operator;
    let steers = Steer::ALL
        .into_iter()
        .filter(|steer| may && steer.from().contains(&campaign.phase));
    html(&CampaignPage {
        frame: Frame::new(&operator, "campaigns"),
        id,
        phase: campaign.phase.as_str(),
        created: ago(campaign.created_at, mission.engine.now()),
        what: what(&campaign),
        href: match campaign.parent {
            Some(parent) => format!("/campaigns/{parent}?state=failed"),
            None => super::search_link(&campaign.search),
        },
        plan: super::text::json(&serde_json::json!(campaign.plan), &operator),
        steers: steers.collect(),
        failed: may && states.iter().any(|it| it.state == "failed"),
        moving: campaign.phase.is_active(),
        states: states
            .into_iter()
            .map(|count| StateRow {
                money: money(count.money_cents),
                count,
            })
            .collect(),
        groups: groups
            .into_iter()
            .map(|group| GroupRow {
                money: money(group.money_cents),
                group,
            })
            .collect(),
        next: paging::next(&items, PAGE_ITEMS, |last| last.ordinal),
        items: items.into_iter().map(view).collect(),
        state,
        note: campaign.note,
        by: campaign.created_by,
        reason: campaign.reason,
    })
}

fn view(row: ItemRow) -> ItemView {
    let names = row.effects.as_array().into_iter().flatten().filter_map(Value::as_str);
    ItemView {
        failure: match (&row.step, &row.code) {
            (Some(step), Some(code)) => format!("{step}: {code}"),
            (Some(step), None) => step.clone(),
            (None, _) => String::new(),
        },
        effects: names.collect::<Vec<&str>>().join(", "),
        money: row.money_cents.map(money).unwrap_or_default(),
        row,
    }
}

/// Cents, as an amount; empty: nothing.
fn money(cents: i64) -> String {
    match cents {
        0 => String::new(),
        cents => amount(cents),
    }
}

/// A reason.
#[derive(Deserialize)]
pub struct Why {
    reason: String,
}

/// Starts, pauses, resumes or ends one.
pub async fn steer(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path((id, steer)): Path<(i64, String)>,
    Form(Why { reason }): Form<Why>,
) -> Page {
    let steer = Steer::parse(&steer)?;
    match campaigns::steer(&mission, &operator, id, steer, &reason).await? {
        Asked::Done(_) => Ok(Redirect::to(&format!("/campaigns/{id}")).into_response()),
        Asked::Pending(request) => Ok(Redirect::to(&format!("/approvals/{request}")).into_response()),
    }
}

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn money_is_readable() {
        assert_eq!(money(123_456_789), "1,234,567.89");
        assert_eq!(money(-30_050), "-300.50");
        assert_eq!(money(0), "");
    }
}

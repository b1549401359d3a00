//! What waits for a second person.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use orchestrator::store::reads;
use serde::Deserialize;
use workflows::ids::SagaId;

use super::text::{self, ago};
use super::{Before, Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::approvals::{self, Approval, Decision};
use crate::deeds::{self, Deed};
use crate::limits::PAGE_APPROVALS;
use crate::pages::saga::load;
use crate::paging;
use crate::store::approvals as store;

#[derive(Template)]
#[template(path = "approvals.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<i64>,
}

struct Row {
    id: i64,
    standing: &'static str,
    what: String,
    href: String,
    by: String,
    reason: String,
    asked: String,
    decided_by: String,
    outcome: String,
}

/// Shows them, the newest first.
pub async fn list(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(from): Query<Before>,
) -> Page {
    let now = mission.engine.now();
    let found = store::list(&mission.pool, false, from.number(), PAGE_APPROVALS).await?;
    let next = paging::next(&found, PAGE_APPROVALS, |last| last.id);
    let row = |request: Approval| Row {
        id: request.id,
        standing: standing(&request),
        what: what(&request),
        href: subject(&request),
        asked: ago(request.requested_at.into(), now),
        by: request.requested_by,
        reason: request.reason,
        decided_by: request.decided_by.unwrap_or_default(),
        outcome: request.outcome.unwrap_or_default(),
    };
    html(&List {
        frame: Frame::new(&operator, "approvals"),
        rows: found.into_iter().map(row).collect(),
        next,
    })
}

fn standing(request: &Approval) -> &'static str {
    match request.decision.as_deref() {
        None if request.expired => "too late",
        None => "waiting",
        Some("approved") => "approved",
        Some("rejected") => "rejected",
        Some(_) => "withdrawn",
    }
}

fn what(request: &Approval) -> String {
    let text = |name: &str| {
        request
            .deed
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    match request.campaign_id {
        Some(id) => format!("start campaign {id}"),
        None => format!("{} {}", text("command"), text("step")).trim().to_owned(),
    }
}

fn subject(request: &Approval) -> String {
    match (request.campaign_id, request.saga_id) {
        (Some(id), _) => format!("/campaigns/{id}"),
        (None, Some(id)) => format!("/sagas/{id}"),
        (None, None) => String::new(),
    }
}

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalPage {
    frame: Frame,
    id: i64,
    standing: &'static str,
    what: String,
    href: String,
    by: String,
    reason: String,
    asked: String,
    expires: String,
    deed: String,
    consequences: Vec<String>,
    problem: String,
    decided_by: String,
    outcome: String,
    may_decide: bool,
    may_withdraw: bool,
}

/// Shows one, with what would come of it now.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
) -> Page {
    let request = approvals::get(&mission, id).await?;
    let now = mission.engine.now();
    let waits = standing(&request) == "waiting";
    let own = request.requested_by == operator.name;
    let (consequences, problem) = match preview(&mission, &request).await? {
        Ok(consequences) => (consequences, String::new()),
        Err(problem) => (Vec::new(), problem),
    };
    html(&ApprovalPage {
        frame: Frame::new(&operator, "approvals"),
        id,
        standing: standing(&request),
        what: what(&request),
        href: subject(&request),
        asked: ago(request.requested_at.into(), now),
        expires: ago(request.expires_at.into(), now),
        deed: text::json(&request.deed, &operator),
        consequences: if waits { consequences } else { Vec::new() },
        problem: if waits { problem } else { String::new() },
        may_decide: waits && !own && operator.role >= Role::Approver,
        may_withdraw: waits && own,
        by: request.requested_by,
        reason: request.reason,
        decided_by: request.decided_by.unwrap_or_default(),
        outcome: request.outcome.unwrap_or_default(),
    })
}

/// What would come of it, as the saga is now.
async fn preview(
    mission: &Mission,
    request: &Approval,
) -> Result<Result<Vec<String>, String>, crate::error::PageError> {
    let Some(saga) = request.saga_id else {
        return Ok(Ok(vec![
            "The campaign begins with its canary: its page says what the dry run found.".to_owned(),
        ]));
    };
    if reads::saga(&mission.pool, SagaId(saga)).await?.is_none() {
        return Ok(Err("the saga is not there any more".to_owned()));
    }
    let (record, definition) = load(mission, &saga.to_string()).await?;
    let Ok(deed) = serde_json::from_value::<Deed>(request.deed.clone()) else {
        return Ok(Err("this request can't be read".to_owned()));
    };
    if record.summary.seq != deed.seq {
        return Ok(Err(
            "the saga has moved on since this was asked for: it can't be done any more".to_owned(),
        ));
    }
    Ok(deeds::consequences(
        mission,
        &record,
        &definition,
        &deed,
        &request.requested_by,
    ))
}

/// What was decided.
#[derive(Deserialize)]
pub struct Decided {
    decision: String,
}

/// Decides.
pub async fn decide(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<i64>,
    Form(Decided { decision }): Form<Decided>,
) -> Page {
    approvals::decide(&mission, &operator, id, Decision::parse(&decision)?).await?;
    Ok(Redirect::to(&format!("/approvals/{id}")).into_response())
}

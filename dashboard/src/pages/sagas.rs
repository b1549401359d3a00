//! The list of sagas.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect};
use orchestrator::store::reads::{self, SagaSummary};
use serde::Deserialize;
use workflows::ids::{SagaId, Timestamp};

use super::{Frame, Page, html, search};
use crate::access::Operator;
use crate::app::Mission;
use crate::limits::PAGE_SAGAS;
use crate::pages::text::{ago, mark};

/// What is asked for.
#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    q: String,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "sagas.html")]
struct List {
    frame: Frame,
    q: String,
    problem: String,
    cut: bool,
    rows: Vec<Row>,
    next: String,
}

struct Row {
    id: String,
    workflow: String,
    version: u32,
    status: &'static str,
    mark: &'static str,
    key: String,
    failure: String,
    started: String,
    started_at: String,
    changed: String,
    changed_at: String,
}

/// Shows a page of it, newest first.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Wanted { q, after }): Query<Wanted>,
) -> Page {
    let now = mission.engine.now();
    let mut page = List {
        frame: Frame::new(&operator, "sagas"),
        q,
        problem: String::new(),
        cut: false,
        rows: Vec::new(),
        next: String::new(),
    };
    let search = match search::parse(&page.q, now) {
        Ok(search) => search,
        Err(problem) => {
            page.problem = problem;
            return html(&page);
        }
    };
    if let Some(saga) = search.saga {
        return Ok(Redirect::to(&format!("/sagas/{saga}")).into_response());
    }
    let mut filter = search.filter;
    filter.after = after.and_then(|id| id.parse::<SagaId>().ok());
    let mut found = reads::list(&mission.pool, &filter, PAGE_SAGAS + 1).await?;
    let more = found.len() > PAGE_SAGAS as usize;
    found.truncate(PAGE_SAGAS as usize);
    if let Some(last) = found.last().filter(|_| more) {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("q", &page.q)
            .append_pair("after", &last.id.to_string())
            .finish();
        page.next = format!("/sagas?{query}");
    }
    for saga in found {
        page.rows.push(row(&mission, saga, now).await?);
    }
    page.cut = search.cut;
    html(&page)
}

async fn row(mission: &Mission, saga: SagaSummary, now: Timestamp) -> Result<Row, crate::error::PageError> {
    // From memory, but for a definition's first saga.
    let version = mission.engine.definitions().by_id(saga.definition_id).await?.version();
    let failure = match (saga.failure_step, saga.failure_code) {
        (Some(step), Some(code)) => format!("{step}: {code}"),
        (None, Some(code)) => code,
        (_, None) => String::new(),
    };
    Ok(Row {
        id: saga.id.to_string(),
        workflow: saga.workflow,
        version,
        status: saga.status.as_str(),
        mark: mark(saga.status),
        key: saga.business_key.unwrap_or_default(),
        failure,
        started: ago(saga.created_at, now),
        started_at: saga.created_at.to_rfc3339(),
        changed: ago(saga.updated_at, now),
        changed_at: saga.updated_at.to_rfc3339(),
    })
}

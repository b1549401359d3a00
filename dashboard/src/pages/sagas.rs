//! The list of sagas.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use orchestrator::store::reads::{self, SagaSummary};
use serde::Deserialize;
use serde_json::json;
use workflows::ids::{SagaId, Timestamp};
use workflows::state::Status;

use super::{Frame, Page, html, search, search_link};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{CODE_SHOWN_MAX, PAGE_SAGAS, SEARCH_MAX, WORDS_MAX};
use crate::pages::text::{ago, mark, shortened};
use crate::store::audit;
use crate::store::views::{self, View};

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
    export: String,
    views: Vec<ViewLink>,
    may_keep: bool,
    words: String,
}

struct ViewLink {
    name: String,
    href: String,
    here: bool,
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
        export: String::new(),
        views: Vec::new(),
        may_keep: operator.role >= Role::Operator,
        words: words(&mission).await?,
    };
    page.views = views::all(&mission.pool)
        .await?
        .into_iter()
        .map(|view| link(view, &page.q))
        .collect();
    page.export = form_urlencoded::Serializer::new(String::new())
        .append_pair("q", &page.q)
        .finish();
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

async fn row(mission: &Mission, saga: SagaSummary, now: Timestamp) -> Result<Row, PageError> {
    // From memory, but for a definition's first saga.
    let version = mission.engine.definitions().by_id(saga.definition_id).await?.version();
    let failure = match (saga.failure_step, saga.failure_code) {
        (Some(step), Some(code)) => format!("{step}: {}", shortened(&code, CODE_SHOWN_MAX)),
        (None, Some(code)) => shortened(&code, CODE_SHOWN_MAX),
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

fn link(view: View, q: &str) -> ViewLink {
    ViewLink {
        here: view.search == q,
        href: search_link(&view.search),
        name: view.name,
    }
}

/// What a search may be completed with: qualifiers, and of their values those that are in use now.
async fn words(mission: &Mission) -> Result<String, PageError> {
    let mut words: BTreeSet<String> = [
        "started:<1h",
        "started:<1day",
        "started:>1h",
        "sort:oldest",
        "business-key:",
        "tag.",
    ]
    .map(str::to_owned)
    .into();
    words.extend(Status::ALL.iter().map(|status| format!("status:{}", status.as_str())));
    words.extend(["status:live".to_owned(), "status:stuck".to_owned()]);
    for definition in mission.engine.definitions().all().await? {
        words.insert(format!("workflow:{}", search::quoted(definition.name())));
    }
    // What the inbox showed last will do: a list doesn't ask for more than itself.
    let inbox = mission.inbox.last();
    for group in inbox.iter().flat_map(|inbox| &inbox.groups) {
        for (name, value) in [("step", &group.step), ("error", &group.code)] {
            if !value.is_empty() && value.chars().count() <= CODE_SHOWN_MAX {
                words.insert(format!("{name}:{}", search::quoted(value)));
            }
        }
    }
    let words: Vec<String> = words.into_iter().take(WORDS_MAX).collect();
    // A word has no line break: blanks in it are quoted, others are no use in a line to type in.
    Ok(words.join("\n"))
}

/// A search to keep, or to keep no more.
#[derive(Deserialize)]
pub struct Keeping {
    name: String,
    #[serde(default)]
    q: String,
    word: String,
}

/// Keeps a search for everyone, or forgets it.
pub async fn keep(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Form(Keeping { name, q, word }): Form<Keeping>,
) -> Page {
    operator.must_be(Role::Operator)?;
    let name = name.trim();
    if name.is_empty() || name.chars().count() > views::NAME_MAX || q.len() > SEARCH_MAX {
        let message = format!("a search is kept under a name of 1 to {} characters", views::NAME_MAX);
        return Err(PageError::Invalid(message));
    }
    // The deed and its row of the trail are one transaction.
    let mut transaction = mission.pool.begin().await?;
    match word.as_str() {
        "save" => {
            search::parse(&q, mission.engine.now()).map_err(PageError::Invalid)?;
            let before = views::lock(&mut *transaction, name).await?;
            if !views::save(&mut *transaction, name, &q, &operator.name).await? {
                return Err(PageError::Refused(
                    "there are too many kept searches: delete one first".to_owned(),
                ));
            }
            let details = json!({"name": name, "before": before, "after": q});
            audit::done(&mut *transaction, &operator.name, "save view", details).await?;
        }
        "delete" => {
            // Somebody else may have deleted it a moment ago: nothing was done, and nothing is written.
            if let Some(before) = views::delete(&mut *transaction, name).await? {
                let details = json!({"name": name, "before": before});
                audit::done(&mut *transaction, &operator.name, "delete view", details).await?;
            }
        }
        other => {
            return Err(PageError::Invalid(format!(
                "{other:?} is nothing that can be done to a search"
            )));
        }
    }
    transaction.commit().await?;
    Ok(Redirect::to(&search_link(&q)).into_response())
}

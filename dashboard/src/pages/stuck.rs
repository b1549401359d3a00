//! The inbox of sagas in trouble, and what one says of its groups.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use serde::Deserialize;
use serde_json::json;

use super::search::quoted;
use super::text::{ago, shortened};
use super::{Frame, Page, charts, guide, html, search_link};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::inbox::{self, Group};
use crate::limits::{CODE_SHOWN_MAX, INBOX_AGE_MAX, INBOX_SAGAS_MAX, PAGE_GROUPS, SPARK_HOURS};
use crate::store::inbox::Said;
use crate::store::{audit, inbox as store};

#[derive(Template)]
#[template(path = "stuck.html")]
struct InboxPage {
    frame: Frame,
    all: bool,
    hidden: usize,
    more: usize,
    cut: bool,
    sagas_max: i64,
    deserted: Vec<String>,
    overdue: Vec<Late>,
    groups: Vec<Row>,
    may_say: bool,
}

struct Late {
    workflow: String,
    sagas: i64,
    since: String,
}

struct Row {
    fingerprint: String,
    kind: &'static str,
    class: &'static str,
    guide: &'static str,
    workflow: String,
    version: u32,
    step: String,
    undoing: bool,
    code: String,
    code_guide: String,
    sagas: i64,
    first: String,
    last: String,
    spark: String,
    money: String,
    state: &'static str,
    owner: String,
    href: String,
}

/// Which groups.
#[derive(Deserialize)]
pub struct Wanted {
    /// The resolved ones too.
    #[serde(default)]
    all: bool,
}

/// Shows the inbox.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Wanted { all }): Query<Wanted>,
) -> Page {
    let now = mission.engine.now();
    let known = mission
        .inbox
        .get(INBOX_AGE_MAX, async || inbox::ask(&mission).await)
        .await?;
    let fingerprints: Vec<String> = known.groups.iter().map(|group| group.fingerprint.clone()).collect();
    let said = store::said(&mission.pool, &fingerprints).await?;
    let said: BTreeMap<&str, &Said> = said.iter().map(|said| (said.fingerprint.as_str(), said)).collect();
    let (mut hidden, mut more) = (0, 0);
    let mut rows = Vec::new();
    for group in &known.groups {
        let said = said.get(group.fingerprint.as_str()).copied();
        let state = state(group, said);
        if state == "resolved" && !all {
            hidden += 1;
            continue;
        }
        if rows.len() == PAGE_GROUPS {
            more += 1;
            continue;
        }
        let (kind, guide) = group.kind.words();
        rows.push(Row {
            fingerprint: group.fingerprint.clone(),
            kind,
            class: if matches!(group.kind, inbox::Kind::Failing) {
                "waiting"
            } else {
                "failed"
            },
            guide,
            workflow: group.workflow.clone(),
            version: group.version,
            step: group.step.clone(),
            undoing: group.undoing,
            code: shortened(&group.code, CODE_SHOWN_MAX),
            code_guide: guide::section(&group.code),
            sagas: group.sagas,
            first: ago(group.first.into(), now),
            last: ago(group.last.into(), now),
            spark: charts::sparkline(&spark_words(group), "bar-bad", &group.hours),
            money: money(group),
            state,
            owner: said.map(|said| said.owner.clone()).unwrap_or_default(),
            href: search_link(&search(group)),
        });
    }
    let queues = mission.queues.get(&mission.engine);
    html(&InboxPage {
        frame: Frame::new(&operator, "stuck"),
        all,
        hidden,
        more,
        cut: known.cut,
        sagas_max: INBOX_SAGAS_MAX,
        deserted: queues
            .iter()
            .filter(|(_, queue)| queue.is_deserted())
            .map(|(name, _)| name.clone())
            .collect(),
        overdue: known
            .overdue
            .iter()
            .map(|late| Late {
                workflow: late.workflow.clone(),
                sagas: late.sagas,
                since: ago(late.since.into(), now),
            })
            .collect(),
        groups: rows,
        may_say: operator.role >= Role::Operator,
    })
}

/// What was said holds, but a resolved group is open again as soon as a saga fails anew.
fn state(group: &Group, said: Option<&Said>) -> &'static str {
    match said.map(|said| (said.state.as_str(), said.changed_at)) {
        Some(("resolved", at)) if group.last <= at => "resolved",
        Some(("resolved", _)) => "open again",
        Some(("acknowledged", _)) => "acknowledged",
        Some(_) | None => "open",
    }
}

/// Where not all could be looked into, it is at least so much.
fn money(group: &Group) -> String {
    match inbox::money(group.money) {
        money if group.counted || money.is_empty() => money,
        money => format!("≥ {money}"),
    }
}

fn spark_words(group: &Group) -> String {
    let last = group.hours.last().copied().unwrap_or_default();
    let day: i64 = group.hours.iter().sum();
    format!("{last} in the last hour, {day} in the last {SPARK_HOURS} hours")
}

fn search(group: &Group) -> String {
    let mut search = format!("workflow:{} status:live", quoted(&group.workflow));
    for (name, value) in [("step", &group.step), ("error", &group.code)] {
        if !value.is_empty() {
            search.push_str(&format!(" {name}:{}", quoted(value)));
        }
    }
    search
}

/// What is said of a group.
#[derive(Deserialize)]
pub struct Word {
    word: String,
}

/// Takes it on, resolves or opens it.
pub async fn say(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(fingerprint): Path<String>,
    Form(Word { word }): Form<Word>,
) -> Page {
    operator.must_be(Role::Operator)?;
    let good = fingerprint.len() == 16
        && fingerprint
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !good {
        return Err(PageError::NotFound(format!("the group {fingerprint}")));
    }
    let (state, owner) = match word.as_str() {
        "take" => ("acknowledged", Some(operator.name.as_str())),
        "resolve" => ("resolved", None),
        "open" => ("open", Some("")),
        other => {
            return Err(PageError::Invalid(format!(
                "{other:?} is nothing that can be said of a group"
            )));
        }
    };
    // The deed and its row of the trail are one transaction.
    let mut transaction = mission.pool.begin().await?;
    let before = store::lock(&mut *transaction, &fingerprint).await?;
    let before = before.map(|said| json!({"state": said.state, "owner": said.owner}));
    store::say(&mut *transaction, &fingerprint, state, owner, &operator.name).await?;
    let after = store::lock(&mut *transaction, &fingerprint).await?;
    let after = after.map(|said| json!({"state": said.state, "owner": said.owner}));
    let details = json!({"group": fingerprint, "before": before, "after": after});
    audit::done(&mut *transaction, &operator.name, "stuck group", details).await?;
    transaction.commit().await?;
    Ok(Redirect::to("/stuck").into_response())
}

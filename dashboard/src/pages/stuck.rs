//! The inbox of what waits for an operator, and the audit trail.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::search::quoted;
use super::text::{self, ago};
use super::{Frame, Page, html, search_link};
use crate::access::Operator;
use crate::app::Mission;
use crate::limits::PAGE_AUDIT;
use crate::store::{audit, figures};

#[derive(Template)]
#[template(path = "stuck.html")]
struct Inbox {
    frame: Frame,
    groups: Vec<Row>,
}

struct Row {
    workflow: String,
    step: String,
    code: String,
    sagas: i64,
    first: String,
    last: String,
    href: String,
}

/// Shows the inbox.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let now = mission.engine.now();
    let groups = figures::stuck(&mission.pool).await?;
    let row = |group: figures::Group| {
        let mut search = format!("workflow:{} status:failed", quoted(&group.workflow));
        for (name, value) in [("step", &group.step), ("error", &group.code)] {
            if !value.is_empty() {
                search.push_str(&format!(" {name}:{}", quoted(value)));
            }
        }
        Row {
            href: search_link(&search),
            workflow: group.workflow,
            step: group.step,
            code: group.code,
            sagas: group.sagas,
            first: ago(group.first.into(), now),
            last: ago(group.last.into(), now),
        }
    };
    html(&Inbox {
        frame: Frame::new(&operator, "stuck"),
        groups: groups.into_iter().map(row).collect(),
    })
}

/// Where a page of the trail begins.
#[derive(Deserialize)]
pub struct Before {
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Trail {
    frame: Frame,
    rows: Vec<TrailRow>,
    next: Option<i64>,
}

struct TrailRow {
    entry: audit::Entry,
    details: String,
}

/// Shows the audit trail.
pub async fn trail(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(Before { before }): Query<Before>,
) -> Page {
    let entries = audit::page(&mission.pool, before.unwrap_or(i64::MAX), PAGE_AUDIT).await?;
    let full = entries.len() as i64 == PAGE_AUDIT;
    let next = entries.last().filter(|_| full).map(|entry| entry.id);
    let row = |entry: audit::Entry| TrailRow {
        details: text::json(&entry.details, &operator),
        entry,
    };
    html(&Trail {
        frame: Frame::new(&operator, "audit"),
        rows: entries.into_iter().map(row).collect(),
        next,
    })
}

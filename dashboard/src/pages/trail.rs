//! The audit trail.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::{Frame, Page, html, text};
use crate::access::Operator;
use crate::app::Mission;
use crate::limits::PAGE_AUDIT;
use crate::store::audit;

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

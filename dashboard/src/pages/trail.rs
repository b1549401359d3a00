//! The audit trail.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};

use super::{Before, Frame, Page, html, text};
use crate::access::Operator;
use crate::app::Mission;
use crate::limits::PAGE_AUDIT;
use crate::paging;
use crate::store::audit;

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
    Query(from): Query<Before>,
) -> Page {
    let entries = audit::page(&mission.pool, from.number(), PAGE_AUDIT).await?;
    let next = paging::next(&entries, PAGE_AUDIT, |last| last.id);
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

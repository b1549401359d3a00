//! The audit trail.

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::{Before, Frame, Page, html, text};
use crate::access::Operator;
use crate::app::Mission;
use crate::limits::{ACTIONS_MAX, AUDIT_SHOWN_MAX, PAGE_AUDIT};
use crate::paging;
use crate::store::audit;
use crate::trail::{self, Format, Wanted};

#[derive(Template)]
#[template(path = "audit.html")]
struct Trail {
    frame: Frame,
    wanted: Wanted,
    /// The filter as part of an address.
    query: String,
    actions: Vec<String>,
    rows: Vec<TrailRow>,
    next: Option<i64>,
}

struct TrailRow {
    entry: audit::Entry,
    before: Option<String>,
    after: Option<String>,
    details: String,
}

/// Shows a page of the audit trail.
pub async fn trail(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(wanted): Query<Wanted>,
    Query(from): Query<Before>,
) -> Page {
    let entries = audit::page(&mission.pool, &wanted.filter()?, from.number(), PAGE_AUDIT).await?;
    let next = paging::next(&entries, PAGE_AUDIT, |last| last.id);
    let shown = |value: &serde_json::Value| text::json_within(value, &operator, AUDIT_SHOWN_MAX);
    let side = |value: &Option<serde_json::Value>| value.as_ref().map(shown);
    let row = |entry: audit::Entry| TrailRow {
        before: side(&entry.before),
        after: side(&entry.after),
        details: shown(&entry.details),
        entry,
    };
    html(&Trail {
        frame: Frame::new(&operator, "audit"),
        query: wanted.query(),
        wanted,
        actions: audit::actions(&mission.pool, ACTIONS_MAX).await?,
        rows: entries.into_iter().map(row).collect(),
        next,
    })
}

/// In which form.
#[derive(Deserialize)]
pub struct As {
    format: Format,
}

/// The trail as a file.
pub async fn export(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(wanted): Query<Wanted>,
    Query(As { format }): Query<As>,
) -> Page {
    trail::export(mission, operator, &wanted, format).await
}

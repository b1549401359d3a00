//! The pages: each handler reads, makes a view of plain texts, and gives it to its template, which escapes everything.

pub mod act;
pub mod alerts;
pub mod analytics;
pub mod approvals;
pub mod assets;
pub mod campaigns;
pub mod charts;
pub mod difference;
pub mod export;
pub mod graph;
pub mod guide;
pub mod home;
pub mod live;
pub mod login;
pub mod saga;
pub mod sagas;
pub mod schedules;
pub mod search;
pub mod settings;
pub mod sign_on;
pub mod standing;
pub mod stuck;
pub mod text;
pub mod timeline;
pub mod trail;
pub mod workers;
pub mod workflows;

use askama::Template;
use axum::http::Uri;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use crate::access::Operator;
use crate::error::PageError;
use crate::paging::NEWEST;

/// What a page's handler gives.
pub type Page = Result<Response, PageError>;

/// What the frame around each page shows.
pub struct Frame {
    /// The operator's name.
    pub name: String,
    /// Their role.
    pub role: &'static str,
    /// Which entry of the menu this is.
    pub here: &'static str,
}

impl Frame {
    /// The frame of the page `here`.
    pub fn new(operator: &Operator, here: &'static str) -> Frame {
        Frame {
            name: operator.name.clone(),
            role: operator.role.as_str(),
            here,
        }
    }
}

/// Where a list begins.
#[derive(Deserialize)]
pub struct Before {
    before: Option<i64>,
}

impl Before {
    /// The number before which the page's entries are.
    pub fn number(self) -> i64 {
        self.before.unwrap_or(NEWEST)
    }
}

/// The list of what this search finds.
pub fn search_link(search: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("q", search)
        .finish();
    format!("/sagas?{query}")
}

/// A page from its template.
pub fn html(template: &impl Template) -> Page {
    Ok(Html(template.render()?).into_response())
}

/// There is no such page.
pub async fn not_found(uri: Uri) -> PageError {
    PageError::NotFound(format!("the page {}", uri.path()))
}

//! The page that shows the messages: a list, and one of them with all that was sent.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::{Captured, Shared, lock};

/// Nothing but the page's own style, and no script: what is shown comes from anywhere.
const POLICY: [(HeaderName, &str); 2] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];
/// Characters of a message in the list.
const LISTED_CHARS_MAX: usize = 120;

struct Line {
    number: u64,
    at: String,
    channel: &'static str,
    to: String,
    text: String,
}

impl Line {
    fn of(it: &Captured) -> Line {
        Line {
            number: it.number,
            at: it.at.format("%Y-%m-%d %H:%M:%S").to_string(),
            channel: it.channel,
            to: it.to.clone(),
            text: it.text.chars().take(LISTED_CHARS_MAX).collect(),
        }
    }
}

#[derive(Template)]
#[template(path = "messages.html")]
struct List {
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct One {
    line: Line,
    text: String,
    source: String,
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let lines = lock(&shared.kept).iter().rev().map(Line::of).collect();
    page(&List { lines })
}

pub(super) async fn show(State(shared): State<Arc<Shared>>, Path(number): Path<u64>) -> Response {
    let found = lock(&shared.kept).iter().find(|it| it.number == number).cloned();
    let Some(it) = found else {
        return (StatusCode::NOT_FOUND, "there is no such message, or not any more").into_response();
    };
    page(&One {
        line: Line::of(&it),
        source: if it.source.is_null() {
            String::new()
        } else {
            format!("{:#}", it.source)
        },
        text: it.text,
    })
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (POLICY, Html(html)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

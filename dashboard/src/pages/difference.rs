//! What is different about a saga's last attempt at a step: from the one before it, and from the last saga that passed.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;
use workflows::ids::SagaId;

use super::text::{shortened, span};
use super::{Frame, Page, html};
use crate::access::Operator;
use crate::app::Mission;
use crate::comparison::{self, Compared, Side, With};
use crate::error::PageError;
use crate::limits::EVENT_SHOWN_MAX;

#[derive(Template)]
#[template(path = "difference.html")]
struct DifferencePage {
    frame: Frame,
    id: String,
    step: String,
    parts: Vec<Part>,
}

struct Part {
    title: &'static str,
    /// Why there is nothing to compare; empty: there is.
    problem: String,
    before: String,
    before_saga: String,
    after: String,
    rows: Vec<Row>,
    more: bool,
}

struct Row {
    path: String,
    before: String,
    after: String,
}

/// Which step; left out, the one that failed.
#[derive(Deserialize)]
pub struct Which {
    #[serde(default)]
    step: String,
}

/// Shows it.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Query(Which { step }): Query<Which>,
) -> Page {
    let saga: SagaId = id.parse().map_err(|_| PageError::NotFound(format!("the saga {id}")))?;
    let wanted = Some(step.as_str()).filter(|step| !step.is_empty());
    let mut parts = Vec::new();
    let mut name = step.clone();
    for (title, with) in [
        ("From the attempt before", With::Previous),
        ("From the last saga that passed this step", With::Passed),
    ] {
        parts.push(
            match comparison::compare(&mission, saga, wanted, with, &operator).await {
                Ok(compared) => {
                    name.clone_from(&compared.step);
                    part(title, compared, saga)
                }
                // There is no such thing to compare with: the page says so and shows the other.
                Err(error @ (PageError::Refused(_) | PageError::NotFound(_))) => Part {
                    title,
                    problem: error.to_string(),
                    before: String::new(),
                    before_saga: String::new(),
                    after: String::new(),
                    rows: Vec::new(),
                    more: false,
                },
                Err(error) => return Err(error),
            },
        );
    }
    html(&DifferencePage {
        frame: Frame::new(&operator, "sagas"),
        id: saga.to_string(),
        step: name,
        parts,
    })
}

fn part(title: &'static str, compared: Compared, saga: SagaId) -> Part {
    let row = |change: crate::difference::Change| Row {
        path: change.path,
        before: value(change.before),
        after: value(change.after),
    };
    Part {
        title,
        problem: String::new(),
        before: side(&compared.before),
        before_saga: match compared.before.saga {
            other if other != saga => other.to_string(),
            _own => String::new(),
        },
        after: side(&compared.after),
        rows: compared.changes.into_iter().map(row).collect(),
        more: compared.more,
    }
}

fn side(side: &Side) -> String {
    let outcome = side.outcome.as_deref().unwrap_or("not answered");
    let took = side.took_ms.map(|took| format!(" after {}", span(took)));
    format!(
        "attempt {} of {}, v{}: {outcome}{}",
        side.attempt,
        side.at,
        side.version,
        took.unwrap_or_default()
    )
}

fn value(value: Option<Value>) -> String {
    value.map_or_else(
        || "—".to_owned(),
        |value| shortened(&value.to_string(), EVENT_SHOWN_MAX),
    )
}

//! Queues and who works on them; pausing and limiting them.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use serde::Deserialize;

use super::text::ago;
use super::{Frame, Page, html};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::COUNT_MAX;
use crate::queue_control::{self, Change, Standing};

#[derive(Template)]
#[template(path = "workers.html")]
struct QueuesPage {
    frame: Frame,
    rows: Vec<Row>,
    workers: Vec<WorkerRow>,
    may_act: bool,
}

struct Row {
    name: String,
    /// As a path segment.
    segment: String,
    workflows: String,
    paused: bool,
    rate: String,
    said: String,
    waiting: String,
    lag: String,
    deserted: bool,
    workers: Option<usize>,
    in_flight: u64,
    members: Option<Vec<String>>,
}

struct WorkerRow {
    name: String,
    host: String,
    version: String,
    queues: String,
    since: String,
    seen: String,
}

/// Shows them.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let now = mission.engine.now();
    let workers = queue_control::alive(&mission).await?.into_iter().map(|worker| {
        let at = |at: &workflows::protocol::QueueStanding| {
            format!("{}: {} in hand, {} at once", at.queue, at.in_flight, at.concurrency)
        };
        let queues: Vec<String> = worker.queues.0.iter().map(at).collect();
        WorkerRow {
            name: worker.name,
            host: worker.host,
            version: worker.version,
            queues: queues.join("; "),
            since: ago(worker.started_at.into(), now),
            seen: ago(worker.seen_at.into(), now),
        }
    });
    html(&QueuesPage {
        frame: Frame::new(&operator, "queues"),
        workers: workers.collect(),
        rows: queue_control::list(&mission).await?.into_iter().map(row).collect(),
        may_act: operator.role >= Role::Operator,
    })
}

fn row(standing: Standing) -> Row {
    let said = standing.changed_by.map(|by| {
        let (reason, at) = (
            standing.reason.unwrap_or_default(),
            standing.changed_at.unwrap_or_default(),
        );
        format!("{by}, {at}: {reason}")
    });
    let since = standing.waiting_since.map(|since| format!(", the first since {since}"));
    let more = if standing.waiting < COUNT_MAX { "" } else { " or more" };
    Row {
        segment: form_urlencoded::byte_serialize(standing.queue.as_bytes()).collect(),
        name: standing.queue,
        workflows: standing.workflows.join(", "),
        paused: standing.paused,
        rate: standing.rate.map(|rate| rate.to_string()).unwrap_or_default(),
        said: said.unwrap_or_default(),
        waiting: match standing.waiting {
            0 => String::new(),
            waiting => format!("{waiting}{more} held back{}", since.unwrap_or_default()),
        },
        lag: standing
            .lag
            .map_or_else(|| "not known".to_owned(), |lag| lag.to_string()),
        deserted: standing.deserted,
        workers: standing.workers,
        in_flight: standing.in_flight,
        members: standing.members,
    }
}

/// What the forms carry.
#[derive(Deserialize)]
pub struct Wanted {
    word: String,
    reason: String,
    #[serde(default)]
    rate: String,
}

/// Pauses, resumes or limits one.
pub async fn act(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(queue): Path<String>,
    Form(wanted): Form<Wanted>,
) -> Page {
    let change = match wanted.word.as_str() {
        "pause" => Change {
            paused: Some(true),
            rate: None,
        },
        "resume" => Change {
            paused: Some(false),
            rate: None,
        },
        "limit" => Change {
            paused: None,
            rate: Some(rate(wanted.rate.trim())?),
        },
        other => {
            return Err(PageError::Invalid(format!(
                "{other:?} is nothing that can be done to a queue"
            )));
        }
    };
    queue_control::change(&mission, &operator, &queue, change, &wanted.reason).await?;
    Ok(Redirect::to("/workers").into_response())
}

/// Empty: no limit.
fn rate(text: &str) -> Result<Option<f64>, PageError> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| PageError::Invalid(format!("{text:?} is no number of tasks a second"))),
    }
}

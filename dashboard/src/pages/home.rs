//! The overview. Its figures are asked for once in a few seconds, however many look at them.

use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use tokio::sync::Mutex;

use super::text::{ago, mark, span};
use super::{Frame, Page, html};
use crate::access::Operator;
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{COUNT_MAX, FIGURES_AGE_MAX};
use crate::store::figures::{self, Health, Live, Minute};

/// The figures, and when they were true.
#[derive(Default)]
pub struct Figures {
    last: Mutex<Option<(Instant, Arc<Known>)>>,
}

struct Known {
    live: Vec<Live>,
    minutes: Vec<Minute>,
    health: Health,
}

impl Figures {
    /// Fresh enough ones; who comes while they are asked for waits for the answer.
    async fn get(&self, mission: &Mission) -> Result<Arc<Known>, PageError> {
        let mut last = self.last.lock().await;
        if let Some((at, known)) = last.as_ref()
            && at.elapsed() < FIGURES_AGE_MAX
        {
            return Ok(known.clone());
        }
        let known = Arc::new(Known {
            live: figures::live(&mission.pool).await?,
            minutes: figures::minutes(&mission.pool).await?,
            health: figures::health(&mission.pool).await?,
        });
        *last = Some((Instant::now(), known.clone()));
        Ok(known)
    }
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    in_flight: String,
    failed: i64,
    outbox: i64,
    outbox_age: String,
    late_timers: i64,
    oldest: String,
    live: Vec<Row>,
    minutes: Vec<Minute>,
}

struct Row {
    workflow: String,
    status: String,
    mark: &'static str,
    sagas: i64,
    href: String,
}

/// Shows it.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let known = mission.figures.get(&mission).await?;
    let in_flight: i64 = known.live.iter().map(|row| row.sagas).sum();
    let failed = known.live.iter().filter(|row| row.status == "failed");
    let health = &known.health;
    html(&Home {
        frame: Frame::new(&operator, "overview"),
        in_flight: if in_flight < COUNT_MAX {
            in_flight.to_string()
        } else {
            format!("{in_flight} or more")
        },
        failed: failed.map(|row| row.sagas).sum(),
        outbox: health.outbox,
        outbox_age: span((health.outbox_seconds * 1_000.0) as u64),
        late_timers: health.late_timers,
        oldest: health
            .oldest_stuck
            .map_or_else(|| "none".to_owned(), |at| ago(at.into(), mission.engine.now())),
        live: known.live.iter().map(row).collect(),
        minutes: known.minutes.clone(),
    })
}

fn row(live: &Live) -> Row {
    let search = format!("workflow:{} status:{}", live.workflow, live.status);
    Row {
        workflow: live.workflow.clone(),
        status: live.status.clone(),
        mark: live.status.parse().map_or("", mark),
        sagas: live.sagas,
        href: super::search_link(&search),
    }
}

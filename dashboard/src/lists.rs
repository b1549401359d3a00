//! The list pages' statements with Postgres' own account of them, for the benchmark.

use std::time::{Duration, Instant};

use orchestrator::store::reads;
use sqlx::PgPool;
use workflows::ids::{SagaId, Timestamp};

use crate::limits::{COUNT_MAX, PAGE_AUDIT, PAGE_SAGAS};
use crate::pages::search;
use crate::paging::NEWEST;
use crate::store::{audit, figures, inbox};

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Planning and execution, as Postgres says.
    pub took: Duration,
    /// Sagas on the page.
    pub rows: usize,
    /// The last of them: the next page comes after it. None: there is no next one.
    pub next: Option<SagaId>,
}

/// A page of what this search finds, as the page `/sagas` asks for it.
///
/// # Errors
/// If the search makes no sense, or Postgres doesn't answer.
pub async fn listed(pool: &PgPool, text: &str, after: Option<SagaId>, now: Timestamp) -> Result<Listed, String> {
    let words = |error: sqlx::Error| error.to_string();
    let mut filter = search::parse(text, now)?.filter;
    filter.after = after;
    let found = reads::list(pool, &filter, PAGE_SAGAS + 1).await.map_err(words)?;
    let account = reads::explain_list(pool, &filter, PAGE_SAGAS + 1)
        .await
        .map_err(words)?;
    let part = |name: &str| account[0][name].as_f64().unwrap_or_default();
    let took_ms = part("Planning Time") + part("Execution Time");
    let more = found.len() > PAGE_SAGAS as usize;
    Ok(Listed {
        took: Duration::from_secs_f64(took_ms / 1_000.0),
        rows: found.len().min(PAGE_SAGAS as usize),
        next: found.get(PAGE_SAGAS as usize - 1).filter(|_| more).map(|last| last.id),
    })
}

/// The other pages' statements, each with how long its answer took: Postgres' time, and the way there and back.
///
/// # Errors
/// If Postgres doesn't answer.
pub async fn others(pool: &PgPool) -> Result<Vec<(&'static str, Duration)>, sqlx::Error> {
    let mut all = Vec::new();
    let mut begun = Instant::now();
    let mut note = |name: &'static str, begun: &mut Instant| {
        all.push((name, begun.elapsed()));
        *begun = Instant::now();
    };
    figures::live(pool).await?;
    note("overview: in flight", &mut begun);
    figures::minutes(pool).await?;
    note("overview: minutes", &mut begun);
    figures::sales(pool).await?;
    note("overview: sales", &mut begun);
    figures::at_nodes(pool).await?;
    note("overview: steps", &mut begun);
    figures::health(pool).await?;
    note("overview: outbox, timers, stuck", &mut begun);
    inbox::troubles(pool).await?;
    note("stuck: groups", &mut begun);
    inbox::overdue(pool).await?;
    note("stuck: overdue", &mut begun);
    figures::sample(pool, 1).await?;
    note("a workflow: its newest sagas", &mut begun);
    orchestrator::store::queues::waiting(pool, COUNT_MAX).await?;
    note("queues", &mut begun);
    audit::page(pool, &audit::Filter::default(), NEWEST, PAGE_AUDIT).await?;
    note("audit", &mut begun);
    Ok(all)
}

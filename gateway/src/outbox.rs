//! Outboxes: tells the engine what happened. Each row becomes a small saga, which publishes it and does what else is to be done.
//!
//! A row is taken for a lease, its saga started outside of any transaction under the row's id (so a second start is the same saga), and
//! deleted. While the engine is away rows wait.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use orchestrator::client::{ClientError, StartRequest};
use sqlx::PgPool;
use uuid::Uuid;

use crate::app::App;
use crate::background::{Next, backoff};
use crate::limits::{OUTBOX_BACKOFF_MAX, OUTBOX_BATCH_MAX, OUTBOX_CONCURRENCY, OUTBOX_LEASE, OUTBOX_RETRY};
use crate::store::outbox::{self, Table};

/// A table of what happened.
pub trait Outbox: Sync {
    /// What happened.
    type Due: Send + Sync;
    /// Its statements.
    const TABLE: Table;
    /// What counts the tries that fail.
    const FAILED: &'static str;

    /// Takes up to `limit` rows that are due, for the length of a lease.
    fn claim(
        &self,
        pool: &PgPool,
        limit: i64,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Self::Due>, sqlx::Error>> + Send;

    /// A row's id, and how often it was tried, this time included.
    fn tried(due: &Self::Due) -> (Uuid, i32);

    /// The saga that it becomes; none: it is nobody's.
    fn request(&self, app: &App, due: &Self::Due) -> Option<StartRequest>;
}

/// Tells one batch of what is due.
pub async fn tell_due<O: Outbox>(outbox: &O, app: &App) -> Result<Next, sqlx::Error> {
    let due = outbox.claim(app.pool(), OUTBOX_BATCH_MAX, OUTBOX_LEASE).await?;
    let next = match i64::try_from(due.len()) {
        Ok(count) if count < OUTBOX_BATCH_MAX => Next::Pause(app.options().inbox_poll_interval),
        Ok(_) | Err(_) => Next::AtOnce,
    };
    if due.is_empty() {
        return Ok(Next::Idle(app.options().inbox_poll_interval));
    }
    let tries = due.into_iter().map(|row| async {
        let told = tell(outbox, app, &row).await;
        (row, told)
    });
    let tried: Vec<(O::Due, Result<(), ClientError>)> = futures::stream::iter(tries)
        .buffer_unordered(OUTBOX_CONCURRENCY)
        .collect()
        .await;
    let mut told = Vec::with_capacity(tried.len());
    let mut again = Vec::new();
    for (row, outcome) in tried {
        let (id, attempts) = O::tried(&row);
        match outcome {
            Ok(()) => told.push(id),
            Err(error) => {
                metrics::counter!(O::FAILED).increment(1);
                report(id, &error);
                again.push((id, backoff(attempts, OUTBOX_RETRY, OUTBOX_BACKOFF_MAX)));
            }
        }
    }
    outbox::delete(app.pool(), &O::TABLE, &told).await?;
    if !again.is_empty() {
        outbox::put_off(app.pool(), &O::TABLE, &again).await?;
    }
    Ok(next)
}

async fn tell<O: Outbox>(outbox: &O, app: &App, row: &O::Due) -> Result<(), ClientError> {
    let Some(request) = outbox.request(app, row) else {
        return Ok(());
    };
    match app.engine().start(request).await {
        // Told before, though the answer was lost, and what it is about has changed since.
        Ok(_) | Err(ClientError::KeyReused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn report(id: Uuid, error: &ClientError) {
    match error {
        ClientError::Unavailable { .. } | ClientError::Overloaded { .. } | ClientError::InFlight { .. } => {
            tracing::debug!(%id, %error, "what happened has to wait to be told");
        }
        error => tracing::error!(%id, %error, "the engine does not take what happened"),
    }
}

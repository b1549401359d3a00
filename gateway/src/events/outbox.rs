//! Tells the engine what happened to events: each change becomes a small saga, which publishes it. As the users' outbox does it:
//! taken for a lease, started under the change's id, deleted; while the engine is away changes wait.

use futures::StreamExt;
use orchestrator::client::{ClientError, StartRequest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::store::changes::{self, Due};
use crate::app::App;
use crate::limits::{ACCOUNT_EVENTS_BATCH_MAX, ACCOUNT_EVENTS_CONCURRENCY, ACCOUNT_EVENTS_LEASE};
use crate::users::outbox::backoff;

/// How the keys begin under which events' sagas are started.
pub const EVENT_CHANGE_KEYS: &str = "event-change/";

/// Tells until told to stop.
pub async fn run(app: App, shutdown: CancellationToken) {
    // Said once per outage, not once per second.
    let mut is_failing = false;
    while !shutdown.is_cancelled() {
        let told = tell_due(&app).await;
        if let (Err(error), false) = (&told, is_failing) {
            tracing::warn!(%error, "the events' outbox can't be worked off; will try again");
        }
        is_failing = told.is_err();
        // A full batch means that more is likely waiting.
        if told.is_ok_and(|count| count as i64 >= ACCOUNT_EVENTS_BATCH_MAX) {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = app.event_changes_woken(), if !is_failing => (),
            () = tokio::time::sleep(app.options().inbox_poll_interval) => (),
        }
    }
}

/// Tells one batch of what is due, and says how many changes that were.
async fn tell_due(app: &App) -> Result<usize, sqlx::Error> {
    let due = changes::claim(app.pool(), ACCOUNT_EVENTS_BATCH_MAX, ACCOUNT_EVENTS_LEASE).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let count = due.len();
    let tries = due.into_iter().map(|change| async {
        let told = tell(app, &change).await;
        (change, told)
    });
    let tried: Vec<(Due, Result<(), ClientError>)> = futures::stream::iter(tries)
        .buffer_unordered(ACCOUNT_EVENTS_CONCURRENCY)
        .collect()
        .await;
    let mut told = Vec::with_capacity(count);
    let mut again = Vec::new();
    for (change, outcome) in tried {
        match outcome {
            Ok(()) => told.push(change.id),
            Err(error) => {
                metrics::counter!("sagaline_gateway_event_changes_failed_total").increment(1);
                tracing::warn!(change = %change.id, event = change.event_id, %error, "a change of an event has to wait");
                again.push((change.id, backoff(change.attempts)));
            }
        }
    }
    changes::delete(app.pool(), &told).await?;
    if !again.is_empty() {
        changes::put_off(app.pool(), &again).await?;
    }
    Ok(count)
}

async fn tell(app: &App, change: &Due) -> Result<(), ClientError> {
    let request = StartRequest {
        workflow: app.options().event_workflow.clone(),
        input: input(change),
        idempotency_key: Some(format!("{EVENT_CHANGE_KEYS}{}", change.id)),
        ..StartRequest::default()
    };
    match app.engine().start(request).await {
        Ok(_) | Err(ClientError::KeyReused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn input(change: &Due) -> Value {
    let mut input = json!({"kind": change.kind, "eventId": change.event_id});
    let members = input.as_object_mut().expect("it was just made one");
    members.extend(change.data.as_object().cloned().unwrap_or_default());
    input
}

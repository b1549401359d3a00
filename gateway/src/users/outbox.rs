//! Tells the engine what happened to accounts: each becomes a small saga, which publishes it and sends the mail, if there is one.
//!
//! Any number of gateways run this side by side. An event is taken for a lease, its saga started outside of any transaction under the
//! event's id (so a second start is the same saga), and deleted. While the engine is away events wait.

use std::time::{Duration, Instant};

use futures::StreamExt;
use orchestrator::client::{ClientError, StartRequest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::UserId;
use super::store::events::{self, Due};
use super::store::{links, sessions};
use crate::app::App;
use crate::limits::{
    ACCOUNT_EVENTS_BACKOFF_MAX, ACCOUNT_EVENTS_BATCH_MAX, ACCOUNT_EVENTS_CONCURRENCY, ACCOUNT_EVENTS_LEASE,
    ACCOUNT_EVENTS_RETRY, USERS_PURGE_EVERY, USERS_PURGE_MAX,
};

/// How the keys begin under which accounts' sagas are started.
pub const ACCOUNT_EVENT_KEYS: &str = "account-event/";

/// Tells until told to stop, and clears away what is over.
pub async fn run(app: App, shutdown: CancellationToken) {
    let mut purged_at: Option<Instant> = None;
    // Said once per outage, not once per second.
    let mut is_failing = false;
    while !shutdown.is_cancelled() {
        let told = tell_due(&app).await;
        if let (Err(error), false) = (&told, is_failing) {
            tracing::warn!(%error, "the accounts' outbox can't be worked off; will try again");
        }
        is_failing = told.is_err();
        // A full batch means that more is likely waiting.
        if told.is_ok_and(|count| count as i64 >= ACCOUNT_EVENTS_BATCH_MAX) {
            continue;
        }
        if !is_failing && purged_at.is_none_or(|at| at.elapsed() >= USERS_PURGE_EVERY) {
            purge(&app, &shutdown).await;
            purged_at = Some(Instant::now());
        }
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = app.account_events_woken(), if !is_failing => (),
            () = tokio::time::sleep(app.options().inbox_poll_interval) => (),
        }
    }
}

/// Tells one batch of what is due, and says how many events that were.
async fn tell_due(app: &App) -> Result<usize, sqlx::Error> {
    let due = events::claim(app.pool(), ACCOUNT_EVENTS_BATCH_MAX, ACCOUNT_EVENTS_LEASE).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let count = due.len();
    let tries = due.into_iter().map(|event| async {
        let told = tell(app, &event).await;
        (event, told)
    });
    let tried: Vec<(Due, Result<(), ClientError>)> = futures::stream::iter(tries)
        .buffer_unordered(ACCOUNT_EVENTS_CONCURRENCY)
        .collect()
        .await;
    let mut told = Vec::with_capacity(count);
    let mut again = Vec::new();
    for (event, outcome) in tried {
        match outcome {
            Ok(()) => told.push(event.id),
            Err(error) => {
                report(&event, &error);
                again.push((event.id, backoff(event.attempts)));
            }
        }
    }
    events::delete(app.pool(), &told).await?;
    if !again.is_empty() {
        events::put_off(app.pool(), &again).await?;
    }
    Ok(count)
}

async fn tell(app: &App, event: &Due) -> Result<(), ClientError> {
    let Some(input) = input(event) else { return Ok(()) };
    let request = StartRequest {
        workflow: app.options().account_workflow.clone(),
        input,
        idempotency_key: Some(format!("{ACCOUNT_EVENT_KEYS}{}", event.id)),
        ..StartRequest::default()
    };
    match app.engine().start(request).await {
        // Told before, though the answer was lost, and the account has changed since.
        Ok(_) | Err(ClientError::KeyReused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The saga's input; none: the event is nobody's.
fn input(event: &Due) -> Option<Value> {
    let user = UserId(event.account_id?);
    let mut input = json!({"kind": event.kind, "userId": user.to_string()});
    let members = input.as_object_mut().expect("it was just made one");
    match event.kind.as_str() {
        // Those that need no mail carry nobody's address.
        "login" | "logout" => members.extend(event.data.as_object().cloned().unwrap_or_default()),
        _ => {
            members.insert("email".to_owned(), json!(event.email));
            members.insert("name".to_owned(), json!(event.name));
        }
    }
    Some(input)
}

fn report(event: &Due, error: &ClientError) {
    metrics::counter!("sagaline_gateway_account_events_failed_total").increment(1);
    match error {
        ClientError::Unavailable { .. } | ClientError::Overloaded { .. } | ClientError::InFlight { .. } => {
            tracing::debug!(event = %event.id, %error, "an account's event has to wait");
        }
        error => {
            tracing::error!(event = %event.id, kind = event.kind, %error, "the engine does not take an account's event")
        }
    }
}

/// Doubles with each try.
pub fn backoff(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    ACCOUNT_EVENTS_RETRY
        .saturating_mul(1 << doublings)
        .min(ACCOUNT_EVENTS_BACKOFF_MAX)
}

async fn purge(app: &App, shutdown: &CancellationToken) {
    loop {
        let purged = async {
            let sessions = sessions::purge(app.pool(), USERS_PURGE_MAX).await?;
            Ok::<_, sqlx::Error>((sessions, links::purge(app.pool(), USERS_PURGE_MAX).await?))
        };
        match purged.await {
            Ok((0, 0)) => return,
            Ok((sessions, links)) => {
                tracing::info!(sessions, links, "sessions and links that are over were cleared away");
                // A full batch means that more is likely there.
                let is_full = |count: u64| i64::try_from(count).is_ok_and(|count| count >= USERS_PURGE_MAX);
                if shutdown.is_cancelled() || !(is_full(sessions) || is_full(links)) {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "sessions and links could not be cleared away; will try again");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_cap() {
        assert_eq!(backoff(1), ACCOUNT_EVENTS_RETRY);
        assert_eq!(backoff(3), ACCOUNT_EVENTS_RETRY * 4);
        assert_eq!(backoff(i32::MAX), ACCOUNT_EVENTS_BACKOFF_MAX);
    }
}

//! The inbox's background task: tells bookings that the provider has news of their payments.
//!
//! Any number of gateways run it side by side. An event is taken for a lease, told to the engine outside of any
//! transaction under its own id (so a second telling changes nothing), and settled. A booking that is not there yet is
//! asked for again, ever more seldom, for three days.

use std::time::{Duration, Instant};

use futures::StreamExt;
use orchestrator::client::{ClientError, SignalReceipt};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use workflows::event::Signal;
use workflows::ids::SagaId;
use workflows::tickets::booking::PAYMENT_SIGNAL;

use crate::app::App;
use crate::limits::{
    INBOX_BACKOFF_MAX, INBOX_BATCH_MAX, INBOX_CONCURRENCY, INBOX_LEASE, INBOX_PATIENCE, INBOX_PURGE_EVERY,
    INBOX_PURGE_MAX, INBOX_RETENTION,
};
use crate::store::inbox::{self, Due, Outcome, Settled};

/// Delivers until told to stop.
pub async fn run(app: App, shutdown: CancellationToken) {
    let mut purged_at = None;
    // Said once per outage, not once per second.
    let mut is_failing = false;
    while !shutdown.is_cancelled() {
        let worked = deliver_due(&app).await;
        match &worked {
            Ok(_) if is_failing => tracing::info!("the webhook inbox is being worked off again"),
            Err(error) if !is_failing => {
                tracing::warn!(%error, "the webhook inbox can't be worked off; will try again")
            }
            Ok(_) | Err(_) => (),
        }
        is_failing = worked.is_err();
        // A full batch means that more is likely waiting.
        if worked.is_ok_and(|count| count as i64 >= INBOX_BATCH_MAX) {
            continue;
        }
        if !is_failing && purged_at.is_none_or(|at: Instant| at.elapsed() >= INBOX_PURGE_EVERY) {
            purge(&app).await;
            purged_at = Some(Instant::now());
        }
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = app.inbox_woken(), if !is_failing => (),
            () = tokio::time::sleep(app.options().inbox_poll_interval) => (),
        }
    }
}

/// Delivers one batch of what is due, and says how many events that were.
pub async fn deliver_due(app: &App) -> Result<usize, sqlx::Error> {
    let due = inbox::claim_due(app.pool(), INBOX_BATCH_MAX, INBOX_LEASE, INBOX_PATIENCE).await?;
    let count = due.len();
    if count > 0 {
        let tries = due.into_iter().map(|event| deliver(app, event));
        let settled: Vec<_> = futures::stream::iter(tries)
            .buffer_unordered(INBOX_CONCURRENCY)
            .collect()
            .await;
        inbox::settle(app.pool(), &settled).await?;
    }
    let waiting = inbox::count_waiting(app.pool()).await?;
    metrics::gauge!("sagaline_gateway_inbox_waiting").set(waiting as f64);
    Ok(count)
}

async fn deliver(app: &App, event: Due) -> Settled {
    let told = tell(app, &event).await;
    let (outcome, note) = judge(&told, &event, app.options().inbox_retry_initial);
    let label = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Expired => "expired",
        Outcome::Again(_) => "again",
    };
    metrics::counter!("sagaline_gateway_inbox_tries_total", "outcome" => label).increment(1);
    if outcome == Outcome::Expired {
        tracing::error!(event = event.event_id, saga = %event.booking_id, note, "a webhook's booking never came");
    } else {
        tracing::debug!(event = event.event_id, saga = %event.booking_id, outcome = label, note, "webhook delivery");
    }
    Settled {
        event_id: event.event_id,
        outcome,
        note,
    }
}

/// What the engine made of it.
enum Told {
    /// The saga has it.
    Delivered,
    /// There is no such saga yet.
    NoSaga,
    /// The saga can't do anything with it any more.
    TooLate(String),
    /// The engine is away.
    Away(String),
}

async fn tell(app: &App, event: &Due) -> Told {
    let saga = SagaId(event.booking_id);
    let signal = Signal {
        id: event.event_id.clone(),
        name: PAYMENT_SIGNAL.to_owned(),
        // Where to look, not what is there.
        payload: json!({"event": event.event_id, "type": event.kind, "object": event.object_id}),
    };
    match app.engine().signal(saga, signal).await {
        Ok(SignalReceipt::Delivered) => Told::Delivered,
        Ok(SignalReceipt::Parked) | Err(ClientError::NotFound { .. }) => Told::NoSaga,
        // The engine knows it: from a delivery, or from a try when the saga was not there yet.
        Ok(SignalReceipt::Duplicate) => match app.engine().get(saga).await {
            Ok(Some(_)) => Told::Delivered,
            Ok(None) => Told::NoSaga,
            Err(error) => Told::Away(error.to_string()),
        },
        Err(ClientError::Unavailable { message }) => Told::Away(message),
        Err(error @ ClientError::Overloaded { .. }) => Told::Away(error.to_string()),
        Err(error) => Told::TooLate(error.to_string()),
    }
}

fn judge(told: &Told, event: &Due, retry_initial: Duration) -> (Outcome, Option<String>) {
    let again = || Outcome::Again(backoff(retry_initial, event.attempts));
    match told {
        Told::Delivered => (Outcome::Delivered, None),
        Told::TooLate(why) => (Outcome::Delivered, Some(why.clone())),
        Told::NoSaga if event.out_of_patience => (Outcome::Expired, Some("its booking never came".to_owned())),
        Told::NoSaga => (again(), Some("its booking is not there yet".to_owned())),
        // However long the outage: an event that was accepted is not dropped for it.
        Told::Away(why) => (again(), Some(why.clone())),
    }
}

/// Doubles with each try.
fn backoff(initial: Duration, attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    initial.saturating_mul(1 << doublings).min(INBOX_BACKOFF_MAX)
}

async fn purge(app: &App) {
    match inbox::purge(app.pool(), INBOX_RETENTION, INBOX_PURGE_MAX).await {
        Ok(0) => (),
        Ok(count) => tracing::info!(count, "old webhook events forgotten"),
        Err(error) => tracing::warn!(%error, "old webhook events could not be forgotten; will try again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(attempts: i32, out_of_patience: bool) -> Due {
        Due {
            event_id: "evt_1".to_owned(),
            kind: "payment_intent.succeeded".to_owned(),
            booking_id: uuid::Uuid::nil(),
            object_id: None,
            attempts,
            out_of_patience,
        }
    }

    #[test]
    fn the_backoff_doubles_up_to_its_cap() {
        let second = Duration::from_secs(1);
        assert_eq!(backoff(second, 1), second);
        assert_eq!(backoff(second, 4), Duration::from_secs(8));
        assert_eq!(backoff(second, 1_000_000), INBOX_BACKOFF_MAX);
    }

    #[test]
    fn patience_ends_for_missing_bookings_only() {
        let outcome = |told: Told, event: &Due| judge(&told, event, Duration::from_secs(1)).0;
        assert_eq!(
            outcome(Told::NoSaga, &due(3, false)),
            Outcome::Again(Duration::from_secs(4))
        );
        assert_eq!(outcome(Told::NoSaga, &due(3, true)), Outcome::Expired);
        assert_eq!(
            outcome(Told::Away(String::new()), &due(1, true)),
            Outcome::Again(Duration::from_secs(1))
        );
        assert_eq!(outcome(Told::Delivered, &due(1, true)), Outcome::Delivered);
        assert_eq!(outcome(Told::TooLate(String::new()), &due(1, true)), Outcome::Delivered);
    }
}

//! The inbox's background task: tells bookings that the provider has news of their payments, and begins sagas about disputes and about
//! refunds that have failed.
//!
//! An event is told to the engine under its own id (so a second telling changes nothing), and settled. A booking that is not there yet
//! is asked for again, ever more seldom, for three days.

use std::time::Duration;

use futures::StreamExt;
use orchestrator::client::{ClientError, SignalReceipt, StartRequest};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use workflows::event::Signal;
use workflows::ids::SagaId;
use workflows::tickets::booking::PAYMENT_SIGNAL;
use workflows::tickets::{dispute, reconciliation};

use super::{Concern, concern};
use crate::app::App;
use crate::background::{Chore, Next, Seldom, backoff};
use crate::limits::{
    INBOX_BACKOFF_MAX, INBOX_BATCH_MAX, INBOX_CONCURRENCY, INBOX_COUNT_EVERY, INBOX_LEASE, INBOX_PATIENCE,
    INBOX_PURGE_EVERY, INBOX_PURGE_MAX, INBOX_RETENTION,
};
use crate::store::inbox::{self, Due, Outcome, Settled};

/// How the keys begin under which events' sagas are started.
pub const WEBHOOK_KEYS: &str = "webhook/";

/// The inbox's chore.
pub struct Delivery {
    purge: Seldom,
    count: Seldom,
}

impl Default for Delivery {
    fn default() -> Self {
        Delivery {
            purge: Seldom::every(INBOX_PURGE_EVERY),
            count: Seldom::every(INBOX_COUNT_EVERY),
        }
    }
}

impl Chore for Delivery {
    const NAME: &'static str = "working off the webhook inbox";

    async fn work(&self, app: &App) -> Result<Next, sqlx::Error> {
        // A full batch means that more is likely waiting.
        Ok(match deliver_due(app).await? {
            0 => Next::Idle(app.options().inbox_poll_interval),
            count if count as i64 >= INBOX_BATCH_MAX => Next::AtOnce,
            _ => Next::Pause(app.options().inbox_poll_interval),
        })
    }

    async fn rest(&mut self, app: &App, _shutdown: &CancellationToken) {
        if self.purge.is_due() {
            purge(app).await;
        }
        if self.count.is_due() {
            count(app).await;
        }
    }

    async fn woken(&self, app: &App) {
        app.inbox_woken().await;
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
    Ok(count)
}

/// Shows how many events wait.
async fn count(app: &App) {
    match inbox::count_waiting(app.pool()).await {
        Ok(waiting) => metrics::gauge!("sagaline_gateway_inbox_waiting").set(waiting as f64),
        Err(error) => tracing::debug!(%error, "the webhook inbox could not be counted; will try again"),
    }
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
        tracing::error!(event = event.event_id, saga = ?event.booking_id, note, "a webhook's booking never came");
    } else {
        tracing::debug!(event = event.event_id, saga = ?event.booking_id, outcome = label, note, "webhook delivery");
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
    match (concern(&event.kind, None), event.object_id.as_deref(), event.booking_id) {
        (Concern::Booking, _, Some(booking)) => tell_booking(app, event, SagaId(booking)).await,
        (Concern::Dispute, Some(dispute), _) => {
            let input = json!({"disputeId": dispute, "event": event.kind});
            begin(app, dispute::NAME, input, &event.event_id).await
        }
        // It looks what the provider and our ledger say, and stays in front of operators while they differ.
        (Concern::FailedRefund, Some(refund), _) => {
            // Of one failure up to three events tell.
            let input = json!({"reference": refund, "kind": "refund"});
            begin(
                app,
                reconciliation::DIFFERENCE,
                input,
                &format!("failed-refund/{refund}"),
            )
            .await
        }
        (Concern::Booking, _, None) | (Concern::Dispute | Concern::FailedRefund, None, _) => {
            Told::TooLate("it names nothing of ours".to_owned())
        }
    }
}

/// Begins the saga that an event leads to, once.
async fn begin(app: &App, workflow: &str, input: Value, key: &str) -> Told {
    let request = StartRequest {
        workflow: workflow.to_owned(),
        input,
        idempotency_key: Some(format!("{WEBHOOK_KEYS}{key}")),
        ..StartRequest::default()
    };
    match app.engine().start(request).await {
        Ok(_) | Err(ClientError::KeyReused { .. }) => Told::Delivered,
        Err(error) => Told::Away(error.to_string()),
    }
}

async fn tell_booking(app: &App, event: &Due, saga: SagaId) -> Told {
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
    let again = || Outcome::Again(backoff(event.attempts, retry_initial, INBOX_BACKOFF_MAX));
    match told {
        Told::Delivered => (Outcome::Delivered, None),
        Told::TooLate(why) => (Outcome::Delivered, Some(why.clone())),
        Told::NoSaga if event.out_of_patience => (Outcome::Expired, Some("its booking never came".to_owned())),
        Told::NoSaga => (again(), Some("its booking is not there yet".to_owned())),
        // However long the outage: an event that was accepted is not dropped for it.
        Told::Away(why) => (again(), Some(why.clone())),
    }
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
            booking_id: Some(uuid::Uuid::nil()),
            object_id: None,
            attempts,
            out_of_patience,
        }
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

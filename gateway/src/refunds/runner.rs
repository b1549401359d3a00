//! Takes up the bookings of events that were called off: starts the refunds' sagas, and has bookings in flight end. From time to time it
//! reports what the daily comparison of payments has found, too.
//!
//! Bookings are told to the engine in batches, under keys that make a repetition harmless.

use std::time::{Duration, Instant};

use futures::StreamExt;
use orchestrator::client::{ClientError, SagaDetail, StartRequest};
use tokio_util::sync::CancellationToken;
use workflows::event::{Command, CommandEvent};
use workflows::ids::SagaId;
use workflows::tickets::refund::EVENT_CANCELLED;

use super::REFUND_KEYS;
use super::differences;
use super::routes::saga_input;
use super::store::cancellations::{self, Due};
use crate::app::App;
use crate::background::{Chore, Next, Seldom, backoff};
use crate::limits::{
    CANCELLATION_BACKOFF_MAX, CANCELLATION_BATCH_EVERY, CANCELLATION_BATCH_MAX, CANCELLATION_CONCURRENCY,
    CANCELLATION_IDLE, CANCELLATION_LEASE, CANCELLATION_RETRY,
};

/// What is the end of the key under which a booking's refund is started: one for each booking.
const KEY: &str = "event-cancelled";

/// Bookings of events that were called off.
pub struct CalledOff {
    report: Seldom,
}

impl Default for CalledOff {
    fn default() -> Self {
        CalledOff {
            report: Seldom::every(differences::EVERY),
        }
    }
}

impl Chore for CalledOff {
    const NAME: &'static str = "taking up bookings of events that were called off";

    async fn work(&self, app: &App) -> Result<Next, sqlx::Error> {
        let began = Instant::now();
        Ok(match take_up(app).await? {
            0 => Next::Idle(CANCELLATION_IDLE),
            // So many a second at the most: the rest of the shop goes on.
            _ => Next::Pause(CANCELLATION_BATCH_EVERY.saturating_sub(began.elapsed())),
        })
    }

    async fn rest(&mut self, app: &App, _shutdown: &CancellationToken) {
        if self.report.is_due()
            && let Err(error) = differences::report(app).await
        {
            tracing::warn!(%error, "differences of payments can't be reported; will try again");
        }
    }

    fn pause(_: &App) -> Duration {
        CANCELLATION_IDLE
    }
}

/// Takes up one batch, and says how many bookings that were.
async fn take_up(app: &App) -> Result<usize, sqlx::Error> {
    let due = cancellations::claim(app.pool(), CANCELLATION_BATCH_MAX, CANCELLATION_LEASE).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let count = due.len();
    let (refunds, cancels): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|item| item.deed == "refund");
    let mut tried = refund_all(app, refunds).await;
    let ended = cancels.into_iter().map(|item| async {
        let outcome = end(app, &item).await;
        (item, outcome)
    });
    let ended: Vec<_> = futures::stream::iter(ended)
        .buffer_unordered(CANCELLATION_CONCURRENCY)
        .collect()
        .await;
    tried.extend(ended);

    let mut begun = Vec::with_capacity(count);
    let mut again = Vec::new();
    for (item, outcome) in tried {
        match outcome {
            Ok(()) => begun.push(item),
            Err(error) => {
                metrics::counter!("sagaline_gateway_cancellations_failed_total").increment(1);
                tracing::warn!(booking = %item.booking_id, event = item.event_id, %error, "a booking has to wait for its end");
                let delay = backoff(item.attempts, CANCELLATION_RETRY, CANCELLATION_BACKOFF_MAX);
                again.push((item, delay));
            }
        }
    }
    cancellations::begun(app.pool(), &begun).await?;
    if !again.is_empty() {
        cancellations::put_off(app.pool(), &again).await?;
    }
    Ok(count)
}

/// Starts the refunds of these bookings, all by one request.
async fn refund_all(app: &App, items: Vec<Due>) -> Vec<(Due, Result<(), ClientError>)> {
    let mut outcomes = Vec::with_capacity(items.len());
    let asked = items.into_iter().map(|item| async {
        let booking = app.engine().get(SagaId(item.booking_id)).await;
        (item, booking)
    });
    let found: Vec<(Due, Result<Option<SagaDetail>, ClientError>)> = futures::stream::iter(asked)
        .buffer_unordered(CANCELLATION_CONCURRENCY)
        .collect()
        .await;
    let (mut starting, mut requests) = (Vec::new(), Vec::new());
    for (item, found) in found {
        match found {
            Ok(Some(booking)) => {
                requests.push(StartRequest {
                    workflow: app.options().refund_workflow.clone(),
                    input: saga_input(&booking, &[], EVENT_CANCELLED),
                    idempotency_key: Some(format!("{REFUND_KEYS}{}/{KEY}", item.booking_id)),
                    ..StartRequest::default()
                });
                starting.push(item);
            }
            Ok(None) => {
                let error = ClientError::no_saga(SagaId(item.booking_id));
                outcomes.push((item, Err(error)));
            }
            Err(error) => outcomes.push((item, Err(error))),
        }
    }
    if requests.is_empty() {
        return outcomes;
    }
    match app.engine().start_bulk(requests).await {
        Ok(started) => outcomes.extend(starting.into_iter().zip(started).map(|(item, started)| {
            let outcome = match started {
                // It was started before, though the answer was lost, and what is known of the booking has changed since.
                Ok(_) | Err(ClientError::KeyReused { .. }) => Ok(()),
                Err(error) => Err(error),
            };
            (item, outcome)
        })),
        Err(error) => outcomes.extend(starting.into_iter().map(|item| (item, Err(error.clone())))),
    }
    outcomes
}

/// Has a booking in flight end.
async fn end(app: &App, item: &Due) -> Result<(), ClientError> {
    let command = CommandEvent {
        command: Command::Cancel {},
        by: "event-cancellation".to_owned(),
        reason: "the event was called off".to_owned(),
    };
    match app.engine().command(SagaId(item.booking_id), command).await {
        // Too late for that: it is ending by itself, or it is confirmed, which the next look finds.
        Ok(_) | Err(ClientError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

//! Calling an event off: `events.close` ends its sale, `events.settle` sees to its bookings.
//!
//! **Nothing slips through.** A claim writes its hold only while the event is on sale, in a statement that comes after the locks on its
//! seats. `events.close` first changes the status and then waits, in a second statement, for whoever has a seat of the event locked: what was
//! claimed under the old status is committed by then, and whatever locks later sees the new one. So the bookings that `events.settle` finds
//! are all there ever will be, but for a payment that succeeds after its hold has ended, which `seats.confirm` refuses for such an event.
//!
//! **Who does what.** This lists the bookings and looks how far they are, in a constant number of statements, however many there are.
//! Their sagas are started by the gateway, which reads the list.

mod store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::activity::{Registry, TaskContext};
use crate::payments::REFUNDS_QUEUE;
use crate::typed::{Failure, Typed, TypedActivity};

/// There is no such event, or nobody has seen it yet. Permanent.
pub const UNKNOWN_EVENT: &str = "unknown_event";
/// Another saga is calling it off, or has. Permanent.
pub const CALLED_OFF: &str = "called_off";

/// How long until the bookings are looked at again: this share of the time it has taken already, so that the looks of an hour
/// are some dozens.
const LOOK_SHARE: u32 = 10;
/// Not more often than that.
const LOOK_MIN: Duration = Duration::from_millis(500);
/// Nor less often.
const LOOK_MAX: Duration = Duration::from_secs(10 * 60);

/// Registers `events.close` and `events.settle`.
pub fn register(registry: &mut Registry, pool: PgPool) {
    registry
        .single(REFUNDS_QUEUE, Arc::new(Typed(Close { pool: pool.clone() })))
        .single(REFUNDS_QUEUE, Arc::new(Typed(Settle { pool })));
}

/// What `events.close` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloseInput {
    /// The event.
    pub event_id: String,
    /// Who calls it off: the saga.
    pub cancellation_id: Uuid,
    /// Why.
    pub reason: String,
}

/// What `events.close` gives.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// The event's status.
    pub status: &'static str,
}

/// What `events.settle` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettleInput {
    /// The event.
    pub event_id: String,
}

/// What `events.settle` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Bookings that had or might have got seats.
    pub bookings: i64,
    /// What went back, in minor units.
    pub refunded_cents: i64,
}

struct Close {
    pool: PgPool,
}

#[async_trait]
impl TypedActivity for Close {
    type Input = CloseInput;
    type Output = Closed;
    const NAME: &'static str = "events.close";
    const CODES: &'static [&'static str] = &[UNKNOWN_EVENT, CALLED_OFF];

    async fn run(&self, _: &TaskContext, input: CloseInput) -> Result<Closed, Failure> {
        let begun = store::close(&self.pool, &input.event_id, input.cancellation_id, &input.reason).await;
        match begun.map_err(|error| unanswered(&error))? {
            None => {
                return Err(Failure::permanent(
                    UNKNOWN_EVENT,
                    format!("there is no event {}", input.event_id),
                ));
            }
            Some(by) if by != input.cancellation_id => {
                let message = format!("the event was called off before, by the saga {by}");
                return Err(Failure::permanent(CALLED_OFF, message));
            }
            Some(_) => {}
        }
        store::await_claims(&self.pool, &input.event_id)
            .await
            .map_err(|error| unanswered(&error))?;
        Ok(Closed { status: "cancelled" })
    }
}

struct Settle {
    pool: PgPool,
}

#[async_trait]
impl TypedActivity for Settle {
    type Input = SettleInput;
    type Output = Settled;
    const NAME: &'static str = "events.settle";
    const CODES: &'static [&'static str] = &[UNKNOWN_EVENT];

    async fn run(&self, _: &TaskContext, input: SettleInput) -> Result<Settled, Failure> {
        let event = &input.event_id;
        store::note_progress(&self.pool, event)
            .await
            .map_err(|error| unanswered(&error))?;
        let listed = store::list_bookings(&self.pool, event)
            .await
            .map_err(|error| unanswered(&error))?;
        let Some(progress) = store::progress(&self.pool, event)
            .await
            .map_err(|error| unanswered(&error))?
        else {
            return Err(Failure::permanent(
                UNKNOWN_EVENT,
                format!("the event {event} was not called off"),
            ));
        };
        if listed == 0 && progress.open == 0 {
            store::finish(&self.pool, event)
                .await
                .map_err(|error| unanswered(&error))?;
            return Ok(Settled {
                bookings: progress.bookings,
                refunded_cents: progress.refunded_cents,
            });
        }
        let so_far = Duration::from_secs_f64(progress.seconds.max(0.0));
        Err(Failure::Pending {
            check_after: (so_far / LOOK_SHARE).clamp(LOOK_MIN, LOOK_MAX),
            details: json!({ "bookings": progress.bookings, "open": progress.open, "refundedCents": progress.refunded_cents }),
        })
    }
}

fn unanswered(error: &sqlx::Error) -> Failure {
    Failure::Unknown {
        message: format!("the events' database did not answer: {error}"),
    }
}

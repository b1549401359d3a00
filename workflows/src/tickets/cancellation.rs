//! An event is called off: a saga of sagas.
//!
//! # Steps
//!
//! | step | does | if it fails |
//! |---|---|---|
//! | `close` (the pivot) | ends the sale; afterwards no claim of a seat can succeed | nothing has happened: rejected |
//! | `settle` | has every booking in flight cancelled and every confirmed one refunded, each by a saga of its own, and looks from time to time how far they are | an operator |
//! | `notify` | tells operations | nothing |
//!
//! Which bookings there are and how far each is stands in a table, not here: the saga has as many journal entries for fifty as for fifty
//! thousand bookings, and whoever goes on after a crash goes on with the rows that are not done.

use std::time::Duration;

use serde_json::json;

use super::booking::Durations;
use super::notification;
use super::refund::QUEUE;
use crate::builder::{step, workflow};
use crate::definition::{Definition, Retry, Route, StepMoment};

/// The workflow's name.
pub const NAME: &str = "event_cancellation";
/// How long one look at the bookings may take; with a hundred thousand of them it is seconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(120);

/// The definition.
pub fn definition(durations: &Durations) -> Definition {
    let patient = Retry {
        initial: durations.retry,
        ..Retry::persistent()
    };
    let close = step("close", "events.close", QUEUE)
        .input(json!({ "eventId": "=input.eventId", "cancellationId": "=saga.id", "reason": "=input.reason" }))
        .retry(patient.clone())
        .attempt_timeout(LOOK_TIMEOUT)
        .otherwise(Route::Reject { reason: None })
        .emit(
            StepMoment::Succeeded,
            "event.updated",
            json!({ "eventId": "=input.eventId", "status": "cancelled", "reason": "=input.reason" }),
        )
        .pivot();
    let settle = step("settle", "events.settle", QUEUE)
        .input(json!({ "eventId": "=input.eventId" }))
        .retry(patient.clone())
        .look_again(patient)
        .attempt_timeout(LOOK_TIMEOUT)
        .otherwise(Route::Operator {});
    Definition {
        business_key: Some("input.eventId".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "eventId": { "type": "string", "minLength": 1 },
                "reason": { "type": "string", "minLength": 1, "maxLength": 500 },
                "by": { "type": "string" }
            },
            "required": ["eventId", "reason"],
            "additionalProperties": false
        }),
        ..workflow(NAME, 1)
            .description("Ends an event's sale, cancels its bookings in flight and refunds the confirmed ones.")
            .then(close)
            .then(settle)
            .then(notification::tell_operations(
                "cancellation_finished",
                json!({ "event": "=input.eventId", "bookings": "=steps.settle.output.bookings" }),
                durations,
            ))
            .output(json!({
                "bookings": "=steps.settle.output.bookings",
                "refundedCents": "=steps.settle.output.refundedCents",
            }))
            .build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Compiled;

    #[test]
    fn the_definition_is_valid() {
        let compiled = Compiled::new(definition(&Durations::default())).unwrap();
        assert!(compiled.queues().into_iter().any(|queue| queue == QUEUE));
    }
}

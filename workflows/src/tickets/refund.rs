//! A confirmed booking gives back its seats, or some of them, and gets the money for them.
//!
//! # Steps
//!
//! | step | does | if it fails |
//! |---|---|---|
//! | `return_seats` (the pivot) | under the seats' locks: what can be given back, and what it is worth; the seats are free | the refund is rejected, nothing has happened |
//! | `give_back` | the money goes back, once for this refund | twenty attempts, then an operator |
//! | `notify` | asks for messages to the buyer ([`super::notification`]) | nothing |
//!
//! Seats first, for that is where two refunds of the same seats meet: one gets them. After that the money has to follow, however long it takes.

use std::time::Duration;

use serde_json::json;

use super::booking::Durations;
use super::notification::{self, Wish};
use crate::builder::{step, workflow};
use crate::definition::{Definition, Node, Retry, Route, Step, StepEmit, StepMoment};

/// The workflow's name.
pub const NAME: &str = "refund";
/// The queue of its payments, apart from those of buyers who wait.
pub const QUEUE: &str = "refunds";
/// Why tickets come back: their buyer wants it, and may unless they were used at the door.
pub const BUYER: &str = "BUYER";
/// Why a booking of an event that was called off is refunded.
pub const EVENT_CANCELLED: &str = "EVENT_CANCELLED";
/// The longest wait between attempts at giving money back: with twenty attempts that is most of an hour until an operator is asked.
const RETRY_CAP: Duration = Duration::from_secs(240);

/// The definition, with the durations of the booking's.
pub fn definition(durations: &Durations) -> Definition {
    Definition {
        business_key: Some("input.eventId".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "bookingId": { "type": "string", "format": "uuid" },
                "eventId": { "type": "string", "minLength": 1 },
                "userId": { "type": "string", "minLength": 1 },
                "seatIds": { "type": "array", "items": { "type": "string", "minLength": 1 }, "maxItems": 100, "uniqueItems": true },
                "currency": { "type": "string", "minLength": 3, "maxLength": 3 },
                "reason": { "type": "string", "minLength": 1 },
                "email": { "type": ["string", "null"] },
                "language": { "type": "string" },
                "event": { "type": "object" }
            },
            "required": ["bookingId", "eventId", "userId", "seatIds", "currency", "reason"],
            "additionalProperties": false
        }),
        ..workflow(NAME, 2)
            .description("A confirmed booking's seats come back for sale, and their price goes back to the buyer.")
            .then(return_seats(durations))
            .then(give_back(durations))
            .then(notify(durations))
            .output(json!({
                "seatIds": "=steps.return_seats.output.seatIds",
                "amountCents": "=steps.return_seats.output.amountCents",
            }))
            .build()
    }
}

fn return_seats(durations: &Durations) -> Node {
    let all_are_back = |topic: &str, data| StepEmit {
        on: StepMoment::Succeeded,
        topic: topic.to_owned(),
        data,
        when: Some("steps.return_seats.output.seatsLeft == 0".to_owned()),
    };
    let step: Node = step("return_seats", "seats.return", "seats")
        .input(json!({
            "refundId": "=saga.id", "bookingId": "=input.bookingId", "eventId": "=input.eventId",
            "seatIds": "=input.seatIds", "unlessAdmitted": format!("=input.reason == '{BUYER}'"),
        }))
        .retry(Retry {
            initial: durations.retry,
            ..Retry::persistent()
        })
        .attempt_timeout(durations.seats_timeout)
        .route("not_refundable", Route::Reject { reason: None })
        .route("invalid_input", Route::Reject { reason: None })
        // Nobody else would notice: a cancelled event waits for it.
        .otherwise(Route::Operator {})
        .emit(
            StepMoment::Succeeded,
            "seat.released",
            json!({
                "bookingId": "=input.bookingId", "eventId": "=input.eventId",
                "seatIds": "=steps.return_seats.output.seatIds", "reason": "CANCELLED",
            }),
        )
        .pivot()
        .into();
    match step {
        Node::Step(mut step) => {
            step.emit.push(all_are_back(
                "booking.cancelled",
                json!({
                    "bookingId": "=input.bookingId", "userId": "=input.userId", "eventId": "=input.eventId",
                    "seatIds": "=steps.return_seats.output.seatIds", "reason": "=input.reason", "status": "refunded",
                }),
            ));
            Node::Step(step)
        }
        other => other,
    }
}

fn give_back(durations: &Durations) -> Node {
    Node::Step(Box::new(Step {
        when: Some("steps.return_seats.output.amountCents > 0".to_owned()),
        attempt_timeout: durations.payment_timeout,
        otherwise: Some(Route::Operator {}),
        emit: vec![StepEmit {
            on: StepMoment::Succeeded,
            topic: "payment.refunded".to_owned(),
            data: json!({
                "bookingId": "=input.bookingId", "eventId": "=input.eventId",
                "amountCents": "=steps.return_seats.output.amountCents", "currency": "=input.currency",
                "paymentId": "=steps.give_back.output.paymentId", "refundId": "=steps.give_back.output.refundId",
                "reason": "=input.reason",
            }),
            when: None,
        }],
        retry: Retry {
            initial: durations.retry,
            cap: RETRY_CAP,
            jitter: 0.5,
            ..Retry::persistent()
        },
        ..step("give_back", "payments.give_back", QUEUE)
            .input(json!({
                "refundId": "=saga.id", "bookingId": "=input.bookingId", "eventId": "=input.eventId",
                "amountCents": "=steps.return_seats.output.amountCents",
            }))
            .build()
    }))
}

fn notify(durations: &Durations) -> Node {
    let wish = Wish {
        booking: "=input.bookingId",
        kind: format!("=input.reason == '{EVENT_CANCELLED}' ? 'event_cancelled' : 'booking_cancelled'"),
        seats: "=steps.return_seats.output.seatIds",
        total: "=steps.return_seats.output.amountCents",
        confirmation_number: None,
    };
    notification::notify(wish, durations)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Compiled;

    #[test]
    fn the_definition_is_valid() {
        let compiled = Compiled::new(definition(&Durations::default())).unwrap();
        let topics: Vec<String> = compiled.topics().into_iter().collect();
        for topic in ["booking.cancelled", "payment.refunded", "seat.released"] {
            assert!(topics.iter().any(|it| it == topic), "{topic}");
        }
    }
}

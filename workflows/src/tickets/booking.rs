//! The booking saga: reserve, pay, confirm, tell the buyer; or undo it all.
//!
//! # Steps
//!
//! | step | does | undone by |
//! |---|---|---|
//! | `reserve` | holds all seats or none | `seats.release` |
//! | `pay` | creates and confirms a payment intent | `payments.refund` |
//! | `confirm` (the pivot) | makes the seats sold and gives the confirmation number | `seats.release`, only on an operator's word |
//! | `notify` | asks for messages to the buyer ([`super::notification`]); what becomes of them changes nothing | – |
//!
//! `reserve` and `pay` stand in the scope `hold`. When its time is up while a payment is in flight, the payment is
//! fenced first (`payments.cancel`): either it is certain that no money will ever move, and the seats are released; or
//! the money had been taken already, and the booking goes on to `confirm`, which takes the seats again if they are
//! still free and fails with `seats_lost` otherwise, whereupon the money is refunded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::notification::{self, Wish};
use crate::definition::{
    Action, Definition, Extend, Node, Retry, Route, SagaEmit, SagaMoment, Scope, Step, StepEmit, StepMoment,
};

/// The workflow's name.
pub const NAME: &str = "booking";
/// The signal that says that something has become known about the payment (from a webhook).
pub const PAYMENT_SIGNAL: &str = "payment_update";
/// The signal by which a buyer asks for more time.
pub const EXTEND_SIGNAL: &str = "extend_hold";
/// The scope in which seats are held.
pub const HOLD: &str = "hold";
/// The reason of a booking whose hold ended.
pub const EXPIRED: &str = "EXPIRED";
/// The reason of a booking whose payment failed.
pub const PAYMENT_FAILED: &str = "PAYMENT_FAILED";
/// The reason of a booking that was paid after its hold had ended, and whose seats had gone to somebody else by then.
/// Not `EXPIRED`: after that a late confirmation may take the seats again, after this one it must not.
pub const SEATS_LOST: &str = "SEATS_LOST";
/// The reason of a booking whose seats were taken.
pub const SEATS_UNAVAILABLE: &str = "SEATS_UNAVAILABLE";

/// The reason of a booking whose buyer would have had more seats than the event allows each.
pub const SEAT_LIMIT: &str = "SEAT_LIMIT";

/// How long things take, so that tests can shorten them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Durations {
    /// How long seats are held.
    #[serde(with = "crate::definition::duration")]
    pub hold: Duration,
    /// How much longer, once, if the buyer asks for it; nothing: they can't.
    #[serde(with = "crate::definition::duration")]
    pub hold_extension: Duration,
    /// Wait before the first retry of a payment.
    #[serde(with = "crate::definition::duration")]
    pub payment_retry: Duration,
    /// The longest wait between retries of a payment.
    #[serde(with = "crate::definition::duration")]
    pub payment_retry_cap: Duration,
    /// How long one call for seats may go unanswered.
    #[serde(with = "crate::definition::duration")]
    pub seats_timeout: Duration,
    /// How long one payment call may go unanswered.
    #[serde(with = "crate::definition::duration")]
    pub payment_timeout: Duration,
    /// Wait before the first retry of everything else.
    #[serde(with = "crate::definition::duration")]
    pub retry: Duration,
}

impl Default for Durations {
    fn default() -> Self {
        Durations {
            hold: Duration::from_secs(15 * 60),
            hold_extension: Duration::from_secs(5 * 60),
            payment_retry: Duration::from_secs(30),
            payment_retry_cap: Duration::from_secs(240),
            seats_timeout: Duration::from_secs(10),
            payment_timeout: Duration::from_secs(30),
            retry: Duration::from_secs(1),
        }
    }
}

/// The definition with these durations. Its version is always 1: a process deploys one set of durations.
pub fn definition(durations: &Durations) -> Definition {
    Definition {
        name: NAME.to_owned(),
        version: 1,
        description: "Seats are held, paid and confirmed, or everything is undone.".to_owned(),
        business_key: Some("input.eventId".to_owned()),
        input_schema: input_schema(),
        flow: vec![
            Node::Scope(Scope {
                name: HOLD.to_owned(),
                deadline: durations.hold,
                flow: vec![reserve(durations), pay(durations)],
                on_deadline: Route::Compensate {
                    reason: Some(EXPIRED.to_owned()),
                },
                accept_late: true,
                extend: (!durations.hold_extension.is_zero()).then(|| Extend {
                    signal: EXTEND_SIGNAL.to_owned(),
                    by: durations.hold_extension,
                }),
            }),
            confirm(durations),
            notify(durations),
        ],
        emit: saga_facts(),
        output: json!({
            "confirmationNumber": "=steps.confirm.output.confirmationNumber",
            "paymentId": "=steps.pay.output.paymentId",
        }),
    }
}

fn input_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "userId": { "type": "string", "minLength": 1 },
            "eventId": { "type": "string", "minLength": 1 },
            "seatIds": { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1, "maxItems": 100, "uniqueItems": true },
            "totalCents": { "type": "integer", "minimum": 0 },
            "chargesCents": { "type": "integer", "minimum": 0 },
            "breakdown": { "type": "object" },
            "currency": { "type": "string", "minLength": 3, "maxLength": 3 },
            "paymentMethod": { "type": "string", "minLength": 1 },
            "email": { "type": ["string", "null"] },
            "language": { "type": "string" },
            "event": { "type": "object" }
        },
        "required": ["userId", "eventId", "seatIds", "totalCents", "currency", "paymentMethod"],
        "additionalProperties": false
    })
}

fn saga_facts() -> Vec<SagaEmit> {
    let undone = |topic: &str, data: Value, when: Option<&str>| SagaEmit {
        on: SagaMoment::Undone,
        topic: topic.to_owned(),
        data,
        when: when.map(str::to_owned),
    };
    vec![
        SagaEmit {
            on: SagaMoment::Started,
            topic: "booking.initiated".to_owned(),
            data: json!({
                "bookingId": "=saga.id", "userId": "=input.userId", "eventId": "=input.eventId",
                "seatIds": "=input.seatIds", "totalCents": "=input.totalCents", "currency": "=input.currency",
            }),
            when: None,
        },
        undone(
            "booking.cancelled",
            json!({
                "bookingId": "=saga.id", "userId": "=input.userId", "eventId": "=input.eventId",
                "seatIds": "=input.seatIds", "reason": "=saga.reason", "status": "=saga.status",
            }),
            None,
        ),
    ]
}

fn reserve(durations: &Durations) -> Node {
    let seats = json!({ "bookingId": "=saga.id", "eventId": "=input.eventId", "seatIds": "=input.seatIds" });
    Node::Step(Box::new(Step {
        name: "reserve".to_owned(),
        activity: "seats.reserve".to_owned(),
        queue: "seats".to_owned(),
        input: with(
            &with(
                &with(&seats, "userId", json!("=input.userId")),
                "holdSeconds",
                json!(hold_seconds(durations)),
            ),
            // What is paid beside the seats' prices: fees and taxes.
            "chargesCents",
            json!("=has(input.chargesCents) ? input.chargesCents : 0"),
        ),
        when: None,
        retry: until_the_deadline(durations),
        attempt_timeout: durations.seats_timeout,
        total_timeout: None,
        compensation: Some(release(durations)),
        probe: None,
        fence: None,
        wake_on: None,
        same_key_codes: Vec::new(),
        routes: [("seat_unavailable", SEATS_UNAVAILABLE), ("seat_limit", SEAT_LIMIT)]
            .map(|(code, reason)| {
                let reason = Some(reason.to_owned());
                (code.to_owned(), Route::Reject { reason })
            })
            .into(),
        otherwise: Some(Route::Reject { reason: None }),
        emit: vec![
            step_fact(
                StepMoment::Succeeded,
                "seat.reserved",
                json!({
                    "bookingId": "=saga.id", "eventId": "=input.eventId", "seatIds": "=input.seatIds",
                    "reservedAt": "=steps.reserve.output.reservedAt", "expiresAt": "=steps.reserve.output.expiresAt",
                }),
            ),
            StepEmit {
                when: Some("error.code == 'seat_unavailable'".to_owned()),
                ..step_fact(
                    StepMoment::Failed,
                    "seat.unavailable",
                    json!({
                        "bookingId": "=saga.id", "eventId": "=input.eventId",
                        "requested": "=error.details.requested", "available": "=error.details.available",
                    }),
                )
            },
            step_fact(
                StepMoment::Compensated,
                "seat.released",
                with(&seats, "reason", json!(format!("={RELEASE_REASON}"))),
            ),
        ],
        pivot: false,
    }))
}

/// The words of `seat.released` for why a saga ends.
const RELEASE_REASON: &str =
    "saga.reason == 'EXPIRED' ? 'EXPIRED' : (saga.reason == 'PAYMENT_FAILED' ? 'PAYMENT_FAILED' : 'CANCELLED')";

fn release(durations: &Durations) -> Action {
    Action {
        activity: "seats.release".to_owned(),
        queue: Some("seats".to_owned()),
        input: json!({
            "bookingId": "=saga.id", "eventId": "=input.eventId", "seatIds": "=input.seatIds",
            "reason": format!("={RELEASE_REASON}"),
        }),
        retry: undo_retry(durations),
        attempt_timeout: Some(durations.seats_timeout),
        absent_codes: Vec::new(),
    }
}

fn pay(durations: &Durations) -> Node {
    let money = json!({
        "bookingId": "=saga.id", "eventId": "=input.eventId", "amountCents": "=input.totalCents",
        "currency": "=input.currency", "paymentMethod": "=input.paymentMethod",
    });
    let fact = json!({
        "bookingId": "=saga.id", "eventId": "=input.eventId", "amountCents": "=input.totalCents",
        "currency": "=input.currency",
    });
    let ask = |activity: &str| Action {
        activity: activity.to_owned(),
        queue: None,
        // The very input of the charge: the same key goes with the same parameters.
        input: Value::Null,
        retry: Retry {
            max_attempts: None,
            ..undo_retry(durations)
        },
        attempt_timeout: None,
        absent_codes: vec!["not_charged".to_owned()],
    };
    let failed = json!({
        "bookingId": "=saga.id", "eventId": "=input.eventId", "reason": "=error.code", "message": "=error.message",
        "retryable": "=error.retryable", "attempt": "=attempt",
    });
    Node::Step(Box::new(Step {
        name: "pay".to_owned(),
        activity: "payments.charge".to_owned(),
        queue: "payments".to_owned(),
        input: money.clone(),
        when: None,
        retry: Retry {
            initial: durations.payment_retry,
            factor: 2.0,
            cap: durations.payment_retry_cap,
            jitter: 0.1,
            max_attempts: Some(6),
            non_retryable: Vec::new(),
        },
        attempt_timeout: durations.payment_timeout,
        total_timeout: None,
        compensation: Some(Action {
            activity: "payments.refund".to_owned(),
            queue: None,
            input: with(
                &with(&money, "paymentId", json!("=steps.pay.output.paymentId")),
                "reason",
                json!("=saga.reason"),
            ),
            retry: undo_retry(durations),
            attempt_timeout: None,
            absent_codes: Vec::new(),
        }),
        probe: Some(ask("payments.lookup")),
        fence: Some(ask("payments.cancel")),
        wake_on: Some(PAYMENT_SIGNAL.to_owned()),
        same_key_codes: vec!["provider_unavailable".to_owned(), "rate_limited".to_owned()],
        routes: BTreeMap::new(),
        otherwise: Some(Route::Compensate {
            reason: Some(PAYMENT_FAILED.to_owned()),
        }),
        emit: vec![
            step_fact(StepMoment::Started, "payment.requested", fact.clone()),
            step_fact(
                StepMoment::Succeeded,
                "payment.completed",
                with(&fact, "paymentId", json!("=steps.pay.output.paymentId")),
            ),
            step_fact(StepMoment::AttemptFailed, "payment.failed", failed),
            step_fact(
                StepMoment::Retried,
                "payment.retry",
                with(&fact, "attempt", json!("=attempt")),
            ),
            step_fact(
                StepMoment::Compensated,
                "payment.refunded",
                with(
                    &with(&fact, "paymentId", json!("=steps.pay.output.paymentId")),
                    "reason",
                    json!("=saga.reason"),
                ),
            ),
        ],
        pivot: false,
    }))
}

fn confirm(durations: &Durations) -> Node {
    Node::Step(Box::new(Step {
        name: "confirm".to_owned(),
        activity: "seats.confirm".to_owned(),
        queue: "seats".to_owned(),
        input: json!({ "bookingId": "=saga.id", "eventId": "=input.eventId", "seatIds": "=input.seatIds" }),
        when: None,
        // The money is there: confirming is tried for ever, unless the seats are gone for good.
        retry: Retry {
            max_attempts: None,
            ..undo_retry(durations)
        },
        attempt_timeout: durations.seats_timeout,
        total_timeout: None,
        compensation: Some(release(durations)),
        probe: None,
        fence: None,
        wake_on: None,
        same_key_codes: Vec::new(),
        routes: ["seats_lost", "hold_released"]
            .map(|code| {
                (
                    code.to_owned(),
                    Route::Compensate {
                        reason: Some(SEATS_LOST.to_owned()),
                    },
                )
            })
            .into(),
        otherwise: Some(Route::Operator {}),
        emit: vec![step_fact(
            StepMoment::Succeeded,
            "booking.confirmed",
            json!({
                "bookingId": "=saga.id", "userId": "=input.userId", "eventId": "=input.eventId",
                "seatIds": "=input.seatIds", "totalCents": "=input.totalCents", "currency": "=input.currency",
                "paymentId": "=steps.pay.output.paymentId",
                "confirmationNumber": "=steps.confirm.output.confirmationNumber",
            }),
        )],
        pivot: true,
    }))
}

fn notify(durations: &Durations) -> Node {
    let wish = Wish {
        booking: "=saga.id",
        kind: "booking_confirmed".to_owned(),
        seats: "=input.seatIds",
        total: "=input.totalCents",
        confirmation_number: Some("=steps.confirm.output.confirmationNumber"),
    };
    notification::notify(wish, durations)
}

fn step_fact(on: StepMoment, topic: &str, data: Value) -> StepEmit {
    StepEmit {
        on,
        topic: topic.to_owned(),
        data,
        when: None,
    }
}

/// `object` with one more field.
fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

fn hold_seconds(durations: &Durations) -> u64 {
    durations.hold.as_secs_f64().ceil() as u64
}

/// The scope's deadline is the only limit.
fn until_the_deadline(durations: &Durations) -> Retry {
    Retry {
        initial: durations.retry,
        factor: 2.0,
        cap: durations.payment_retry.max(durations.retry),
        jitter: 0.1,
        max_attempts: None,
        non_retryable: Vec::new(),
    }
}

fn undo_retry(durations: &Durations) -> Retry {
    Retry {
        initial: durations.retry,
        cap: durations.payment_retry_cap,
        jitter: 0.1,
        ..Retry::persistent()
    }
}

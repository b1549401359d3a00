//! A buyer has taken a payment to the bank: what the payment provider says of it is written down, and an operator told.
//!
//! # Steps
//!
//! | step | does | if it fails |
//! |---|---|---|
//! | `note` | asks the provider, and writes down the dispute and the money that moved | an operator |
//! | `answer` | only where it has come to need one: it waits for an answer, which only people can give | an operator |
//!
//! Each event of the provider begins one, so that none waits for another. Once somebody has answered, at the provider, the one that waits is
//! retried; it ends when the dispute no longer needs an answer.

use serde_json::json;

use super::refund::QUEUE;
use crate::builder::{step, workflow};
use crate::definition::{Definition, Node, Retry, Route, Step};

/// The workflow's name.
pub const NAME: &str = "payment_dispute";
/// The kind of event that tells of a new one.
pub const OPENED: &str = "charge.dispute.created";

/// The definition.
pub fn definition() -> Definition {
    let input = json!({ "disputeId": "=input.disputeId" });
    let note = step("note", "payments.note_dispute", QUEUE)
        .input(input.clone())
        .retry(Retry::persistent())
        .otherwise(Route::Operator {});
    let answer = Node::Step(Box::new(Step {
        // An inquiry that was answered may become a dispute; a note whose answer was lost finds nothing new.
        when: Some(format!(
            "steps.note.output.needsAnswer && (steps.note.output.isNew || input.event == '{OPENED}')"
        )),
        ..step("answer", "payments.check_dispute", QUEUE)
            .input(input)
            .retry(Retry::persistent())
            .otherwise(Route::Operator {})
            .build()
    }));
    Definition {
        business_key: Some("input.disputeId".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "disputeId": { "type": "string", "minLength": 1 },
                "event": { "type": "string", "minLength": 1 }
            },
            "required": ["disputeId", "event"],
            "additionalProperties": false
        }),
        ..workflow(NAME, 1)
            .description("Writes down a disputed payment, and waits for somebody to answer it.")
            .then(note)
            .then(answer)
            .output(json!({
                "status": "=steps.note.output.status", "bookingId": "=steps.note.output.bookingId",
                "amountCents": "=steps.note.output.amountCents",
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
        Compiled::new(definition()).unwrap();
    }
}

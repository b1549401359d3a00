//! Does our ledger say what the payment provider says? Asked each day by a schedule; and each difference, a saga in front of an operator.
//!
//! `reconciliation` has one step, which reads the provider's lists page by page and goes on where it was after a crash. Every difference it
//! finds becomes a `payment_difference`, whose one step looks again: if the two agree by now the saga ends, else it waits for an operator
//! among the stuck ones. Retried after it was mended, it ends.

use std::time::Duration;

use serde_json::json;

use super::refund::QUEUE;
use crate::builder::{step, workflow};
use crate::definition::{Definition, Retry, Route};

/// The workflow's name.
pub const NAME: &str = "reconciliation";
/// The name of the workflow of one difference.
pub const DIFFERENCE: &str = "payment_difference";
/// How long one look at the lists may take: some hundred pages.
const LOOK_TIMEOUT: Duration = Duration::from_secs(300);

/// The daily comparison.
pub fn definition() -> Definition {
    let compare = step("compare", "payments.reconcile", QUEUE)
        .input(json!({
            "reconciliationId": "=saga.id", "fromHours": "=input.fromHours", "untilHours": "=input.untilHours",
        }))
        .retry(Retry::persistent())
        // A task does so many pages.
        .look_again(Retry::persistent())
        .attempt_timeout(LOOK_TIMEOUT)
        .otherwise(Route::Operator {});
    Definition {
        input_schema: json!({
            "type": "object",
            "properties": {
                "fromHours": { "type": "integer", "minimum": 1, "maximum": 8784 },
                "untilHours": { "type": "integer", "minimum": 0 }
            },
            "required": ["fromHours", "untilHours"],
            "additionalProperties": false
        }),
        ..workflow(NAME, 1)
            .description("Compares our ledger with the payment provider's lists.")
            .then(compare)
            .output(json!({
                "payments": "=steps.compare.output.payments", "refunds": "=steps.compare.output.refunds",
                "differences": "=steps.compare.output.differences",
            }))
            .build()
    }
}

/// One difference.
pub fn difference() -> Definition {
    let look = step("look", "payments.check_difference", QUEUE)
        .input(json!({ "reference": "=input.reference" }))
        .retry(Retry::persistent())
        .otherwise(Route::Operator {});
    Definition {
        business_key: Some("input.reference".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "reference": { "type": "string", "minLength": 1 },
                "kind": { "enum": ["payment", "refund"] },
                "bookingId": { "type": ["string", "null"] },
                "oursCents": { "type": ["integer", "null"] },
                "theirsCents": { "type": ["integer", "null"] }
            },
            "required": ["reference", "kind"],
            "additionalProperties": false
        }),
        ..workflow(DIFFERENCE, 1)
            .description("The payment provider and our ledger disagree: retry it once that is mended.")
            .then(look)
            .build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Compiled;

    #[test]
    fn the_definitions_are_valid() {
        Compiled::new(definition()).unwrap();
        Compiled::new(difference()).unwrap();
    }
}

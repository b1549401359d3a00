//! The safety net: frees the seats of holds that ended long ago and that no saga has released. Run by a schedule
//! each minute.

use std::time::Duration;

use serde_json::json;

use crate::builder::{step, workflow};
use crate::definition::{Definition, Retry};

/// The workflow's name.
pub const NAME: &str = "hold_sweep";

/// The definition: one step, `seats.sweep`.
pub fn definition() -> Definition {
    let sweep = step("sweep", "seats.sweep", "seats")
        .input(json!({ "graceSeconds": "=input.graceSeconds" }))
        .retry(Retry {
            max_attempts: Some(3),
            ..Retry::default()
        })
        .attempt_timeout(Duration::from_secs(30));
    Definition {
        input_schema: json!({
            "type": "object",
            "properties": { "graceSeconds": { "type": "integer", "minimum": 0 } },
            "required": ["graceSeconds"],
            "additionalProperties": false
        }),
        ..workflow(NAME, 1)
            .description("Frees the seats of holds that ended long ago.")
            .then(sweep)
            .build()
    }
}

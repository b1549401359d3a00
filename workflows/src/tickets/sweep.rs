//! The safety net: frees the seats of holds that ended long ago and that no saga has released. Run by a schedule
//! each minute.

use std::time::Duration;

use serde_json::json;

use crate::definition::{Definition, Node, Retry, Step};

/// The workflow's name.
pub const NAME: &str = "hold_sweep";

/// The definition: one step, `seats.sweep`.
pub fn definition() -> Definition {
    let sweep = Step {
        name: "sweep".to_owned(),
        activity: "seats.sweep".to_owned(),
        queue: "seats".to_owned(),
        input: json!({ "graceSeconds": "=input.graceSeconds" }),
        when: None,
        retry: Retry {
            max_attempts: Some(3),
            ..Retry::default()
        },
        attempt_timeout: Duration::from_secs(30),
        total_timeout: None,
        compensation: None,
        probe: None,
        fence: None,
        wake_on: None,
        same_key_codes: Vec::new(),
        routes: Default::default(),
        otherwise: None,
        emit: Vec::new(),
        pivot: false,
    };
    Definition {
        name: NAME.to_owned(),
        version: 1,
        description: "Frees the seats of holds that ended long ago.".to_owned(),
        business_key: None,
        input_schema: json!({
            "type": "object",
            "properties": { "graceSeconds": { "type": "integer", "minimum": 0 } },
            "required": ["graceSeconds"],
            "additionalProperties": false
        }),
        flow: vec![Node::Step(Box::new(sweep))],
        emit: Vec::new(),
        output: serde_json::Value::Null,
    }
}

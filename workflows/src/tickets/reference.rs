//! The reference workload of `sagaline bench saga`: four steps, one of which fails for every twentieth saga.

use std::time::Duration;

use serde_json::json;

use crate::definition::{Action, Definition, Node, Retry, Step};

/// The workflow's name.
pub const NAME: &str = "reference";
/// The queue of all its steps.
pub const QUEUE: &str = "reference";

/// The definition: reserve, charge, confirm, notify; release undoes reserve.
pub fn definition() -> Definition {
    let step = |name: &str, compensation: Option<Action>, pivot: bool| {
        Node::Step(Box::new(Step {
            name: name.to_owned(),
            activity: format!("reference.{name}"),
            queue: QUEUE.to_owned(),
            input: json!({ "seatId": "=input.seatId", "n": "=input.n" }),
            when: None,
            retry: Retry::default(),
            attempt_timeout: Duration::from_secs(30),
            total_timeout: None,
            compensation,
            probe: None,
            fence: None,
            wake_on: None,
            same_key_codes: Vec::new(),
            routes: Default::default(),
            otherwise: None,
            emit: Vec::new(),
            pivot,
        }))
    };
    let release = Action {
        activity: "reference.release".to_owned(),
        queue: None,
        input: json!({ "seatId": "=input.seatId", "n": "=input.n" }),
        retry: Retry::persistent(),
        attempt_timeout: None,
        absent_codes: Vec::new(),
    };
    Definition {
        name: NAME.to_owned(),
        version: 1,
        description: "The benchmark's booking: a seat is reserved, charged, confirmed and notified.".to_owned(),
        business_key: None,
        input_schema: serde_json::Value::Null,
        flow: vec![
            step("reserve", Some(release), false),
            step("charge", None, false),
            step("confirm", None, true),
            step("notify", None, false),
        ],
        emit: Vec::new(),
        output: serde_json::Value::Null,
    }
}

//! A worker with an activity that fails as long as its input is wrong.

use std::sync::Arc;

use activities::{Activity, Registry, TaskContext};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use workers::{Worker, WorkerOptions};
use workflows::protocol::Outcome;

use crate::control::Control;

const QUEUE: &str = "parcels";

struct Ship;

#[async_trait]
impl Activity for Ship {
    fn name(&self) -> &'static str {
        "parcels.ship"
    }

    async fn run(&self, _context: &TaskContext, input: Value) -> Outcome {
        match input["to"].as_str() {
            Some(town) if !town.is_empty() => Outcome::Succeeded {
                output: json!({"parcel": format!("to {town}")}),
            },
            _nowhere => Outcome::Failed {
                code: "address_incomplete".to_owned(),
                message: "the parcel has no town to go to".to_owned(),
                retryable: false,
                details: json!({}),
            },
        }
    }
}

/// Deploys the workflow `parcel` and works on its queue until the token is cancelled.
pub async fn start(control: &Control) -> CancellationToken {
    let definition = json!({
        "name": "parcel", "version": 1, "business_key": "input.order",
        "flow": [
            {"kind": "step", "name": "ship", "activity": "parcels.ship", "queue": QUEUE, "attempt_timeout": "1m",
             "retry": {"max_attempts": 1}, "input": {"to": "=input.to"}, "otherwise": {"to": "operator"}},
            {"kind": "emit", "name": "tell", "topic": "parcel.shipped"}]});
    let definition = serde_json::from_value(definition).unwrap();
    control.engine.definitions().deploy(definition).await.unwrap();
    let mut registry = Registry::new();
    registry.single(QUEUE, Arc::new(Ship));
    let stop = CancellationToken::new();
    let options = WorkerOptions::new(control.broker.config("test-worker"), vec![QUEUE.to_owned()]);
    tokio::spawn(Worker::run(options, registry, stop.clone()));
    stop
}

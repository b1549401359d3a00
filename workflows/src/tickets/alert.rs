//! Something is out of the ordinary, or no longer is; and how many workers there shall be because of it.
//!
//! `system_alert` publishes what has changed and tells operations. `scale_out` is the autoscaler: its one step sets how many workers run,
//! and afterwards operations are told. A scaler that fails is tried again with backoff for a while, and then it is an operator's. What is
//! out of the ordinary, and what is to be done about it, is decided before either begins.

use std::time::Duration;

use serde_json::json;

use super::booking::Durations;
use super::notification;
use crate::builder::{step, workflow};
use crate::definition::{Definition, Retry, Route, SagaEmit, SagaMoment, StepMoment};

/// The workflow that tells of an alert's begin or end.
pub const NAME: &str = "system_alert";
/// The workflow that sets how many workers run.
pub const SCALE_OUT: &str = "scale_out";
/// The queue of whoever starts and stops workers.
pub const QUEUE: &str = "scaling";
/// Its activity.
pub const SET: &str = "scaling.set";
/// How the idempotency keys of both begin.
pub const KEYS: &str = "watch/";
/// The topic of alerts.
pub const TOPIC: &str = "system.alert";

/// How long a scaler is tried: longer than an API server is away while it is upgraded. Afterwards an operator says what is to be done.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The longest wait between two attempts: whoever needs more workers needs them soon.
const RETRY_CAP: Duration = Duration::from_secs(15);
/// How long one attempt may go unanswered.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// The definition that tells of an alert.
pub fn definition(durations: &Durations) -> Definition {
    let fact = json!({
        "alertId": "=input.alertId", "type": "=input.alert", "state": "=input.state", "metric": "=input.metric",
        "value": "=input.value", "threshold": "=input.threshold", "at": "=input.at",
    });
    let told = json!({
        "alert": "=input.alert", "metric": "=input.metric", "value": "=string(input.value)",
        "threshold": "=string(input.threshold)",
    });
    Definition {
        business_key: Some("input.alert".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "alertId": { "type": "string", "format": "uuid" },
                "alert": { "type": "string", "minLength": 1 },
                "state": { "enum": ["raised", "ended"] },
                "metric": { "type": "string", "minLength": 1 },
                "value": { "type": "number" },
                "threshold": { "type": "number" },
                "at": { "type": "string", "format": "date-time" }
            },
            "required": ["alertId", "alert", "state", "metric", "value", "threshold", "at"],
            "additionalProperties": false
        }),
        emit: vec![SagaEmit {
            on: SagaMoment::Started,
            topic: TOPIC.to_owned(),
            data: fact,
            when: None,
        }],
        ..workflow(NAME, 1)
            .description("Publishes that an alert was raised or has ended, and tells operations.")
            .then(notification::tell_operations(
                "=input.state == 'raised' ? 'alert_raised' : 'alert_ended'",
                told,
                durations,
            ))
            .build()
    }
}

/// The definition of the autoscaler.
pub fn scale_out(durations: &Durations) -> Definition {
    let scaled = json!({ "decision": "=input.decision", "targets": "=input.targets", "alerts": "=input.alerts" });
    let set = step("set", SET, QUEUE)
        .input(json!({ "decision": "=input.decision", "targets": "=input.targets" }))
        .retry(Retry {
            initial: durations.retry,
            cap: RETRY_CAP,
            max_attempts: None,
            ..Retry::persistent()
        })
        .attempt_timeout(ATTEMPT_TIMEOUT)
        .total_timeout(PATIENCE)
        .otherwise(Route::Operator {})
        .emit(StepMoment::Succeeded, "system.scaled", scaled);
    Definition {
        business_key: Some("'decision-' + string(input.decision)".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "decision": { "type": "integer", "minimum": 1 },
                "targets": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": { "type": "string", "minLength": 1 },
                            "replicas": { "type": "integer", "minimum": 0 }
                        },
                        "required": ["name", "replicas"],
                        "additionalProperties": false
                    }
                },
                "alerts": { "type": "array", "items": { "type": "string" } },
                "workers": { "type": "string", "minLength": 1 }
            },
            "required": ["decision", "targets", "alerts", "workers"],
            "additionalProperties": false
        }),
        ..workflow(SCALE_OUT, 1)
            .description("Sets how many workers of each kind run.")
            .then(set)
            .then(notification::tell_operations(
                "workers_scaled",
                json!({ "workers": "=input.workers" }),
                durations,
            ))
            .build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::effect::Effect;
    use crate::ids::{SagaId, Timestamp};
    use crate::protocol::Task;
    use crate::{Compiled, start};

    /// What is published at once, and the first task.
    fn begun(definition: Definition, input: serde_json::Value) -> (Vec<(String, serde_json::Value)>, Task) {
        let definition = Compiled::new(definition).unwrap();
        let started = start(&definition, SagaId(uuid::Uuid::from_u128(1)), input, None, Timestamp(0));
        let mut facts = Vec::new();
        let mut task = None;
        for effect in started.unwrap().effects {
            match effect {
                Effect::Publish(fact) => facts.push((fact.topic, fact.data)),
                Effect::Dispatch { task: sent, .. } => task = Some(sent),
            }
        }
        (facts, task.unwrap())
    }

    #[test]
    fn an_alert_is_published_and_operations_are_told() {
        for (state, kind) in [("raised", "alert_raised"), ("ended", "alert_ended")] {
            let input = json!({
                "alertId": "00000000-0000-0000-0000-000000000001", "alert": "HIGH_LOAD", "state": state,
                "metric": "active_users", "value": 120_000.0, "threshold": 100_000.0, "at": "2027-01-01T20:00:00Z",
            });
            let (facts, task) = begun(definition(&Durations::default()), input);
            assert_eq!(facts.len(), 1);
            assert_eq!(facts[0].0, TOPIC);
            assert_eq!(
                (&facts[0].1["type"], &facts[0].1["state"]),
                (&json!("HIGH_LOAD"), &json!(state))
            );
            assert_eq!(task.input["kind"], kind);
            assert_eq!(task.input["data"]["value"], "120000");
        }
    }

    #[test]
    fn workers_are_set_before_anybody_is_told() {
        let targets = json!([{"name": "worker-seats", "replicas": 10}]);
        let input = json!({"decision": 7, "targets": targets, "alerts": ["HIGH_LOAD"], "workers": "worker-seats: 10"});
        let (facts, task) = begun(scale_out(&Durations::default()), input);
        assert!(facts.is_empty(), "{facts:?}");
        assert_eq!(task.activity, SET);
        assert_eq!(task.input, json!({"decision": 7, "targets": targets}));
    }
}

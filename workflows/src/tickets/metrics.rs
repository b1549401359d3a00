//! A minute's figures: they are published, and that is all.

use serde_json::{Value, json};

use crate::builder::workflow;
use crate::definition::{Case, Choice, Definition, Emit, Node};

/// The workflow's name.
pub const NAME: &str = "platform_metrics";
/// The topic of a minute's bookings.
pub const BOOKINGS: &str = "analytics.booking-metrics";
/// The topic of how the platform is.
pub const SYSTEM: &str = "analytics.system-metrics";

/// The definition: facts, and no step.
pub fn definition() -> Definition {
    let case = |kind: &str, topic: &str| Case {
        when: format!("input.kind == '{kind}'"),
        flow: vec![Node::Emit(Emit {
            name: kind.to_owned(),
            topic: topic.to_owned(),
            data: Value::from("=input.metrics"),
        })],
    };
    Definition {
        business_key: Some("input.kind + '-' + input.minute".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "kind": { "enum": ["booking", "system"] },
                "minute": { "type": "string", "format": "date-time" },
                "metrics": { "type": "object" }
            },
            "required": ["kind", "minute", "metrics"],
            "additionalProperties": false
        }),
        ..workflow(NAME, 1)
            .description("Publishes a minute's figures.")
            .then(Node::Choice(Choice {
                name: "what".to_owned(),
                cases: vec![case("booking", BOOKINGS), case("system", SYSTEM)],
                otherwise: Vec::new(),
            }))
            .build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::effect::Effect;
    use crate::ids::{SagaId, Timestamp};
    use crate::state::Status;
    use crate::{Compiled, start};

    #[test]
    fn a_minutes_figures_are_published_as_they_are() {
        let definition = Compiled::new(definition()).unwrap();
        for (kind, topic) in [("booking", BOOKINGS), ("system", SYSTEM)] {
            let metrics = json!({"initiated": 3, "revenueCents": {"usd": 700}, "conversionRate": null, "popularEvents": [{"eventId": "e"}]});
            let input = json!({"kind": kind, "minute": "2026-11-24T12:00:00Z", "metrics": metrics});
            let saga = SagaId(uuid::Uuid::from_u128(1));
            let started = start(&definition, saga, input, None, Timestamp(0)).unwrap();
            assert_eq!(started.state.status(), Status::Completed);
            let [Effect::Publish(fact)] = started.effects.as_slice() else {
                panic!("{:?}", started.effects)
            };
            assert_eq!((fact.topic.as_str(), &fact.data), (topic, &metrics));
        }
    }
}

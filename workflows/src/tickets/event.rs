//! Something has happened to an event of the shop: it is published, and that is all.

use serde_json::{Value, json};

use crate::builder::workflow;
use crate::definition::{Case, Choice, Definition, Emit, Node};

/// The workflow's name.
pub const NAME: &str = "event_change";

/// The definition: facts, and no step.
pub fn definition() -> Definition {
    let case = |kind: &str, topic: &str, data: Value| Case {
        when: format!("input.kind == '{kind}'"),
        flow: vec![Node::Emit(Emit {
            name: kind.to_owned(),
            topic: topic.to_owned(),
            data,
        })],
    };
    let event = json!({
        "eventId": "=input.eventId", "organisationId": "=input.organisationId", "version": "=input.version",
        "name": "=input.name", "startsAt": "=input.startsAt", "status": "=input.status",
    });
    let released = json!({
        "eventId": "=input.eventId", "version": "=input.version", "seatIds": "=input.seatIds", "reason": "HOUSE_RELEASED",
    });
    Definition {
        business_key: Some("input.eventId".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "kind": { "enum": ["created", "updated", "seats_released"] },
                "eventId": { "type": "string", "minLength": 1 },
                "organisationId": { "type": "string" },
                "version": { "type": "integer", "minimum": 1 },
                "name": { "type": "string" },
                "startsAt": { "type": "string" },
                "status": { "type": "string" },
                "seatIds": { "type": "array", "items": { "type": "string" } }
            },
            "required": ["kind", "eventId", "version"],
            "additionalProperties": false
        }),
        ..workflow(NAME, 1)
            .description("Publishes what happened to an event of the shop.")
            .then(Node::Choice(Choice {
                name: "what".to_owned(),
                cases: vec![
                    case("created", "event.created", event.clone()),
                    case("updated", "event.updated", event),
                    case("seats_released", "seats.released", released),
                ],
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
    fn each_kind_is_one_fact_and_nothing_more() {
        let definition = Compiled::new(definition()).unwrap();
        let event = json!({"eventId": "e", "organisationId": "o", "version": 2, "name": "N", "startsAt": "2027-01-01T20:00:00Z", "status": "draft"});
        let seats = json!({"eventId": "e", "version": 2, "seatIds": ["A1"]});
        for (kind, topic, input) in [
            ("created", "event.created", &event),
            ("updated", "event.updated", &event),
            ("seats_released", "seats.released", &seats),
        ] {
            let mut input = input.clone();
            input["kind"] = json!(kind);
            let started = start(
                &definition,
                SagaId(uuid::Uuid::from_u128(1)),
                input.clone(),
                None,
                Timestamp(0),
            )
            .unwrap();
            assert_eq!(started.state.status(), Status::Completed);
            let [Effect::Publish(fact)] = started.effects.as_slice() else {
                panic!("{:?}", started.effects)
            };
            assert_eq!(fact.topic, topic);
            for (name, value) in fact.data.as_object().unwrap() {
                let expected = if name == "reason" {
                    json!("HOUSE_RELEASED")
                } else {
                    input[name].clone()
                };
                assert_eq!(*value, expected, "{name}");
            }
        }
    }
}

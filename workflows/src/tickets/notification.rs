//! One message to one recipient by one channel, and what its provider says of it afterwards.
//!
//! Whoever wants a buyer told something asks for it by the activity [`REQUEST`], which writes down one row a message and is done: a booking never
//! waits for a mail server. For each row a saga is started, `notification`, whose one step sends it: its retries, its place in front of an
//! operator and its facts are the engine's. A receipt or a bounce becomes a `notification_receipt`, which only publishes.
//!
//! # Steps of `notification`
//!
//! | channel | step | does | if it fails |
//! |---|---|---|---|
//! | each | named like it | hands the message to the provider | tried for a day, then an operator; a message that nobody can take is given up at once |

use std::time::Duration;

use serde_json::{Value, json};

use super::booking::Durations;
use crate::builder::{StepBuilder, step, workflow};
use crate::definition::{Case, Choice, Definition, Emit, Node, Retry, Route, SagaEmit, SagaMoment, StepMoment};

/// The workflow's name.
pub const NAME: &str = "notification";
/// The workflow that publishes a receipt.
pub const RECEIPT: &str = "notification_receipt";
/// The activity that writes messages down.
pub const REQUEST: &str = "notifications.request";
/// Its queue: nothing on it waits for a provider.
pub const QUEUE: &str = "notifications";
/// What messages go by, each with a queue of the same name, so that a slow provider delays no other's messages.
pub const CHANNELS: [&str; 4] = ["email", "sms", "push", "slack"];
/// The channels whose provider tells later whether a message arrived: until then it is only sent.
const WITH_RECEIPTS: [&str; 1] = ["sms"];

/// There is no address, or it is none.
pub const NO_RECIPIENT: &str = "no_recipient";
/// The provider refuses this message for good.
pub const REJECTED: &str = "rejected";
/// The recipient wants no messages, or isn't there any more.
pub const UNREGISTERED: &str = "unregistered";
/// There is no such message.
pub const NO_MESSAGE: &str = "no_message";
/// Failures that neither time nor an operator mends.
const PERMANENT: [&str; 4] = [NO_RECIPIENT, REJECTED, UNREGISTERED, NO_MESSAGE];

/// How long a message is tried to be sent: longer than a provider is usually away. Afterwards an operator says whether it is still of use.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest wait between two attempts: an outage's messages don't come back all at once, nor long after its end.
const RETRY_CAP: Duration = Duration::from_secs(5 * 60);
/// How long one attempt may go unanswered; longer than the providers' own limits.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long it is tried to write down what is to be sent.
const REQUEST_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The definition of the saga that sends, with the booking's durations.
pub fn definition(durations: &Durations) -> Definition {
    let cases = CHANNELS.map(|channel| Case {
        when: format!("input.channel == '{channel}'"),
        flow: vec![send(channel, durations)],
    });
    let emit = CHANNELS.map(|channel| SagaEmit {
        on: SagaMoment::Started,
        topic: format!("notification.{channel}"),
        data: fact(),
        when: Some(format!("input.channel == '{channel}'")),
    });
    Definition {
        business_key: Some("has(input.bookingId) ? input.bookingId : input.notificationId".to_owned()),
        input_schema: input_schema(json!({})),
        emit: emit.into(),
        ..workflow(NAME, 1)
            .description("Sends one message by one channel.")
            .then(Node::Choice(Choice {
                name: "channel".to_owned(),
                cases: cases.into(),
                otherwise: Vec::new(),
            }))
            .build()
    }
}

/// The definition of the saga that publishes what a provider said later.
pub fn receipt() -> Definition {
    let said = |status: &str, data: Value| Case {
        when: format!("input.status == '{status}'"),
        flow: vec![Node::Emit(Emit {
            name: status.to_owned(),
            topic: format!("notification.{status}"),
            data,
        })],
    };
    Definition {
        business_key: Some("has(input.bookingId) ? input.bookingId : input.notificationId".to_owned()),
        input_schema: input_schema(json!({
            "status": { "enum": ["delivered", "failed"] },
            "reason": { "type": "string" },
        })),
        ..workflow(RECEIPT, 1)
            .description("Publishes what a provider said about a message after it had taken it.")
            .then(Node::Choice(Choice {
                name: "word".to_owned(),
                cases: vec![
                    said("delivered", with(fact(), &[("proof", "receipt")])),
                    said("failed", with(fact(), &[("reason", "=input.reason")])),
                ],
                otherwise: Vec::new(),
            }))
            .build()
    }
}

fn input_schema(more: Value) -> Value {
    let mut properties = json!({
        "notificationId": { "type": "string", "format": "uuid" },
        "channel": { "enum": CHANNELS },
        "kind": { "type": "string", "minLength": 1 },
        "bookingId": { "type": "string", "format": "uuid" },
        "userId": { "type": "string", "minLength": 1 },
        "to": { "type": "string", "minLength": 1 },
    });
    if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
        properties.extend(more);
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": ["notificationId", "channel", "kind"],
        "additionalProperties": false
    })
}

/// What every fact about a message says; what it isn't about is null.
fn fact() -> Value {
    json!({
        "notificationId": "=input.notificationId", "channel": "=input.channel", "kind": "=input.kind",
        "bookingId": "=input.bookingId", "userId": "=input.userId", "to": "=input.to",
    })
}

fn with(mut fact: Value, members: &[(&str, &str)]) -> Value {
    for (name, value) in members {
        fact[*name] = json!(value);
    }
    fact
}

fn send(channel: &str, durations: &Durations) -> Node {
    let taken = with(
        fact(),
        &[
            ("messageId", &format!("=steps.{channel}.output.messageId")),
            ("proof", "accepted"),
        ],
    );
    let mut sending = step(channel, &format!("notifications.{channel}"), channel)
        .input(json!({ "notificationId": "=input.notificationId" }))
        .retry(Retry {
            initial: durations.retry,
            cap: RETRY_CAP,
            max_attempts: None,
            ..Retry::persistent()
        })
        .attempt_timeout(ATTEMPT_TIMEOUT)
        .total_timeout(PATIENCE)
        .otherwise(Route::Operator {})
        .emit(
            StepMoment::Failed,
            "notification.failed",
            with(fact(), &[("reason", "=error.code")]),
        );
    for code in PERMANENT {
        sending = sending.route(code, Route::Continue {});
    }
    if !WITH_RECEIPTS.contains(&channel) {
        sending = sending.emit(StepMoment::Succeeded, "notification.delivered", taken);
    }
    sending.into()
}

/// A wish for messages, as a step's input.
pub(super) struct Wish {
    /// The booking's id.
    pub booking: &'static str,
    /// Which message.
    pub kind: String,
    /// What it shows beside the event.
    pub seats: &'static str,
    pub total: &'static str,
    pub confirmation_number: Option<&'static str>,
}

/// The step that asks for messages to a buyer, by whatever they want to be reached by.
pub(super) fn notify(wish: Wish, durations: &Durations) -> Node {
    let asked = request(
        json!({
            "bookingId": wish.booking,
            "userId": "=input.userId",
            "email": "=input.email",
            // What whoever booked, or their browser, asked for; what a user has said for good counts more.
            "language": "=has(input.language) ? input.language : null",
            "kind": wish.kind,
            "data": {
                "event": "=input.event.name",
                "venue": "=input.event.venue",
                "date": "=input.event.date",
                "seats": wish.seats,
                "totalCents": wish.total,
                "currency": "=input.currency",
                "confirmationNumber": wish.confirmation_number,
            },
        }),
        durations,
    );
    // A guest without an address can't be reached; a registered user may be by other means.
    let has_address = "has(input.email) && input.email != null";
    let condition = format!("has(input.event) && (({has_address}) || input.userId.startsWith('usr_'))");
    let failed = json!({ "bookingId": wish.booking, "userId": "=input.userId", "reason": "=error.code" });
    asked
        .when(&condition)
        .emit(StepMoment::Failed, "notification.failed", failed)
        .into()
}

/// The step that tells operations something.
pub(super) fn tell_operations(kind: &str, data: Value, durations: &Durations) -> Node {
    request(json!({ "kind": kind, "data": data }), durations).into()
}

fn request(input: Value, durations: &Durations) -> StepBuilder {
    step("notify", REQUEST, QUEUE)
        .input(input)
        .retry(Retry {
            initial: durations.retry,
            max_attempts: None,
            ..Retry::default()
        })
        .attempt_timeout(durations.seats_timeout)
        .total_timeout(REQUEST_PATIENCE)
        // Never refund because a message can't be written down.
        .otherwise(Route::Continue {})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::effect::Effect;
    use crate::event::Event;
    use crate::ids::{SagaId, Timestamp};
    use crate::protocol::{Outcome, TaskResult};
    use crate::state::Status;
    use crate::{Compiled, advance, start};

    const ID: &str = "00000000-0000-0000-0000-000000000009";

    fn saga() -> SagaId {
        SagaId(uuid::Uuid::from_u128(1))
    }

    fn published(effects: &[Effect]) -> Vec<(&str, &Value)> {
        effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Publish(fact) => Some((fact.topic.as_str(), &fact.data)),
                Effect::Dispatch { .. } => None,
            })
            .collect()
    }

    /// What becomes of a message whose attempt ends like this: the saga's status, and the facts' topics.
    fn ends(channel: &str, outcome: Outcome) -> (Status, Vec<String>) {
        let definition = Compiled::new(definition(&Durations::default())).unwrap();
        let input = json!({"notificationId": ID, "channel": channel, "kind": "booking_confirmed"});
        let started = start(&definition, saga(), input, None, Timestamp(0)).unwrap();
        assert_eq!(published(&started.effects)[0].0, format!("notification.{channel}"));
        let Some(Effect::Dispatch { task, .. }) = started.effects.last() else {
            panic!("{:?}", started.effects)
        };
        assert_eq!(task.activity, format!("notifications.{channel}"));
        assert_eq!(task.input, json!({"notificationId": ID}));
        let result = Event::Result(TaskResult {
            token: task.token.clone(),
            outcome,
        });
        let ended = advance(&definition, saga(), started.state, &result, Timestamp(1)).unwrap();
        let topics = published(&ended.effects)
            .iter()
            .map(|(topic, _)| (*topic).to_owned())
            .collect();
        (ended.state.status(), topics)
    }

    fn failed(code: &str, retryable: bool) -> Outcome {
        Outcome::Failed {
            code: code.into(),
            message: code.into(),
            retryable,
            details: Value::Null,
        }
    }

    #[test]
    fn what_a_provider_takes_is_delivered_unless_a_receipt_is_to_come() {
        let sent = || Outcome::Succeeded {
            output: json!({"messageId": "m1"}),
        };
        for channel in CHANNELS {
            let facts: Vec<String> = if channel == "sms" {
                Vec::new()
            } else {
                vec!["notification.delivered".to_owned()]
            };
            assert_eq!(ends(channel, sent()), (Status::Completed, facts), "{channel}");
        }
    }

    #[test]
    fn a_hopeless_message_is_given_up_another_one_tried_again_and_a_puzzle_is_an_operators() {
        let given_up = vec!["notification.failed".to_owned()];
        for code in PERMANENT {
            assert_eq!(
                ends("push", failed(code, false)),
                (Status::Completed, given_up.clone()),
                "{code}"
            );
        }
        let again = ends("sms", failed("provider_unavailable", true));
        assert_eq!(again, (Status::Waiting, Vec::new()));
        assert_eq!(ends("sms", failed("internal", false)), (Status::Failed, given_up));
    }

    #[test]
    fn a_receipt_is_published_and_that_is_all() {
        let definition = Compiled::new(receipt()).unwrap();
        for (status, name) in [("delivered", "proof"), ("failed", "reason")] {
            let input = json!({
                "notificationId": ID, "channel": "sms", "kind": "k", "status": status, "reason": "30003",
            });
            let started = start(&definition, saga(), input, None, Timestamp(0)).unwrap();
            assert_eq!(started.state.status(), Status::Completed);
            let facts = published(&started.effects);
            let [(topic, data)] = facts.as_slice() else {
                panic!("{facts:?}")
            };
            assert_eq!(*topic, format!("notification.{status}"));
            assert!(data[name].is_string(), "{data}");
        }
    }
}

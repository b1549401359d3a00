//! Something has happened to a buyer's account: it is published, and a mail follows where there is one.
//!
//! The mail's link is made by the activity that sends it: no saga ever knows it.

use std::time::Duration;

use serde_json::json;

use crate::builder::{step, workflow};
use crate::definition::{Definition, Node, Retry, Route, SagaEmit, SagaMoment, Step, StepMoment};

/// The workflow's name.
pub const NAME: &str = "account_event";

/// How long a mail is tried to be sent: longer than a mail server is usually away, and not so long that nobody knows any more what it
/// is about.
const MAIL_PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);

/// The definition: facts, and one step, `mail`.
pub fn definition() -> Definition {
    let fact = json!({ "userId": "=input.userId", "channel": "email", "to": "=input.email" });
    let with = |name: &str, value: &str| {
        let mut fact = fact.clone();
        fact[name] = json!(value);
        fact
    };
    let mail: Node = step("mail", "accounts.mail", "notifications")
        .input(json!({
            "userId": "=input.userId",
            "to": "=input.email",
            "name": "=input.name",
            "kind": "=input.kind",
        }))
        .retry(Retry {
            max_attempts: None,
            ..Retry::default()
        })
        // Nobody has to look into a mail that can't be delivered: its reader asks for another.
        .otherwise(Route::Continue {})
        .emit(StepMoment::Started, "notification.email", fact.clone())
        .emit(
            StepMoment::Succeeded,
            "notification.delivered",
            with("messageId", "=steps.mail.output.messageId"),
        )
        .emit(StepMoment::Failed, "notification.failed", with("reason", "=error.code"))
        .into();
    let mail = match mail {
        Node::Step(step) => Node::Step(Box::new(Step {
            when: Some("input.kind != 'login' && input.kind != 'logout'".to_owned()),
            total_timeout: Some(MAIL_PATIENCE),
            ..*step
        })),
        other => other,
    };
    let happened = |kind: &str, topic: &str, data: serde_json::Value| SagaEmit {
        on: SagaMoment::Started,
        topic: topic.to_owned(),
        data,
        when: Some(format!("input.kind == '{kind}'")),
    };
    Definition {
        business_key: Some("input.userId".to_owned()),
        input_schema: json!({
            "type": "object",
            "properties": {
                "kind": { "enum": ["registered", "login", "logout", "confirmation", "password_reset"] },
                "userId": { "type": "string", "minLength": 1 },
                "email": { "type": "string", "minLength": 1 },
                "name": { "type": "string", "minLength": 1 },
                "sessionId": { "type": "string" },
                "userAgent": { "type": ["string", "null"] },
                "address": { "type": ["string", "null"] },
                "reason": { "type": "string" }
            },
            "required": ["kind", "userId"],
            "additionalProperties": false
        }),
        emit: vec![
            happened("registered", "user.registered", json!({ "userId": "=input.userId" })),
            happened(
                "login",
                "user.login",
                json!({
                    "userId": "=input.userId", "sessionId": "=input.sessionId",
                    "userAgent": "=input.userAgent", "address": "=input.address",
                }),
            ),
            happened(
                "logout",
                "user.logout",
                json!({ "userId": "=input.userId", "sessionId": "=input.sessionId", "reason": "=input.reason" }),
            ),
        ],
        ..workflow(NAME, 1)
            .description("Publishes what happened to a buyer's account, and sends the mail about it.")
            .then(mail)
            .build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Compiled;

    #[test]
    fn it_can_be_deployed() {
        Compiled::new(definition()).unwrap();
    }
}

//! Something has happened to a buyer's account: it is published, and a mail follows where there is one.
//!
//! The mail's link is made by the activity that sends it: no saga ever knows it.

use std::time::Duration;

use serde_json::json;

use crate::builder::{step, workflow};
use crate::definition::{Definition, Retry, Route, SagaEmit, SagaMoment, StepMoment};

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
    let mail = step("mail", "accounts.mail", "notifications")
        .input(json!({
            "userId": "=input.userId",
            "to": "=input.email",
            "kind": "=input.kind",
            // What their browser asked for; what they have said for good counts more.
            "language": "=has(input.language) ? input.language : null",
        }))
        .retry(Retry {
            max_attempts: None,
            ..Retry::default()
        })
        .when("input.kind != 'login' && input.kind != 'logout'")
        .total_timeout(MAIL_PATIENCE)
        // Nobody has to look into a mail that can't be delivered: its reader asks for another.
        .otherwise(Route::Continue {})
        .emit(StepMoment::Started, "notification.email", fact.clone())
        .emit(
            StepMoment::Succeeded,
            "notification.delivered",
            with("messageId", "=steps.mail.output.messageId"),
        )
        .emit(StepMoment::Failed, "notification.failed", with("reason", "=error.code"));
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
                "kind": { "enum": [
                    "registered", "login", "logout", "confirmation", "password_reset", "password_changed", "email_change",
                    "email_changed"
                ] },
                "userId": { "type": "string", "minLength": 1 },
                "email": { "type": "string", "minLength": 1 },
                "language": { "type": "string" },
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
        ..workflow(NAME, 2)
            .description("Publishes what happened to a buyer's account, and sends the mail about it.")
            .then(mail)
            .build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;
    use crate::effect::Effect;
    use crate::ids::{SagaId, Timestamp};
    use crate::state::Status;
    use crate::{Compiled, start};

    /// What is published and dispatched at the start, and whether that was all.
    fn run(input: Value) -> (Vec<(String, Value)>, Vec<Value>, bool) {
        let definition = Compiled::new(definition()).unwrap();
        let saga = SagaId(uuid::Uuid::from_u128(1));
        let started = start(&definition, saga, input, None, Timestamp(0)).unwrap();
        let (mut facts, mut tasks) = (Vec::new(), Vec::new());
        for effect in started.effects {
            match effect {
                Effect::Publish(fact) => facts.push((fact.topic, fact.data)),
                Effect::Dispatch { task, .. } => tasks.push(task.input),
            }
        }
        let is_over = started.state.status() == Status::Completed;
        (facts, tasks, is_over)
    }

    #[test]
    fn somebody_registered_is_published_and_written_to() {
        let (facts, tasks, is_over) = run(json!({"kind": "registered", "userId": "usr_1", "email": "a@example.com"}));
        assert_eq!(facts[0], ("user.registered".to_owned(), json!({"userId": "usr_1"})));
        assert_eq!(facts[1].0, "notification.email");
        let mail = json!({"userId": "usr_1", "to": "a@example.com", "kind": "registered", "language": null});
        assert_eq!((tasks, is_over), (vec![mail], false));
    }

    #[test]
    fn logins_and_logouts_are_published_and_that_is_all() {
        let login =
            json!({"kind": "login", "userId": "usr_1", "sessionId": "s", "userAgent": null, "address": "192.0.2.1"});
        let (facts, tasks, is_over) = run(login);
        let data = json!({"userId": "usr_1", "sessionId": "s", "userAgent": null, "address": "192.0.2.1"});
        assert_eq!(facts, [("user.login".to_owned(), data)]);
        assert!(tasks.is_empty() && is_over);
        let logout = json!({"kind": "logout", "userId": "usr_1", "sessionId": "s", "reason": "revoked"});
        let (facts, tasks, is_over) = run(logout);
        let data = json!({"userId": "usr_1", "sessionId": "s", "reason": "revoked"});
        assert_eq!(facts, [("user.logout".to_owned(), data)]);
        assert!(tasks.is_empty() && is_over);
    }

    #[test]
    fn what_else_happens_to_an_account_is_only_written_about() {
        for kind in ["password_reset", "password_changed", "email_change", "email_changed"] {
            let (facts, tasks, _) =
                run(json!({"kind": kind, "userId": "usr_1", "email": "a@example.com", "language": "de"}));
            assert_eq!(facts.len(), 1);
            assert_eq!((facts[0].0.as_str(), tasks.len()), ("notification.email", 1));
            assert_eq!((&tasks[0]["kind"], &tasks[0]["language"]), (&json!(kind), &json!("de")));
        }
    }
}

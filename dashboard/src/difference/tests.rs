#![allow(clippy::unwrap_used)]

use serde_json::json;
use workflows::definition::Definition;
use workflows::event::{Command, CommandEvent};

use super::*;

fn definition() -> Compiled {
    let definition: Definition = serde_json::from_value(json!({
        "name": "shop", "version": 1,
        "flow": [{"kind": "step", "name": "pay", "activity": "card.charge", "queue": "payments", "attempt_timeout": "1m",
                  "retry": {"max_attempts": 1}, "otherwise": {"to": "operator"}, "input": {"card": "=input.card", "cents": 500}}]}))
    .unwrap();
    Compiled::new(definition).unwrap()
}

fn saga() -> SagaId {
    "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
}

fn token(attempt: u32, epoch: u32) -> Token {
    Token {
        saga: saga(),
        step: "pay".to_owned(),
        role: Role::Run,
        attempt,
        epoch,
    }
}

fn answer(token: Token, outcome: Outcome) -> Event {
    Event::Result(TaskResult { token, outcome })
}

fn started(card: &str) -> Event {
    Event::Started {
        input: json!({"card": card}),
        traceparent: None,
    }
}

/// Declined; then tried again with another card, which is taken.
fn journal() -> Vec<(Timestamp, Event)> {
    let declined = Outcome::Failed {
        code: "card_declined".to_owned(),
        message: "no".to_owned(),
        retryable: false,
        details: Value::Null,
    };
    let retry = Event::Command(CommandEvent {
        command: Command::Retry {
            step: Some("pay".to_owned()),
            input: Some(json!({"card": "good", "cents": 500})),
        },
        by: "ada".to_owned(),
        reason: "another card".to_owned(),
    });
    let mut journal = vec![
        (Timestamp(1_000), started("bad")),
        (Timestamp(2_000), answer(token(1, 1), declined)),
        (Timestamp(3_000), retry),
    ];
    let events = journal.iter().map(|(at, event)| (*at, event));
    let second = attempts(&definition(), saga(), events).unwrap().pop().unwrap().token;
    let taken = Outcome::Succeeded {
        output: json!({"charge": "ch_1"}),
    };
    journal.push((Timestamp(3_500), answer(second.clone(), Outcome::Heartbeat {})));
    journal.push((Timestamp(4_000), answer(second, taken)));
    journal
}

fn folded() -> Vec<Attempt> {
    let journal = journal();
    attempts(&definition(), saga(), journal.iter().map(|(at, event)| (*at, event))).unwrap()
}

#[test]
fn attempts_are_what_was_sent_with_what_came_back() {
    let found = folded();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].from, found[0].to), (Timestamp(1_000), Some(Timestamp(2_000))));
    assert_eq!(found[0].input, json!({"card": "bad", "cents": 500}));
    assert_eq!(found[0].outcome["code"], "card_declined");
    assert_eq!(found[1].to, Some(Timestamp(4_000)), "a sign of life is no answer");
    assert!(found[1].has_succeeded() && !found[0].has_succeeded());
}

#[test]
fn an_attempt_differs_from_the_one_before_by_card_and_outcome() {
    let found = folded();
    let latest = last(&found, "pay").unwrap();
    let before = previous(&found, latest).unwrap();
    assert_eq!(before, &found[0]);
    assert_eq!(previous(&found, before), None);
    assert_eq!(passed(&found, "pay"), Some(latest));
    assert_eq!(last(&found, "nowhere"), None);
    let (changes, more) = between(before, latest);
    assert!(!more);
    let card = Change {
        path: "/input/card".to_owned(),
        before: Some(json!("bad")),
        after: Some(json!("good")),
    };
    assert!(changes.contains(&card), "{changes:?}");
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    let outcome = ["code", "message", "outcome", "output", "retryable"].map(|name| format!("/outcome/{name}"));
    assert_eq!(paths[0], "/input/card");
    assert_eq!(paths[1..], outcome.each_ref().map(String::as_str));
    let output = &changes[4];
    assert_eq!(
        (&output.before, &output.after),
        (&None, &Some(json!({"charge": "ch_1"})))
    );
    assert_eq!(between(latest, latest), (Vec::new(), false));
}

#[test]
fn a_journal_without_its_beginning_is_refused() {
    let journal = journal();
    let rest = journal[1..].iter().map(|(at, event)| (*at, event));
    assert!(attempts(&definition(), saga(), rest).is_err());
}

fn check(before: Value, after: Value, expected: Value) {
    let (found, _) = changes(&before, &after);
    assert_eq!(json!(found), expected);
}

#[test]
fn changes_are_named_by_pointers() {
    check(json!(1), json!(1), json!([]));
    check(json!(1), json!("1"), json!([{"path": "", "before": 1, "after": "1"}]));
    check(
        json!({"a/b": 1, "c~d": [1, 2], "same": {"x": []}}),
        json!({"a/b": 2, "c~d": [1], "same": {"x": []}, "new": null}),
        json!([
            {"path": "/a~1b", "before": 1, "after": 2},
            {"path": "/c~0d/1", "before": 2},
            {"path": "/new", "after": null}]),
    );
    check(
        json!({"a": {"b": 1}}),
        json!({"a": [1]}),
        json!([{"path": "/a", "before": {"b": 1}, "after": [1]}]),
    );
}

#[test]
fn a_difference_has_an_end() {
    let many: Vec<u32> = (0..2_000).collect();
    let (found, more) = changes(&json!([]), &json!(many));
    assert_eq!((found.len(), more), (CHANGES_MAX, true));
    let (found, more) = changes(&json!([]), &json!(many[..CHANGES_MAX]));
    assert_eq!((found.len(), more), (CHANGES_MAX, false));
}

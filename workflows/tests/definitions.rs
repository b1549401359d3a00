//! Definitions: both forms round-trip, and what is wrong is named with its place.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;
use workflows::Compiled;
use workflows::builder::{parallel, pivot, scope, sleep, step, wait_for, workflow};
use workflows::definition::{Definition, Route};
use workflows::tickets::{booking, reference, sweep};

fn all() -> Vec<Definition> {
    let everything = workflow("everything", 1)
        .then(scope(
            "hold",
            Duration::from_secs(60),
            "EXPIRED",
            vec![step("one", "a.one", "a").undo("a.un").into()],
        ))
        .then(parallel(
            "both",
            vec![vec![sleep("nap", Duration::from_millis(1500))], vec![pivot("turn")]],
        ))
        .then(wait_for("answer", "answered", Duration::from_secs(5)))
        .build();
    vec![
        booking::definition(&booking::Durations::default()),
        reference::definition(),
        sweep::definition(),
        everything,
    ]
}

#[test]
fn json_and_yaml_round_trip() {
    for definition in all() {
        let json = serde_json::to_string(&definition).unwrap();
        assert!(
            serde_json::from_str::<Definition>(&json).unwrap() == definition,
            "{json}"
        );
        let yaml = definition.to_yaml();
        assert!(Definition::from_yaml(&yaml).unwrap() == definition, "{yaml}");
        assert!(Definition::from_yaml(&json).unwrap() == definition, "{json}");
        let hash = Compiled::new(definition.clone()).unwrap().hash().to_owned();
        let again = Compiled::new(Definition::from_yaml(&yaml).unwrap())
            .unwrap()
            .hash()
            .to_owned();
        assert_eq!(hash, again);
    }
}

#[test]
fn aliases_and_unknown_fields_are_refused() {
    let bomb = "a: &a [1]\nb: [*a, *a]\n";
    assert!(Definition::from_yaml(bomb).unwrap_err().contains("aliases"));
    let mut value = serde_json::to_value(reference::definition()).unwrap();
    value["flow"][0]["atempt_timeout"] = json!("5s");
    let error = Definition::from_yaml(&value.to_string()).unwrap_err();
    assert!(error.contains("atempt_timeout"), "{error}");
}

#[track_caller]
fn check(change: impl FnOnce(&mut serde_json::Value), expected: &[&str]) {
    let mut value = serde_json::to_value(booking::definition(&booking::Durations::default())).unwrap();
    change(&mut value);
    let problems = Compiled::new(serde_json::from_value(value).unwrap()).unwrap_err();
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found:?} lacks {expected:?}");
    }
}

#[test]
fn problems_are_listed_with_their_places() {
    check(
        |value| {
            value["flow"][1]["input"]["bookingId"] = json!("=steps.reserv.output");
            value["flow"][1]["name"] = json!("pay");
            value["flow"][2]["input"]["data"]["confirmationNumber"] = json!("");
            value["output"] = json!(null);
            value["flow"][1]["emit"] = json!([]);
            value["flow"][0]["flow"][1]["retry"]["factor"] = json!(0.5);
        },
        &[
            "/flow/0/flow/1/retry/factor",
            "/flow/1/name: \"pay\" is used twice",
            "/flow/1/input/bookingId: `steps.reserv`",
        ],
    );
    check(
        |value| value["flow"][2]["when"] = json!("1 +"),
        &["/flow/2/when: not a CEL expression"],
    );
    check(
        |value| value["flow"][2]["when"] = json!("secret == 1"),
        &["`secret` is not known here"],
    );
    check(
        |value| value["flow"][2]["when"] = json!("input.a.all(x, input.b.all(y, x == y))"),
        &["macros (map, filter, all, exists) can't be nested"],
    );
    check(
        |value| value["flow"][2]["when"] = json!(format!("{}true", "!".repeat(3000))),
        &["at most 2048 characters"],
    );
    check(
        |value| value["flow"][2]["otherwise"] = json!({ "to": "go_to", "node": "reserve" }),
        &["\"reserve\" is not a later node"],
    );
    check(
        |value| {
            value["flow"] = json!([]);
            value["output"] = json!(null);
        },
        &["/flow: a workflow needs at least one node"],
    );
}

#[test]
fn jumps_go_forward_within_their_sequences() {
    let definition = workflow("jump", 1)
        .then(step("a", "x.a", "x").route("soft", Route::GoTo { node: "c".into() }))
        .then(step("b", "x.b", "x"))
        .then(step("c", "x.c", "x"))
        .build();
    assert!(Compiled::new(definition).is_ok());
}

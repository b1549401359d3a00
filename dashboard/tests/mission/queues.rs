//! Queues on their page and in the API: paused, limited, resumed, each with a reason and a trail.

use std::time::Duration;

use dashboard::Role;
use reqwest::StatusCode;
use serde_json::json;

use crate::api::Program;
use crate::control::Control;
use crate::sagas::{HOSTILE, harmless};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_limited_and_resumed_with_a_reason() {
    let control = Control::start().await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let path = "/workers/nobody";
    for (form, status) in [
        (
            vec![("word", "pause"), ("reason", " ")],
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            vec![("word", HOSTILE), ("reason", "x")],
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            vec![("word", "limit"), ("rate", "-1"), ("reason", "x")],
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            vec![("word", "limit"), ("rate", "NaN"), ("reason", "x")],
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            vec![("word", "limit"), ("rate", "0.5"), ("reason", HOSTILE)],
            StatusCode::SEE_OTHER,
        ),
        (vec![("word", "pause"), ("reason", HOSTILE)], StatusCode::SEE_OTHER),
    ] {
        assert_eq!(browser.post(path, &form).await.status(), status, "{form:?}");
    }
    assert_eq!(
        browser
            .post("/workers/nothing", &[("word", "pause"), ("reason", "x")])
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
    let mut held = None;
    testkit::eventually("the engine has heard of the pause", LIMIT, async || {
        let saga = control.saga("stubborn", json!({"about": "k"})).await;
        let record = control.engine.saga(saga).await.unwrap().unwrap();
        held = record.state.held().next().map(|_| saga);
        held.is_some()
    })
    .await;
    let page = browser.page("/workers").await;
    harmless(&page);
    assert!(page.contains("⏸ paused") && page.contains("0.5 a second"), "{page}");
    assert!(page.contains("1 held back") && page.contains("olga"), "{page}");
    let saga = browser.page(&format!("/sagas/{}", held.unwrap())).await;
    assert!(saga.contains("waits until its queue lets it through"), "{saga}");
    let trail = browser.page("/audit").await;
    harmless(&trail);
    assert!(
        trail.contains("pause queue") && trail.contains("limit queue"),
        "{trail}"
    );
    let mut viewer = control.logged_in("vera", Role::Viewer).await;
    let form = [("word", "resume"), ("reason", "x")];
    assert_eq!(viewer.post(path, &form).await.status(), StatusCode::FORBIDDEN);
    assert!(
        !viewer
            .page("/workers")
            .await
            .contains("<form method=\"post\" action=\"/workers")
    );
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_steer_queues_too() {
    let control = Control::start().await;
    let program = Program::new(&control, "deploys", Role::Operator).await;
    let (status, body) = program
        .post(
            "/queues/nobody",
            json!({"paused": true, "rate": 5, "reason": "the bank is down"}),
        )
        .await;
    assert_eq!(
        (status, &body["paused"], &body["rate"]),
        (StatusCode::OK, &json!(true), &json!(5.0))
    );
    let (_, body) = program
        .post("/queues/nobody", json!({"paused": false, "reason": "it is back"}))
        .await;
    assert_eq!((&body["paused"], &body["rate"]), (&json!(false), &json!(5.0)), "{body}");
    let (_, body) = program
        .post("/queues/nobody", json!({"rate": null, "reason": "enough"}))
        .await;
    assert_eq!(body["rate"], json!(null), "{body}");
    for (queue, wanted, status) in [
        ("nobody", json!({"reason": "x"}), StatusCode::UNPROCESSABLE_ENTITY),
        (
            "nobody",
            json!({"paused": true, "reason": " "}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            "nobody",
            json!({"rate": 0, "reason": "x"}),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("nothing", json!({"paused": true, "reason": "x"}), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(
            program.post(&format!("/queues/{queue}"), wanted.clone()).await.0,
            status,
            "{wanted}"
        );
    }
    let queues = program.get("/queues").await;
    assert_eq!(queues["items"][0]["queue"], json!("nobody"), "{queues}");
    assert_eq!(program.get("/workers").await["items"], json!([]));
    control.stop().await;
}

//! Workflows, schedules and queues.

use std::time::Duration;

use dashboard::Role;
use orchestrator::client::{EngineClient as _, LocalClient};
use reqwest::StatusCode;
use serde_json::json;
use workflows::protocol::Outcome;

use crate::control::Control;
use crate::sagas::{HOSTILE, harmless};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_shows_where_its_sagas_are_and_what_fails() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    for code in ["", HOSTILE] {
        let saga = control.saga("stubborn", json!({"about": "k"})).await;
        if code.is_empty() {
            control
                .answer(saga, "work", Outcome::Succeeded { output: json!({}) })
                .await;
        } else {
            control.fail(saga, "work", code, code).await;
        }
    }
    let list = browser.page("/workflows").await;
    assert!(
        list.contains("/workflows/stubborn") && list.contains("2 live sagas of stubborn"),
        "{list}"
    );
    let page = browser.page("/workflows/stubborn").await;
    harmless(&page);
    assert!(page.contains("50 %") && page.contains("▶ 1 here ✕ 50 % fail"), "{page}");
    assert!(page.contains("the 2 newest sagas"), "{page}");
    assert!(page.contains("▶ 1 here") && page.contains("rest"), "{page}");
    for path in ["/workflows/nothing", "/workflows/stubborn?version=9"] {
        assert_eq!(browser.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_paused_and_run_with_a_reason() {
    let control = Control::start().await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let spec = json!({"name": "nightly", "cron": "0 4 * * *", "workflow": "patient", "input": {"about": HOSTILE}});
    let client = LocalClient::new(control.engine.clone());
    client
        .create_schedule(serde_json::from_value(spec).unwrap())
        .await
        .unwrap();
    let list = browser.page("/schedules").await;
    assert!(
        list.contains("/schedules/nightly") && list.contains("0 4 * * *"),
        "{list}"
    );
    let path = "/schedules/nightly";
    assert_eq!(
        browser.post(path, &[("word", "pause"), ("reason", " ")]).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        browser.post(path, &[("word", "pause"), ("reason", "x")]).await.status(),
        StatusCode::SEE_OTHER
    );
    assert!(client.schedule("nightly").await.unwrap().unwrap().paused);
    assert!(browser.page(path).await.contains("⏸ paused"));
    assert_eq!(
        browser
            .post(path, &[("word", "run"), ("reason", HOSTILE)])
            .await
            .status(),
        StatusCode::SEE_OTHER
    );
    let form = [
        ("word", "backfill"),
        ("reason", "x"),
        ("from", "2026-01-01T00:00"),
        ("to", "2026-01-03T00:00"),
    ];
    assert_eq!(browser.post(path, &form).await.status(), StatusCode::SEE_OTHER);
    let wrong = [("word", "backfill"), ("reason", "x"), ("from", HOSTILE), ("to", "")];
    assert_eq!(
        browser.post(path, &wrong).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let page = browser.page(path).await;
    harmless(&page);
    assert!(page.contains("manual") && page.contains("backfill"), "{page}");
    let trail = browser.page("/audit").await;
    assert!(
        trail.contains("schedule backfill") && trail.contains("done: 2 firings"),
        "{trail}"
    );
    harmless(&trail);
    let mut viewer = control.logged_in("vera", Role::Viewer).await;
    assert_eq!(
        viewer.post(path, &[("word", "run"), ("reason", "x")]).await.status(),
        StatusCode::FORBIDDEN
    );
    assert!(!viewer.page(path).await.contains("Run now"));
    assert_eq!(viewer.get("/schedules/nothing").await.status(), StatusCode::NOT_FOUND);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_show_what_their_workers_have_not_read() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    control.saga("stubborn", json!({"about": "k"})).await;
    testkit::eventually("the queue's lag is known", LIMIT, async || {
        let page = browser.page("/workers").await;
        page.contains("nobody") && page.contains("<td class=\"number\">1</td>")
    })
    .await;
    control.stop().await;
}

/// As workers name theirs, from which the dashboard must not depend.
#[test]
fn the_queues_groups_are_the_workers() {
    let kafka = transport::KafkaConfig::new("nowhere", "test");
    let group = workers::WorkerOptions::new(kafka, Vec::new()).group("seats");
    assert_eq!(group, format!("{}seats", dashboard::WORKER_GROUP_PREFIX));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_tells_what_was_sold() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    for n in 0..3 {
        let saga = control.saga("patient", json!({"about": "k", "cents": 411_500})).await;
        let name = if n < 2 { "go" } else { continue };
        let signal = workflows::event::Signal {
            id: "s".into(),
            name: name.into(),
            payload: json!(null),
        };
        control.engine.signal(saga, signal).await.unwrap();
    }
    testkit::eventually("the sales are shown", LIMIT, async || {
        let page = browser.page("/").await;
        page.contains("8,230.00") && page.contains("100 %") && page.contains("<td class=\"number\">3</td>")
    })
    .await;
    control.stop().await;
}

//! What the stuck inbox finds, how it groups it, and what one says of a group.

use std::time::Duration;

use dashboard::Role;
use reqwest::StatusCode;
use serde_json::json;
use workflows::ids::SagaId;
use workflows::protocol::Outcome;

use crate::control::Control;
use crate::sagas::{HOSTILE, harmless};

const LIMIT: Duration = Duration::from_secs(30);

/// A saga whose first step is done.
async fn paying(control: &Control, input: serde_json::Value) -> SagaId {
    let saga = control.saga("flaky", input).await;
    control
        .answer(saga, "hold", Outcome::Succeeded { output: json!({}) })
        .await;
    saga
}

fn failed(code: &str, retryable: bool) -> Outcome {
    Outcome::Failed {
        code: code.to_owned(),
        message: HOSTILE.to_owned(),
        retryable,
        details: json!({}),
    }
}

/// Fails the step's next attempt, as soon as it is made.
async fn fail_attempt(control: &Control, saga: SagaId, attempt: u32) {
    testkit::eventually("the attempt is made", LIMIT, async || {
        let record = control.engine.saga(saga).await.unwrap().unwrap();
        record.state.active.values().any(|active| match active {
            workflows::state::Active::Step(work) => {
                work.attempt == attempt && matches!(work.progress, workflows::state::Progress::InFlight { .. })
            }
            _other => false,
        })
    })
    .await;
    control.answer(saga, "pay", failed("bank_away", true)).await;
}

/// What changes an inbox is seen at once: its last answer is too old by then.
async fn page(control: &Control, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut browser = control.browser();
    browser.log_in("olga", crate::client::PASSWORD).await;
    let mut last = String::new();
    testkit::eventually("the inbox shows it", LIMIT, async || {
        last = browser.page(path).await;
        wanted(&last)
    })
    .await;
    harmless(&last);
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_twice_is_in_it_before_it_is_too_late() {
    let control = Control::start().await;
    control.logged_in("olga", Role::Operator).await;
    let input = json!({"about": HOSTILE, "totalAmount": 59.9, "text": "escaped: \u{0}"});
    let hostile = paying(&control, input).await;
    let plain = paying(&control, json!({"about": "k", "totalAmount": 100})).await;
    for saga in [hostile, plain] {
        fail_attempt(&control, saga, 1).await;
    }
    let listed = async |control: &Control| {
        let rows: i64 = sqlx::query_scalar("select count(*) from saga.sagas where failure_code = 'bank_away'")
            .fetch_one(&control.database.pool)
            .await
            .unwrap();
        rows
    };
    assert_eq!(listed(&control).await, 0, "once is everyday life");
    for saga in [hostile, plain] {
        fail_attempt(&control, saga, 2).await;
    }
    assert_eq!(listed(&control).await, 2);
    let inbox = page(&control, "/stuck", |page| page.contains(">2<")).await;
    assert!(
        inbox.contains("fails again and again") && inbox.contains("bank_away"),
        "{inbox}"
    );
    assert!(inbox.contains("<small>v2</small>") && inbox.contains("pay"), "{inbox}");
    assert!(
        inbox.contains("100.00"),
        "what can't be looked into is counted only: {inbox}"
    );
    // It goes on, and is in trouble no more.
    testkit::eventually("the third attempt succeeds", LIMIT, async || {
        control
            .answer(plain, "pay", Outcome::Succeeded { output: json!({}) })
            .await;
        control
            .engine
            .saga(plain)
            .await
            .unwrap()
            .unwrap()
            .summary
            .status
            .as_str()
            == "completed"
    })
    .await;
    assert_eq!(listed(&control).await, 1);
    page(&control, "/stuck", |page| page.contains(">1<")).await;
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_compensation_comes_first_and_a_group_opens_by_itself() {
    let control = Control::start().await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let waiting = control.saga("stubborn", json!({"about": "k"})).await;
    control.fail(waiting, "work", "card_declined", "no").await;
    let undone = paying(&control, json!({"about": "k"})).await;
    control.answer(undone, "pay", failed("closed", false)).await;
    control.answer(undone, "hold", failed("stays", false)).await;
    let inbox = page(&control, "/stuck", |page| page.contains("can&#39;t be undone")).await;
    let (first, second) = (inbox.find("stays").unwrap(), inbox.find("card_declined").unwrap());
    assert!(first < second && inbox.contains("(undoing)"), "{inbox}");

    let of = |page: &str, code: &str| {
        let row = page.split("<tr>").find(|row| row.contains(code)).unwrap();
        let form = row.split("action=\"/stuck/").nth(1).unwrap();
        format!("/stuck/{}", &form[..16])
    };
    let group = of(&inbox, "card_declined");
    let mut vera = control.logged_in("vera", Role::Viewer).await;
    assert_eq!(
        vera.post(&group, &[("word", "take")]).await.status(),
        StatusCode::FORBIDDEN
    );
    assert!(!vera.page("/stuck").await.contains("action=\"/stuck/"));
    assert_eq!(
        olga.post(&group, &[("word", "take")]).await.status(),
        StatusCode::SEE_OTHER
    );
    assert!(olga.page("/stuck").await.contains("acknowledged: olga"));
    assert_eq!(
        olga.post(&group, &[("word", "resolve")]).await.status(),
        StatusCode::SEE_OTHER
    );
    let inbox = olga.page("/stuck").await;
    assert!(
        !inbox.contains("card_declined") && inbox.contains("1 resolved ones too"),
        "{inbox}"
    );
    assert!(olga.page("/stuck?all=true").await.contains("resolved: olga"));
    assert!(olga.page("/audit").await.contains("stuck group"));

    let again = control.saga("stubborn", json!({"about": "k"})).await;
    control.fail(again, "work", "card_declined", "no").await;
    page(&control, "/stuck", |page| page.contains("open again: olga")).await;
    for (path, word, status) in [
        ("/stuck/nonsense", "take", StatusCode::NOT_FOUND),
        (group.as_str(), "nonsense", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(olga.post(path, &[("word", word)]).await.status(), status);
    }
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_works_off_is_overdue() {
    let control = Control::start().await;
    control.logged_in("olga", Role::Operator).await;
    let saga = control.saga("stubborn", json!({"about": "k"})).await;
    // An orchestrator would sweep it at once, so the row is another one than it knows.
    sqlx::query(
        "update saga.sagas set attempt_due_at = now() - interval '5 minutes', id = gen_random_uuid() where id = $1",
    )
    .bind(saga.0)
    .execute(&control.database.pool)
    .await
    .unwrap();
    page(&control, "/stuck", |page| page.contains("should have gone on")).await;
    control.stop().await;
}

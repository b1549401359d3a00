//! A saga's page and what can be done there.

use dashboard::Role;
use reqwest::StatusCode;
use serde_json::json;
use workflows::event::{Command, CommandEvent, Event, Signal};
use workflows::ids::SagaId;
use workflows::protocol::Outcome;

use crate::client::Browser;
use crate::control::Control;
use crate::sagas::{HOSTILE, harmless};

/// A saga that waits for an operator, at entry 2.
async fn stuck(control: &Control) -> SagaId {
    let input = json!({"about": HOSTILE, "card": "4242", "long": "x".repeat(20_000)});
    let saga = control.saga("stubborn", input).await;
    control.fail(saga, "work", "card_declined", HOSTILE).await;
    saga
}

async fn act(browser: &mut Browser, saga: SagaId, form: &[(&str, &str)]) -> reqwest::Response {
    browser.post(&format!("/sagas/{saga}/act"), form).await
}

async fn status(control: &Control, saga: SagaId) -> (String, u64) {
    let record = control.engine.saga(saga).await.unwrap().unwrap();
    (record.summary.status.as_str().to_owned(), record.summary.seq)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_why_it_stands_there() {
    let control = Control::start().await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let saga = stuck(&control).await;
    let page = browser.page(&format!("/sagas/{saga}")).await;
    harmless(&page);
    assert!(page.contains("It waits for you"), "{page}");
    assert!(
        page.contains("no attempt is left") && page.contains("card_declined"),
        "{page}"
    );
    assert!(
        page.contains("n-failed") && page.contains("point of no return"),
        "{page}"
    );
    assert!(page.contains("bar-bad") && page.contains("step_failed"), "{page}");
    assert!(page.contains("Retry work now") && page.contains("Skip work"), "{page}");
    assert!(page.contains("4242"), "{page}");
    assert!(page.len() < 100_000, "{} bytes", page.len());

    let mut viewer = control.logged_in("vera", Role::Viewer).await;
    let page = viewer.page(&format!("/sagas/{saga}")).await;
    assert!(!page.contains("4242") && page.contains("•••"), "{page}");
    assert!(!page.contains("Retry work now"), "{page}");
    let path = format!("/sagas/{saga}/act?command=retry&step=work");
    assert_eq!(viewer.get(&path).await.status(), StatusCode::FORBIDDEN);
    let form = [("command", "pause"), ("reason", "x"), ("seq", "2"), ("stage", "do")];
    assert_eq!(act(&mut viewer, saga, &form).await.status(), StatusCode::FORBIDDEN);
    for wrong in ["nonsense", "0193a2b4-0000-7000-8000-000000000000"] {
        let answer = viewer.get(&format!("/sagas/{wrong}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_shown_first_and_done_with_a_reason() {
    let control = Control::start().await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let saga = stuck(&control).await;
    let before = status(&control, saga).await;
    let page = browser
        .page(&format!("/sagas/{saga}/act?command=retry&step=work"))
        .await;
    assert!(page.contains("nobody.works is sent to the queue nobody"), "{page}");
    assert!(page.contains("The saga is failed, and will be running"), "{page}");
    harmless(&page);
    assert_eq!(status(&control, saga).await, before, "a dry run writes nothing");

    let seq = before.1.to_string();
    let mut form = vec![
        ("command", "retry"),
        ("step", "work"),
        ("seq", seq.as_str()),
        ("stage", "do"),
    ];
    let answer = act(&mut browser, saga, &form).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "without a reason");
    form.push(("reason", HOSTILE));
    assert_eq!(act(&mut browser, saga, &form).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(status(&control, saga).await.0, "running");
    // The same form again, as by another operator who looked at the same page.
    assert_eq!(
        act(&mut browser, saga, &form).await.status(),
        StatusCode::PRECONDITION_FAILED
    );

    let page = browser.page(&format!("/sagas/{saga}")).await;
    assert!(page.contains("olga: "), "{page}");
    harmless(&page);
    let trail = browser.page("/audit").await;
    assert!(trail.contains("done: entry 3"), "{trail}");
    harmless(&trail);
    control.stop().await;
}

/// Asks for a deed that needs a second person; gives the request's path.
async fn ask(browser: &mut Browser, saga: SagaId, command: &str, step: &str, text: &str, seq: &str) -> String {
    let form = [
        ("command", command),
        ("step", step),
        ("text", text),
        ("reason", "typo"),
        ("seq", seq),
        ("stage", "do"),
    ];
    let answer = act(browser, saga, &form).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{command}");
    answer.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_skips_and_compensation_need_a_second_person() {
    let control = Control::start().await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let mut ann = control.logged_in("ann", Role::Approver).await;
    let mut bea = control.logged_in("bea", Role::Approver).await;
    let saga = stuck(&control).await;
    let seq = status(&control, saga).await.1.to_string();
    let wrong = [
        ("command", "retry"),
        ("step", "work"),
        ("text", "{not json"),
        ("stage", "preview"),
    ];
    let page = act(&mut ann, saga, &wrong).await.text().await.unwrap();
    assert!(page.contains("this is not JSON"), "{page}");
    let edit = [
        ("command", "retry"),
        ("step", "work"),
        ("text", r#"{"card": "5555"}"#),
        ("stage", "preview"),
    ];
    let page = act(&mut ann, saga, &edit).await.text().await.unwrap();
    assert!(
        page.contains("What will happen") && page.contains("second person"),
        "{page}"
    );

    let skip = ask(&mut olga, saga, "skip", "work", "", &seq).await;
    let compensate = ask(&mut ann, saga, "compensate", "", "", &seq).await;
    let edit = ask(&mut ann, saga, "retry", "work", r#"{"card": "5555"}"#, &seq).await;
    assert_eq!(status(&control, saga).await.1.to_string(), seq, "nothing is done yet");

    let approve = [("decision", "approve")];
    assert_eq!(
        olga.post(&edit, &approve).await.status(),
        StatusCode::FORBIDDEN,
        "an operator"
    );
    assert_eq!(
        ann.post(&edit, &approve).await.status(),
        StatusCode::CONFLICT,
        "her own"
    );
    let page = ann.page(&edit).await;
    harmless(&page);
    assert!(
        page.contains("Withdraw") && !page.contains("it is done at once"),
        "{page}"
    );
    let page = bea.page(&edit).await;
    assert!(
        page.contains("it is done at once") && page.contains("5555") && page.contains("nobody.works"),
        "{page}"
    );
    assert_eq!(
        bea.post(&compensate, &[("decision", "reject")]).await.status(),
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        bea.post(&compensate, &approve).await.status(),
        StatusCode::CONFLICT,
        "decided already"
    );
    assert_eq!(bea.post(&edit, &approve).await.status(), StatusCode::SEE_OTHER);

    let journal = orchestrator::store::reads::journal(control.engine.pool(), saga, 2, 10)
        .await
        .unwrap();
    let Event::Command(command) = &journal[0].event else {
        panic!("{journal:?}")
    };
    assert_eq!(
        (command.by.as_str(), command.reason.as_str()),
        ("ann", "typo (approved by bea)")
    );
    let Command::Retry { input: Some(input), .. } = &command.command else {
        panic!("{command:?}")
    };
    assert_eq!(input, &json!({"card": "5555"}));

    // The saga has moved on since olga looked.
    assert!(bea.page(&skip).await.contains("moved on"));
    assert_eq!(
        bea.post(&skip, &approve).await.status(),
        StatusCode::PRECONDITION_FAILED
    );
    let page = bea.page("/approvals").await;
    harmless(&page);
    assert!(
        page.contains("rejected") && page.contains("refused: the saga has moved on"),
        "{page}"
    );

    // Even around the program, nobody approves their own.
    let forged = "update ops.approvals set decision = 'approved', decided_by = requested_by, decided_at = now()";
    let error = sqlx::query(forged).execute(&control.database.pool).await.unwrap_err();
    assert!(error.to_string().contains("second_person"), "{error}");
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_decides_is_too_late() {
    let control = Control::start().await;
    let mut ann = control.logged_in("ann", Role::Approver).await;
    let mut bea = control.logged_in("bea", Role::Approver).await;
    let saga = stuck(&control).await;
    let seq = status(&control, saga).await.1.to_string();
    let skip = ask(&mut ann, saga, "skip", "work", "", &seq).await;
    sqlx::query("update ops.approvals set expires_at = now()")
        .execute(&control.database.pool)
        .await
        .unwrap();
    assert_eq!(
        bea.post(&skip, &[("decision", "approve")]).await.status(),
        StatusCode::CONFLICT
    );
    assert!(bea.page(&skip).await.contains("too late"));
    assert_eq!(status(&control, saga).await.1.to_string(), seq);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_signal_note_cancel() {
    let control = Control::start().await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let saga = control.saga("patient", json!({"about": "k"})).await;
    for (command, wanted) in [("pause", "paused"), ("resume", "waiting")] {
        let seq = status(&control, saga).await.1.to_string();
        let form = [
            ("command", command),
            ("reason", "trying"),
            ("seq", seq.as_str()),
            ("stage", "do"),
        ];
        assert_eq!(
            act(&mut browser, saga, &form).await.status(),
            StatusCode::SEE_OTHER,
            "{command}"
        );
        assert_eq!(status(&control, saga).await.0, wanted);
    }
    let note = [("command", "note"), ("reason", HOSTILE), ("stage", "do")];
    assert_eq!(act(&mut browser, saga, &note).await.status(), StatusCode::SEE_OTHER);
    let page = browser.page(&format!("/sagas/{saga}")).await;
    assert!(page.contains("alert(1)"), "{page}");
    harmless(&page);
    let seq = status(&control, saga).await.1.to_string();
    let signal = [
        ("command", "signal"),
        ("step", "go"),
        ("text", "{\"a\":1}"),
        ("reason", "x"),
        ("seq", &seq),
        ("stage", "do"),
    ];
    assert_eq!(act(&mut browser, saga, &signal).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(status(&control, saga).await.0, "completed");
    let cancel = browser.page(&format!("/sagas/{saga}/act?command=cancel")).await;
    assert!(
        cancel.contains("cancel is not possible") && !cancel.contains("What will happen"),
        "{cancel}"
    );
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_groups_what_is_stuck() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    for _ in 0..3 {
        stuck(&control).await;
    }
    control.saga("patient", json!({"about": "k"})).await;
    let page = browser.page("/stuck").await;
    assert!(page.contains("card_declined") && page.contains(">3<"), "{page}");
    assert!(
        page.contains("/help#waits-for-an-operator") && page.contains("/help#card_declined"),
        "{page}"
    );
    assert!(page.contains("error%3Acard_declined"), "{page}");
    harmless(&page);
    let page = browser.page("/").await;
    assert!(
        page.contains("stubborn") && page.contains("patient") && page.contains(">4<"),
        "{page}"
    );
    control.stop().await;
}

/// A row as it is written before a deed; the process that wrote it is dead.
async fn begun(control: &Control, saga: SagaId, operator: &str, action: &str, step: &str) -> i64 {
    let seq = control.engine.saga(saga).await.unwrap().unwrap().summary.seq as i64;
    let insert = "insert into ops.audit (operator, action, saga_id, reason, details, entry) \
                  values ($1, $2, $3, 'x', jsonb_build_object('step', $4::text), $5) returning id";
    sqlx::query_scalar(insert)
        .bind(operator)
        .bind(action)
        .bind(saga.0)
        .bind(step)
        .bind(seq)
        .fetch_one(&control.database.pool)
        .await
        .unwrap()
}

async fn outcome(control: &Control, row: i64) -> Option<String> {
    sqlx::query_scalar("select outcome from ops.audit where id = $1")
        .bind(row)
        .fetch_one(&control.database.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_that_does_it_says_so_in_the_trail() {
    let control = Control::start().await;
    let saga = control.saga("stubborn", json!({"about": "k", "card": "1"})).await;
    control.fail(saga, "work", "card_declined", "no").await;
    let mine = begun(&control, saga, "ada", "retry", "work").await;
    // Who is spoken for within an input or a reason is not who did it.
    let spoken = r#"x","by":"bob","reason":"x"}"#;
    let others = [
        begun(&control, saga, "bob", "retry", "work").await,
        begun(&control, saga, "ada", "retry", "other").await,
        begun(&control, saga, "ada", "skip", "work").await,
    ];
    let command = Event::Command(CommandEvent {
        command: Command::Retry {
            step: Some("work".to_owned()),
            input: Some(json!({"card": "2", "x": {"by": "bob", "reason": spoken}, "nul": "\u{0}"})),
        },
        by: "ada".to_owned(),
        reason: format!("{spoken}\u{0}\\\"{}", "\u{1}".repeat(1_900)),
    });
    control.engine.send_event(saga, command, None).await.unwrap();
    assert_eq!(outcome(&control, mine).await.as_deref(), Some("done: entry 3"));
    for other in others {
        assert_eq!(outcome(&control, other).await, None);
    }
    // A signal likewise, by its id.
    let waiting = control.saga("patient", json!({"about": "k"})).await;
    let signal = begun(&control, waiting, "ada", "signal", "go").await;
    let another = begun(&control, waiting, "bob", "signal", "go").await;
    let go = Signal {
        id: "operator:ada:1:go".to_owned(),
        name: "go".to_owned(),
        payload: json!("\u{0}"),
    };
    control.engine.signal(waiting, go).await.unwrap();
    assert_eq!(outcome(&control, signal).await.as_deref(), Some("done: entry 2"));
    assert_eq!(outcome(&control, another).await, None);
    // What is refused stays begun.
    let refused = begun(&control, saga, "ada", "resume", "").await;
    let command = Event::Command(CommandEvent {
        command: Command::Resume {},
        by: "ada".to_owned(),
        reason: "x".to_owned(),
    });
    assert!(control.engine.send_event(saga, command, None).await.is_err());
    assert_eq!(outcome(&control, refused).await, None);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_filtered_and_exported_with_before_and_after() {
    let control = Control::start().await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let mut ada = control.logged_in("ada", Role::Admin).await;
    let mut vera = control.logged_in("vera", Role::Viewer).await;
    let saga = control.saga("patient", json!({"about": "k"})).await;
    let other = control.saga("patient", json!({"about": "k"})).await;
    let form = |command, seq| [("command", command), ("reason", HOSTILE), ("seq", seq), ("stage", "do")];
    let act = |saga| format!("/sagas/{saga}/act");
    olga.post(&act(saga), &form("pause", "1")).await;
    olga.post(&act(saga), &form("resume", "2")).await;
    ada.post(&act(other), &form("note", "1")).await;
    let page = olga.page("/audit?who=olga&action=pause").await;
    harmless(&page);
    assert!(page.contains("done: entry 2"), "{page}");
    assert!(page.contains("paused"), "{page}");
    assert!(!page.contains("done: entry 3"), "{page}");
    let page = olga.page(&format!("/audit?saga={other}")).await;
    assert!(
        page.contains("<td>note</td>") && !page.contains("<td>pause</td>"),
        "{page}"
    );
    for (query, rows) in [
        (format!("saga={saga}"), 2),
        (format!("saga={saga}&who=ada"), 0),
        (format!("saga={saga}&since=2026-01-01T00:00"), 2),
        (format!("saga={saga}&until=2026-01-01T00:00:00Z"), 0),
        (format!("saga={saga}&since=2999-01-01T00:00:00Z"), 0),
        (format!("saga={saga}&until=2999-01-01T00:00:00Z"), 2),
    ] {
        let json = olga.page(&format!("/audit/export?format=json&{query}")).await;
        let items: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(items.len(), rows, "{query}: {json}");
    }
    let json = olga
        .page(&format!("/audit/export?format=json&saga={saga}&action=pause"))
        .await;
    let items: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&items[0]["before"]["entry"], &items[0]["after"]["entry"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(items[0]["after"]["status"], "paused");
    let csv = vera.page(&format!("/audit/export?format=csv&saga={saga}")).await;
    assert!(csv.starts_with("id,at,operator,") && csv.lines().count() == 3, "{csv}");
    assert!(csv.contains("•••"), "a viewer's is redacted: {csv}");
    for wrong in ["/audit?saga=x", "/audit?since=x", "/audit/export?format=json&until=x"] {
        assert_eq!(
            olga.get(wrong).await.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "{wrong}"
        );
    }
    assert!(
        ada.page("/audit?action=export+audit").await.contains("saga="),
        "exports are in the trail"
    );
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_goes_back_to_an_earlier_step() {
    let control = Control::start_with(dashboard::Options {
        second_person: false,
        ..dashboard::Options::default()
    })
    .await;
    let mut browser = control.logged_in("ada", Role::Approver).await;
    let saga = control.saga("flaky", json!({"about": "k"})).await;
    let done = || Outcome::Succeeded {
        output: json!({"held": true}),
    };
    control.answer(saga, "hold", done()).await;
    let page = browser.page(&format!("/sagas/{saga}")).await;
    assert!(
        page.contains("Go back to hold…") && !page.contains("Go back to pay…"),
        "{page}"
    );
    let dry = browser
        .page(&format!("/sagas/{saga}/act?command=go_back&step=hold"))
        .await;
    assert!(dry.contains("nobody.lets-go is sent to the queue nobody"), "{dry}");
    assert!(dry.contains("It goes back to hold"), "{dry}");
    let refused = browser
        .page(&format!("/sagas/{saga}/act?command=go_back&step=pay"))
        .await;
    assert!(refused.contains("is open"), "{refused}");
    let seq = status(&control, saga).await.1.to_string();
    let form = [
        ("command", "go_back"),
        ("step", "hold"),
        ("seq", seq.as_str()),
        ("stage", "do"),
        ("reason", "another seat"),
    ];
    assert_eq!(act(&mut browser, saga, &form).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(status(&control, saga).await.0, "compensating");
    control.answer(saga, "hold", done()).await;
    assert_eq!(status(&control, saga).await.0, "running");
    let page = browser.page(&format!("/sagas/{saga}")).await;
    assert!(page.contains("Running hold: attempt 1 is with a worker"), "{page}");
    harmless(&page);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_input_must_have_the_announced_shape() {
    let control = Control::start().await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let announced = orchestrator::store::workers::Announced {
        queue: vec!["nobody".into()],
        activity: vec!["nobody.works".into()],
        version: vec!["1".into()],
        input: vec![json!({"type": "object", "properties": {"card": {"type": "string"}}}).to_string()],
        output: vec!["true".into()],
        codes: vec!["[]".into()],
    };
    orchestrator::store::workers::announce(&control.database.pool, &announced)
        .await
        .unwrap();
    let saga = stuck(&control).await;
    let seq = status(&control, saga).await.1.to_string();
    let form = |text: &'static str, stage: &'static str| {
        let seq = seq.clone();
        vec![
            ("command", "retry".to_owned()),
            ("step", "work".to_owned()),
            ("text", text.to_owned()),
            ("seq", seq),
            ("stage", stage.to_owned()),
            ("reason", "x".to_owned()),
        ]
    };
    for (text, stage, status) in [
        (r#"{"card": 7}"#, "do", StatusCode::UNPROCESSABLE_ENTITY),
        (r#"{"card": 7}"#, "preview", StatusCode::OK),
        (r#"{"card": "8"}"#, "do", StatusCode::SEE_OTHER),
    ] {
        let form = form(text, stage);
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = act(&mut browser, saga, &form).await;
        assert_eq!(answer.status(), status, "{text}");
        let page = answer.text().await.unwrap();
        if text.contains('7') {
            assert!(page.contains("this is not what nobody.works takes: /card"), "{page}");
        }
    }
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sagas_page_leads_to_what_is_different_and_elsewhere() {
    let links = "Booking=https://shop.example/bookings/{saga} Card=https://bank.example/{input.card} \
                 Paid=https://bank.example/paid/{steps.work.paid} Trace=https://traces.example/{trace}";
    let control = Control::start_with(dashboard::Options {
        links: dashboard::Links::parse(links).unwrap(),
        ..dashboard::Options::default()
    })
    .await;
    let mut browser = control.logged_in("olga", Role::Operator).await;
    let well = control.saga("stubborn", json!({"about": "k", "card": "1"})).await;
    let output = json!({"paid": HOSTILE});
    control.answer(well, "work", Outcome::Succeeded { output }).await;
    let page = browser.page(&format!("/sagas/{well}")).await;
    harmless(&page);
    assert!(
        page.contains(&format!("https://shop.example/bookings/{well}")),
        "{page}"
    );
    assert!(page.contains("https://bank.example/paid/%"), "{page}");
    assert!(!page.contains("traces.example"), "there is no trace: {page}");
    let saga = stuck(&control).await;
    let page = browser.page(&format!("/sagas/{saga}")).await;
    assert!(page.contains("https://bank.example/4242"), "{page}");
    assert!(page.contains(&format!("/sagas/{saga}/difference?step=work")), "{page}");
    let path = format!("/sagas/{saga}/difference?step=work");
    let page = browser.page(&path).await;
    harmless(&page);
    assert!(
        page.contains("tried only once") && page.contains(&well.to_string()),
        "{page}"
    );
    assert!(page.contains("/input/card") && page.contains("4242"), "{page}");
    let mut viewer = control.logged_in("vera", Role::Viewer).await;
    let page = viewer.page(&path).await;
    assert!(!page.contains("4242"), "{page}");
    assert!(!viewer.page(&format!("/sagas/{saga}")).await.contains("bank.example"));
    control.stop().await;
}

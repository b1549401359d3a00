//! Every page, with what people put where others will read it.

use orchestrator::client::EngineClient as _;
use serde_json::json;

use crate::browser;
use crate::control::Control;
use crate::story::log_in;

/// Markup, a text that runs from right to left, an escaped U+0000 and a word that fits nowhere.
fn hostile() -> String {
    let long = "W".repeat(300);
    format!(
        "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>\u{202e}לאחור \\u0000 '\"</title>{long}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_and_harmless() {
    let control = Control::start().await;
    let Some(chrome) = browser(&control.base).await else {
        return control.stop().await;
    };
    let text = hostile();
    let large: Vec<_> = (0..2_000).map(|n| json!({"n": n, "text": text})).take(400).collect();
    let input = json!({"about": text, "card": text, "totalAmount": 120.5, text.as_str(): large});
    let saga = control.saga("stubborn", input).await;
    control.fail(saga, "work", &text, &text).await;
    control.saga("patient", json!({"about": "quiet"})).await;

    let schedule = json!({"name": "nightly", "cron": "0 4 * * *", "workflow": "patient", "input": {"about": text}});
    let client = orchestrator::client::LocalClient::new(control.engine.clone());
    client
        .create_schedule(serde_json::from_value(schedule).unwrap())
        .await
        .unwrap();

    chrome.open("/login").await;
    chrome.check("login").await;
    log_in(&control, &chrome).await;
    let search = form_urlencoded::Serializer::new(String::new())
        .append_pair("q", &text)
        .finish();
    let note = form_urlencoded::Serializer::new(String::new())
        .append_pair("command", "retry")
        .append_pair("step", &text)
        .append_pair("text", &text)
        .finish();
    let pages = [
        ("overview", "/".to_owned()),
        ("stuck", "/stuck".to_owned()),
        ("sagas", "/sagas".to_owned()),
        ("search", format!("/sagas?{search}")),
        ("saga", format!("/sagas/{saga}")),
        ("act", format!("/sagas/{saga}/act?command=retry&step=work")),
        ("act-hostile", format!("/sagas/{saga}/act?{note}")),
        ("workflows", "/workflows".to_owned()),
        ("workflow", "/workflows/stubborn".to_owned()),
        ("schedules", "/schedules".to_owned()),
        ("schedule", "/schedules/nightly".to_owned()),
        ("queues", "/workers".to_owned()),
        ("analytics", "/analytics".to_owned()),
        ("alerts", "/alerts".to_owned()),
        ("help", "/help".to_owned()),
        ("audit", "/audit".to_owned()),
        ("settings", "/settings".to_owned()),
        (
            "not-found",
            "/nowhere%3Cimg%20src=x%20onerror=window.pwned=1%3E".to_owned(),
        ),
    ];
    for (name, path) in pages {
        chrome.open(&path).await;
        chrome.check(name).await;
        let bytes = chrome
            .run("return performance.getEntriesByType('navigation')[0].decodedBodySize")
            .await;
        assert!(bytes.as_f64().unwrap() < 100_000.0, "{name} has {bytes} bytes");
    }
    chrome.stop().await;
    control.stop().await;
}

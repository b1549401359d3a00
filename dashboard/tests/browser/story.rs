//! What an operator on call does: comes in, finds what is stuck, reads why, repairs it, and sees it end.

use std::time::Instant;

use dashboard::{Role, operators};
use serde_json::json;
use thirtyfour::Key;

use crate::browser;
use crate::control::Control;
use crate::worker;
use testkit::{Chrome, PAGE_LIMIT as LIMIT};

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_saga_is_found_understood_and_repaired() {
    // That a second person must agree to an edit is tested elsewhere.
    let alone = dashboard::Options {
        second_person: false,
        ..dashboard::Options::default()
    };
    let control = Control::start_with(alone).await;
    let Some(chrome) = browser(&control.base).await else {
        return control.stop().await;
    };
    let worker = worker::start(&control).await;
    let saga = control
        .saga("parcel", json!({"order": "order-7", "to": "", "totalAmount": 59.9}))
        .await;
    testkit::eventually("it waits for an operator", LIMIT, async || {
        let record = control.engine.saga(saga).await.unwrap().unwrap();
        record.summary.status.as_str() == "failed"
    })
    .await;

    log_in(&control, &chrome).await;

    let (began, before) = (Instant::now(), chrome.clicks());
    chrome.click("Stuck").await;
    chrome.shows("address_incomplete").await;
    chrome.click_on("td.number a").await;
    chrome.shows("order-7").await;
    chrome.click_on("td.id a").await;
    chrome.shows("the parcel has no town to go to").await;
    chrome.shows("● live").await;

    chrome.click("Retry ship now").await;
    let input = chrome.find("textarea").await;
    input.send_keys(r#"{"to": "Oslo"}"#).await.unwrap();
    chrome.click("Show what would happen").await;
    chrome.shows("will be running").await;
    chrome
        .find("input[name=reason]")
        .await
        .send_keys("the town was missing")
        .await
        .unwrap();
    chrome.click_on("button.grave").await;

    // Whether the answer came before or after the page: it shows the end without being loaded again.
    chrome.shows("✔ completed").await;
    let clicks = chrome.clicks() - before;
    eprintln!(
        "repaired by {clicks} clicks; the pages took {:.1} s of it",
        began.elapsed().as_secs_f64()
    );
    assert!(clicks <= 6, "a repair takes {clicks} clicks");
    chrome.shows("dev: the town was missing").await;
    chrome.click("ship: present").await;
    chrome.shows("to Oslo").await;
    worker.cancel();
    chrome.stop().await;
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_follows_its_saga() {
    let Some((control, chrome)) = come_in().await else {
        return;
    };
    let saga = control.saga("patient", json!({"about": "k"})).await;
    chrome.open(&format!("/sagas/{saga}")).await;
    chrome.shows("● live").await;
    chrome
        .run("window.sameDocument = true; document.querySelector('[data-part=journal] details').open = true")
        .await;
    // While somebody is at the actions, these stay; all the rest goes on.
    chrome.run("document.querySelector('.actions a').focus()").await;
    let signal = workflows::event::Signal {
        id: "1".to_owned(),
        name: "go".to_owned(),
        payload: json!(null),
    };
    control.engine.signal(saga, signal).await.unwrap();
    chrome.shows("signal").await;
    chrome.shows("newer ones are shown when you move away").await;
    assert!(chrome.text().await.contains("◷ waiting"));
    chrome.run("document.activeElement.blur()").await;
    chrome.shows("✔ completed").await;
    assert_eq!(chrome.run("return window.sameDocument").await, true);
    let open = "return document.querySelector('[data-part=journal] details').open";
    assert_eq!(chrome.run(open).await, true, "what was opened stays open");
    chrome.quiet("live").await;
    chrome.stop().await;
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough() {
    let Some((control, chrome)) = come_in().await else {
        return;
    };
    control.saga("patient", json!({"about": "first"})).await;
    control.saga("patient", json!({"about": "second"})).await;
    chrome.press("?").await;
    chrome.shows("go anywhere").await;
    chrome.check("keys").await;
    chrome.click_on("dialog button").await;
    chrome.press("gs").await;
    chrome.arrives("/sagas").await;
    chrome.shows("first").await;
    chrome.press("jj").await;
    let here = chrome
        .run("return document.activeElement.closest('tr').innerText")
        .await;
    assert!(here.as_str().unwrap().contains("first"), "{here}");
    chrome.press("" + Key::Enter).await;
    chrome.arrives("/sagas/").await;
    chrome.shows("waits for its signal").await;
    chrome.press("/").await;
    // It is where the address leads, so it has the keys before the page is there as a whole; until then some may get lost.
    chrome.find("[role=search] input:focus").await;
    chrome.arrives("/sagas").await;
    chrome.press("second" + Key::Enter).await;
    chrome.arrives("/sagas?q=second").await;
    chrome.shows("second").await;
    let search = chrome.find("[role=search] input").await;
    search.send_keys(" workflow:pa").await.unwrap();
    let offered = chrome.run("return document.querySelector('#words option').value").await;
    assert_eq!(offered, "second workflow:patient");
    search.clear().await.unwrap();
    chrome.press("" + Key::Tab).await;
    chrome.press_with_control('k').await;
    let palette = chrome.find("dialog input").await;
    palette.send_keys("audi").await.unwrap();
    chrome.check("palette").await;
    palette.send_keys("" + Key::Enter).await.unwrap();
    chrome.shows("Audit trail").await;
    chrome.stop().await;
    control.stop().await;
}

/// Mission control and somebody who has logged in; none: there is no browser.
async fn come_in() -> Option<(Control, Chrome)> {
    let control = Control::start().await;
    let Some(chrome) = browser(&control.base).await else {
        control.stop().await;
        return None;
    };
    log_in(&control, &chrome).await;
    Some((control, chrome))
}

pub async fn log_in(control: &Control, chrome: &Chrome) {
    log_in_as(control, chrome, "dev", Role::Admin).await;
}

pub async fn log_in_as(control: &Control, chrome: &Chrome, name: &str, role: Role) {
    let link = operators::one_time_link(&control.database.pool, name, role)
        .await
        .unwrap();
    chrome.open(&link).await;
    chrome.click("Log in by this one-time link").await;
    chrome.shows(&format!("{name} ({role})")).await;
}

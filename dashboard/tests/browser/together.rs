//! Many sagas by one campaign, and two operators at one saga.

use dashboard::{Role, campaigns};
use orchestrator::NewSaga;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::browser;
use crate::control::Control;
use crate::story::{log_in, log_in_as};
use crate::worker;
use testkit::{Chrome, PAGE_LIMIT as LIMIT};

const PARCELS: usize = 500;

async fn alone() -> Control {
    let options = dashboard::Options {
        second_person: false,
        ..dashboard::Options::default()
    };
    Control::start_with(options).await
}

/// Parcels without a town; they wait for an operator.
async fn stuck(control: &Control, count: usize) {
    let new = |n: usize| NewSaga {
        workflow: "parcel".to_owned(),
        input: json!({"order": format!("order-{n}"), "to": "", "totalAmount": 59.9}),
        ..NewSaga::default()
    };
    for started in control.engine.start_sagas((0..count).map(new).collect()).await {
        started.unwrap();
    }
    testkit::eventually("all wait for an operator", LIMIT, async || {
        ended(control, "failed").await == count
    })
    .await;
}

async fn ended(control: &Control, status: &str) -> usize {
    let found: i64 = sqlx::query_scalar("select count(*) from saga.sagas where status = $1")
        .bind(status)
        .fetch_one(&control.database.pool)
        .await
        .unwrap();
    usize::try_from(found).unwrap()
}

/// Looks again until the campaign is there. On a campaign's page only: to load a page anew takes back a form whose answer
/// is not there yet.
async fn becomes(chrome: &Chrome, phase: &str) {
    testkit::eventually(&format!("the campaign is {phase}"), LIMIT, async || {
        chrome.driver.refresh().await.unwrap();
        chrome.text().await.contains(&format!(": {phase}"))
    })
    .await;
}

/// From the stuck inbox to a campaign that runs, the `number`-th; `replace` is what is to be replaced of the step's input.
async fn repair_all(chrome: &Chrome, number: u32, replace: &str) {
    chrome.click("Stuck").await;
    chrome.arrives("/stuck").await;
    chrome.click_on("td.number a").await;
    chrome.click("Do something to all of these").await;
    chrome
        .find("textarea[name=text]")
        .await
        .send_keys(replace)
        .await
        .unwrap();
    chrome
        .find("main input[name=reason]")
        .await
        .send_keys("the towns were missing")
        .await
        .unwrap();
    chrome.click("Plan it").await;
    chrome.arrives(&format!("/campaigns/{number}")).await;
    becomes(chrome, "planned").await;
    let why = chrome.find("form[action$='/start'] input[name=reason]").await;
    why.send_keys("looks right").await.unwrap();
    chrome.click_on("form[action$='/start'] button").await;
    testkit::eventually("the campaign is started", LIMIT, async || {
        let text = chrome.text().await;
        text.contains("Campaign ") && !text.contains(": planned")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_of_500_ends_at_a_failing_canary_and_the_next_repairs_all() {
    let control = alone().await;
    let Some(chrome) = browser(&control.base).await else {
        return control.stop().await;
    };
    let worker = worker::start(&control).await;
    stuck(&control, PARCELS).await;
    let stop = CancellationToken::new();
    let runner = tokio::spawn(campaigns::run(control.mission.clone(), stop.clone()));
    log_in(&control, &chrome).await;

    // Still without a town: the canary of five fails as before, and nothing else is touched.
    repair_all(&chrome, 1, "{}").await;
    becomes(&chrome, "stopped").await;
    chrome.shows("the canary failed").await;
    chrome.check("campaign-stopped").await;
    let touched: i64 = sqlx::query_scalar("select count(*) from ops.campaign_items where state <> 'ready'")
        .fetch_one(&control.database.pool)
        .await
        .unwrap();
    assert_eq!(touched, 5);

    repair_all(&chrome, 2, r#"{"to": "Oslo"}"#).await;
    becomes(&chrome, "finished").await;
    chrome.check("campaign-finished").await;
    testkit::eventually("all have ended well", LIMIT, async || {
        ended(&control, "completed").await == PARCELS
    })
    .await;
    stop.cancel();
    runner.await.unwrap();
    worker.cancel();
    chrome.stop().await;
    control.stop().await;
}

/// As far as the question whether it is really meant.
async fn about_to_retry(chrome: &Chrome, saga: &str, reason: &str) {
    chrome.open(&format!("/sagas/{saga}")).await;
    chrome.click("Retry ship now").await;
    let input = chrome.find("textarea").await;
    input.send_keys(r#"{"to": "Oslo"}"#).await.unwrap();
    chrome.click("Show what would happen").await;
    chrome.shows("will be running").await;
    let why = chrome.find("input[name=reason]").await;
    why.send_keys(reason).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_do_not_step_on_each_other() {
    let control = alone().await;
    let (Some(one), Some(other)) = tokio::join!(browser(&control.base), browser(&control.base)) else {
        return control.stop().await;
    };
    let worker = worker::start(&control).await;
    stuck(&control, 1).await;
    let saga: uuid::Uuid = sqlx::query_scalar("select id from saga.sagas")
        .fetch_one(&control.database.pool)
        .await
        .unwrap();
    log_in_as(&control, &one, "olga", Role::Approver).await;
    log_in_as(&control, &other, "otto", Role::Approver).await;
    about_to_retry(&one, &saga.to_string(), "olga knows the town").await;
    about_to_retry(&other, &saga.to_string(), "otto does too").await;
    one.click_on("button.grave").await;
    one.shows("✔ completed").await;
    // What otto was shown is no longer so: nothing is done, and the page says why.
    other.click_on("button.grave").await;
    other.shows("moved on").await;
    other.check("moved-on").await;
    one.open(&format!("/sagas/{saga}")).await;
    one.shows("olga: olga knows the town").await;
    assert!(!one.text().await.contains("otto"));
    worker.cancel();
    one.stop().await;
    other.stop().await;
    control.stop().await;
}

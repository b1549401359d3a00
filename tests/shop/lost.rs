//! What goes wrong between a buyer and the shop, in a browser: time runs out, a line moves, answers get lost, tabs are doubled. One order, one
//! charge, and words that say what to do.

use serde_json::{Value, json};
use sqlx::Connection as _;
use testkit::{Chrome, eventually};

use crate::hall;
use crate::journeys::{address, order, pay, pick};
use crate::running::Dev;
use crate::wire::Wire;
use crate::{LIMIT, browser};

/// How long seats are held here: longer than anything else takes that is done meanwhile with seats held.
const HOLD: &str = "30s";
/// Before the buyer in the line: more than are let in while a page is opened.
const AHEAD: i64 = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_gets_lost_on_the_way_there_is_one_order_and_one_charge() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &[("SAGALINE_BOOKING_HOLD", HOLD.to_owned())]).await;
    let wire = Wire::to(dev.url("gateway")).await;
    let Some(chrome) = browser(&wire.url).await else {
        return;
    };
    let event = hall::event(&dev, "The Lost Wire", "Floor").await;
    answers_get_lost(&chrome, &wire, &dev, &event).await;
    tabs_are_doubled_and_pages_gone_back_to(&chrome, &dev, &event).await;
    the_network_goes_and_comes_back(&chrome, &dev, &event).await;
    chrome.stop().await;

    let Some(chrome) = browser(dev.url("gateway")).await else {
        return;
    };
    lines_move_by_themselves(&chrome, &dev).await;
    holds_end_on_the_page_for_paying(&chrome, &dev).await;
    chrome.stop().await;
}

/// Payments of an event that went through, as the provider has them, and how many there are in all.
async fn charges(dev: &Dev, event: &str) -> (usize, usize) {
    let url = format!("{}/v1/payment_intents?limit=100", dev.url("stripe"));
    let list: Value = dev
        .http
        .get(url)
        .bearer_auth("sk_test_x")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let ours = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|intent| intent["metadata"]["eventId"] == event);
    let ours: Vec<&Value> = ours.collect();
    let paid = ours.iter().filter(|intent| intent["status"] == "succeeded").count();
    (paid, ours.len())
}

async fn open_checkout(chrome: &Chrome, event: &str, seat: &str) {
    chrome.open(&format!("/shop/events/{event}/checkout?seat={seat}")).await;
    chrome.arrives(&format!("/shop/events/{event}/checkout")).await;
}

/// Where the browser is.
async fn here(chrome: &Chrome) -> String {
    chrome.driver.current_url().await.unwrap().path().to_owned()
}

/// The order was placed and paid; the answer never came. Going back and sending it again is the same order.
async fn answers_get_lost(chrome: &Chrome, wire: &Wire, dev: &Dev, event: &str) {
    open_checkout(chrome, event, "A1").await;
    address(chrome, "fan@example.com").await;
    wire.loses_answers(true);
    order(chrome).await;
    chrome.shows("ERR_").await;
    assert!(wire.lost() > 0);
    eventually("the order has arrived all the same", LIMIT, async || {
        charges(dev, event).await.1 == 1
    })
    .await;
    wire.loses_answers(false);
    chrome.driver.back().await.unwrap();
    chrome.arrives(&format!("/shop/events/{event}/checkout")).await;
    // What was typed may still be there.
    chrome
        .run("document.querySelector('input[name=email]').value = ''")
        .await;
    address(chrome, "fan@example.com").await;
    order(chrome).await;
    chrome.arrives("/shop/orders/").await;
    chrome.shows("You’re going!").await;
    assert_eq!(charges(dev, event).await, (1, 1));
    // Reloaded, it is still there.
    chrome.driver.refresh().await.unwrap();
    chrome.shows("You’re going!").await;
}

/// The same checkout in two tabs, paid in both; then gone back to, and paid once more.
async fn tabs_are_doubled_and_pages_gone_back_to(chrome: &Chrome, dev: &Dev, event: &str) {
    open_checkout(chrome, event, "A2").await;
    let address_bar = chrome.run("return location.pathname + location.search").await;
    let first = chrome.driver.window().await.unwrap();
    let second = chrome.driver.new_tab().await.unwrap();
    chrome.driver.switch_to_window(second).await.unwrap();
    chrome.open(address_bar.as_str().unwrap()).await;
    address(chrome, "fan@example.com").await;
    order(chrome).await;
    chrome.arrives("/shop/orders/").await;
    chrome.shows("You’re going!").await;
    let bought = here(chrome).await;
    chrome.driver.close_window().await.unwrap();
    chrome.driver.switch_to_window(first).await.unwrap();
    address(chrome, "fan@example.com").await;
    order(chrome).await;
    chrome.arrives("/shop/orders/").await;
    chrome.shows("You’re going!").await;
    assert_eq!(here(chrome).await, bought);

    chrome.driver.back().await.unwrap();
    chrome.arrives(&format!("/shop/events/{event}/checkout")).await;
    chrome
        .run("document.querySelector('input[name=email]').value = ''")
        .await;
    address(chrome, "fan@example.com").await;
    order(chrome).await;
    chrome.arrives("/shop/orders/").await;
    assert_eq!(here(chrome).await, bought);
    chrome.shows("You’re going!").await;
    assert_eq!(charges(dev, event).await, (2, 2));
}

/// While the bank asks, the network is away: the page says so, and goes on by itself once it is back.
async fn the_network_goes_and_comes_back(chrome: &Chrome, dev: &Dev, event: &str) {
    open_checkout(chrome, event, "A3").await;
    address(chrome, "fan@example.com").await;
    chrome.click_on("input[value=pm_card_threeDSecure2Required]").await;
    order(chrome).await;
    chrome.arrives("/shop/orders/").await;
    chrome.shows("Your bank asks whether it is you").await;
    let bank = chrome
        .find("a[href*='/authenticate']")
        .await
        .attr("href")
        .await
        .unwrap()
        .unwrap();
    chrome.offline(true).await;
    chrome.shows("No connection just now").await;
    // The bank is told elsewhere, as on a phone.
    let complete = bank.replace("/authenticate", "/complete");
    assert!(dev.http.post(complete).send().await.unwrap().status().is_success());
    chrome.offline(false).await;
    chrome.shows("You’re going!").await;
    assert!(!chrome.text().await.contains("No connection just now"));
    assert_eq!(charges(dev, event).await, (3, 3));
}

/// From arriving, seeing the place move, being let in, to a ticket: nothing is reloaded by hand.
async fn lines_move_by_themselves(chrome: &Chrome, dev: &Dev) {
    let event = hall::event(dev, "The Long Line", "Floor").await;
    let mut database = sqlx::PgConnection::connect(dev.url("database")).await.unwrap();
    // That many have a place already, and are let in first. Who they are matters to nobody.
    let room = "insert into ticketing.waiting_rooms (event_id, opens_at, last_place) values ($1, now() + interval '1 hour', $2)";
    sqlx::query(room)
        .bind(&event)
        .bind(AHEAD)
        .execute(&mut database)
        .await
        .unwrap();
    open_queue(chrome, &event).await;
    chrome.shows("You’re in the waiting room").await;
    chrome.shows("drawn by lot").await;
    chrome.check("queue-before").await;
    let stays = "window.stays = 1";
    chrome.run(stays).await;

    let begin = "update ticketing.waiting_rooms set opens_at = now() where event_id = $1";
    sqlx::query(begin).bind(&event).execute(&mut database).await.unwrap();
    chrome.shows("You’re in line").await;
    let ahead = async || {
        let shown = "const ahead = document.querySelector('.ahead b'); return ahead ? Number(ahead.textContent.replace(/\\D/g, '')) : null";
        chrome.run(shown).await.as_i64()
    };
    let before = ahead().await.unwrap();
    assert!(before <= AHEAD && before > 0, "{before}");
    eventually("the place moves", LIMIT, async || {
        ahead().await.is_some_and(|now| now < before)
    })
    .await;
    chrome.check("queue-moving").await;
    assert_eq!(chrome.run("return window.stays").await, 1, "the page was never left");

    // Its turn comes: the page goes on to the seats by itself, and the checkout is open.
    let let_in = "update ticketing.waiting_rooms set admitted = last_place where event_id = $1";
    sqlx::query(let_in).bind(&event).execute(&mut database).await.unwrap();
    chrome.find("#picker").await;
    pick(chrome, "A5").await;
    pay(chrome, "pm_card_visa").await;
    chrome.shows("You’re going!").await;
}

async fn open_queue(chrome: &Chrome, event: &str) {
    // Gateways look for new lines every few seconds.
    let queue = format!("/shop/events/{event}/queue");
    eventually("the gateway knows of the line", LIMIT, async || {
        chrome.open(&format!("/shop/events/{event}/checkout?seat=A5")).await;
        here(chrome).await.starts_with(&queue)
    })
    .await;
}

/// The bank never answers and the time runs out on the page: it says so, and offers the same seats, which are to be had again.
async fn holds_end_on_the_page_for_paying(chrome: &Chrome, dev: &Dev) {
    let event = hall::event(dev, "The Short Hold", "Floor").await;
    chrome.open(&format!("/shop/events/{event}")).await;
    pick(chrome, "B3").await;
    pick(chrome, "B4").await;
    pay(chrome, "pm_card_threeDSecure2Required").await;
    chrome.shows("Your seats are held for").await;
    chrome.find(".hold [data-left]").await;
    let late = here(chrome).await;
    eventually("the page says that the time is over", LIMIT, async || {
        chrome.text().await.contains("Your time to pay is over")
    })
    .await;
    assert_eq!(here(chrome).await, late);
    chrome.shows("You were not charged").await;
    chrome.check("order-expired").await;
    eventually("the seats are free again", LIMIT, async || {
        let url = format!("{}/events/{event}/seats?status=available", dev.url("gateway"));
        let seats: Value = dev.http.get(url).send().await.unwrap().json().await.unwrap();
        let free = seats["seats"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|seat| ["B3", "B4"].map(|id| json!(id)).contains(&seat["seatId"]));
        free.count() == 2
    })
    .await;
    chrome.click("Try the same seats again").await;
    chrome.arrives(&format!("/shop/events/{event}/checkout")).await;
    chrome.shows("B3").await;
    chrome.shows("B4").await;
    address(chrome, "fan@example.com").await;
    order(chrome).await;
    chrome.arrives("/shop/orders/").await;
    chrome.shows("You’re going!").await;
    assert_ne!(here(chrome).await, late);
    // The first order's payment was given up; the second's went through.
    assert_eq!(charges(dev, &event).await, (1, 2));
}

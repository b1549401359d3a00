//! Every page: accessible, harmless, fit for a phone, and small.

use sqlx::Connection as _;

use crate::browser;
use crate::buyer::Buyer;
use crate::hall::{self, HOSTILE, TOUR};
use crate::running::Dev;

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_the_shop_is_accessible_and_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &[]).await;
    let Some(chrome) = browser(dev.url("gateway")).await else {
        return;
    };
    let event = hall::event(&dev, HOSTILE, &HOSTILE.chars().take(40).collect::<String>()).await;
    let crowded = hall::event(&dev, "Crowded", "Floor").await;
    let mut database = sqlx::PgConnection::connect(dev.url("database")).await.unwrap();
    let open = "insert into ticketing.waiting_rooms (event_id, opens_at) values ($1, now() + interval '1 hour')";
    sqlx::query(open).bind(&crowded).execute(&mut database).await.unwrap();
    // Orders in the browser's own cookies: one that is declined, one with tickets.
    let mut buyer = Buyer::of(&dev);
    let declined = buyer.order(TOUR, &["A1"], "pm_card_chargeDeclinedExpiredCard").await;
    buyer.until(&declined, "The payment did not work").await;
    let hostile = buyer.order(&event, &["A1", "A2"], "pm_card_visa").await;
    buyer.until(&hostile, "going!").await;
    buyer
        .until(&format!("/shop/events/{crowded}/queue"), "waiting room")
        .await;

    chrome.open("/shop/door").await;
    chrome.check("door").await;
    chrome.open("/shop/orders").await;
    chrome.check("orders-none").await;
    for (name, value) in &buyer.cookies {
        let mut cookie = thirtyfour::Cookie::new(name, value);
        cookie.set_path("/");
        chrome.driver.add_cookie(cookie).await.unwrap();
    }
    let pages = [
        ("home", "/".to_owned()),
        ("home-nothing", "/?text=nobody".to_owned()),
        ("event-sections", format!("/shop/events/{TOUR}")),
        ("event-hostile", format!("/shop/events/{event}")),
        ("checkout", format!("/shop/events/{event}/checkout?seat=A5&seat=B5")),
        ("order-declined", declined),
        ("order-hostile", hostile),
        ("orders", "/shop/orders".to_owned()),
        ("queue", format!("/shop/events/{crowded}/queue")),
        ("login", "/shop/login".to_owned()),
        ("register", "/shop/register".to_owned()),
        (
            "not-found",
            "/shop/nowhere%3Cimg%20src=x%20onerror=window.pwned=1%3E".to_owned(),
        ),
    ];
    for (name, path) in pages {
        chrome.open(&path).await;
        chrome.check(name).await;
    }
    let token = dev.url("organiser_token");
    let mut cookie = thirtyfour::Cookie::new("sagaline_access", format!("usr_organiser:{token}"));
    cookie.set_path("/");
    chrome.driver.add_cookie(cookie).await.unwrap();
    chrome.open("/shop/organiser").await;
    chrome.check("organiser-hostile").await;
    for page in ["", "/edit", "/house", "/doors", "/off"] {
        chrome.open(&format!("/shop/organiser/events/{event}{page}")).await;
        chrome
            .check(&format!("organiser-hostile{}", page.replace('/', "-")))
            .await;
    }
    chrome.stop().await;
}

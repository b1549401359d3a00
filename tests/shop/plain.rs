//! Everything that buyers, organisers and doors do, without a script.

use std::process::Command;

use reqwest::Method;
use sqlx::Connection as _;
use testkit::eventually;

use crate::LIMIT;
use crate::buyer::{Buyer, number_on};
use crate::hall::{self, HOSTILE, TOUR};
use crate::running::Dev;

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_bought_without_a_script() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &[]).await;
    let mut buyer = Buyer::of(&dev);
    let home = buyer.page("/").await;
    assert!(home.contains("The Eras Tour") && home.contains("from $150"), "{home}");
    assert!(buyer.page("/?text=nobody").await.contains("Nothing fits"));
    assert!(buyer.page("/?from=soon").await.contains("2027-06-12"));
    let floor = buyer.page(&format!("/shop/events/{TOUR}?section=Floor")).await;
    assert!(floor.contains("name=\"seat\" value=\"A15\"") && floor.contains("$400"));

    // Reloaded, or sent twice, it is one order.
    let (path, fields) = buyer.checkout(TOUR, &["A15", "A16"]).await;
    assert!(buyer.page(&path).await.contains("Pay $800"));
    let mut twin = Buyer::of(&dev);
    twin.cookies = buyer.cookies.clone();
    let (first, second) = tokio::join!(
        buyer.pay(TOUR, &fields, "pm_card_visa"),
        twin.pay(TOUR, &fields, "pm_card_visa")
    );
    assert_eq!((first.status.as_u16(), &first.to), (303, &second.to), "{}", second.text);
    let order = first.to;
    let page = buyer.until(&order, "going!").await;
    assert!(page.contains("SL-") && page.contains("tickets.pdf"), "{page}");
    assert!(buyer.page("/shop/orders").await.contains("Confirmed"));
    let qr = buyer.get(&format!("{order}/qr/1")).await;
    assert_eq!((qr.status.as_u16(), qr.kind.as_str()), (200, "image/svg+xml"));
    let paper = buyer.get(&format!("{order}/tickets.pdf")).await;
    assert!(paper.kind == "application/pdf" && paper.text.starts_with("%PDF"));

    // Its address alone shows it to nobody.
    let mut other = Buyer::of(&dev);
    for path in [order.clone(), format!("{order}/qr/0"), format!("{order}/tickets.pdf")] {
        assert_eq!(other.get(&path).await.status, 404, "{path}");
    }
    let number = number_on(&page);
    let wrong = other
        .post("/shop/orders", &[("number", &number), ("email", "other@example.com")])
        .await;
    assert_eq!(wrong.status, 404);
    let found = other
        .post("/shop/orders", &[("number", &number), ("email", "fan@example.com")])
        .await;
    assert_eq!(found.to, order);
    assert!(other.page(&order).await.contains(&number));

    // Who comes later is offered others.
    let (_, fields) = other.checkout(TOUR, &["A15"]).await;
    let gone = other.pay(TOUR, &fields, "pm_card_visa").await;
    assert_eq!(gone.status, 409);
    assert!(
        gone.text.contains("These seats are gone") && gone.text.contains("Free near by"),
        "{}",
        gone.text
    );

    // One ticket back, then the other.
    let refund = buyer.post(&format!("{order}/refund"), &[("seat", "A15")]).await;
    assert_eq!(refund.to, order, "{}", refund.text);
    buyer
        .until(&order, "1 ticket given back; the money is on its way")
        .await;
    assert_eq!(buyer.post(&format!("{order}/refund"), &[]).await.status, 422);
    declined_cards_say_why(&mut buyer).await;
    time_is_given_once(&mut buyer).await;
    forms_of_other_sites_do_nothing(&mut buyer, &order).await;
    doors_let_in_once(&dev, &mut buyer).await;
    lines_are_stood_in(&dev, &mut buyer).await;
    organisers_see_their_sales(&dev).await;
    names_are_no_markup(&dev, &mut buyer).await;
    the_api_keeps_its_paths(&dev).await;
}

async fn declined_cards_say_why(buyer: &mut Buyer) {
    let order = buyer
        .order(TOUR, &["B1"], "pm_card_visa_chargeDeclinedInsufficientFunds")
        .await;
    let page = buyer.until(&order, "The payment did not work").await;
    assert!(
        page.contains("enough money") && page.contains("Pay with another card"),
        "{page}"
    );
    // Once it is seen that the seat is free again.
    let (_, fields) = buyer.checkout(TOUR, &["B1"]).await;
    let mut again = String::new();
    eventually("the seat is free again", LIMIT, async || {
        again = buyer.pay(TOUR, &fields, "pm_card_mastercard").await.to;
        !again.is_empty()
    })
    .await;
    buyer.until(&again, "going!").await;
}

async fn time_is_given_once(buyer: &mut Buyer) {
    let order = buyer.order(TOUR, &["B2"], "pm_card_threeDSecure2Required").await;
    let page = buyer.until(&order, "Go to your bank").await;
    assert!(
        page.contains("more minutes") && page.contains("I need five more minutes"),
        "{page}"
    );
    assert_eq!(buyer.post(&format!("{order}/extend"), &[]).await.to, order);
    assert!(!buyer.page(&order).await.contains("I need five more minutes"));
    assert_eq!(buyer.post(&format!("{order}/cancel"), &[]).await.to, order);
    buyer.until(&order, "This order is cancelled").await;
}

async fn forms_of_other_sites_do_nothing(buyer: &mut Buyer, order: &str) {
    for path in [
        format!("{order}/cancel"),
        "/shop/login".to_owned(),
        "/shop/logout".to_owned(),
    ] {
        let answer = buyer.send(Method::POST, &path, "cross-site", Some(&[])).await;
        assert_eq!(answer.status, 403, "{path}");
    }
    assert_eq!(buyer.get("/shop/nothing").await.status, 404);
    assert_eq!(buyer.get("/shop/events/none").await.status, 404);
}

async fn doors_let_in_once(dev: &Dev, buyer: &mut Buyer) {
    let order = buyer.order(TOUR, &["C1"], "pm_card_visa").await;
    buyer.until(&order, "going!").await;
    let id = order.rsplit('/').next().unwrap();
    // The page's picture has the code; the API says it as a text.
    let url = format!("{}/bookings/{}/tickets", dev.url("gateway"), id);
    let tickets: serde_json::Value = dev.http.get(url).send().await.unwrap().json().await.unwrap();
    let code = tickets["tickets"][0]["code"].as_str().unwrap();
    let pass = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args(["door-pass", "--event", TOUR, "--door", "North"])
        .env("DATABASE_URL", dev.url("database"))
        .output()
        .unwrap();
    let pass = String::from_utf8(pass.stdout).unwrap();

    let mut door = Buyer::of(dev);
    assert!(door.page("/shop/door").await.contains("has a pass"));
    let forged = door
        .post("/shop/door/pass", &[("event", TOUR), ("pass", "nonsense")])
        .await;
    assert_eq!(forged.status, 403);
    let come = door
        .post("/shop/door/pass", &[("event", TOUR), ("pass", pass.trim())])
        .await;
    assert_eq!(come.to, "/shop/door", "{}", come.text);
    assert!(door.page("/shop/door").await.contains("are inside"));
    let scan = "5f0c1f0e-7b1f-4a59-9b0c-0a9f6f6f0a11";
    for _again in 0..2 {
        let first = door.post("/shop/door/check", &[("scan", scan), ("code", code)]).await;
        assert!(first.text.contains("Let them in"), "{}", first.text);
    }
    let other_scan = "5f0c1f0e-7b1f-4a59-9b0c-0a9f6f6f0a12";
    let second = door
        .post("/shop/door/check", &[("scan", other_scan), ("code", code)])
        .await;
    assert!(
        second.text.contains("Somebody came by this ticket already"),
        "{}",
        second.text
    );
    let nonsense = door
        .post(
            "/shop/door/check",
            &[("scan", "5f0c1f0e-7b1f-4a59-9b0c-0a9f6f6f0a13"), ("code", "x")],
        )
        .await;
    assert!(nonsense.text.contains("Not a ticket of ours"), "{}", nonsense.text);
    buyer.until(&order, "Used at the door").await;
}

/// A line that has not begun to move, and one that has.
async fn lines_are_stood_in(dev: &Dev, buyer: &mut Buyer) {
    let event = hall::event(dev, "Crowded", "Floor").await;
    let mut database = sqlx::PgConnection::connect(dev.url("database")).await.unwrap();
    let open = "insert into ticketing.waiting_rooms (event_id, opens_at) values ($1, now() + interval '1 hour')";
    sqlx::query(open).bind(&event).execute(&mut database).await.unwrap();
    let queue = format!("/shop/events/{event}/queue");
    buyer.until(&queue, "in the waiting room").await;
    let keyed = buyer
        .get(&format!(
            "/shop/events/{event}/checkout?seat=A1&order={}",
            uuid::Uuid::new_v4()
        ))
        .await;
    assert_eq!((keyed.status.as_u16(), keyed.to), (303, queue.clone()));
    let move_on = "update ticketing.waiting_rooms set opens_at = now() - interval '1 minute' where event_id = $1";
    sqlx::query(move_on).bind(&event).execute(&mut database).await.unwrap();
    buyer.until(&queue, "your turn").await;
    let order = buyer.order(&event, &["A1"], "pm_card_visa").await;
    buyer.until(&order, "going!").await;
    assert!(
        buyer
            .page(&format!("/shop/events/{TOUR}/queue"))
            .await
            .contains("There is no line")
    );
}

async fn organisers_see_their_sales(dev: &Dev) {
    let event = hall::event(dev, "Sold by us", "Floor").await;
    let mut organiser = Buyer::of(dev);
    assert_eq!(organiser.get("/shop/organiser").await.status, 401);
    let token = dev.url("organiser_token");
    organiser
        .cookies
        .insert("sagaline_access".to_owned(), format!("usr_organiser:{token}"));
    let list = organiser.page("/shop/organiser").await;
    assert!(list.contains("Sold by us") && list.contains("Published"), "{list}");
    let sales = format!("/shop/organiser/events/{event}");
    assert!(organiser.page(&sales).await.contains("<dt>Free</dt><dd>20</dd>"));
    let mut buyer = Buyer::of(dev);
    let order = buyer.order(&event, &["B10", "B9"], "pm_card_visa").await;
    assert!(buyer.until(&order, "going!").await.contains("€223.63"));
    organiser.until(&sales, "<dt>Sold</dt><dd>2</dd>").await;
    // Somebody else's, or nobody's.
    assert_eq!(
        organiser.get(&format!("/shop/organiser/events/{TOUR}")).await.status,
        404
    );
}

async fn names_are_no_markup(dev: &Dev, buyer: &mut Buyer) {
    let event = hall::event(dev, HOSTILE, "<b>Floor</b>").await;
    let section = "?section=%3Cb%3EFloor%3C%2Fb%3E";
    let order = buyer.order(&event, &["A1"], "pm_card_visa").await;
    buyer.until(&order, "going!").await;
    let pages = [
        "/".to_owned(),
        format!("/shop/events/{event}"),
        format!("/shop/events/{event}{section}"),
        format!("/shop/events/{event}/queue"),
        order,
        "/shop/orders".to_owned(),
        "/?text=%3Cimg%20src%3Dx%3E".to_owned(),
        "/shop/login?next=%22%3E%3Cimg%20src=x%3E&email=%22%3E%3Cimg%20src%3Dx%3E".to_owned(),
    ];
    for path in pages {
        let page = buyer.page(&path).await;
        assert!(
            !page.contains("<img src=x") && !page.contains("<b>Floor"),
            "{path}: {page}"
        );
    }
    let map = buyer.get(&format!("/shop/events/{event}/map{section}")).await;
    assert!(map.text.starts_with("<svg") && !map.text.contains("<b>") && map.text.contains("data-id=\"A2\""));
}

async fn the_api_keeps_its_paths(dev: &Dev) {
    let url = |path: &str| format!("{}{path}", dev.url("gateway"));
    assert_eq!(
        dev.http.get(url("/events")).send().await.unwrap().headers()["content-type"],
        "application/json"
    );
    let nothing = dev.http.get(url("/nothing")).send().await.unwrap();
    assert_eq!(nothing.status(), 404);
    assert_eq!(nothing.headers()["content-type"], "application/problem+json");
}

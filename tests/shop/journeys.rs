//! Buyers in a browser: from opening the page to a ticket; two who want the same seat.

use testkit::Chrome;

use crate::hall::{self, TOUR};
use crate::running::Dev;
use crate::{LIMIT, browser};

/// Clicks on a seat of the map.
pub async fn pick(chrome: &Chrome, seat: &str) {
    let free = format!(".seat.free[data-id=\"{seat}\"]");
    chrome.find(&free).await;
    let middle = format!("document.querySelector('{free}').scrollIntoView({{block: 'center', behavior: 'instant'}})");
    chrome.run(&middle).await;
    chrome.click_on(&free).await;
    chrome
        .find(&format!(".seat[data-id=\"{seat}\"][aria-checked=true]"))
        .await;
}

/// Says where the tickets go.
pub async fn address(chrome: &Chrome, email: &str) {
    let field = chrome.find("input[name=email]").await;
    field.send_keys(email).await.unwrap();
}

/// Pays. By a script, for the driver may take a click that leads to another page for one that failed.
pub async fn order(chrome: &Chrome) {
    chrome.find("form[method=post] button.big").await;
    chrome
        .run("document.querySelector('form[method=post] button.big').click()")
        .await;
}

/// To the checkout, with this card, and pays.
pub async fn pay(chrome: &Chrome, card: &str) {
    chrome.click("Continue to checkout").await;
    chrome.arrives("/shop/events/").await;
    address(chrome, "fan@example.com").await;
    chrome.click_on(&format!("input[value=\"{card}\"]")).await;
    order(chrome).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_gets_a_ticket_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &[]).await;
    let Some(chrome) = browser(dev.url("gateway")).await else {
        return;
    };
    chrome.open("/").await;
    chrome.find("input[name=text]").await.send_keys("eras").await.unwrap();
    chrome.click("Search").await;
    chrome.click("The Eras Tour").await;
    chrome.arrives("/shop/events/").await;
    chrome.click("Floor").await;
    pick(&chrome, "A15").await;
    pick(&chrome, "A16").await;
    chrome.shows("2 seats: A15, A16 · $800.00").await;
    // What the map has, the list has too.
    let ticked = "return [...document.querySelectorAll('#picker input:checked')].map(box => box.value).join()";
    assert_eq!(chrome.run(ticked).await, "A15,A16");
    pay(&chrome, "pm_card_visa").await;
    chrome.shows("You’re going!").await;
    chrome.find(".ticket img").await;
    chrome.check("order-confirmed").await;

    keyboards_choose_seats(&chrome).await;
    banks_ask_on_their_own_page(&chrome).await;
    phones_are_enough(&chrome).await;
    chrome.stop().await;
}

/// Along the row, down, and taken by Space; no pointer.
async fn keyboards_choose_seats(chrome: &Chrome) {
    chrome.open(&format!("/shop/events/{TOUR}?section=Floor")).await;
    chrome.find(".seat[tabindex=\"0\"]").await;
    chrome
        .run("document.querySelector('.seat[tabindex=\"0\"]').focus()")
        .await;
    let at = "return document.activeElement.dataset.id";
    assert_eq!(chrome.run(at).await, "A1");
    chrome.press("" + thirtyfour::Key::Right).await;
    assert_eq!(chrome.run(at).await, "A2");
    chrome.press("" + thirtyfour::Key::Down).await;
    assert_eq!(chrome.run(at).await, "B2");
    chrome.press(" ").await;
    chrome.shows("1 seat: B2").await;
    chrome.click_on(".zoom button").await;
    chrome.check("event").await;
}

/// 3-D Secure: the order's page goes on by itself once the bank is content.
async fn banks_ask_on_their_own_page(chrome: &Chrome) {
    chrome.open(&format!("/shop/events/{TOUR}?section=Floor")).await;
    pick(chrome, "C7").await;
    pay(chrome, "pm_card_threeDSecure2Required").await;
    chrome.shows("Your bank asks whether it is you").await;
    chrome.shows("Your seats are held for").await;
    chrome.check("order-bank").await;
    let shop = chrome.driver.window().await.unwrap();
    chrome.click("Go to your bank").await;
    let windows = chrome.driver.windows().await.unwrap();
    let bank = windows.into_iter().find(|window| *window != shop).unwrap();
    chrome.driver.switch_to_window(bank).await.unwrap();
    chrome.click("Yes, it is me").await;
    // A window that is closed at once may take the form with it before it is sent.
    chrome.shows("The shop is told").await;
    chrome.driver.close_window().await.unwrap();
    chrome.driver.switch_to_window(shop).await.unwrap();
    chrome.shows("You’re going!").await;
}

async fn phones_are_enough(chrome: &Chrome) {
    chrome.window(390, 844).await;
    chrome.open(&format!("/shop/events/{TOUR}?section=VIP")).await;
    chrome.click("Find seats").await;
    chrome.shows("Checkout").await;
    address(chrome, "fan@example.com").await;
    chrome.screenshot("phone-checkout").await;
    order(chrome).await;
    chrome.shows("You’re going!").await;
    chrome.screenshot("phone-confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_want_the_same_seat() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &[]).await;
    let base = dev.url("gateway");
    let (Some(one), Some(other)) = tokio::join!(browser(base), browser(base)) else {
        return;
    };
    let event = hall::event(&dev, "A small hall", "Floor").await;
    for chrome in [&one, &other] {
        chrome.open(&format!("/shop/events/{event}")).await;
        pick(chrome, "A5").await;
        chrome.find("#picker[data-listening]").await;
    }
    // Both are at the checkout of the same seat, and pay at the same moment.
    tokio::join!(pay(&one, "pm_card_visa"), pay(&other, "pm_card_visa"));
    let mut won = Vec::new();
    for chrome in [&one, &other] {
        testkit::eventually("it is decided", LIMIT, async || {
            let text = chrome.text().await;
            text.contains("You’re going!") || text.contains("These seats are gone")
        })
        .await;
        won.push(chrome.text().await.contains("You’re going!"));
    }
    won.sort_unstable();
    assert_eq!(won, [false, true]);
    let late = match one.text().await.contains("These seats are gone") {
        true => &one,
        false => &other,
    };
    late.check("gone").await;
    // The loser is offered others, and gets one of them.
    late.click_on(".rows label").await;
    late.click("Take these").await;
    late.shows("Checkout").await;
    address(late, "late@example.com").await;
    order(late).await;
    late.shows("You’re going!").await;

    // Whoever is still choosing sees at once that a seat is gone.
    late.open(&format!("/shop/events/{event}")).await;
    pick(late, "B5").await;
    late.find("#picker[data-listening]").await;
    let first = if std::ptr::eq(late, &one) { &other } else { &one };
    first.open(&format!("/shop/events/{event}")).await;
    pick(first, "B5").await;
    pay(first, "pm_card_visa").await;
    late.shows("Seat B5 has just been taken by somebody else").await;
    testkit::eventually("the organiser is told of all three", LIMIT, async || {
        hall::confirmed(&dev, &event).await == 3
    })
    .await;
    one.stop().await;
    other.stop().await;
}

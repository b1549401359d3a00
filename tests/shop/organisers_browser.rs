//! Organisers in a browser, by hand: a file is chosen, fields are filled in, and the sales move on the page while somebody buys.

use testkit::eventually;

use crate::buyer::Buyer;
use crate::organisers::{cookie, file};
use crate::running::Dev;
use crate::{LIMIT, browser};

#[tokio::test(flavor = "multi_thread")]
async fn organisers_do_everything_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path(), &[]).await;
    let Some(chrome) = browser(dev.url("gateway")).await else {
        return;
    };
    chrome.open("/shop/login").await;
    let (name, value) = cookie(&dev);
    let mut access = thirtyfour::Cookie::new(name, value);
    access.set_path("/");
    chrome.driver.add_cookie(access).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let seats = files.path().join("seats.csv");
    std::fs::write(&seats, file()).unwrap();
    let wrong = files.path().join("wrong.csv");
    std::fs::write(&wrong, "section,row,number\nFloor,A,first\n").unwrap();
    let type_in = async |name: &str, text: &str| {
        chrome
            .find(&format!("[name={name}]:not([type=hidden])"))
            .await
            .send_keys(text)
            .await
            .unwrap();
    };
    // By a script, for the driver may take a click that leads to another page for one that failed.
    let submit = async |button: &str| {
        chrome.find(button).await;
        chrome.run(&format!("document.querySelector('{button}').click()")).await;
    };
    let send = async || submit("main form button.big").await;

    chrome.open("/shop/organiser/venues/new").await;
    chrome.check("organiser-venue-new").await;
    type_in("name", "Ostbahnhof").await;
    type_in("city", "Berlin").await;
    type_in("time_zone", "Europe/Berlin").await;
    send().await;
    chrome.shows("What a file has").await;
    type_in("file", wrong.to_str().unwrap()).await;
    send().await;
    chrome.shows("line 2, number").await;
    chrome.check("organiser-venue-mistakes").await;
    type_in("file", seats.to_str().unwrap()).await;
    send().await;
    chrome.shows("the venue has 20 seats").await;
    chrome.check("organiser-venue").await;

    chrome.click("New event here").await;
    chrome.arrives("/shop/organiser/events/new").await;
    type_in("name", "Night Trains").await;
    // A field for a date and a time is filled as its picker fills it.
    chrome
        .run("document.querySelector('[name=starts_at]').value = '2031-06-12T20:00'")
        .await;
    type_in("currency", "eur").await;
    type_in("tier_name_0", "All").await;
    type_in("tier_price_0", "free").await;
    send().await;
    chrome.shows("must be an amount").await;
    chrome.check("organiser-edit-mistakes").await;
    chrome
        .run("document.querySelector('[name=tier_price_0]').value = ''")
        .await;
    type_in("tier_price_0", "48").await;
    send().await;
    chrome.shows("Ready?").await;
    chrome.check("organiser-draft").await;
    submit("button[value=published]").await;
    chrome.shows("of 20 seats").await;
    let path = chrome.run("return location.pathname").await;
    let event = path.as_str().unwrap().rsplit('/').next().unwrap().to_owned();

    // Nobody touches the page: it moves.
    chrome.run("window.stays = 1").await;
    let mut buyer = Buyer::of(&dev);
    let order = buyer
        .order(&event, &["Floor-A-1", "Floor-A-2", "Floor-A-3"], "pm_card_visa")
        .await;
    buyer.until(&order, "going!").await;
    let sold = "return document.querySelector('.tiles dd').textContent";
    eventually("the page shows what was sold", LIMIT, async || {
        chrome.run(sold).await == "3"
    })
    .await;
    eventually("and what that brought", LIMIT, async || {
        chrome.text().await.contains("€144")
    })
    .await;
    assert_eq!(chrome.run("return window.stays").await, 1, "the page was never left");
    chrome.check("organiser-sales").await;
    for page in ["house", "doors", "off", "edit"] {
        chrome.open(&format!("/shop/organiser/events/{event}/{page}")).await;
        chrome.check(&format!("organiser-{page}")).await;
    }
    chrome.open("/shop/organiser").await;
    chrome.check("organiser-events").await;
    chrome.open("/shop/organiser/venues").await;
    chrome.check("organiser-venues").await;

    // At the door, on a phone.
    chrome.open(&format!("/shop/organiser/events/{event}/doors")).await;
    type_in("door", "North").await;
    submit("form[action$=doors] button").await;
    chrome.shows("It is shown this once").await;
    chrome.check("organiser-pass").await;
    submit("form[action$=pass] button").await;
    chrome.arrives("/shop/door").await;
    let url = format!(
        "{}/bookings/{}/tickets",
        dev.url("gateway"),
        order.rsplit('/').next().unwrap()
    );
    let tickets: serde_json::Value = dev.http.get(url).send().await.unwrap().json().await.unwrap();
    let code = tickets["tickets"][0]["code"].as_str().unwrap().to_owned();
    chrome.window(390, 844).await;
    for said in ["Let them in", "Somebody came by this ticket already"] {
        type_in("code", &code).await;
        send().await;
        chrome.shows(said).await;
        chrome
            .check(&format!(
                "door-{}",
                if said.starts_with("Let") { "in" } else { "again" }
            ))
            .await;
    }
    chrome.click("It was a mistake").await;
    type_in("reason", "the wrong phone").await;
    submit("form[action$=undo] button").await;
    chrome.shows("Taken back").await;
    chrome.check("door-undone").await;
    chrome.stop().await;
}

//! Organisers at the site: from a venue's file to the last refund, without a script.

use crate::buyer::Buyer;
use crate::hall::TOUR;
use crate::running::Dev;

/// A venue's seats: two rows of ten.
pub fn file() -> String {
    let rows = ["A", "B"]
        .iter()
        .flat_map(|row| (1..=10).map(move |number| format!("Floor,{row},{number}\n")));
    format!("section,row,number\n{}", rows.collect::<String>())
}

/// The cookie by which the site knows the demo's organiser: its name and its value.
pub fn cookie(dev: &Dev) -> (&'static str, String) {
    (
        "sagaline_access",
        format!("usr_organiser:{}", dev.url("organiser_token")),
    )
}

fn organiser(dev: &Dev) -> Buyer {
    let mut organiser = Buyer::of(dev);
    let (name, value) = cookie(dev);
    organiser.cookies.insert(name.to_owned(), value);
    organiser
}

/// The fields of an event's form, with others in place of some.
fn form<'a>(with: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("name", "The Long Tour"),
        ("performers", "Ada & the Engines\nThe Opener"),
        ("starts_at", "2031-06-12T20:00"),
        ("currency", "EUR"),
        ("per_order", "6"),
        ("tier_name_0", "Front"),
        ("tier_price_0", "120"),
        ("tier_places_0", "Floor: A"),
        ("fee_name_0", "Service"),
        ("fee_amount_0", "4,50"),
        ("fee_per_0", "seat"),
        ("tax_name_0", "VAT"),
        ("tax_rate_0", "7"),
        ("tax_included_0", "1"),
    ];
    let kept = usual
        .into_iter()
        .filter(|(name, _)| with.iter().all(|(other, _)| other != name));
    kept.chain(with.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn organisers_do_everything_at_the_site() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody clicks as fast as this asks.
    let dev = Dev::start(dir.path(), &[("SAGALINE_RATE_LIMITS", "off".to_owned())]).await;
    let mut organiser = organiser(&dev);
    let venue = venues_are_made_and_filled(&mut organiser).await;
    let event = drafts_are_made_and_mended(&dev, &mut organiser, &venue).await;
    sales_are_seen_and_seats_kept(&dev, &mut organiser, &event).await;
    doors_get_passes(&dev, &mut organiser, &event).await;
    dates_move_and_everybody_is_paid_back(&dev, &mut organiser, &event).await;
    others_see_nothing(&dev, &mut organiser, &event).await;
}

async fn venues_are_made_and_filled(organiser: &mut Buyer) -> String {
    assert!(organiser.page("/shop/organiser/venues").await.contains("My venues"));
    assert!(
        organiser
            .page("/shop/organiser/venues/new")
            .await
            .contains("Make the venue")
    );
    let wrong = [
        ("name", "Arena <1>"),
        ("city", "Berlin"),
        ("time_zone", "Moon"),
        ("stage_x", "left"),
    ];
    let refused = organiser.post("/shop/organiser/venues/new", &wrong).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text.contains("must be a number") && refused.text.contains("Arena &#60;1&#62;"),
        "{}",
        refused.text
    );
    let wrong = [("name", "Arena"), ("city", ""), ("time_zone", "Moon")];
    let refused = organiser.post("/shop/organiser/venues/new", &wrong).await;
    assert!(
        refused.text.contains("IANA name") && refused.text.contains("value=\"Moon\""),
        "{}",
        refused.text
    );
    let right = [
        ("name", "Arena"),
        ("city", "Berlin"),
        ("time_zone", "Europe/Berlin"),
        ("stage_x", "-2.5"),
    ];
    let made = organiser.post("/shop/organiser/venues/new", &right).await;
    assert_eq!(made.status, 303, "{}", made.text);
    let venue = made.to;
    assert!(organiser.page(&venue).await.contains("0 seats"));

    // Every mistake is named by its line, and what was sent can be mended on the page.
    let refused = organiser
        .upload(&venue, "section,row,number\nFloor,A,one\nFloor,A,1\nFloor,A,1\n", "")
        .await;
    assert_eq!(refused.status, 422);
    for text in [
        "line 2, number must be a whole number",
        "line 4",
        "Floor,A,one\nFloor,A,1",
        "Nothing was changed",
    ] {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    assert!(
        organiser
            .upload(&venue, "", " \r\n")
            .await
            .text
            .contains("Choose a file")
    );
    let pasted = organiser.upload(&venue, "", &file()).await;
    assert_eq!(pasted.status, 303, "{}", pasted.text);
    assert!(organiser.page(&pasted.to).await.contains("the venue has 20 seats"));
    let json = r#"{"seats": [{"section": "Floor", "row": "A", "number": 1}, {"section": "Floor", "row": "A"}]}"#;
    let refused = organiser.upload(&venue, json, "").await;
    assert!(
        refused.status == 422 && refused.text.contains("number"),
        "{}",
        refused.text
    );
    let mut seats: Vec<String> = Vec::new();
    for row in ["A", "B"] {
        seats.extend((1..=10).map(|number| format!(r#"{{"section": "Floor", "row": "{row}", "number": {number}}}"#)));
    }
    let json = format!("{{\"seats\": [{}]}}", seats.join(","));
    let uploaded = organiser.upload(&venue, &json, "").await;
    assert_eq!(uploaded.status, 303, "{}", uploaded.text);
    assert!(organiser.page("/shop/organiser/venues").await.contains("20 seats"));
    venue.rsplit('/').next().unwrap().to_owned()
}

async fn drafts_are_made_and_mended(dev: &Dev, organiser: &mut Buyer, venue: &str) -> String {
    let new = "/shop/organiser/events/new";
    assert!(
        organiser
            .page(&format!("{new}?venue={venue}"))
            .await
            .contains(" selected>Arena, Berlin (20 seats)")
    );
    let wrong = form(&[
        ("venue", venue),
        ("tier_price_0", "much"),
        ("starts_at", "soon"),
        ("name", ""),
    ]);
    let refused = organiser.post(new, &wrong).await;
    assert_eq!(refused.status, 422);
    for text in [
        "must be an amount",
        "value=\"much\"",
        "must be a date and a time",
        "Ada &#38; the Engines",
        "Nothing is saved yet",
    ] {
        assert!(refused.text.contains(text), "{text}: {}", refused.text);
    }
    // What only the gateway knows is said beside the field, too.
    let wrong = form(&[("venue", venue), ("sale_from", "2031-07-01T09:00"), ("currency", "JPY")]);
    let refused = organiser.post(new, &wrong).await;
    assert!(
        refused.status == 422 && refused.text.contains("must be before the event begins"),
        "{}",
        refused.text
    );
    assert!(refused.text.contains("value=\"2031-07-01T09:00\""), "{}", refused.text);
    // Asking for more rows saves nothing.
    let more = organiser.post(new, &form(&[("venue", venue), ("more", "tier")])).await;
    assert!(
        more.status == 200 && more.text.contains("tier_price_3"),
        "{}",
        more.text
    );
    assert!(!organiser.page("/shop/organiser").await.contains("The Long Tour"));

    let made = organiser.post(new, &form(&[("venue", venue)])).await;
    assert_eq!(made.status, 303, "{}", made.text);
    let page = made.to;
    let event = page.rsplit('/').next().unwrap().to_owned();
    let draft = organiser.page(&page).await;
    for text in [
        "Draft",
        "Thursday, 12 June 2031, 20:00",
        "€120",
        "Service €4.50",
        "VAT 7 %",
    ] {
        assert!(draft.contains(text), "{text}: {draft}");
    }
    let mut buyer = Buyer::of(dev);
    assert_eq!(buyer.get(&format!("/shop/events/{event}")).await.status, 404);
    // Row B has no price yet.
    let refused = organiser
        .post(&format!("{page}/status"), &[("status", "published")])
        .await;
    assert!(
        refused.status == 409
            && refused.text.contains("It is not published yet")
            && refused.text.contains("leaves 10 seats without a price"),
        "{}",
        refused.text
    );

    let edit = format!("{page}/edit");
    let shown = organiser.page(&edit).await;
    for text in [
        "value=\"2031-06-12T20:00\"",
        "Floor: A",
        "name=\"version\" value=\"1\"",
        "value=\"EUR\"",
        "value=\"4.50\"",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let rest = [
        ("venue", venue),
        ("version", "1"),
        ("tier_name_1", "Rest"),
        ("tier_price_1", "90"),
    ];
    let saved = organiser.post(&edit, &form(&rest)).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    // From a page that somebody else's change has overtaken.
    let late = organiser
        .post(&edit, &form(&[("venue", venue), ("version", "1"), ("name", "Mine")]))
        .await;
    assert!(
        late.status == 422 && late.text.contains("somebody has changed the event since"),
        "{}",
        late.text
    );
    assert!(late.text.contains("value=\"Mine\""), "{}", late.text);

    let published = organiser
        .post(&format!("{page}/status"), &[("status", "published")])
        .await;
    assert_eq!(published.status, 303, "{}", published.text);
    assert!(
        buyer
            .page(&format!("/shop/events/{event}"))
            .await
            .contains("The Long Tour")
    );
    // What can still be changed is; the rest stays.
    let shown = organiser.page(&edit).await;
    assert!(
        !shown.contains("tier_price_0") && shown.contains("stay as they are"),
        "{shown}"
    );
    let renamed = [
        ("name", "The Longer Tour"),
        ("performers", "Ada"),
        ("per_order", "4"),
        ("version", "3"),
    ];
    let saved = organiser.post(&edit, &renamed).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    assert!(
        buyer
            .page(&format!("/shop/events/{event}"))
            .await
            .contains("The Longer Tour")
    );
    event
}

async fn sales_are_seen_and_seats_kept(dev: &Dev, organiser: &mut Buyer, event: &str) {
    let page = format!("/shop/organiser/events/{event}");
    let house = format!("{page}/house");
    assert!(organiser.page(&house).await.contains("Floor (20 free)"));
    let kept = organiser
        .post(&house, &[("section", "Floor"), ("rows", "A"), ("deed", "keep")])
        .await;
    assert_eq!(kept.status, 303, "{}", kept.text);
    assert!(organiser.page(&kept.to).await.contains("10 seats kept for the house"));
    organiser.until(&page, "<dt>Held</dt><dd>10</dd>").await;
    let nothing = organiser.post(&house, &[("deed", "keep")]).await;
    assert!(
        nothing.status == 409 && nothing.text.contains("one of both"),
        "{}",
        nothing.text
    );
    let odd = organiser
        .post(&house, &[("seats", "Floor-B-1, Moon-1"), ("deed", "keep")])
        .await;
    assert!(odd.status == 409 && odd.text.contains("Moon-1"), "{}", odd.text);

    let mut buyer = Buyer::of(dev);
    let order = buyer.order(event, &["Floor-B-1", "Floor-B-2"], "pm_card_visa").await;
    let bought = buyer.until(&order, "going!").await;
    assert!(bought.contains("Add to calendar"), "{bought}");
    let calendar = buyer.get(&format!("{order}/calendar.ics")).await;
    assert!(calendar.kind.starts_with("text/calendar"), "{}", calendar.kind);
    for text in [
        "BEGIN:VEVENT",
        "SUMMARY:The Longer Tour",
        "DTSTART:20310612T180000Z",
        "Floor-B-1",
    ] {
        assert!(calendar.text.contains(text), "{text}: {}", calendar.text);
    }
    let taken = organiser
        .post(&house, &[("seats", "Floor-B-1 Floor-B-3"), ("deed", "keep")])
        .await;
    assert!(
        taken.status == 409 && taken.text.contains("somebody has Floor-B-1"),
        "{}",
        taken.text
    );
    assert!(taken.text.contains("Floor-B-1 Floor-B-3"), "{}", taken.text);
    organiser.until(&page, "<dt>Sold</dt><dd>2</dd>").await;
    // €189 with VAT in it; by section, and as money.
    organiser.until(&page, "<dt>Revenue</dt><dd>€189</dd>").await;
    organiser.until(&page, "<dt>Orders</dt><dd>1</dd>").await;
    assert!(organiser.page(&page).await.contains("<rect "));
    let freed = organiser
        .post(&house, &[("section", "Floor"), ("rows", "A"), ("deed", "release")])
        .await;
    assert!(organiser.page(&freed.to).await.contains("10 seats let go"));
    organiser.until(&page, "<dt>Free</dt><dd>18</dd>").await;
}

async fn doors_get_passes(dev: &Dev, organiser: &mut Buyer, event: &str) {
    let doors = format!("/shop/organiser/events/{event}/doors");
    assert!(organiser.page(&doors).await.contains("Make a pass"));
    let wrong = organiser.post(&doors, &[("door", "North"), ("hours", "1000")]).await;
    assert!(
        wrong.status == 422 && wrong.text.contains("must be 1 to 168"),
        "{}",
        wrong.text
    );
    let made = organiser.post(&doors, &[("door", "North"), ("hours", "12")]).await;
    assert_eq!(made.status, 200);
    let (_, rest) = made.text.split_once("name=\"pass\" value=\"").unwrap();
    let pass = rest.split('"').next().unwrap();
    let mut buyer = Buyer::of(dev);
    let order = buyer.order(event, &["Floor-A-1"], "pm_card_visa").await;
    buyer.until(&order, "going!").await;
    let url = format!(
        "{}/bookings/{}/tickets",
        dev.url("gateway"),
        order.rsplit('/').next().unwrap()
    );
    let tickets: serde_json::Value = dev.http.get(url).send().await.unwrap().json().await.unwrap();
    let code = tickets["tickets"][0]["code"].as_str().unwrap();
    let mut door = Buyer::of(dev);
    assert_eq!(
        door.post("/shop/door/pass", &[("event", event), ("pass", pass)])
            .await
            .to,
        "/shop/door"
    );
    let scan = async |door: &mut Buyer| {
        let id = uuid::Uuid::new_v4().to_string();
        door.post("/shop/door/check", &[("scan", &id), ("code", code)])
            .await
            .text
    };
    let first = scan(&mut door).await;
    assert!(
        first.contains("Let them in") && first.contains("Floor · Row A · Seat 1"),
        "{first}"
    );
    let second = scan(&mut door).await;
    assert!(
        second.contains("Somebody came by this ticket already") && second.contains("At the door “North”, on "),
        "{second}"
    );
    let silent = door.post("/shop/door/undo", &[("code", code), ("reason", "")]).await;
    assert!(silent.text.contains("Not taken back"), "{}", silent.text);
    let undone = door
        .post("/shop/door/undo", &[("code", code), ("reason", "the wrong phone")])
        .await;
    assert!(
        undone.text.contains("Taken back") && undone.text.contains("<b>0</b> of 3 are inside"),
        "{}",
        undone.text
    );
    let again = door
        .post("/shop/door/undo", &[("code", code), ("reason", "again")])
        .await;
    assert!(again.text.contains("Nothing to take back"), "{}", again.text);
    assert!(scan(&mut door).await.contains("Let them in"));
}

async fn dates_move_and_everybody_is_paid_back(dev: &Dev, organiser: &mut Buyer, event: &str) {
    let page = format!("/shop/organiser/events/{event}");
    let status = format!("{page}/status");
    let odd = organiser
        .post(&status, &[("status", "postponed"), ("starts_at", "later")])
        .await;
    assert!(
        odd.status == 409 && odd.text.contains("must be a date and a time"),
        "{}",
        odd.text
    );
    let past = organiser
        .post(&status, &[("status", "postponed"), ("starts_at", "2020-01-01T20:00")])
        .await;
    assert!(past.status == 409 && past.text.contains("is past"), "{}", past.text);
    let postponed = [("status", "postponed"), ("starts_at", "2031-09-01T20:00")];
    assert_eq!(organiser.post(&status, &postponed).await.to, page);
    assert!(organiser.page(&page).await.contains("Monday, 1 September 2031, 20:00"));
    let mut buyer = Buyer::of(dev);
    buyer.until(&format!("/shop/events/{event}"), "postponed").await;
    // The date that stands in the form is kept.
    for (decision, shown) in [
        ("published", "Published"),
        ("closed", "Sale closed"),
        ("published", "Published"),
    ] {
        let decided = organiser
            .post(&status, &[("status", decision), ("starts_at", "")])
            .await;
        assert_eq!(decided.to, page, "{decision}: {} {}", decided.status, decided.text);
        assert!(organiser.page(&page).await.contains(shown), "{decision}");
    }
    let off = format!("{page}/off");
    let unsure = organiser.post(&off, &[("reason", "the singer is ill")]).await;
    assert!(
        unsure.status == 422 && unsure.text.contains("must be ticked"),
        "{}",
        unsure.text
    );
    assert!(unsure.text.contains("value=\"the singer is ill\""), "{}", unsure.text);
    let called = organiser
        .post(&off, &[("reason", "the singer is ill"), ("sure", "1")])
        .await;
    assert_eq!(called.to, off, "{}", called.text);
    let over = organiser.until(&off, "Everybody has been paid back").await;
    assert!(
        over.contains("<b>2</b> of 2 orders") && over.contains("the singer is ill"),
        "{over}"
    );
    assert_eq!(
        organiser.post(&off, &[("reason", "again"), ("sure", "1")]).await.to,
        off
    );
    assert!(organiser.page(&page).await.contains("Called off"));
}

async fn others_see_nothing(dev: &Dev, organiser: &mut Buyer, event: &str) {
    let mut buyer = Buyer::of(dev);
    for path in ["", "/edit", "/house", "/doors", "/off"] {
        let (theirs, ours) = (
            format!("/shop/organiser/events/{TOUR}{path}"),
            format!("/shop/organiser/events/{event}{path}"),
        );
        assert_eq!(organiser.get(&theirs).await.status, 404, "{path}");
        assert_eq!(buyer.get(&ours).await.status, 401, "{path}");
    }
    assert_eq!(
        buyer
            .post(
                &format!("/shop/organiser/events/{event}/off"),
                &[("sure", "1"), ("reason", "x")]
            )
            .await
            .status,
        401
    );
    let fan = [
        ("name", "Fan"),
        ("email", "organisers-fan@example.com"),
        ("password", "correct horse battery"),
    ];
    assert_eq!(buyer.post("/shop/register", &fan).await.status, 303);
    for path in [
        "/shop/organiser",
        "/shop/organiser/venues",
        "/shop/organiser/events/new",
    ] {
        assert_eq!(buyer.get(path).await.status, 403, "{path}");
    }
    assert_eq!(
        buyer
            .upload("/shop/organiser/venues/0192f0c1-2b7a-7cc0-8f6e-3d1f4a5b6c7d", "x", "")
            .await
            .status,
        403
    );
}

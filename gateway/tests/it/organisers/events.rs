//! Events from draft to cancellation.

use super::*;

#[tokio::test]
async fn an_event_is_made_published_and_seen() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let venue = ada.venue(HALL).await;
    let event = ada.draft(&venue, |_| ()).await;
    // A draft is nobody's business.
    shop.get(&format!("/events/{event}")).await.problem(404, "not-found");
    let wish = json!({"userId": "u", "eventId": event, "seatIds": ["Floor-A-3"], "totalAmount": 100});
    assert_eq!(Answer::of(shop.booking(&wish)).await.invalid(), ["/eventId"]);
    let draft = ada.get(&format!("/organiser/events/{event}")).await.json();
    assert_eq!((&draft["status"], &draft["version"]), (&json!("draft"), &json!(1)));
    assert_eq!(draft["sale"]["endsAt"], "2031-06-12T23:30:00Z");
    assert!(draft.to_string().contains("\"price\":120.5"));

    let published = ada.decide(&event, &json!({"status": "published"})).await;
    assert_eq!(published.status, 200, "{}", published.text);
    let seen = shop.get(&format!("/events/{event}")).await;
    let seen = seen.json();
    assert_eq!(
        (&seen["status"], &seen["date"]),
        (&json!("on_sale"), &json!("2031-06-12T19:30:00-04:00"))
    );
    assert_eq!(seen["performers"], json!(["Ada & the Engines"]));
    assert_eq!(seen["sections"][0]["seats"], 8);
    let seats = shop.get(&format!("/events/{event}/seats")).await;
    assert!(
        seats.text.contains(r#"{"seatId":"Floor-A-1","section":"Floor","row":"A","price":100.00,"status":"available","x":-3,"y":5,"marks":["wheelchair"]}"#),
        "{}",
        seats.text
    );
    assert_eq!(Answer::of(shop.booking(&wish)).await.status, 202);
    // Published again: nothing more comes of it. And its seats stay when the venue's change.
    assert_eq!(ada.decide(&event, &json!({"status": "published"})).await.status, 200);
    ada.put_csv(&venue, "section,row,number\nX,1,1\n".to_owned()).await;
    assert_eq!(
        shop.get(&format!("/events/{event}/seats")).await.json()["seats"]
            .as_array()
            .unwrap()
            .len(),
        8
    );

    wait_until_told(&shop).await;
    let told = told(&shop);
    let kinds: Vec<(&str, i64, &str)> = told
        .iter()
        .map(|it| {
            (
                it["kind"].as_str().unwrap(),
                it["version"].as_i64().unwrap(),
                it["status"].as_str().unwrap(),
            )
        })
        .collect();
    let mut sorted = kinds.clone();
    sorted.sort_by_key(|(_, version, _)| *version);
    assert_eq!(
        sorted,
        [
            ("created", 1, "draft"),
            ("updated", 2, "published"),
            ("updated", 3, "published")
        ]
    );
    assert_eq!(told[0]["eventId"], json!(event));
}

#[tokio::test]
async fn bad_events_are_refused_with_every_mistake() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let venue = ada.venue(HALL).await;
    let make = async |change: &dyn Fn(&mut Value)| {
        let mut body = event(&venue);
        change(&mut body);
        ada.post("/organiser/events", &body).await
    };
    let ends_early =
        make(&|body| body["sale"] = json!({"startsAt": "2031-02-01T00:00:00Z", "endsAt": "2031-01-01T00:00:00Z"}))
            .await;
    assert_eq!(ends_early.invalid(), ["/sale/startsAt"]);
    let late = make(&|body| body["sale"] = json!({"startsAt": "2032-02-01T00:00:00Z"})).await;
    assert_eq!(late.invalid(), ["/sale/startsAt"]);
    for currency in ["xyz", "JPY", "dollars", ""] {
        assert_eq!(
            make(&|body| body["currency"] = json!(currency)).await.invalid(),
            ["/currency"],
            "{currency}"
        );
    }
    assert_eq!(
        make(&|body| body["timeZone"] = json!("EST5EDT4")).await.invalid(),
        ["/timeZone"]
    );
    assert_eq!(
        make(&|body| body["startsAt"] = json!("soon")).await.invalid(),
        ["/startsAt"]
    );
    assert_eq!(
        make(&|body| body["status"] = json!("published")).await.invalid(),
        ["/status"]
    );
    assert_eq!(
        make(&|body| body["attributes"] = json!({"x": "y".repeat(20_000)}))
            .await
            .invalid(),
        ["/attributes"]
    );
    assert_eq!(
        make(&|body| body["attributes"] = json!({"x": "\0"})).await.invalid(),
        ["/attributes"]
    );
    let price = |price: Value| json!({"tiers": [{"name": "A", "price": price}]});
    for wrong in [json!(1.005), json!(-1), json!("1"), json!(0)] {
        let answer = make(&|body| body["pricing"] = price(wrong.clone())).await;
        assert_eq!(answer.invalid(), ["/pricing/tiers/0/price"], "{wrong}");
    }
    make(&|body| body["name"] = json!("x".repeat(600_000)))
        .await
        .problem(413, "too-large");

    // Tiers that leave seats without a price are found where they matter: when it is published.
    let partial = json!({"tiers": [{"name": "A", "price": 1, "places": [{"section": "Floor", "rows": ["A"]}]}]});
    let unpriced = ada.draft(&venue, |body| body["pricing"] = partial).await;
    let refused = ada.decide(&unpriced, &json!({"status": "published"})).await;
    assert_eq!(refused.invalid(), ["/pricing/tiers"]);
    assert!(
        refused
            .text
            .contains(r#"4 seats without a price: row \"B\" of section \"Floor\""#),
        "{}",
        refused.text
    );
    assert_eq!(
        ada.get(&format!("/organiser/events/{unpriced}")).await.json()["status"],
        "draft"
    );
    let past = ada
        .draft(&venue, |body| body["startsAt"] = json!("2020-01-01T00:00:00Z"))
        .await;
    assert_eq!(
        ada.decide(&past, &json!({"status": "published"})).await.invalid(),
        ["/startsAt"]
    );
    let empty = ada
        .post(
            "/organiser/venues",
            &json!({"name": "E", "city": "E", "timeZone": "UTC"}),
        )
        .await
        .json();
    let nowhere = ada.draft(empty["venueId"].as_str().unwrap(), |_| ()).await;
    assert_eq!(
        ada.decide(&nowhere, &json!({"status": "published"})).await.invalid(),
        ["/venueId"]
    );
}

#[tokio::test]
async fn an_event_changes_only_as_it_may() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let venue = ada.venue(HALL).await;
    let event = ada.draft(&venue, |_| ()).await;
    let path = format!("/organiser/events/{event}");
    let mut body = self::event(&venue);
    body["currency"] = json!("eur");
    body["version"] = json!(7);
    ada.send(Method::PUT, &path, &body).await.problem(409, "refused");
    body["version"] = json!(1);
    assert_eq!(ada.send(Method::PUT, &path, &body).await.json()["version"], 2);
    body.as_object_mut().unwrap().remove("version");
    assert_eq!(ada.decide(&event, &json!({"status": "published"})).await.status, 200);
    body["currency"] = json!("usd");
    body["startsAt"] = json!("2031-07-01T00:00:00Z");
    assert_eq!(
        ada.send(Method::PUT, &path, &body).await.invalid(),
        ["/currency", "/startsAt"]
    );
    body["currency"] = json!("eur");
    body["startsAt"] = json!("2031-06-12T23:30:00Z");
    body["name"] = json!("The Longer Tour");
    let changed = ada.send(Method::PUT, &path, &body).await;
    assert_eq!(changed.json()["name"], "The Longer Tour", "{}", changed.text);
    assert_eq!(changed.json()["status"], "published");

    ada.decide(&event, &json!({"status": "draft"}))
        .await
        .problem(409, "refused");
    assert_eq!(
        ada.decide(&event, &json!({"status": "closed", "startsAt": "2031-08-01T00:00:00Z"}))
            .await
            .invalid(),
        ["/startsAt"]
    );
    assert_eq!(ada.decide(&event, &json!({"status": "postponed"})).await.status, 200);
    let public = shop.get(&format!("/events/{event}")).await.json();
    assert_eq!(public["status"], "postponed");
    let wish = json!({"userId": "u", "eventId": event, "seatIds": ["Floor-A-3"], "totalAmount": 100});
    let refused = Answer::of(shop.booking(&wish)).await;
    assert_eq!(refused.invalid(), ["/eventId"]);
    assert!(refused.text.contains("until it has a new date"));
    ada.decide(&event, &json!({"status": "published"}))
        .await
        .problem(409, "refused");
    let again = json!({"status": "published", "startsAt": "2031-09-12T23:30:00Z"});
    assert_eq!(ada.decide(&event, &again).await.status, 200);
    let public = shop.get(&format!("/events/{event}")).await.json();
    assert_eq!(public["postponedFrom"], "2031-06-12T23:30:00.000Z");
    assert_eq!(public["saleEndsAt"], "2031-09-12T23:30:00.000Z");
    assert_eq!(Answer::of(shop.booking(&wish)).await.status, 202);
    let dropped = ada.decide(&event, &json!({"status": "cancelled"})).await;
    dropped.problem(409, "refused");
    assert!(dropped.text.contains("/cancel"), "{}", dropped.text);
    sqlx::query("update ticketing.events set status = 'cancelled' where id = $1")
        .bind(&event)
        .execute(&shop.pool)
        .await
        .unwrap();
    assert!(Answer::of(shop.booking(&wish)).await.invalid() == ["/eventId"]);
    ada.decide(&event, &json!({"status": "published"}))
        .await
        .problem(409, "refused");
    ada.send(Method::PUT, &path, &body).await.problem(409, "refused");
}

#[tokio::test]
async fn it_is_sold_within_its_window_only() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada
        .published(HALL, |body| body["sale"] = json!({"startsAt": "2031-01-01T10:00:00Z"}))
        .await;
    let wish = json!({"userId": "u", "eventId": event, "seatIds": ["Floor-A-3"], "totalAmount": 100});
    let status = async || shop.get(&format!("/events/{event}")).await.json()["status"].clone();
    let set = async |change: &'static str| {
        sqlx::query(change).bind(&event).execute(&shop.pool).await.unwrap();
    };
    assert_eq!(status().await, "upcoming");
    let early = Answer::of(shop.booking(&wish)).await;
    assert_eq!(early.invalid(), ["/eventId"]);
    assert!(early.text.contains("not yet"), "{}", early.text);
    let best = shop
        .request(Method::POST, &format!("/events/{event}/best-available"))
        .json(&json!({"count": 1}));
    Answer::of(best).await.problem(409, "refused");
    set("update ticketing.events set sale_starts_at = now() - interval '1 hour' where id = $1").await;
    assert_eq!(status().await, "on_sale");
    assert_eq!(Answer::of(shop.booking(&wish)).await.status, 202);
    set("update ticketing.events set sale_ends_at = now() - interval '1 minute' where id = $1").await;
    assert_eq!(status().await, "closed");
    assert_eq!(Answer::of(shop.booking(&wish)).await.invalid(), ["/eventId"]);
}

#[tokio::test]
async fn organisers_make_passes_for_their_own_doors() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Garden Shows").await;
    let bob = organiser(&shop, "bob@example.com", "Others").await;
    let venue = ada.venue(HALL).await;
    let made = ada.post("/organiser/events", &event(&venue)).await.json();
    let path = format!("/organiser/events/{}/door-passes", made["eventId"].as_str().unwrap());
    let wish = json!({"door": "North"});

    let pass = ada.post(&path, &wish).await;
    assert_eq!(
        (pass.status.as_u16(), pass.json()["hours"].as_i64()),
        (201, Some(12)),
        "{}",
        pass.text
    );
    let pass = pass.json()["pass"].as_str().unwrap().to_owned();
    let door = |pass: &str| {
        let path = format!("/events/{}/check-ins", made["eventId"].as_str().unwrap());
        Answer::of(shop.request(Method::GET, &path).bearer_auth(pass))
    };
    assert_eq!(door(&pass).await.status, 200);
    door(&format!("{pass}x")).await.problem(401, "no-token");

    bob.post(&path, &wish).await.problem(404, "not-found");
    ada.post("/organiser/events/tour/door-passes", &wish)
        .await
        .problem(404, "not-found");
    let nobody = Answer::of(shop.request(Method::POST, &path).json(&wish)).await;
    nobody.problem(401, "no-token");
    let wrong = ada.post(&path, &json!({"door": "", "hours": 169})).await;
    assert_eq!(wrong.invalid(), ["/door", "/hours"]);
    assert_eq!(
        ada.post(&path, &json!({"door": "N", "hours": 0})).await.invalid(),
        ["/hours"]
    );
}

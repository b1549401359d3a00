//! Organisers: venues and their seats, events from draft to cancellation, house seats, and what buyers see of all that.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::shop::{self, Answer, LIMIT, Shop};

const PASSWORD: &str = "correct horse battery";

/// An organiser of an organisation, logged in.
struct Organiser<'a> {
    shop: &'a Shop,
    token: String,
}

async fn user(shop: &Shop, email: &str) -> String {
    let registration = json!({"email": email, "password": PASSWORD, "name": "Ada"});
    let made = Answer::of(shop.request(Method::POST, "/users").json(&registration)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let login = json!({"email": email, "password": PASSWORD});
    let answer = Answer::of(shop.request(Method::POST, "/sessions").json(&login)).await;
    answer.json()["accessToken"].as_str().unwrap().to_owned()
}

async fn organiser<'a>(shop: &'a Shop, email: &str, organisation: &str) -> Organiser<'a> {
    let token = user(shop, email).await;
    gateway::add_organiser(&shop.pool, email, organisation).await.unwrap();
    Organiser { shop, token }
}

impl Organiser<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.shop.request(method, path).bearer_auth(&self.token)
    }

    async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(method, path).json(body)).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    async fn put_csv(&self, venue: &str, csv: String) -> Answer {
        let request = self.request(Method::PUT, &format!("/organiser/venues/{venue}/seats"));
        Answer::of(request.header("content-type", "text/csv").body(csv)).await
    }

    /// A venue with these seats.
    async fn venue(&self, csv: &str) -> String {
        let body = json!({"name": "Garden", "city": "New York", "timeZone": "America/New_York", "stage": {"x": 0.0, "y": 0.0}});
        let made = self.post("/organiser/venues", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let venue = made.json()["venueId"].as_str().unwrap().to_owned();
        let put = self.put_csv(&venue, csv.to_owned()).await;
        assert_eq!(put.status, 200, "{}", put.text);
        venue
    }

    /// A draft.
    async fn draft(&self, venue: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut body = event(venue);
        change(&mut body);
        let made = self.post("/organiser/events", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["eventId"].as_str().unwrap().to_owned()
    }

    async fn decide(&self, event: &str, body: &Value) -> Answer {
        self.post(&format!("/organiser/events/{event}/status"), body).await
    }

    /// A published event.
    async fn published(&self, csv: &str, change: impl FnOnce(&mut Value)) -> String {
        let venue = self.venue(csv).await;
        let event = self.draft(&venue, change).await;
        let published = self.decide(&event, &json!({"status": "published"})).await;
        assert_eq!(published.status, 200, "{}", published.text);
        event
    }
}

/// Two rows of four, the second of them dearer.
const HALL: &str = "section,row,number,x,y,marks\n\
    Floor,A,1,-3,5,wheelchair\nFloor,A,2,-1,5,companion\nFloor,A,3,1,5,\nFloor,A,4,3,5,\n\
    Floor,B,1,-3,7,\nFloor,B,2,-1,7,\nFloor,B,3,1,7,\nFloor,B,4,3,7,step_free\n";

fn event(venue: &str) -> Value {
    json!({
        "name": "The Long Tour", "venueId": venue, "performers": ["Ada & the Engines"], "attributes": {"doors": "18:00"},
        "startsAt": "2031-06-12T19:30:00-04:00", "currency": "USD",
        "pricing": {"tiers": [{"name": "Rest", "price": 100.00}, {"name": "B", "price": 120.50, "places": [{"section": "Floor", "rows": ["B"]}]}]}
    })
}

async fn wait_until_told(shop: &Shop) {
    testkit::eventually("the events' outbox is empty", LIMIT, async || {
        let left: i64 = sqlx::query_scalar("select count(*) from ticketing.event_changes")
            .fetch_one(&shop.pool)
            .await
            .unwrap();
        left == 0
    })
    .await;
}

/// What was given to the engine about events: kinds and data.
fn told(shop: &Shop) -> Vec<Value> {
    let starts = shop.engine.starts().into_iter();
    starts
        .filter(|start| start.workflow == "event_change")
        .map(|start| start.input)
        .collect()
}

#[tokio::test]
async fn only_organisers_make_events_and_see_their_own() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let buyer = Organiser {
        shop: &shop,
        token: user(&shop, "fan@example.com").await,
    };
    let other = organiser(&shop, "other@example.com", "Others").await;
    let event = ada.published(HALL, |_| ()).await;
    let venue = ada.get(&format!("/organiser/events/{event}")).await.json()["venueId"]
        .as_str()
        .unwrap()
        .to_owned();
    let paths = [
        (Method::GET, "/organiser/venues".to_owned()),
        (Method::GET, format!("/organiser/venues/{venue}")),
        (Method::GET, "/organiser/events".to_owned()),
        (Method::GET, format!("/organiser/events/{event}")),
        (Method::POST, format!("/organiser/events/{event}/status")),
        (Method::POST, format!("/organiser/events/{event}/house-seats")),
    ];
    for (method, path) in paths {
        Answer::of(shop.request(method.clone(), &path))
            .await
            .problem(401, "no-token");
        Answer::of(buyer.request(method, &path)).await.problem(403, "forbidden");
    }
    // Another organisation's are not there.
    other
        .get(&format!("/organiser/venues/{venue}"))
        .await
        .problem(404, "not-found");
    other
        .get(&format!("/organiser/events/{event}"))
        .await
        .problem(404, "not-found");
    other
        .decide(&event, &json!({"status": "cancelled"}))
        .await
        .problem(404, "not-found");
    other.put_csv(&venue, HALL.to_owned()).await.problem(404, "not-found");
    let keep = json!({"seatIds": ["Floor-A-1"]});
    other
        .post(&format!("/organiser/events/{event}/house-seats"), &keep)
        .await
        .problem(404, "not-found");
    assert_eq!(
        other.post("/organiser/events", &self::event(&venue)).await.invalid(),
        ["/venueId"]
    );
    assert_eq!(other.get("/organiser/events").await.json(), json!({"events": []}));
    // Whoever is no organiser any more is none at once.
    gateway::remove_organiser(&shop.pool, "ADA@example.com").await.unwrap();
    ada.get("/organiser/events").await.problem(403, "forbidden");
    assert!(
        gateway::add_organiser(&shop.pool, "nobody@example.com", "X")
            .await
            .is_err()
    );
    assert_eq!(gateway::list_organisers(&shop.pool).await.unwrap().len(), 1);
}

#[tokio::test]
async fn wrong_seats_are_named_and_change_nothing() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let venue = ada.venue(HALL).await;
    let put = async |csv: &str| ada.put_csv(&venue, csv.to_owned()).await;
    assert_eq!(put("section,row,number\nA,1,1\nA,1,1\n").await.invalid(), ["line 3"]);
    assert_eq!(put("section,seat\n").await.invalid(), ["line 1", "line 1", "line 1"]);
    assert_eq!(put("section,row,number\nA,1\n").await.invalid(), ["line 2"]);
    assert_eq!(
        put("section,row,number\nA\u{0},1,1\n").await.invalid(),
        ["line 2, section"]
    );
    // A million rows: said at the row where it is too much.
    let rows: String = (1..=1_000_000)
        .map(|n| format!("S,{},{}\n", n / 1_000, n % 1_000 + 1))
        .collect();
    let million = put(&format!("section,row,number\n{rows}")).await;
    assert_eq!(million.invalid(), ["line 100002"]);
    assert!(million.text.contains("at most 100000"), "{}", million.text);
    put(&"x".repeat(17 * 1024 * 1024)).await.problem(413, "too-large");
    let text = ada
        .request(Method::PUT, &format!("/organiser/venues/{venue}/seats"))
        .body("a");
    Answer::of(text).await.problem(415, "unsupported-media-type");
    let wrong = json!({"seats": [{"section": "A", "row": "1", "number": 1, "colour": "red"}]});
    let wrong = ada
        .send(Method::PUT, &format!("/organiser/venues/{venue}/seats"), &wrong)
        .await;
    assert_eq!(wrong.invalid(), ["/seats/0/colour"]);
    assert_eq!(ada.get(&format!("/organiser/venues/{venue}")).await.json()["seats"], 8);
    let right = json!({"seats": [{"section": "A", "row": "1", "number": 1}]});
    let right = ada
        .send(Method::PUT, &format!("/organiser/venues/{venue}/seats"), &right)
        .await;
    assert_eq!(
        (right.status.as_u16(), &right.json()["seats"]),
        (200, &json!(1)),
        "{}",
        right.text
    );
    let bad = json!({"name": "", "city": "x", "timeZone": "Mars"});
    assert_eq!(
        ada.post("/organiser/venues", &bad).await.invalid(),
        ["/name", "/timeZone"]
    );
}

#[tokio::test]
async fn a_stadium_is_imported_and_published() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let began = std::time::Instant::now();
    let rows = (0..80_000).map(|n| {
        format!(
            "S{},{},{},{},{},\n",
            n / 1_000,
            n / 40 % 25 + 1,
            n % 40 + 1,
            n % 40,
            n / 40
        )
    });
    let csv: String = std::iter::once("section,row,number,x,y,marks\n".to_owned())
        .chain(rows)
        .collect();
    let venue = ada.venue(&csv).await;
    println!("80,000 seats imported: {:?}", began.elapsed());
    let event = ada
        .draft(&venue, |body| {
            body["pricing"] = json!({"tiers": [{"name": "All", "price": 50}]})
        })
        .await;
    let published = ada.decide(&event, &json!({"status": "published"})).await;
    println!("and published: {:?}", began.elapsed());
    assert_eq!(published.status, 200, "{}", published.text);
    let count: i64 =
        sqlx::query_scalar("select count(*) from ticketing.seats where event_id = $1 and price_cents = 5000")
            .bind(&event)
            .fetch_one(&shop.pool)
            .await
            .unwrap();
    assert_eq!(count, 80_000);
    let picture = shop.get(&format!("/events/{event}/seats.svg")).await;
    assert_eq!(picture.status, 200);
    assert!(picture.text.len() < 4_000_000, "{}", picture.text.len());
    println!("and drawn: {:?}, {} bytes", began.elapsed(), picture.text.len());
}

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
async fn fees_and_taxes_are_itemised_and_paid() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada
        .published(HALL, |body| {
            body["pricing"]["fees"] = json!([{"name": "Service", "amount": 4.50, "per": "seat"}, {"name": "Delivery", "amount": 2, "per": "order"}]);
            body["pricing"]["taxes"] = json!([{"name": "Sales tax", "rate": 8.875}]);
            body["seatsPerOrderMax"] = json!(2);
        })
        .await;
    let quote = async |body: Value| {
        Answer::of(
            shop.request(Method::POST, &format!("/events/{event}/quote"))
                .json(&body),
        )
        .await
    };
    let answer = quote(json!({"seatIds": ["Floor-A-3", "Floor-B-3"]})).await;
    // 220.50 + 9.00 + 2.00 = 231.50; 8.875 % of it are 20.545625.
    assert_eq!(
        answer.text,
        r#"{"seats":220.50,"fees":[{"name":"Service","amount":9.00},{"name":"Delivery","amount":2.00}],"taxes":[{"name":"Sales tax","rate":8.875,"amount":20.55,"included":false}],"total":252.05}"#
    );
    assert_eq!(
        quote(json!({"seatIds": ["Floor-A-3", "Floor-A-3", "Z"]}))
            .await
            .invalid(),
        ["/seatIds/1"]
    );
    assert_eq!(quote(json!({"seatIds": ["Z"]})).await.invalid(), ["/seatIds/0"]);
    assert_eq!(quote(json!({"seatIds": []})).await.invalid(), ["/seatIds"]);
    let wish =
        |total: Value, seats: &[&str]| json!({"userId": "u", "eventId": event, "seatIds": seats, "totalAmount": total});
    let seats = ["Floor-A-3", "Floor-B-3"];
    let short = Answer::of(shop.booking(&wish(json!(220.50), &seats))).await;
    assert_eq!(short.invalid(), ["/totalAmount"]);
    assert!(short.text.contains("252.05"), "{}", short.text);
    let booked = Answer::of(shop.booking(&wish(json!(252.05), &seats))).await;
    assert_eq!(booked.status, 202, "{}", booked.text);
    assert!(
        booked.text.contains(r#""breakdown":{"seats":220.50,"#),
        "{}",
        booked.text
    );
    let input = shop
        .engine
        .starts()
        .into_iter()
        .find(|start| start.workflow == "booking")
        .unwrap()
        .input;
    assert_eq!(
        (&input["totalCents"], &input["chargesCents"]),
        (&json!(25_205), &json!(3_155))
    );
    let three = ["Floor-A-3", "Floor-A-4", "Floor-B-3"];
    assert_eq!(
        Answer::of(shop.booking(&wish(json!(1), &three))).await.invalid(),
        ["/seatIds"]
    );
    assert_eq!(
        shop.get(&format!("/events/{event}")).await.json()["fees"][0]["name"],
        "Service"
    );
}

#[tokio::test]
async fn house_seats_are_kept_and_let_go() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada.published(HALL, |_| ()).await;
    let path = format!("/organiser/events/{event}/house-seats");
    let kept = ada.post(&path, &json!({"section": "Floor", "rows": ["B"]})).await;
    assert_eq!(kept.json()["seatIds"].as_array().unwrap().len(), 4, "{}", kept.text);
    let again = ada.post(&path, &json!({"seatIds": ["Floor-B-1", "Floor-A-1"]})).await;
    assert_eq!(again.json()["seatIds"], json!(["Floor-A-1"]));
    let seats = shop.get(&format!("/events/{event}/seats?status=held")).await.json();
    assert_eq!(seats["seats"].as_array().unwrap().len(), 5);
    let wish = json!({"userId": "u", "eventId": event, "seatIds": ["Floor-B-1"], "totalAmount": 120.5});
    Answer::of(shop.booking(&wish)).await.problem(409, "seats-unavailable");
    // All or none.
    sqlx::query("update ticketing.seats set status = 'sold', booking_id = gen_random_uuid() where event_id = $1 and seat_id = 'Floor-A-4'")
        .bind(&event)
        .execute(&shop.pool)
        .await
        .unwrap();
    let taken = ada.post(&path, &json!({"seatIds": ["Floor-A-3", "Floor-A-4"]})).await;
    assert_eq!(
        taken.problem(409, "seats-unavailable")["unavailableSeats"],
        json!(["Floor-A-4"])
    );
    for (body, pointers) in [
        (json!({}), vec![""]),
        (json!({"seatIds": ["Floor-A-3"], "section": "Floor"}), vec![""]),
        (json!({"seatIds": ["Floor-A-3"], "rows": ["A"]}), vec!["/rows"]),
        (json!({"seatIds": ["Z", "Z"]}), vec!["/seatIds/1"]),
        (json!({"seatIds": ["Z"]}), vec!["/seatIds/0"]),
        (json!({"section": "Moon"}), vec!["/section"]),
    ] {
        assert_eq!(ada.post(&path, &body).await.invalid(), pointers, "{body}");
    }
    let released = ada.post(&format!("{path}/release"), &json!({"section": "Floor"})).await;
    assert_eq!(
        released.json()["seatIds"].as_array().unwrap().len(),
        5,
        "{}",
        released.text
    );
    wait_until_told(&shop).await;
    let fact = told(&shop)
        .into_iter()
        .find(|it| it["kind"] == "seats_released")
        .unwrap();
    assert_eq!(fact["seatIds"].as_array().unwrap().len(), 5);
    testkit::eventually("they can be had", LIMIT, async || {
        Answer::of(shop.booking(&wish)).await.status == 202
    })
    .await;
}

#[tokio::test]
async fn the_best_seats_are_found() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada.published(HALL, |_| ()).await;
    let best = async |body: Value| {
        Answer::of(
            shop.request(Method::POST, &format!("/events/{event}/best-available"))
                .json(&body),
        )
        .await
    };
    let found = best(json!({"count": 2})).await;
    assert_eq!(
        found.json()["seatIds"],
        json!(["Floor-A-3", "Floor-A-4"]),
        "{}",
        found.text
    );
    assert_eq!(found.json()["relaxed"], json!([]));
    assert!(found.text.contains(r#""total":200.00"#), "{}", found.text);
    // Whoever needs them gets the others.
    let accessible = best(json!({"count": 2, "accessible": true})).await.json();
    assert_eq!(accessible["seatIds"], json!(["Floor-A-1", "Floor-A-2"]));
    let three = best(json!({"count": 3})).await.json();
    assert_eq!(three["relaxed"], json!(["no_orphan"]));
    let apart = best(json!({"count": 5})).await.json();
    assert_eq!(apart["relaxed"], json!(["no_orphan", "adjacent", "same_row"]));
    best(json!({"count": 3, "maxPrice": 100.00}))
        .await
        .problem(409, "seats-unavailable");
    best(json!({"count": 1, "section": "Moon"}))
        .await
        .problem(409, "seats-unavailable");
    assert_eq!(best(json!({"count": 11})).await.invalid(), ["/count"]);
    assert_eq!(best(json!({"count": 0})).await.invalid(), ["/count"]);
    assert_eq!(
        best(json!({"count": 1, "maxPrice": "x"})).await.invalid(),
        ["/maxPrice"]
    );
    assert_eq!(best(json!({})).await.invalid().len(), 1);
    // Of a hall without coordinates too.
    let tour = shop
        .request(Method::POST, "/events/tour/best-available")
        .json(&json!({"count": 2}));
    assert_eq!(Answer::of(tour).await.json()["seatIds"], json!(["A15", "A16"]));
}

#[tokio::test]
async fn seats_are_drawn() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let csv = "section,row,number,x,y\n\"<b>&\"\"\",A,1,0,1\n\"<b>&\"\"\",A,2,1,1\n";
    let event = ada
        .published(csv, |body| {
            body["pricing"] = json!({"tiers": [{"name": "A", "price": 1}]})
        })
        .await;
    for path in [
        format!("/events/{event}/seats.svg"),
        "/events/tour/seats.svg?section=Ring".to_owned(),
    ] {
        let picture = shop.get(&path).await;
        assert_eq!(picture.header("content-type"), "image/svg+xml; charset=utf-8");
        assert_eq!(picture.text.matches("<rect").count(), 2, "{}", picture.text);
        assert!(
            !picture.text.contains("<b>") && !picture.text.contains("NaN"),
            "{}",
            picture.text
        );
        let again = shop
            .request(Method::GET, &path)
            .header("if-none-match", picture.header("etag"));
        assert_eq!(Answer::of(again).await.status, 304);
    }
    shop.get("/events/tour/seats.svg?section=Moon")
        .await
        .problem(404, "not-found");
    shop.get("/events/nowhere/seats.svg").await.problem(404, "not-found");
}

#[tokio::test]
async fn events_are_searched() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let event = ada.published(HALL, |_| ()).await;
    let ids = async |query: &str| {
        let answer = shop.get(&format!("/events?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let events = answer.json()["events"].as_array().unwrap().clone();
        events
            .iter()
            .map(|it| it["eventId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("text=engin").await, [event.as_str()]);
    assert_eq!(ids("text=TOUR%20long").await, [event.as_str()]);
    assert_eq!(ids("text=tour").await, ["tour".to_owned(), event.clone()]);
    assert_eq!(ids("text=tour&from=2031-01-01").await, [event.as_str()]);
    assert_eq!(ids("text=tour&to=2031-06-12T23:30:00Z").await, ["tour"]);
    assert_eq!(ids("city=new%20york&limit=200").await.len(), 3);
    assert!(ids("city=Paris").await.is_empty());
    assert!(ids("text=')%20%7C%20x%3A*").await.is_empty());
    let first = shop.get("/events?text=tour&city=New%20York&limit=1").await.json();
    let next = first["next"].as_str().unwrap();
    assert_eq!(
        shop.get(next).await.json()["events"][0]["eventId"],
        json!(event),
        "{next}"
    );
    for query in [
        "text=%20",
        "text=!!",
        "from=soon",
        "to=2031-13-01",
        "text=a%20b%20c%20d%20e%20f%20g%20h%20i%20j%20k",
        "from=99999-01-01",
    ] {
        shop.get(&format!("/events?{query}")).await.problem(400, "malformed");
    }
    for path in ["/events?text=tour".to_owned(), format!("/events/{event}")] {
        let answer = shop.get(&path).await;
        let again = shop
            .request(Method::GET, &path)
            .header("if-none-match", answer.header("etag"));
        let again = Answer::of(again).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
    }
}

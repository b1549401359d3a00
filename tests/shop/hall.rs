//! A small hall, and events in it, made by the demo organiser as any organiser would.

use serde_json::{Value, json};

use crate::running::Dev;

/// The demo event.
pub const TOUR: &str = "taylor_swift_nyc_2024";

/// What somebody might call anything.
pub const HOSTILE: &str =
    "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>\u{202e}לאחור '\"</title>";

async fn send(dev: &Dev, path: &str, body: &Value) -> Value {
    let request = dev.http.post(format!("{}{path}", dev.url("gateway")));
    let answer = request
        .bearer_auth(dev.url("organiser_token"))
        .json(body)
        .send()
        .await
        .unwrap();
    let said: Value = answer.json().await.unwrap();
    assert!(said["status"].as_u64().is_none(), "{path}: {said}");
    said
}

/// How many bookings of an event were confirmed, as its organiser is told.
pub async fn confirmed(dev: &Dev, event: &str) -> i64 {
    let request = dev.http.get(format!("{}/analytics/events/{event}", dev.url("gateway")));
    let answer = request.bearer_auth(dev.url("organiser_token")).send().await.unwrap();
    let report: Value = answer.json().await.unwrap();
    report["total"]["confirmed"].as_i64().unwrap()
}

/// An event of this name in a hall with one section of this name: two rows of ten seats, with fees and taxes.
pub async fn event(dev: &Dev, name: &str, section: &str) -> String {
    let venue =
        json!({"name": name.chars().take(60).collect::<String>(), "city": "Berlin", "timeZone": "Europe/Berlin"});
    let venue = send(dev, "/organiser/venues", &venue).await["venueId"]
        .as_str()
        .unwrap()
        .to_owned();
    let seat = |row: &str, number: i32| json!({"seatId": format!("{row}{number}"), "section": section, "row": row, "number": number});
    let seats: Vec<Value> = ["A", "B"]
        .iter()
        .flat_map(|row| (1..=10).map(|number| seat(row, number)).collect::<Vec<_>>())
        .collect();
    let put = dev
        .http
        .put(format!("{}/organiser/venues/{venue}/seats", dev.url("gateway")));
    let put = put
        .bearer_auth(dev.url("organiser_token"))
        .json(&json!({ "seats": seats }));
    assert_eq!(put.send().await.unwrap().status(), 200);
    let event = json!({
        "name": name, "venueId": venue, "startsAt": "2031-06-12T20:00:00+02:00", "currency": "eur", "seatsPerOrderMax": 4,
        "performers": [name.chars().take(60).collect::<String>()],
        "pricing": {"tiers": [{"name": "All", "price": 100}], "fees": [{"name": "Service", "amount": 4.50, "per": "seat"}],
                    "taxes": [{"name": "VAT", "rate": 7}]},
    });
    let event = send(dev, "/organiser/events", &event).await["eventId"]
        .as_str()
        .unwrap()
        .to_owned();
    let publish = json!({"status": "published"});
    send(dev, &format!("/organiser/events/{event}/status"), &publish).await;
    event
}

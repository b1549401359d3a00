//! What the gateway knows of seats by itself: refusals without a saga, and changes as they happen.

use std::sync::atomic::Ordering;

use futures::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::shop::{self, Answer, LIMIT, Shop, wish};

/// Gives the seats to somebody.
async fn take(shop: &Shop, seats: &[&str]) {
    sqlx::query(
        "update ticketing.seats set status = 'held', booking_id = gen_random_uuid(), held_until = now() + interval '1 hour'
         where event_id = 'tour' and seat_id = any($1)",
    )
    .bind(seats.iter().map(|seat| (*seat).to_owned()).collect::<Vec<String>>())
    .execute(&shop.pool)
    .await
    .unwrap();
}

async fn free(shop: &Shop, seats: &[&str]) {
    sqlx::query(
        "update ticketing.seats set status = 'available', booking_id = null, held_until = null where seat_id = any($1)",
    )
    .bind(seats.iter().map(|seat| (*seat).to_owned()).collect::<Vec<String>>())
    .execute(&shop.pool)
    .await
    .unwrap();
}

/// Until the gateway shows that seat so.
async fn shown(shop: &Shop, seat: &str, status: &str) {
    testkit::eventually("the seat is shown so", LIMIT, async || {
        let seats = shop.get("/events/tour/seats").await.json();
        let seats = seats["seats"].as_array().unwrap();
        seats.iter().any(|it| it["seatId"] == seat && it["status"] == status)
    })
    .await;
}

#[tokio::test]
async fn taken_seats_are_refused_without_a_saga() {
    let shop = shop::open().await;
    shown(&shop, "A15", "available").await;
    take(&shop, &["A15"]).await;
    shown(&shop, "A15", "held").await;
    let answer = Answer::of(shop.booking(&wish()).header("idempotency-key", "k")).await;
    let problem = answer.problem(409, "seats-unavailable");
    assert_eq!(problem["requestedSeats"], json!(["A15", "A16"]));
    assert_eq!(problem["unavailableSeats"], json!(["A15"]));
    assert_eq!(problem["availableSeats"], json!([]));
    assert!(shop.engine.starts().is_empty());

    // The key is not spent: once the seats are back, the same request is a booking.
    free(&shop, &["A15"]).await;
    shown(&shop, "A15", "available").await;
    let again = Answer::of(shop.booking(&wish()).header("idempotency-key", "k")).await;
    assert_eq!(again.status, 202, "{}", again.text);

    // And its repetition is answered as such, although now this very booking has the seats.
    take(&shop, &["A15", "A16"]).await;
    shown(&shop, "A16", "held").await;
    let replayed = Answer::of(shop.booking(&wish()).header("idempotency-key", "k")).await;
    assert_eq!((replayed.status, &replayed.text), (again.status, &again.text));
    assert_eq!(replayed.header("idempotency-replayed"), "true");
    // Another one is refused; nothing is left of the event.
    let other = Answer::of(shop.booking(&wish()))
        .await
        .problem(409, "seats-unavailable");
    assert!(
        other["detail"]
            .as_str()
            .unwrap()
            .starts_with("none of the event's seats")
    );
    assert_eq!(shop.engine.starts().len(), 2);
}

#[tokio::test]
async fn when_in_doubt_the_saga_decides() {
    let shop = shop::open().await;
    // Nobody has asked for this event's seats yet: not known, not refused.
    take(&shop, &["A15"]).await;
    let first = Answer::of(shop.booking(&wish())).await;
    assert_eq!(first.status, 202);
    // The first wish had the event watched.
    testkit::eventually("taken seats are refused", LIMIT, async || {
        Answer::of(shop.booking(&wish())).await.status == 409
    })
    .await;
    // What is wrong in itself is told as ever.
    let unknown = json!({"userId": "u", "eventId": "tour", "seatIds": ["A15", "Z9"], "totalAmount": 350});
    assert_eq!(Answer::of(shop.booking(&unknown)).await.invalid(), ["/seatIds/1"]);
    // Without the engine nobody knows whether the key was used: no refusal, but "later".
    shop.engine.is_away.store(true, Ordering::SeqCst);
    let answer = Answer::of(shop.booking(&wish()).header("idempotency-key", "k")).await;
    answer.problem(503, "unavailable");
}

#[tokio::test]
async fn a_view_that_is_not_kept_fresh_refuses_nobody() {
    // No background task looks at the seats here.
    let database = testkit::migrated_database().await;
    let shop = shop::open_on(shop::options(), database, shop::Serving::RouterOnly).await;
    take(&shop, &["A15"]).await;
    shown(&shop, "A15", "held").await;
    free(&shop, &["A15"]).await;
    // Refused from memory until it is too old for that, which is seconds away.
    testkit::eventually("the saga is asked again", LIMIT, async || {
        Answer::of(shop.booking(&wish())).await.status == 202
    })
    .await;
}

/// Reads server-sent events.
struct Live {
    body: futures::stream::BoxStream<'static, reqwest::Result<axum::body::Bytes>>,
    text: String,
}

impl Live {
    async fn open(shop: &Shop, path: &str, last: Option<&str>) -> Live {
        let mut request = shop.request(Method::GET, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response: Response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Live {
            body: response.bytes_stream().boxed(),
            text: String::new(),
        }
    }

    /// The next event's name, id and data; none at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event.starts_with(':') {
                    continue;
                }
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .unwrap()
                        .to_owned()
                };
                let data = serde_json::from_str(&field("data: ")).unwrap();
                return Some((field("event: "), field("id: "), data));
            }
            let chunk = tokio::time::timeout(LIMIT, self.body.next()).await.unwrap()?.ok()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn changes_are_sent_to_all_who_listen_and_to_those_who_come_back() {
    let shop = shop::open().await;
    let mut one = Live::open(&shop, "/events/tour/seats/live", None).await;
    let (event, _, data) = one.next().await.unwrap();
    assert_eq!((event.as_str(), &data), ("position", &json!({"availableSeats": 2})));
    let version = shop.get("/events/tour/seats").await.header("seats-version").to_owned();
    let mut two = Live::open(&shop, &format!("/events/tour/seats/live?after={version}"), None).await;

    take(&shop, &["A15", "A16"]).await;
    let (event, id, data) = one.next().await.unwrap();
    assert_eq!(event, "seats");
    assert_eq!(data, json!({"availableSeats": 0, "held": ["A15", "A16"]}));
    assert_eq!(two.next().await.unwrap(), (event, id.clone(), data.clone()));
    assert_eq!(shop.get("/events/tour/seats").await.header("seats-version"), id);

    // Away in the meantime: what was missed comes first, and then what is new.
    drop(two);
    free(&shop, &["A16", "B'1/2\""]).await;
    let (_, _, freed) = one.next().await.unwrap();
    assert_eq!(freed, json!({"availableSeats": 2, "available": ["A16", "B'1/2\""]}));
    let mut two = Live::open(&shop, "/events/tour/seats/live", Some(&id)).await;
    let mut caught_up = Vec::new();
    while caught_up.last() != Some(&freed) {
        caught_up.push(two.next().await.unwrap().2);
    }
    assert!(caught_up.len() <= 2, "{caught_up:?}");

    // What can't be resumed begins with the whole.
    for nonsense in ["1", "later", "9223372036854775807"] {
        let mut lost = Live::open(&shop, "/events/tour/seats/live", Some(nonsense)).await;
        assert_eq!(lost.next().await.unwrap().0, "reload");
    }
    // New seats are no change of a seat.
    sqlx::query("insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents) values ('tour', 'C1', 'Ring', 'C', 1, 5)")
        .execute(&shop.pool)
        .await
        .unwrap();
    assert_eq!(one.next().await.unwrap().0, "reload");
    shown(&shop, "C1", "available").await;

    shop.get("/events/draft/seats/live").await.problem(404, "not-found");
    shop.get("/events/tour/seats/live?since=1")
        .await
        .problem(400, "malformed");
}

#[tokio::test]
async fn listeners_are_counted_and_let_go_at_the_end() {
    let shop = shop::open_with(gateway::Options {
        seat_listeners_max: 1,
        ..shop::options()
    })
    .await;
    let mut one = Live::open(&shop, "/events/tour/seats/live", None).await;
    assert_eq!(one.next().await.unwrap().0, "position");
    let refused = shop.get("/events/tour/seats/live").await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "5");
    // Whoever hangs up makes room.
    drop(one);
    testkit::eventually("there is room", LIMIT, async || {
        shop.request(Method::GET, "/events/tour/seats/live")
            .send()
            .await
            .unwrap()
            .status()
            == 200
    })
    .await;
    let mut last = None;
    testkit::eventually("there is room again", LIMIT, async || {
        let response = shop
            .request(Method::GET, "/events/tour/seats/live")
            .send()
            .await
            .unwrap();
        let is_in = response.status() == 200;
        last = Some(response);
        is_in
    })
    .await;
    // A gateway that stops doesn't wait for its listeners.
    shop.stop();
    let rest = tokio::time::timeout(LIMIT, last.unwrap().text()).await;
    assert!(rest.is_ok());
}

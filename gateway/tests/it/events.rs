//! Events and their seats.

use reqwest::Method;
use serde_json::json;

use crate::shop::{self, Answer, LIMIT};

#[tokio::test]
async fn events_are_listed_a_page_at_a_time() {
    let shop = shop::open().await;
    let listed = shop.get("/events").await.json();
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!("events", listed) });
    let first = shop.get("/events?limit=1").await.json();
    assert_eq!(first["events"][0]["eventId"], "over");
    let second = shop.get(first["next"].as_str().unwrap()).await.json();
    assert_eq!(second["events"][0]["eventId"], "tour");
    assert!(second.get("next").is_none());
    assert_eq!(shop.get("/events?after=nowhere").await.json(), json!({"events": []}));
}

#[tokio::test]
async fn an_event_is_shown_with_its_sections() {
    let shop = shop::open().await;
    let answer = shop.get("/events/tour").await;
    insta::assert_snapshot!("event", answer.text);
}

#[tokio::test]
async fn seats_are_shown_with_exact_prices_and_filtered() {
    let shop = shop::open().await;
    let all = shop.get("/events/tour/seats").await;
    insta::assert_snapshot!("seats", all.text);
    let ids = async |query: &str| {
        let answer = shop.get(&format!("/events/tour/seats?{query}")).await.json();
        answer["seats"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["seatId"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("status=available").await, ["A15", "A16"]);
    assert_eq!(ids("section=Ring").await, ["B'1/2\"", "B2"]);
    assert_eq!(ids("section=Ring&status=sold").await, ["B2"]);
    assert_eq!(ids("section=ring%27--").await, Vec::<String>::new());
}

#[tokio::test]
async fn unchanged_seats_are_not_sent_again_and_changed_ones_soon() {
    let shop = shop::open().await;
    let first = shop.get("/events/tour/seats").await;
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with("W/\""), "{etag}");
    assert_eq!(first.header("cache-control"), "no-cache");
    let ask = |tag: String| {
        Answer::of(
            shop.request(Method::GET, "/events/tour/seats")
                .header("if-none-match", tag),
        )
    };
    let unchanged = ask(format!("\"other\", {etag}")).await;
    assert_eq!(
        (
            unchanged.status.as_u16(),
            unchanged.text.as_str(),
            unchanged.header("etag")
        ),
        (304, "", etag.as_str())
    );
    sqlx::query("update ticketing.seats set status = 'sold', booking_id = gen_random_uuid() where seat_id = 'A15'")
        .execute(&shop.pool)
        .await
        .unwrap();
    let mut changed = None;
    testkit::eventually("the change is seen", LIMIT, async || {
        let answer = ask(etag.clone()).await;
        let is_seen = answer.status == 200;
        changed = Some(answer);
        is_seen
    })
    .await;
    let changed = changed.unwrap();
    assert_ne!(changed.header("etag"), etag);
    assert_eq!(changed.json()["seats"][0]["status"], "sold");
}

#[tokio::test]
async fn many_readers_of_a_large_hall_share_their_queries() {
    let shop = shop::open().await;
    sqlx::query(
        "insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents)
         select 'over', 'S' || n, 'Section ' || n / 1000, 'Row ' || n / 50, n + 1, 15000 from generate_series(1, 20000) n",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    let began = std::time::Instant::now();
    let readers = (0..50).map(|_| shop.get("/events/over/seats"));
    let answers = futures::future::join_all(readers).await;
    println!("50 readers of 20,001 seats: {:?}", began.elapsed());
    for answer in answers {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text.matches("seatId").count(), 20_001);
    }
    // Generous: this is an unoptimised build on a shared machine.
    assert!(began.elapsed() < shop::LIMIT);
}

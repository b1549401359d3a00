//! The waiting room: one place for each buyer, lots before the opening, first come first served after it, two gateways.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{self, Answer, LIMIT, Shop, wish, wish_with};

async fn open_room(shop: &Shop, opens: &str) {
    sqlx::query(
        "insert into ticketing.waiting_rooms (event_id, opens_at) values ('tour', now() + $1::interval)
         on conflict (event_id) do update set opens_at = excluded.opens_at",
    )
    .bind(opens)
    .execute(&shop.pool)
    .await
    .unwrap();
    seen(shop).await;
}

/// Until the gateway, which may have looked before there was a room, sees it.
async fn seen(shop: &Shop) {
    testkit::eventually("the room is seen", LIMIT, async || {
        shop.get("/events/tour/queue/live?userId=u&token=1.00").await.status == 403
    })
    .await;
}

async fn join(shop: &Shop, user: &str) -> Value {
    let request = shop
        .request(Method::POST, "/events/tour/queue")
        .json(&json!({"userId": user}));
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// All that is sent until it is the buyer's turn.
async fn follow(shop: &Shop, user: &str, token: &Value) -> Vec<(String, Value)> {
    let token = token.as_str().unwrap();
    let answer = shop
        .get(&format!("/events/tour/queue/live?userId={user}&token={token}"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let events = answer.text.split("\n\n").filter(|event| event.starts_with("event: "));
    events
        .map(|event| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            (name["event: ".len()..].to_owned(), serde_json::from_str(data).unwrap())
        })
        .collect()
}

async fn places(shop: &Shop) -> Vec<(String, Option<i64>)> {
    sqlx::query_as("select user_id, place from ticketing.queue_places where event_id = 'tour' order by place, user_id")
        .fetch_all(&shop.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn buyers_wait_for_their_turn_and_then_book() {
    let shop = shop::open().await;
    open_room(&shop, "1 hour").await;
    let first = join(&shop, "user_42").await;
    assert_eq!((&first["admitted"], first.get("ahead")), (&json!(false), None));
    // Another tab, a reload: the same place.
    assert_eq!(join(&shop, "user_42").await, first);
    assert_eq!(places(&shop).await, [("user_42".to_owned(), None)]);

    let book = async |token: Option<&str>| {
        let request = shop.booking(&wish());
        Answer::of(match token {
            Some(token) => request.header("queue-token", token),
            None => request,
        })
        .await
    };
    let early = first["token"].as_str().unwrap();
    for token in [None, Some(early), Some("1.00"), Some("nonsense")] {
        let problem = book(token).await.problem(403, "not-admitted");
        assert!(
            problem["detail"].as_str().unwrap().contains("/events/{eventId}/queue"),
            "{problem}"
        );
    }

    open_room(&shop, "-1 second").await;
    let told = follow(&shop, "user_42", &first["token"]).await;
    let (event, last) = told.last().unwrap();
    assert_eq!(
        (event.as_str(), &last["admitted"], &last["ahead"]),
        ("admitted", &json!(true), &json!(0))
    );
    let token = last["token"].as_str().unwrap();
    assert_eq!(book(Some(token)).await.status, 202);
    // It is nobody else's.
    let other = shop
        .booking(&wish_with("userId", json!("user_43")))
        .header("queue-token", token);
    Answer::of(other).await.problem(403, "not-admitted");
    assert_eq!(join(&shop, "user_42").await["token"], token);
}

#[tokio::test]
async fn lots_decide_before_the_opening_and_time_after_it() {
    let shop = shop::open().await;
    open_room(&shop, "1 hour").await;
    let early: Vec<String> = (0..40).map(|n| format!("early-{n:02}")).collect();
    // In the order of their names, at two gateways over the same database.
    let other = shop.another_gateway().await;
    seen(&other).await;
    for (n, user) in early.iter().enumerate() {
        join(if n % 2 == 0 { &shop } else { &other }, user).await;
    }
    assert!(places(&shop).await.iter().all(|(_, place)| place.is_none()));
    open_room(&shop, "0 seconds").await;
    let late = join(&other, "late").await;
    let told = follow(&shop, "late", &late["token"]).await;
    assert_eq!(told.last().unwrap().0, "admitted");

    let line = places(&shop).await;
    let given: Vec<i64> = line.iter().filter_map(|(_, place)| *place).collect();
    assert_eq!(given, (1..=41).collect::<Vec<i64>>());
    assert_eq!(line.last().unwrap().0, "late");
    let drawn: Vec<String> = line[..40].iter().map(|(user, _)| user.clone()).collect();
    assert_eq!(
        drawn.iter().collect::<BTreeSet<_>>(),
        early.iter().collect::<BTreeSet<_>>()
    );
    // One chance in 40! that lots happen to be drawn so.
    assert_ne!(drawn, early);
    // The next one comes behind all of them.
    join(&shop, "later").await;
    testkit::eventually("there is a place", LIMIT, async || {
        places(&shop).await.contains(&("later".to_owned(), Some(42)))
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_is_not_used_goes_to_the_next() {
    let shop = shop::open().await;
    open_room(&shop, "-1 second").await;
    let admitted = async |user: &str| {
        let joined = join(&shop, user).await;
        let told = follow(&shop, user, &joined["token"]).await;
        let (event, last) = told.last().unwrap().clone();
        assert_eq!((event.as_str(), &last["over"]), ("admitted", &json!(false)), "{user}");
        last
    };
    let book = async |user: &str, place: &Value| {
        let wish = wish_with("userId", json!(user));
        let token = place["token"].as_str().unwrap();
        let request = shop.booking(&wish).header("idempotency-key", user);
        Answer::of(request.header("queue-token", token)).await
    };
    let idle = admitted("idle").await;
    let keen = admitted("keen").await;
    assert!(idle["bookBefore"].is_string(), "{idle}");
    let begun = book("keen", &keen).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    let is_marked = "select used_at is not null from ticketing.queue_places where user_id = 'keen'";
    testkit::eventually("the turn is marked as used", LIMIT, async || {
        sqlx::query_scalar::<_, bool>(is_marked)
            .fetch_one(&shop.pool)
            .await
            .unwrap()
    })
    .await;

    // Time passes. While nobody waits, no turn ends.
    sqlx::raw_sql("update ticketing.queue_turns set until = until - interval '1 hour'")
        .execute(&shop.pool)
        .await
        .unwrap();
    assert_eq!(join(&shop, "idle").await["token"], idle["token"]);
    admitted("next").await;
    testkit::eventually("the turn is over", LIMIT, async || {
        book("idle", &idle).await.status == 403
    })
    .await;
    let problem = book("idle", &idle).await.problem(403, "not-admitted");
    assert!(
        problem["detail"].as_str().unwrap().contains("turn is over"),
        "{problem}"
    );
    // Who used the turn is answered again what they were answered; a new wish needs a new turn.
    let repeated = book("keen", &keen).await;
    assert_eq!((repeated.status, repeated.text), (begun.status, begun.text));
    let another = shop
        .booking(&wish_with("userId", json!("keen")))
        .header("queue-token", keen["token"].as_str().unwrap());
    Answer::of(another).await.problem(403, "not-admitted");
    let told = follow(&shop, "idle", &idle["token"]).await;
    let (event, last) = told.last().unwrap();
    assert_eq!(
        (event.as_str(), &last["over"], &last["admitted"]),
        ("over", &json!(true), &json!(false))
    );

    // A reload, and two more tabs, give one new place behind the others; the old token is of no use any more.
    join(&shop, "idle").await;
    join(&shop, "idle").await;
    let again = admitted("idle").await;
    assert_eq!(join(&shop, "idle").await["token"], again["token"]);
    let line = places(&shop).await;
    assert_eq!(line.len(), 3);
    assert_eq!(line.last().unwrap(), &("idle".to_owned(), Some(4)));
    book("idle", &idle).await.problem(403, "not-admitted");
    // The old tab learns of it.
    let told = follow(&shop, "idle", &idle["token"]).await;
    assert_eq!(told.last().unwrap().1["token"], again["token"]);
    assert_eq!(book("idle", &again).await.status, 202);
}

#[tokio::test]
async fn a_room_can_be_taken_away_and_made_again() {
    let shop = shop::open().await;
    for round in ["first", "second"] {
        open_room(&shop, "-1 second").await;
        let joined = join(&shop, round).await;
        assert_eq!(
            follow(&shop, round, &joined["token"]).await.last().unwrap().0,
            "admitted"
        );
        assert_eq!(places(&shop).await, [(round.to_owned(), Some(1))]);
        sqlx::raw_sql("delete from ticketing.waiting_rooms; delete from ticketing.queue_places")
            .execute(&shop.pool)
            .await
            .unwrap();
        let turns: i64 = sqlx::query_scalar("select count(*) from ticketing.queue_turns")
            .fetch_one(&shop.pool)
            .await
            .unwrap();
        assert_eq!(turns, 0);
    }
}

#[tokio::test]
async fn without_a_room_nothing_is_asked_for() {
    let shop = shop::open().await;
    let request = || shop.request(Method::POST, "/events/tour/queue");
    Answer::of(request().json(&json!({"userId": "u"})))
        .await
        .problem(404, "not-found");
    assert_eq!(
        Answer::of(request().json(&json!({"user": "u"}))).await.invalid(),
        ["/userId", "/user"]
    );
    shop.get("/events/tour/queue/live?userId=u&token=1.00")
        .await
        .problem(404, "not-found");
}

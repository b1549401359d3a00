//! Tokens, and whose a booking is.

use super::*;

/// A token signed by hand.
fn forged(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn forged_and_old_tokens_open_nothing() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let claims = |exp: u64| {
        json!({"iss": "sagaline", "aud": "shop", "sub": tokens["userId"], "sid": tokens["sessionId"], "email": EMAIL,
               "iat": 0, "exp": exp})
    };
    let (header, later) = (json!({"alg": "HS256", "typ": "JWT"}), 4_000_000_000);
    let by_hand = forged(&header, &claims(later), SECRET);
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", &by_hand).await.status,
        200,
        "the forger's tools work"
    );
    let none = forged(&json!({"alg": "none"}), &claims(later), "");
    let unsigned = format!("{}.", none.rsplit_once('.').unwrap().0);
    let bad = [
        forged(&header, &claims(later), "another secret of as many letters...."),
        forged(&header, &claims(1_000), SECRET),
        forged(&json!({"alg": "HS512"}), &claims(later), SECRET),
        none,
        unsigned,
        "x".repeat(10_000),
        "null".to_owned(),
    ];
    for token in &bad {
        as_user(&shop, Method::GET, "/users/me", token)
            .await
            .problem(401, "no-token");
        // Nobody books anonymously who believes to be logged in.
        Answer::of(shop.booking(&wish()).bearer_auth(token))
            .await
            .problem(401, "no-token");
    }
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", access(&tokens)] {
        let request = shop.booking(&wish()).header("authorization", value);
        Answer::of(request).await.problem(401, "no-token");
    }
    let twice = shop.booking(&wish()).bearer_auth(access(&tokens)).bearer_auth(&bad[0]);
    Answer::of(twice).await.problem(401, "no-token");
    for (method, path) in [
        (Method::GET, "/users/me"),
        (Method::PATCH, "/users/me"),
        (Method::GET, "/sessions"),
        (Method::DELETE, "/sessions/current"),
        (Method::DELETE, "/sessions/00000000-0000-0000-0000-000000000000"),
        (Method::POST, "/users/me/confirmations"),
    ] {
        Answer::of(shop.request(method, path)).await.problem(401, "no-token");
    }
    let starts = shop.engine.starts();
    assert!(starts.iter().all(|start| start.workflow != "booking"));
}

#[tokio::test]
async fn a_booking_belongs_to_the_token_whatever_the_body_says() {
    let shop = open().await;
    let (ada, bob) = (somebody(&shop, EMAIL).await, somebody(&shop, "bob@example.com").await);
    let book = async |wish: &Value| Answer::of(shop.booking(wish).bearer_auth(access(&ada))).await;
    for user_id in [json!("user_1"), bob["userId"].clone(), json!(null), json!(7)] {
        let answer = book(&wish_with("userId", user_id)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let bookings: Vec<_> = shop
        .engine
        .starts()
        .into_iter()
        .filter(|start| start.workflow == "booking")
        .collect();
    assert_eq!(bookings.len(), 4);
    for start in &bookings {
        assert_eq!(start.input["userId"], ada["userId"]);
        assert_eq!(start.tags["userId"], ada["userId"].as_str().unwrap());
        assert_eq!(
            start.input["email"], EMAIL,
            "who says no other address gets the mail at their own"
        );
    }
    // Nobody acts for somebody else, in any case of letters.
    for id in [ada["userId"].as_str().unwrap(), "usr_1", "USR_x"] {
        let answer = Answer::of(shop.booking(&wish_with("userId", json!(id)))).await;
        assert_eq!(answer.invalid(), ["/userId"]);
    }
    for (field, value) in [
        ("status", json!("confirmed")),
        ("price", json!(1)),
        ("role", json!("admin")),
    ] {
        assert_eq!(book(&wish_with(field, value)).await.invalid(), [format!("/{field}")]);
    }
}

#[tokio::test]
async fn one_lists_ones_own_bookings_and_no_others() {
    let shop = open().await;
    let ada = somebody(&shop, EMAIL).await;
    let eve = somebody(&shop, "eve@example.com").await;
    shop.book().await;
    let booked = shop.booking(&wish()).bearer_auth(access(&ada));
    let booking = Answer::of(booked).await.json();
    let mine = as_user(&shop, Method::GET, "/bookings", access(&ada)).await.json();
    let found = &mine["bookings"][0];
    assert_eq!(
        (&found["bookingId"], &found["eventId"], &found["standing"]),
        (&booking["bookingId"], &json!("tour"), &json!("under_way")),
        "{mine}"
    );
    assert_eq!(mine["bookings"].as_array().map(Vec::len), Some(1));
    let none = as_user(&shop, Method::GET, "/bookings", access(&eve)).await.json();
    assert_eq!(none, json!({"bookings": []}));
    shop.get("/bookings").await.problem(401, "no-token");
    let odd = as_user(&shop, Method::GET, "/bookings?user=usr_1", access(&ada)).await;
    odd.problem(400, "malformed");
}

#[tokio::test]
async fn anothers_booking_is_not_there() {
    let shop = open().await;
    let (ada, bob) = (somebody(&shop, EMAIL).await, somebody(&shop, "bob@example.com").await);
    let booked = Answer::of(shop.booking(&wish()).bearer_auth(access(&ada))).await;
    let path = booked.header("location").to_owned();
    let cancel = format!("{path}/cancel");
    let missing = shop.get(&format!("/bookings/{}", Uuid::now_v7())).await;
    let mut missing = missing.problem(404, "not-found");
    missing["traceId"] = json!(null);
    for token in [None, Some(access(&bob))] {
        for (method, path) in [(Method::GET, &path), (Method::DELETE, &path), (Method::POST, &cancel)] {
            let request = shop.request(method, path);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let mut problem = Answer::of(request).await.problem(404, "not-found");
            problem["traceId"] = json!(null);
            assert_eq!(problem, missing);
        }
    }
    assert_eq!(as_user(&shop, Method::GET, &path, access(&ada)).await.status, 200);
    assert_eq!(as_user(&shop, Method::DELETE, &path, access(&ada)).await.status, 202);
    // Anonymous ones are known by their id, as ever.
    let anonymous = shop.book().await;
    assert_eq!(shop.get(&format!("/bookings/{anonymous}")).await.status, 200);
    assert_eq!(
        as_user(&shop, Method::GET, &format!("/bookings/{anonymous}"), access(&bob))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_place_in_a_line_belongs_to_the_token_too() {
    let shop = open().await;
    let ada = somebody(&shop, EMAIL).await;
    sqlx::raw_sql(
        "insert into ticketing.waiting_rooms (event_id, opens_at) values ('tour', now() + interval '1 hour')",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    let join = async |user: &Value| post(&shop, "/events/tour/queue", &json!({"userId": user}));
    testkit::eventually("the room is seen", LIMIT, async || {
        Answer::of(join(&json!("user_1")).await).await.status == 200
    })
    .await;
    assert_eq!(Answer::of(join(&ada["userId"]).await).await.invalid(), ["/userId"]);
    let place = Answer::of(join(&json!("user_1")).await.bearer_auth(access(&ada))).await;
    assert_eq!(place.status, 200, "{}", place.text);
    let user_id = ada["userId"].as_str().unwrap();
    let mut places: Vec<String> = sqlx::query_scalar("select user_id from ticketing.queue_places")
        .fetch_all(&shop.pool)
        .await
        .unwrap();
    places.sort();
    assert_eq!(places, ["user_1", user_id]);
}

#[tokio::test]
async fn one_users_idempotency_key_is_not_anothers() {
    let shop = open().await;
    let (ada, bob) = (somebody(&shop, EMAIL).await, somebody(&shop, "bob@example.com").await);
    let book = async |tokens: &Value| {
        let request = shop
            .booking(&wish())
            .bearer_auth(access(tokens))
            .header("idempotency-key", "k");
        Answer::of(request).await
    };
    let first = book(&ada).await;
    assert_eq!(first.status, 202);
    assert_eq!(book(&ada).await.json()["bookingId"], first.json()["bookingId"]);
    let other = book(&bob).await;
    assert_eq!(other.status, 202, "{}", other.text);
    assert_ne!(other.json()["bookingId"], first.json()["bookingId"]);
    let anonymous = Answer::of(shop.booking(&wish()).header("idempotency-key", "k")).await;
    assert_eq!(anonymous.status, 202, "{}", anonymous.text);
    let theirs = format!("{}/k2", ada["userId"].as_str().unwrap());
    for taken in [
        theirs.as_str(),
        "schedule/hold-sweep/2026-11-23T17:00:00.000Z",
        "account-event/1",
        "refund/1",
        "event-cancellation/tour",
    ] {
        let squatter = Answer::of(shop.booking(&wish()).header("idempotency-key", taken)).await;
        squatter.problem(400, "malformed");
    }
}

#[tokio::test]
async fn where_anonymous_bookings_are_not_taken_one_logs_in() {
    let shop = shop::open_with(gateway::Options {
        anonymous_bookings: false,
        ..options()
    })
    .await;
    Answer::of(shop.booking(&wish())).await.problem(401, "no-token");
    let ada = somebody(&shop, EMAIL).await;
    let answer = Answer::of(shop.booking(&wish()).bearer_auth(access(&ada))).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

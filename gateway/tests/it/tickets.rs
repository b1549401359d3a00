//! Tickets, doors, and orders of guests.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use workflows::ids::SagaId;
use workflows::state::Status;

use crate::engine::present;
use crate::shop::{self, Answer, Shop, wish_with};

/// A confirmed booking of two seats.
async fn confirmed(shop: &Shop) -> SagaId {
    let answer = Answer::of(shop.booking(&wish_with("email", json!("Fan@Example.com")))).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let saga: SagaId = answer.json()["bookingId"].as_str().unwrap().parse().unwrap();
    shop.engine.change(saga, |view| {
        view.status = Status::Completed;
        view.steps = vec![
            present("reserve", json!({"expiresAt": "2027-01-15T08:15:00Z"})),
            present("confirm", json!({"confirmationNumber": "SL-ABCDE-12345"})),
        ];
    });
    sqlx::query("update ticketing.seats set status = 'sold', booking_id = $1, held_until = null where event_id = 'tour' and seat_id in ('A15', 'A16')")
        .bind(saga.0)
        .execute(&shop.pool)
        .await
        .unwrap();
    sqlx::query(
        "insert into ticketing.holds (event_id, booking_id, seat_ids, status, reserved_at, expires_at, total_cents, confirmation_number, confirmed_at)
         values ('tour', $1, '{A15,A16}', 'confirmed', now(), now() + interval '1 hour', 70000, 'SL-ABCDE-12345', now())",
    )
    .bind(saga.0)
    .execute(&shop.pool)
    .await
    .unwrap();
    saga
}

async fn codes(shop: &Shop, saga: SagaId) -> Vec<String> {
    let answer = shop.get(&format!("/bookings/{saga}/tickets")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    let tickets = answer.json();
    let code = |ticket: &Value| ticket["code"].as_str().unwrap().to_owned();
    tickets["tickets"].as_array().unwrap().iter().map(code).collect()
}

async fn pass(shop: &Shop, door: &str) -> String {
    gateway::new_pass(&shop.pool, "tour", door, 1).await.unwrap().unwrap()
}

async fn scan(shop: &Shop, pass: &str, scans: Value) -> Answer {
    let request = shop
        .request(Method::POST, "/events/tour/check-ins")
        .bearer_auth(pass)
        .json(&json!({ "scans": scans }));
    Answer::of(request).await
}

async fn verdicts(shop: &Shop, pass: &str, scans: Value) -> Vec<String> {
    let answer = scan(shop, pass, scans).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json();
    let verdict = |result: &Value| result["verdict"].as_str().unwrap().to_owned();
    results["results"].as_array().unwrap().iter().map(verdict).collect()
}

fn one(code: &str) -> Value {
    json!([{"code": code, "scanId": Uuid::new_v4()}])
}

#[tokio::test]
async fn tickets_are_for_confirmed_bookings_alone() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    for path in ["tickets", "tickets.pdf"] {
        shop.get(&format!("/bookings/{saga}/{path}"))
            .await
            .problem(409, "refused");
        shop.get(&format!("/bookings/{}/{path}", SagaId(Uuid::nil())))
            .await
            .problem(404, "not-found");
    }
    let shop = shop::open().await;
    let saga = confirmed(&shop).await;
    let tickets = shop.get(&format!("/bookings/{saga}/tickets")).await.json();
    assert_eq!(tickets["eventId"], "tour");
    assert_eq!(tickets["tickets"][0]["seatId"], "A15");
    assert_eq!(tickets["tickets"][0]["section"], "Floor");
    // The same code from another gateway: the key is everybody's.
    let other = shop.another_gateway().await;
    assert_eq!(codes(&shop, saga).await, codes(&other, saga).await);
    let keys = shop.get("/tickets/keys").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    // Given back: there are none any more.
    sqlx::query("update ticketing.seats set status = 'available', booking_id = null where event_id = 'tour' and booking_id = $1")
        .bind(saga.0)
        .execute(&shop.pool)
        .await
        .unwrap();
    shop.get(&format!("/bookings/{saga}/tickets"))
        .await
        .problem(409, "refused");
}

#[tokio::test]
async fn tickets_are_printed() {
    let shop = shop::open().await;
    let saga = confirmed(&shop).await;
    let request = shop.request(Method::GET, &format!("/bookings/{saga}/tickets.pdf"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/pdf");
    let document = answer.bytes().await.unwrap();
    assert!(document.starts_with(b"%PDF-"));
}

#[tokio::test]
async fn tickets_are_printed_for_mails_by_a_permit_alone() {
    let shop = shop::open().await;
    // In this order: once they are sold, nobody else may ask for the same seats.
    let other = shop.book().await;
    let saga = confirmed(&shop).await;
    let print = async |booking: SagaId, authorization: String| {
        let path = format!("/internal/bookings/{booking}/tickets.pdf");
        let request = shop.request(Method::GET, &path).header("authorization", authorization);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let permit = |secret: &str, booking: SagaId| format!("Permit {}", tickets::permit(secret, booking.0));
    let good = permit(shop::INTERNAL_SECRET, saga);
    let (status, document) = print(saga, good.clone()).await;
    assert_eq!(status, 200);
    assert!(document.starts_with(b"%PDF-"));
    // Another's permit, another secret, the secret itself, nothing.
    for (booking, authorization) in [
        (other, good.clone()),
        (saga, permit("another secret", saga)),
        (saga, format!("Permit {}", shop::INTERNAL_SECRET)),
        (saga, good.replace("Permit", "Bearer")),
        (saga, String::new()),
    ] {
        assert_eq!(print(booking, authorization).await.0, 404);
    }
    // It is not confirmed yet.
    assert_eq!(print(other, permit(shop::INTERNAL_SECRET, other)).await.0, 409);
    // Where nobody has said what the secret is, none is good.
    let shop = shop::open_with(gateway::Options {
        internal_secret: None,
        ..shop::options()
    })
    .await;
    let saga = confirmed(&shop).await;
    let path = format!("/internal/bookings/{saga}/tickets.pdf");
    for secret in ["", shop::INTERNAL_SECRET] {
        let request = shop
            .request(Method::GET, &path)
            .header("authorization", permit(secret, saga));
        assert_eq!(request.send().await.unwrap().status(), 404);
    }
}

#[tokio::test]
async fn a_ticket_lets_in_one_and_once() {
    let shop = shop::open().await;
    let saga = confirmed(&shop).await;
    let codes = codes(&shop, saga).await;
    let (north, south) = (pass(&shop, "North").await, pass(&shop, "South").await);

    // At both doors at once, many times: one gets in.
    let doors = (0..20).map(|index| if index % 2 == 0 { &north } else { &south });
    let tries = doors.map(|pass| verdicts(&shop, pass, one(&codes[0])));
    let all = futures::future::join_all(tries).await.concat();
    assert_eq!(
        all.iter().filter(|verdict| *verdict == "admitted").count(),
        1,
        "{all:?}"
    );
    assert_eq!(all.iter().filter(|verdict| *verdict == "already_admitted").count(), 19);

    // A device that didn't hear the answer sends its scan again. Another scan of the same ticket is warned of.
    let scan_id = Uuid::new_v4();
    let again = json!([{"code": codes[1], "scanId": scan_id}]);
    assert_eq!(verdicts(&shop, &north, again.clone()).await, ["admitted"]);
    assert_eq!(verdicts(&shop, &north, again).await, ["admitted"]);
    let answer = scan(&shop, &south, one(&codes[1])).await.json();
    let warning = &answer["results"][0];
    assert_eq!(
        (&warning["verdict"], &warning["door"]),
        (&json!("already_admitted"), &json!("North"))
    );
    assert!(warning["message"].as_str().unwrap().contains("North"), "{warning}");

    let progress = shop.request(Method::GET, "/events/tour/check-ins").bearer_auth(&south);
    assert_eq!(
        Answer::of(progress).await.json(),
        json!({"name": "The Tour", "sold": 3, "admitted": 2})
    );

    // What was used isn't given back by its buyer, though the event would allow it.
    sqlx::query("update ticketing.events set starts_at = now() + interval '30 days' where id = 'tour'")
        .execute(&shop.pool)
        .await
        .unwrap();
    let refund = shop.request(Method::POST, &format!("/bookings/{saga}/refund"));
    let refused = Answer::of(refund).await;
    refused.problem(409, "refused");
    assert!(refused.text.contains("A15, A16"), "{}", refused.text);

    // Taken back, it is good again.
    let undo = |pass: String, body: Value| {
        let request = shop
            .request(Method::POST, "/events/tour/check-ins/undo")
            .bearer_auth(pass)
            .json(&body);
        Answer::of(request)
    };
    let wish = json!({"code": codes[1], "reason": "the wrong queue"});
    assert_eq!(undo(south.clone(), wish.clone()).await.json()["seatId"], "A16");
    undo(south.clone(), wish).await.problem(409, "refused");
    assert_eq!(
        undo(south.clone(), json!({"code": codes[1], "reason": ""}))
            .await
            .invalid(),
        ["/reason"]
    );
    assert_eq!(
        undo(south.clone(), json!({"code": "x", "reason": "y"})).await.invalid(),
        ["/code"]
    );
    assert_eq!(verdicts(&shop, &south, one(&codes[1])).await, ["admitted"]);
    let kept: (String, String) = sqlx::query_as("select admitted_by, reason from ticketing.check_ins_undone")
        .fetch_one(&shop.pool)
        .await
        .unwrap();
    assert_eq!(kept, ("North".to_owned(), "the wrong queue".to_owned()));
}

#[tokio::test]
async fn what_a_device_decided_alone_is_told_later() {
    let shop = shop::open().await;
    let saga = confirmed(&shop).await;
    let codes = codes(&shop, saga).await;
    let (north, south) = (pass(&shop, "North").await, pass(&shop, "South").await);
    let earlier = chrono::Utc::now() - chrono::Duration::minutes(10);
    let offline = |code: &str| json!({"code": code, "scanId": Uuid::new_v4(), "admittedAt": earlier});
    // The same ticket twice in one gathering: the second is warned of.
    let told = json!([offline(&codes[0]), offline(&codes[0]), offline(&codes[1])]);
    assert_eq!(
        verdicts(&shop, &north, told).await,
        ["admitted", "already_admitted", "admitted"]
    );
    let answer = scan(&shop, &south, one(&codes[0])).await.json();
    let at: chrono::DateTime<chrono::Utc> = answer["results"][0]["admittedAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(at.timestamp_millis(), earlier.timestamp_millis());
    // A clock that is wrong.
    for minutes in [-60 * 72, 60] {
        let at = chrono::Utc::now() + chrono::Duration::minutes(minutes);
        let told = json!([{"code": codes[0], "scanId": Uuid::new_v4(), "admittedAt": at}]);
        assert_eq!(scan(&shop, &north, told).await.invalid(), ["/scans/0/admittedAt"]);
    }
}

#[tokio::test]
async fn what_is_no_ticket_of_this_event_lets_nobody_in() {
    let shop = shop::open().await;
    let saga = confirmed(&shop).await;
    let codes = codes(&shop, saga).await;
    let north = pass(&shop, "North").await;
    // One bit.
    let mut altered = codes[0].clone().into_bytes();
    altered[60] ^= 1;
    let altered = String::from_utf8(altered).unwrap();
    assert_eq!(verdicts(&shop, &north, one(&altered)).await, ["forged"]);
    assert_eq!(verdicts(&shop, &north, one("")).await, ["forged"]);
    assert_eq!(verdicts(&shop, &north, one(&"x".repeat(5_000))).await, ["forged"]);
    // At another event's door.
    let over = gateway::new_pass(&shop.pool, "over", "East", 1).await.unwrap().unwrap();
    let request = shop.request(Method::POST, "/events/over/check-ins").bearer_auth(&over);
    let answer = Answer::of(request.json(&json!({"scans": one(&codes[0])}))).await.json();
    assert_eq!(answer["results"][0]["verdict"], "other_event");
    // Given back, and sold to somebody else.
    sqlx::query(
        "update ticketing.seats set booking_id = gen_random_uuid() where event_id = 'tour' and seat_id = 'A15'",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    assert_eq!(verdicts(&shop, &north, one(&codes[0])).await, ["void"]);
    let left: i64 = sqlx::query_scalar("select count(*) from ticketing.check_ins")
        .fetch_one(&shop.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn doors_need_a_pass_that_is_good_for_their_event() {
    let shop = shop::open().await;
    assert_eq!(
        gateway::new_pass(&shop.pool, "nowhere", "North", 1).await.unwrap(),
        None
    );
    let north = pass(&shop, "North").await;
    let body = json!({"scans": one("x")});
    let post = |path: &str| shop.request(Method::POST, path).json(&body);
    Answer::of(post("/events/tour/check-ins"))
        .await
        .problem(401, "no-token");
    Answer::of(post("/events/over/check-ins").bearer_auth(&north))
        .await
        .problem(401, "no-token");
    for token in ["", "door_", "door_x", &north[5..], &format!("{north}x")] {
        Answer::of(post("/events/tour/check-ins").bearer_auth(token))
            .await
            .problem(401, "no-token");
    }
    assert_eq!(scan(&shop, &north, json!([])).await.invalid(), ["/scans"]);
    let many: Vec<Value> = (0..501).map(|_| one("x")[0].clone()).collect();
    assert_eq!(scan(&shop, &north, json!(many)).await.invalid(), ["/scans"]);
    scan(&shop, &north, json!([{"code": "x"}]))
        .await
        .problem(422, "invalid");
    // Its time is over; or it was revoked.
    sqlx::query("update ticketing.door_passes set created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'")
        .execute(&shop.pool)
        .await
        .unwrap();
    scan(&shop, &north, one("x")).await.problem(401, "no-token");
}

#[tokio::test]
async fn guests_find_their_order_by_its_number_and_their_address() {
    let shop = shop::open().await;
    let saga = confirmed(&shop).await;
    let look = |body: Value| Answer::of(shop.request(Method::POST, "/orders/lookup").json(&body));
    let found = look(json!({"confirmationNumber": " sl-abcde-12345", "email": "fan@example.COM"})).await;
    assert_eq!(found.status, 200, "{}", found.text);
    assert_eq!(found.json()["bookingId"], saga.to_string());
    let wrong_address = look(json!({"confirmationNumber": "SL-ABCDE-12345", "email": "other@example.com"})).await;
    let wrong_number = look(json!({"confirmationNumber": "SL-ABCDE-99999", "email": "fan@example.com"})).await;
    let one = wrong_address.problem(404, "not-found");
    let two = wrong_number.problem(404, "not-found");
    assert_eq!(one["detail"], two["detail"]);
    assert_eq!(
        look(json!({"email": "fan@example.com", "x": 1})).await.invalid(),
        ["/confirmationNumber", "/x"]
    );
    // Whoever guesses is stopped.
    let mut stopped = false;
    for index in 0..50 {
        let body = json!({"confirmationNumber": format!("SL-{index}"), "email": "fan@example.com"});
        stopped |= look(body).await.status == 429;
    }
    assert!(stopped);
}

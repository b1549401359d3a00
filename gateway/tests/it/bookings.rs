//! Bookings: what they start, how they are shown, idempotency, cancelling.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;
use workflows::ids::SagaId;
use workflows::state::Status;

use crate::engine::{present, step};
use crate::shop::{self, Answer, LIMIT, wish, wish_with};

#[tokio::test]
async fn a_wish_becomes_one_start_of_the_saga() {
    let shop = shop::open().await;
    let mut wish = wish_with("email", json!("fan@example.com"));
    wish["paymentMethod"] = json!("pm_card_mastercard");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = shop
        .booking(&wish)
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.header("location"), answer.json()["links"]["self"]);
    assert!(answer.text.contains("\"totalAmount\":700.00,"), "{}", answer.text);
    insta::assert_snapshot!("accepted", answer.text);

    let starts = shop.engine.starts();
    assert_eq!(starts.len(), 1);
    assert!(
        starts[0]
            .traceparent
            .as_ref()
            .unwrap()
            .starts_with(&format!("00-{trace}-"))
    );
    assert_eq!(starts[0].wait, None);
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!("start", starts[0]) });
}

#[tokio::test]
async fn a_guest_says_in_which_language_they_are_written_to() {
    let shop = shop::open().await;
    let started = async |wish: &Value, accepted: &'static str| {
        let answer = Answer::of(shop.booking(wish).header("accept-language", accepted)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        shop.engine.starts().pop().unwrap().input
    };
    let said = |language: &str| wish_with("language", json!(language));
    let german = started(&said("de"), "en").await;
    assert_eq!(german["language"], "de");
    let schema = workflows::tickets::booking::definition(&Default::default()).input_schema;
    let fields = schema["properties"].as_object().unwrap();
    assert!(
        german.as_object().unwrap().keys().all(|name| fields.contains_key(name)),
        "{german}"
    );
    // Whoever says nothing is written to in what their browser likes best; English is what holds in any case.
    assert_eq!(started(&wish(), "fr, de-CH;q=0.8, en;q=0.2").await["language"], "de");
    for (wish, accepted) in [(wish(), "en-US, de;q=0.5"), (wish(), "fr"), (said("en"), "de")] {
        let input = started(&wish, accepted).await;
        assert!(input.get("language").is_none(), "{accepted}: {input}");
    }
}

#[tokio::test]
async fn the_same_key_and_body_give_the_same_answer() {
    let shop = shop::open().await;
    let send = async |body: &Value| Answer::of(shop.booking(body).header("idempotency-key", "k-1")).await;
    let first = send(&wish()).await;
    assert_eq!(first.status, 202);
    assert_eq!(first.header("idempotency-replayed"), "");
    // The booking moves on; the answer to its request does not.
    let saga: SagaId = first.json()["bookingId"].as_str().unwrap().parse().unwrap();
    shop.engine.change(saga, |view| view.status = Status::Completed);
    let second =
        send(&json!({"totalAmount": 700.0, "seatIds": ["A15", "A16"], "eventId": "tour", "userId": "user_42"})).await;
    assert_eq!((second.status, &second.text), (first.status, &first.text));
    assert_eq!(second.header("location"), first.header("location"));
    assert_eq!(second.header("idempotency-replayed"), "true");

    let other = send(&json!({"userId": "user_42", "eventId": "tour", "seatIds": ["A15"], "totalAmount": 350})).await;
    let problem = other.problem(422, "idempotency-key-reused");
    assert_eq!(problem["errors"][0]["pointer"], "@Idempotency-Key");
    // Another key is another booking.
    let another = Answer::of(shop.booking(&wish()).header("idempotency-key", "k-2")).await;
    assert_ne!(another.json()["bookingId"], first.json()["bookingId"]);
}

#[tokio::test]
async fn while_the_first_request_is_in_flight_a_second_has_to_wait() {
    let shop = shop::open().await;
    let gate = Arc::new(Semaphore::new(0));
    *shop.engine.gate.lock().unwrap() = Some(gate.clone());
    let send = |body: Value| shop.booking(&body).header("idempotency-key", "k");
    let first = tokio::spawn(Answer::of(send(wish())));
    let mut second = None;
    testkit::eventually("the key is in use", LIMIT, async || {
        // Until the first has arrived, this one would be the first: so it gives up soon.
        let request = send(wish()).timeout(Duration::from_millis(200)).send().await;
        match request {
            Ok(response) if response.status() == 409 => {
                second = Some(response);
                true
            }
            Ok(_) | Err(_) => false,
        }
    })
    .await;
    let second = second.unwrap();
    assert_eq!(second.headers()["retry-after"], "1");
    assert!(
        second
            .text()
            .await
            .unwrap()
            .contains("urn:sagaline:problem:idempotency-key-in-flight")
    );
    let other = Answer::of(send(
        json!({"userId": "u", "eventId": "tour", "seatIds": ["A15"], "totalAmount": 350}),
    ))
    .await;
    other.problem(422, "idempotency-key-reused");

    gate.add_permits(10);
    assert_eq!(first.await.unwrap().status, 202);
    let again = Answer::of(send(wish())).await;
    assert_eq!(
        (again.status.as_u16(), again.header("idempotency-replayed")),
        (202, "true")
    );
}

#[tokio::test]
async fn with_prefer_wait_the_answer_is_the_outcome() {
    let shop = shop::open().await;
    let request = shop.booking(&wish()).header("prefer", "wait=10");
    let waiting = tokio::spawn(Answer::of(request));
    testkit::eventually("the saga is there", LIMIT, async || !shop.engine.starts().is_empty()).await;
    let saga = SagaId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000));
    testkit::eventually("the saga is stored", LIMIT, async || {
        shop.get(&format!("/bookings/{saga}")).await.status == 200
    })
    .await;
    shop.engine
        .record(saga, "booking.confirmed", json!({"confirmationNumber": "ABC123"}));
    // Confirmed is an outcome although the saga still has messages to ask for.
    shop.engine.change(saga, |view| {
        view.pivoted = true;
        view.steps = vec![
            present("reserve", json!({"expiresAt": "2027-01-15T08:15:00.000Z"})),
            present("pay", json!({"paymentId": "pi_1"})),
            present("confirm", json!({"confirmationNumber": "ABC123"})),
            step("notify", "in_doubt", Value::Null),
        ];
    });
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("preference-applied"), "wait=10");
    insta::assert_snapshot!("confirmed", answer.text);
}

#[tokio::test]
async fn when_the_time_is_up_the_answer_says_how_far_it_came() {
    let shop = shop::open().await;
    let answer = Answer::of(shop.booking(&wish()).header("prefer", "respond-async, wait=1")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("preference-applied")),
        (202, "wait=1")
    );
    assert_eq!(answer.json()["status"], "initiated");
    let answer = Answer::of(shop.booking(&wish()).header("prefer", "wait=0")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("preference-applied")),
        (202, "wait=0")
    );
}

#[tokio::test]
async fn every_state_of_the_saga_is_one_status_of_the_booking() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    let reserve = || present("reserve", json!({"expiresAt": "2027-01-15T08:15:00.000Z"}));
    let pay = |standing: &str| step("pay", standing, Value::Null);
    let confirm = || present("confirm", json!({"confirmationNumber": "ABC123"}));
    let undone = |name: &str| step(name, "undone", Value::Null);
    let cases = [
        (Status::Running, vec![], None, None, "initiated"),
        (Status::Paused, vec![reserve()], None, None, "reserved"),
        (Status::Running, vec![reserve(), pay("in_doubt")], None, None, "paying"),
        (Status::Waiting, vec![reserve(), pay("absent")], None, None, "paying"),
        (Status::Failed, vec![reserve(), pay("present")], None, None, "paying"),
        (
            Status::Running,
            vec![reserve(), pay("present"), confirm()],
            None,
            None,
            "confirmed",
        ),
        (
            Status::Failed,
            vec![reserve(), pay("present"), confirm()],
            None,
            None,
            "confirmed",
        ),
        (
            Status::Completed,
            vec![reserve(), pay("present"), confirm()],
            None,
            None,
            "confirmed",
        ),
        (
            Status::Compensating,
            vec![reserve(), pay("in_doubt")],
            Some("CANCELLED"),
            None,
            "cancelled",
        ),
        (
            Status::Cancelled,
            vec![undone("reserve")],
            Some("CANCELLED"),
            None,
            "cancelled",
        ),
        (
            Status::Compensated,
            vec![undone("reserve")],
            Some("PAYMENT_FAILED"),
            Some("pay"),
            "cancelled",
        ),
        (
            Status::Failed,
            vec![reserve(), pay("present"), confirm()],
            Some("CANCELLED"),
            None,
            "cancelled",
        ),
        (
            Status::Rejected,
            vec![],
            Some("SEATS_UNAVAILABLE"),
            Some("reserve"),
            "rejected",
        ),
        (
            Status::Compensating,
            vec![reserve()],
            Some("SEATS_UNAVAILABLE"),
            Some("reserve"),
            "rejected",
        ),
        (
            Status::Compensating,
            vec![reserve()],
            Some("EXPIRED"),
            Some("hold"),
            "expired",
        ),
        (
            Status::Compensated,
            vec![undone("reserve")],
            Some("EXPIRED"),
            Some("hold"),
            "expired",
        ),
    ];
    for (status, steps, reason, failed_step, expected) in cases {
        shop.engine.change(saga, |view| {
            view.status = status;
            view.steps = steps;
            view.reason = reason.map(str::to_owned);
            view.failed_step = failed_step.map(str::to_owned);
        });
        let booking = shop.get(&format!("/bookings/{saga}")).await.json();
        assert_eq!(booking["status"], expected, "{status:?} {reason:?}");
        assert_eq!(booking["reason"].as_str(), reason);
        assert_eq!(booking.get("confirmationNumber").is_some(), expected == "confirmed");
        assert_eq!(
            booking.get("holdExpiresAt").is_some(),
            ["reserved", "paying"].contains(&expected)
        );
        let is_open = ["initiated", "reserved", "paying"].contains(&expected);
        assert_eq!(booking["links"].get("cancel").is_some(), is_open);
    }
}

#[tokio::test]
async fn a_booking_is_shown_with_its_history() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    let attempt = |attempt: u32| json!({"reason": "card_declined", "retryable": true, "attempt": attempt});
    shop.engine
        .record(saga, "seat.reserved", json!({"expiresAt": "2027-01-15T08:15:00.000Z"}));
    shop.engine
        .record(saga, "payment.requested", json!({"amountCents": 70000}));
    shop.engine.record(saga, "payment.failed", attempt(1));
    shop.engine.record(saga, "payment.retry", attempt(2));
    shop.engine.record(saga, "payment.failed", attempt(2));
    shop.engine
        .record(saga, "seat.released", json!({"reason": "PAYMENT_FAILED"}));
    shop.engine
        .record(saga, "booking.cancelled", json!({"reason": "PAYMENT_FAILED"}));
    shop.engine.change(saga, |view| {
        view.status = Status::Compensated;
        view.reason = Some("PAYMENT_FAILED".to_owned());
    });
    let answer = shop.get(&format!("/bookings/{saga}")).await;
    assert_eq!(answer.status, 200);
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!("cancelled", answer.json()) });
}

#[tokio::test]
async fn a_booking_can_be_cancelled_until_it_is_confirmed() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    let cancel = || Answer::of(shop.request(Method::POST, &format!("/bookings/{saga}/cancel")));
    let delete = || Answer::of(shop.request(Method::DELETE, &format!("/bookings/{saga}")));
    let first = cancel().await;
    assert_eq!(
        (first.status.as_u16(), &first.json()["status"]),
        (202, &json!("cancelled"))
    );
    shop.engine.change(saga, |view| view.status = Status::Cancelled);
    for again in [cancel().await, delete().await] {
        assert_eq!(
            (again.status.as_u16(), &again.json()["status"]),
            (200, &json!("cancelled"))
        );
    }
    shop.engine.change(saga, |view| {
        view.status = Status::Completed;
        view.reason = None;
        view.pivoted = true;
    });
    for late in [cancel().await, delete().await] {
        let problem = late.problem(409, "refused");
        assert!(problem["detail"].as_str().unwrap().contains("it is confirmed"));
    }
    let unknown = Answer::of(shop.request(Method::DELETE, &format!("/bookings/{}", Uuid::now_v7()))).await;
    unknown.problem(404, "not-found");
}

#[tokio::test]
async fn other_workflows_sagas_are_no_bookings() {
    let shop = shop::open().await;
    let saga = SagaId(Uuid::now_v7());
    shop.engine.insert(saga, "reference", json!({"seatId": "1"}));
    shop.get(&format!("/bookings/{saga}")).await.problem(404, "not-found");
    Answer::of(shop.request(Method::DELETE, &format!("/bookings/{saga}")))
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn more_seats_than_each_buyer_may_have_are_refused_at_once() {
    let shop = shop::open().await;
    sqlx::raw_sql(
        "update ticketing.events set seats_per_buyer_max = 3 where id = 'tour';
         insert into ticketing.holds (event_id, booking_id, user_id, seat_ids, status, reserved_at, expires_at, total_cents,
                                      confirmation_number)
         values ('tour', gen_random_uuid(), 'user_42', '{B2,B3}', 'held', now(), now() + interval '1 hour', 100, 'N1')",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    assert_eq!(shop.get("/events/tour").await.json()["seatsPerBuyerMax"], 3);
    let book = async |wish: &Value, key: &str| Answer::of(shop.booking(wish).header("idempotency-key", key)).await;
    let problem = book(&wish(), "one").await.problem(409, "seat-limit");
    assert_eq!(
        problem["detail"],
        "the event allows each buyer 3 seats; this one has 2 and wants 2 more"
    );
    // Others have seats of their own.
    let other = wish_with("userId", json!("user_43"));
    assert_eq!(book(&other, "two").await.status, 202);

    sqlx::raw_sql("update ticketing.events set seats_per_buyer_max = 4 where id = 'tour'")
        .execute(&shop.pool)
        .await
        .unwrap();
    // The refusal wasn't kept; and what was begun is answered again, though its own seats fill the limit by now.
    let begun = book(&wish(), "one").await;
    assert_eq!(begun.status, 202);
    sqlx::raw_sql("update ticketing.events set seats_per_buyer_max = 1 where id = 'tour'")
        .execute(&shop.pool)
        .await
        .unwrap();
    let repeated = book(&wish(), "one").await;
    assert_eq!((repeated.status, repeated.text), (begun.status, begun.text));
    book(&wish(), "three").await.problem(409, "seat-limit");
}

#[tokio::test]
async fn a_hold_is_extended_once() {
    use workflows::ids::Timestamp;

    let shop = shop::open().await;
    let saga = shop.book().await;
    let extend = async || Answer::of(shop.request(Method::POST, &format!("/bookings/{saga}/extend"))).await;
    // Not held yet.
    extend().await.problem(409, "refused");
    shop.engine.change(saga, |view| {
        view.steps
            .push(present("reserve", json!({"expiresAt": "2030-01-01T00:15:00.000Z"})));
    });
    let booking = shop.get(&format!("/bookings/{saga}")).await.json();
    assert_eq!(booking["holdExpiresAt"], "2030-01-01T00:15:00.000Z");
    assert!(booking["serverTime"].is_string());
    assert_eq!(booking["links"]["extend"], format!("/bookings/{saga}/extend"));
    // An engine that gives no more time, or whose time was just up.
    extend().await.problem(409, "refused");
    shop.engine.change(saga, |view| {
        view.extended.push("hold".to_owned());
        let mut hold = step("hold", "absent", Value::Null);
        hold.until = Some(Timestamp(1_893_457_200_000));
        view.steps.push(hold);
    });
    let answer = extend().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["holdExpiresAt"], "2030-01-01T00:20:00.000Z");
    assert!(answer.json()["links"].get("extend").is_none());
    assert_eq!(extend().await.status, 200);
    let signals = shop.engine.signals();
    assert!(
        signals
            .iter()
            .all(|(id, signal)| *id == saga && signal.name == "extend_hold" && signal.id == "extend_hold")
    );
    assert_eq!(signals.len(), 1, "what was extended is not asked for again");
    shop.engine.change(saga, |view| view.status = Status::Completed);
    extend().await.problem(409, "refused");
}

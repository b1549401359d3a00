//! Refunds, payments that want something of the buyer, and events that are called off.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use workflows::ids::SagaId;
use workflows::state::{Status, StepError};

use crate::engine::{present, step};
use crate::shop::{self, Answer, LIMIT, Shop, wish};
use crate::users::{access, options, somebody};

/// A confirmed booking of whoever has the token, or of nobody in particular.
async fn confirmed(shop: &Shop, token: Option<&str>) -> SagaId {
    let mut request = shop.booking(&wish()).header("accept-language", "de");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let saga: SagaId = answer.json()["bookingId"].as_str().unwrap().parse().unwrap();
    shop.engine.change(saga, |view| {
        view.status = Status::Completed;
        view.steps = vec![present("confirm", json!({"confirmationNumber": "SL-1"}))];
    });
    saga
}

/// When the event begins, from now on.
async fn begins_in(shop: &Shop, interval: &str) {
    let sql = "update ticketing.events set starts_at = now() + $1::interval where id = 'tour'";
    sqlx::query(sql).bind(interval).execute(&shop.pool).await.unwrap();
}

async fn refund(shop: &Shop, booking: SagaId, token: Option<&str>, body: Option<Value>) -> Answer {
    let mut request = shop
        .request(Method::POST, &format!("/bookings/{booking}/refund"))
        .header("prefer", "wait=0");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    Answer::of(request).await
}

/// What a refund's saga writes down once the seats are back.
async fn given(shop: &Shop, booking: SagaId, seats: &[&str], cents: i64, left: i32, is_back: bool) {
    sqlx::query(
        "insert into ticketing.refunds (event_id, booking_id, refund_id, seat_ids, amount_cents, seats_left, refunded_at)
         values ('tour', $1, gen_random_uuid(), $2, $3, $4, case when $5 then now() end)",
    )
    .bind(booking.0)
    .bind(seats.iter().map(|seat| (*seat).to_owned()).collect::<Vec<_>>())
    .bind(cents)
    .bind(left)
    .bind(is_back)
    .execute(&shop.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_buyer_gives_tickets_back_and_sees_what_became_of_it() {
    let shop = shop::open_with(options()).await;
    begins_in(&shop, "3 days").await;
    let ada = somebody(&shop, "ada@example.com").await;
    let booking = confirmed(&shop, Some(access(&ada))).await;
    let answer = refund(&shop, booking, Some(access(&ada)), Some(json!({"seatIds": ["A16"]}))).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json()["status"], "returning");
    let started = shop
        .engine
        .starts()
        .into_iter()
        .find(|start| start.workflow == "refund")
        .unwrap();
    let schema = workflows::tickets::refund::definition(&Default::default()).input_schema;
    let fields = schema["properties"].as_object().unwrap();
    for (name, _) in started.input.as_object().unwrap() {
        assert!(fields.contains_key(name), "{name}");
    }
    assert_eq!(started.input["seatIds"], json!(["A16"]));
    assert_eq!(started.input["language"], "de", "as it was booked in");
    assert_eq!(
        (&started.input["reason"], &started.input["email"]),
        (&json!("BUYER"), &json!("ada@example.com"))
    );

    let show = async || {
        let request = shop
            .request(Method::GET, &format!("/bookings/{booking}"))
            .bearer_auth(access(&ada));
        let answer = Answer::of(request).await;
        assert!(!answer.text.contains("\"amount\":350.0,"), "{}", answer.text);
        answer.json()
    };
    given(&shop, booking, &["A16"], 35_000, 1, true).await;
    let seen = show().await;
    assert_eq!(
        (&seen["status"], &seen["refunds"][0]["status"]),
        (&json!("confirmed"), &json!("refunded"))
    );
    assert_eq!(seen["refunds"][0]["amount"], 350.0);
    let again = refund(&shop, booking, Some(access(&ada)), Some(json!({"seatIds": ["A16"]}))).await;
    assert!(
        again.problem(409, "refused")["detail"]
            .as_str()
            .unwrap()
            .contains("A16")
    );

    given(&shop, booking, &["A15"], 35_000, 0, false).await;
    let seen = show().await;
    assert_eq!(
        (&seen["status"], &seen["reason"]),
        (&json!("cancelled"), &json!("REFUNDED"))
    );
    assert_eq!(
        (&seen["refunds"][1]["status"], &seen["confirmationNumber"]),
        (&json!("refunding"), &Value::Null)
    );
    refund(&shop, booking, Some(access(&ada)), None)
        .await
        .problem(409, "refused");
}

#[tokio::test]
async fn refunds_that_cannot_be_are_refused_by_name() {
    let shop = shop::open_with(options()).await;
    begins_in(&shop, "3 days").await;
    let (ada, bob) = (
        somebody(&shop, "ada@example.com").await,
        somebody(&shop, "bob@example.com").await,
    );
    let booking = confirmed(&shop, Some(access(&ada))).await;
    let token = Some(access(&ada));
    // Another's booking, and none.
    refund(&shop, booking, Some(access(&bob)), None)
        .await
        .problem(404, "not-found");
    refund(&shop, booking, None, None).await.problem(404, "not-found");
    refund(&shop, SagaId(Uuid::now_v7()), token, None)
        .await
        .problem(404, "not-found");
    // Bodies that make no sense.
    for (body, pointers) in [
        (json!({"seatIds": ["Z9"]}), vec!["/seatIds/0"]),
        (json!({"seatIds": []}), vec!["/seatIds"]),
        (json!({"seatIds": ["A15", "A15"]}), vec!["/seatIds/1"]),
        (json!({"seatIds": "A15"}), vec!["/seatIds"]),
        (json!({"amount": 1_000_000}), vec!["/amount"]),
        (json!([]), vec![""]),
    ] {
        assert_eq!(refund(&shop, booking, token, Some(body)).await.invalid(), pointers);
    }
    // Too late, or never.
    begins_in(&shop, "47 hours").await;
    let late = refund(&shop, booking, token, None).await;
    assert!(
        late.problem(409, "refused")["detail"]
            .as_str()
            .unwrap()
            .contains("until")
    );
    sqlx::query("update ticketing.events set refund_hours = null")
        .execute(&shop.pool)
        .await
        .unwrap();
    let never = refund(&shop, booking, token, None).await;
    assert!(
        never.problem(409, "refused")["detail"]
            .as_str()
            .unwrap()
            .contains("can't be given back")
    );
    assert!(shop.engine.starts().iter().all(|start| start.workflow != "refund"));
    // The organiser may all the same.
    make_organiser(&shop, "bob@example.com").await;
    assert_eq!(refund(&shop, booking, Some(access(&bob)), None).await.status, 202);
    // What isn't confirmed is cancelled instead.
    shop.engine.change(booking, |view| {
        view.status = Status::Running;
        view.steps.clear();
    });
    refund(&shop, booking, Some(access(&bob)), None)
        .await
        .problem(409, "refused");
}

#[tokio::test]
async fn a_refund_that_its_saga_rejects_is_refused() {
    let shop = shop::open().await;
    begins_in(&shop, "3 days").await;
    let booking = confirmed(&shop, None).await;
    let path = format!("/bookings/{booking}/refund");
    let request = shop.request(Method::POST, &path).header("idempotency-key", "k");
    let waiting = tokio::spawn(Answer::of(request));
    let key = format!("refund/{booking}/by/k");
    testkit::eventually("the refund has begun", LIMIT, async || {
        shop.engine.saga_of(&key).is_some()
    })
    .await;
    shop.engine.change(shop.engine.saga_of(&key).unwrap(), |view| {
        view.status = Status::Rejected;
        view.error = Some(StepError {
            code: "not_refundable".to_owned(),
            message: "the booking has no seats any more".to_owned(),
            retryable: false,
            details: Value::Null,
        });
    });
    let problem = waiting.await.unwrap().problem(409, "refused");
    assert!(problem["detail"].as_str().unwrap().contains("no seats any more"));
    // The same refund again is the same answer.
    let again = Answer::of(shop.request(Method::POST, &path).header("idempotency-key", "k")).await;
    again.problem(409, "refused");
    assert_eq!(
        shop.engine
            .starts()
            .iter()
            .filter(|start| start.workflow == "refund")
            .count(),
        2
    );
}

#[tokio::test]
async fn who_has_to_authenticate_is_told_and_nobody_else() {
    let shop = shop::open_with(options()).await;
    let (ada, bob) = (
        somebody(&shop, "ada@example.com").await,
        somebody(&shop, "bob@example.com").await,
    );
    let booking = confirmed(&shop, Some(access(&ada))).await;
    shop.engine.change(booking, |view| {
        view.status = Status::Waiting;
        view.steps = vec![present("reserve", json!({})), step("pay", "in_doubt", Value::Null)];
    });
    let show = async |tokens: &Value| {
        let request = shop
            .request(Method::GET, &format!("/bookings/{booking}"))
            .bearer_auth(access(tokens));
        Answer::of(request).await
    };
    assert_eq!(show(&ada).await.json()["nextAction"], Value::Null);
    sqlx::query(
        "insert into ticketing.payments (key, booking_id, status, intent_id, amount_cents, currency, client_secret)
         values ('k', $1, 'pending', 'pi_1', 70000, 'usd', 'pi_1_secret_2')",
    )
    .bind(booking.0)
    .execute(&shop.pool)
    .await
    .unwrap();
    let seen = show(&ada).await.json();
    assert_eq!(seen["status"], "paying");
    let action = json!({"type": "authenticate", "paymentId": "pi_1", "clientSecret": "pi_1_secret_2"});
    assert_eq!(seen["nextAction"], action);
    show(&bob).await.problem(404, "not-found");
    // It failed: why, as far as the buyer may know.
    shop.engine.record(
        booking,
        "payment.failed",
        json!({"reason": "fraudulent", "message": "stolen_card"}),
    );
    shop.engine.change(booking, |view| {
        view.status = Status::Compensated;
        view.reason = Some("PAYMENT_FAILED".to_owned());
        view.error = Some(StepError {
            code: "fraudulent".to_owned(),
            message: "stolen_card".to_owned(),
            retryable: false,
            details: json!({"declineCode": "stolen_card"}),
        });
    });
    let seen = show(&ada).await;
    assert!(
        !seen.text.contains("stolen") && !seen.text.contains("fraud"),
        "{}",
        seen.text
    );
    assert_eq!(seen.json()["paymentFailure"]["code"], "card_declined");
    assert_eq!(seen.json()["nextAction"], Value::Null);
}

#[tokio::test]
async fn an_event_is_called_off_by_its_organiser_and_each_booking_is_taken_up_once() {
    let shop = shop::open_with(options()).await;
    let (ada, bob) = (
        somebody(&shop, "ada@example.com").await,
        somebody(&shop, "bob@example.com").await,
    );
    make_organiser(&shop, "bob@example.com").await;
    let send = async |event: &str, token: Option<&str>, body: Value| {
        let mut request = shop
            .request(Method::POST, &format!("/events/{event}/cancel"))
            .header("prefer", "wait=0");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Answer::of(request.json(&body)).await
    };
    let why = json!({"reason": "rain"});
    send("tour", None, why.clone()).await.problem(401, "no-token");
    send("tour", Some(access(&ada)), why.clone())
        .await
        .problem(403, "forbidden");
    send("draft", Some(access(&bob)), why.clone())
        .await
        .problem(404, "not-found");
    assert_eq!(send("tour", Some(access(&bob)), json!({})).await.invalid(), ["/reason"]);
    // The saga has not got so far yet.
    send("tour", Some(access(&bob)), why.clone())
        .await
        .problem(503, "unavailable");

    let (kept, flying) = (confirmed(&shop, None).await, confirmed(&shop, None).await);
    shop.engine.change(flying, |view| view.status = Status::Running);
    sqlx::query(
        "insert into ticketing.event_cancellations (event_id, cancellation_id, reason) values ('tour', $1, 'rain')",
    )
    .bind(Uuid::now_v7())
    .execute(&shop.pool)
    .await
    .unwrap();
    sqlx::query(
        "insert into ticketing.event_cancellation_items (event_id, booking_id, deed)
         values ('tour', $1, 'refund'), ('tour', $2, 'cancel')",
    )
    .bind(kept.0)
    .bind(flying.0)
    .execute(&shop.pool)
    .await
    .unwrap();
    let progress = async |token: Option<&str>| {
        let request = shop.request(Method::GET, "/events/tour/cancellation");
        Answer::of(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
        .await
    };
    testkit::eventually("both are taken up", LIMIT, async || {
        progress(Some(access(&bob))).await.json()["bookings"]["underWay"] == 2
    })
    .await;
    let seen = send("tour", Some(access(&bob)), why).await;
    assert_eq!(seen.status, 202, "{}", seen.text);
    assert_eq!(
        (&seen.json()["status"], &seen.json()["reason"]),
        (&json!("settling"), &json!("rain"))
    );
    let refunds: Vec<_> = shop
        .engine
        .starts()
        .into_iter()
        .filter(|start| start.workflow == "refund")
        .collect();
    assert_eq!(refunds.len(), 1);
    assert_eq!(refunds[0].input["reason"], "EVENT_CANCELLED");
    assert_eq!(
        refunds[0].idempotency_key,
        Some(format!("refund/{kept}/event-cancelled"))
    );
    let ended = shop.get(&format!("/bookings/{flying}")).await.json();
    assert_eq!(ended["status"], "cancelled");
    progress(None).await.problem(401, "no-token");
    progress(Some(access(&ada))).await.problem(403, "forbidden");
}

/// Makes the tour this user's organisation's.
async fn make_organiser(shop: &Shop, email: &str) {
    let made = gateway::add_organiser(&shop.pool, email, "The House").await.unwrap();
    sqlx::query("update ticketing.events set organisation_id = $1 where id = 'tour'")
        .bind(made.organisation_id)
        .execute(&shop.pool)
        .await
        .unwrap();
}

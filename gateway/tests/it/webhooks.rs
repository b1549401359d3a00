//! Webhooks: signed, repeated, reordered, early, for nobody.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use uuid::Uuid;
use workflows::ids::SagaId;

use crate::shop::{self, Answer, LIMIT, Shop, WEBHOOK_SECRET};

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn event(id: &str, kind: &str, booking: Option<SagaId>) -> Value {
    let metadata = booking.map_or_else(|| json!({}), |booking| json!({"bookingId": booking, "eventId": "tour"}));
    json!({
        "id": id, "object": "event", "type": kind, "created": 1_800_000_000, "livemode": false,
        "data": {"object": {"id": "pi_1", "object": "payment_intent", "status": "succeeded", "metadata": metadata}},
    })
}

fn deliver_signed(shop: &Shop, body: String, signature: Option<String>) -> RequestBuilder {
    let request = shop
        .request(Method::POST, "/webhooks/stripe")
        .header("content-type", "application/json")
        .body(body);
    match signature {
        Some(signature) => request.header("stripe-signature", signature),
        None => request,
    }
}

async fn deliver(shop: &Shop, event: &Value) -> Answer {
    let body = event.to_string();
    let signature = gateway::signature::sign(body.as_bytes(), WEBHOOK_SECRET, now());
    Answer::of(deliver_signed(shop, body, Some(signature))).await
}

async fn status_of(shop: &Shop, event_id: &str) -> Option<(String, i32, i32)> {
    sqlx::query_as("select status, repeats, attempts from ticketing.webhook_inbox where event_id = $1")
        .bind(event_id)
        .fetch_optional(&shop.pool)
        .await
        .unwrap()
}

async fn eventually_is(shop: &Shop, event_id: &str, status: &str) {
    testkit::eventually(&format!("{event_id} is {status}"), LIMIT, async || {
        status_of(shop, event_id).await.is_some_and(|it| it.0 == status)
    })
    .await;
}

#[tokio::test]
async fn an_event_wakes_its_booking_and_says_nothing_of_the_state() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    assert_eq!(
        deliver(&shop, &event("evt_1", "payment_intent.succeeded", Some(saga)))
            .await
            .status,
        200
    );
    eventually_is(&shop, "evt_1", "delivered").await;
    let signals = shop.engine.signals();
    assert_eq!(signals.len(), 1);
    assert_eq!(signals[0].0, saga);
    assert_eq!(
        (signals[0].1.id.as_str(), signals[0].1.name.as_str()),
        ("evt_1", "payment_update")
    );
    assert!(
        !signals[0].1.payload.to_string().contains("\"status\""),
        "{}",
        signals[0].1.payload
    );
}

#[tokio::test]
async fn an_event_that_comes_twice_is_kept_and_told_once() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    let twice = event("evt_1", "payment_intent.succeeded", Some(saga));
    let (first, second) = tokio::join!(deliver(&shop, &twice), deliver(&shop, &twice));
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
    eventually_is(&shop, "evt_1", "delivered").await;
    assert_eq!(deliver(&shop, &twice).await.status, 200);
    assert_eq!(status_of(&shop, "evt_1").await.unwrap(), ("delivered".to_owned(), 2, 1));
    assert_eq!(shop.engine.signals().len(), 1);
}

#[tokio::test]
async fn the_order_of_events_does_not_matter() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    for (id, kind) in [
        ("evt_2", "payment_intent.succeeded"),
        ("evt_1", "payment_intent.processing"),
        ("evt_3", "charge.updated"),
    ] {
        assert_eq!(deliver(&shop, &event(id, kind, Some(saga))).await.status, 200);
    }
    for id in ["evt_1", "evt_2", "evt_3"] {
        eventually_is(&shop, id, "delivered").await;
    }
    assert_eq!(shop.engine.signals().len(), 3);
}

#[tokio::test]
async fn a_booking_is_not_told_what_it_has_just_done() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    let created = event("evt_1", "payment_intent.created", Some(saga));
    for _ in 0..2 {
        assert_eq!(deliver(&shop, &created).await.status, 200);
    }
    assert_eq!(status_of(&shop, "evt_1").await.unwrap(), ("ignored".to_owned(), 1, 0));
    assert_eq!(shop.engine.signals().len(), 0);
}

#[tokio::test]
async fn events_that_come_at_once_are_kept_one_and_all() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    // Each twice, at the same time.
    let events: Vec<_> = (0..40)
        .map(|number| event(&format!("evt_{}", number % 20), "payment_intent.succeeded", Some(saga)))
        .collect();
    let answers = futures::future::join_all(events.iter().map(|event| deliver(&shop, event))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    for number in 0..20 {
        eventually_is(&shop, &format!("evt_{number}"), "delivered").await;
    }
    assert_eq!(shop.engine.signals().len(), 20);
}

#[tokio::test]
async fn an_event_that_comes_before_its_booking_waits_for_it() {
    let shop = shop::open().await;
    let saga = SagaId(Uuid::now_v7());
    assert_eq!(
        deliver(&shop, &event("evt_1", "payment_intent.succeeded", Some(saga)))
            .await
            .status,
        200
    );
    testkit::eventually("it is tried more than once", LIMIT, async || {
        status_of(&shop, "evt_1").await.is_some_and(|it| it.2 > 1)
    })
    .await;
    assert_eq!(status_of(&shop, "evt_1").await.unwrap().0, "waiting");
    shop.engine.insert(saga, "booking", json!({}));
    eventually_is(&shop, "evt_1", "delivered").await;
}

#[tokio::test]
async fn after_three_days_nobody_waits_any_more() {
    let shop = shop::open().await;
    let saga = SagaId(Uuid::now_v7());
    sqlx::query(
        "insert into ticketing.webhook_inbox (event_id, kind, booking_id, status, received_at, next_attempt_at)
         values ('evt_old', 'x', $1, 'waiting', now() - interval '73 hours', now()),
                ('evt_new', 'x', $1, 'waiting', now() - interval '71 hours', now())",
    )
    .bind(saga.0)
    .execute(&shop.pool)
    .await
    .unwrap();
    eventually_is(&shop, "evt_old", "expired").await;
    assert_eq!(status_of(&shop, "evt_new").await.unwrap().0, "waiting");
}

#[tokio::test]
async fn an_outage_of_the_engine_loses_no_event() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    shop.engine.is_away.store(true, Ordering::SeqCst);
    assert_eq!(
        deliver(&shop, &event("evt_1", "payment_intent.succeeded", Some(saga)))
            .await
            .status,
        200
    );
    testkit::eventually("it is tried", LIMIT, async || {
        status_of(&shop, "evt_1").await.is_some_and(|it| it.2 > 0)
    })
    .await;
    shop.engine.is_away.store(false, Ordering::SeqCst);
    eventually_is(&shop, "evt_1", "delivered").await;
}

#[tokio::test]
async fn an_event_that_concerns_no_booking_is_only_remembered() {
    let shop = shop::open().await;
    assert_eq!(deliver(&shop, &event("evt_1", "payout.paid", None)).await.status, 200);
    let mut strange = event("evt_2", "payment_intent.succeeded", None);
    strange["data"]["object"]["metadata"] = json!({"bookingId": "'; drop table ticketing.seats; --"});
    assert_eq!(deliver(&shop, &strange).await.status, 200);
    assert_eq!(deliver(&shop, &json!({"id": "evt_3", "type": "x"})).await.status, 200);
    for id in ["evt_1", "evt_2", "evt_3"] {
        assert_eq!(status_of(&shop, id).await.unwrap().0, "ignored", "{id}");
    }
    assert!(shop.engine.signals().is_empty());
}

#[tokio::test]
async fn bad_old_and_missing_signatures_are_refused() {
    let shop = shop::open().await;
    let body = event("evt_1", "payment_intent.succeeded", None).to_string();
    let sign = |secret: &str, at: i64| Some(gateway::signature::sign(body.as_bytes(), secret, at));
    for signature in [
        None,
        Some(String::new()),
        Some("nonsense".to_owned()),
        Some(format!("t={},v1=00", now())),
        sign("whsec_other", now()),
        sign(WEBHOOK_SECRET, now() - 301),
        sign(WEBHOOK_SECRET, now() + 360),
    ] {
        let answer = Answer::of(deliver_signed(&shop, body.clone(), signature.clone())).await;
        answer.problem(400, "bad-signature");
    }
    let tampered = deliver_signed(&shop, body.replace("succeeded", "failed"), sign(WEBHOOK_SECRET, now()));
    Answer::of(tampered).await.problem(400, "bad-signature");
    assert_eq!(status_of(&shop, "evt_1").await, None);
    // Four minutes are within the tolerance.
    let late = deliver_signed(&shop, body.clone(), sign(WEBHOOK_SECRET, now() - 240));
    assert_eq!(Answer::of(late).await.status, 200);
}

#[tokio::test]
async fn signed_nonsense_is_refused() {
    let shop = shop::open().await;
    for body in [
        "",
        "{",
        "[]",
        "{\"type\": \"x\"}",
        "{\"id\": 7, \"type\": \"x\"}",
        "{\"id\": \"a\\u0000\", \"type\": \"x\"}",
        "{\"id\": \"\", \"type\": \"x\"}",
    ] {
        let signature = gateway::signature::sign(body.as_bytes(), WEBHOOK_SECRET, now());
        let answer = Answer::of(deliver_signed(&shop, body.to_owned(), Some(signature))).await;
        answer.problem(400, "malformed");
    }
    Answer::of(deliver_signed(&shop, "x".repeat(300_000), None))
        .await
        .problem(413, "too-large");
}

#[tokio::test]
async fn without_a_secret_webhooks_are_put_off() {
    let shop = shop::open_with(gateway::Options {
        webhook_secret: None,
        ..shop::options()
    })
    .await;
    let answer = deliver(&shop, &event("evt_1", "x", None)).await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "2");
}

/// What the engine was asked to begin, by workflow.
fn begun(shop: &Shop, workflow: &str) -> Vec<Value> {
    let started = shop.engine.starts();
    let of = started.into_iter().filter(|request| request.workflow == workflow);
    of.map(|request| request.input).collect()
}

#[tokio::test]
async fn disputes_and_refunds_that_failed_begin_sagas_though_they_name_no_booking() {
    let shop = shop::open().await;
    let about = |id: &str, kind: &str, object: Value| {
        let mut event = event(id, kind, None);
        event["data"]["object"] = object;
        event
    };
    let dispute = json!({"id": "du_1", "object": "dispute", "status": "needs_response", "payment_intent": "pi_1"});
    let refund = |status: &str| json!({"id": "re_1", "object": "refund", "status": status, "metadata": {}});
    for (id, kind, object) in [
        ("evt_d1", "charge.dispute.created", dispute.clone()),
        ("evt_d2", "charge.dispute.closed", dispute),
        ("evt_r1", "refund.failed", refund("failed")),
        ("evt_r2", "refund.updated", refund("failed")),
    ] {
        let event = about(id, kind, object);
        // Twice, as everything comes.
        assert_eq!(deliver(&shop, &event).await.status, 200);
        assert_eq!(deliver(&shop, &event).await.status, 200);
        eventually_is(&shop, id, "delivered").await;
    }
    // Nothing has failed here, and nobody is told.
    let mut fine = about("evt_r3", "refund.updated", refund("succeeded"));
    fine["data"]["object"]["metadata"] = json!({"bookingId": Uuid::nil()});
    assert_eq!(deliver(&shop, &fine).await.status, 200);
    eventually_is(&shop, "evt_r3", "ignored").await;

    let mut disputes = begun(&shop, "payment_dispute");
    disputes.sort_by_key(|input| input["event"].to_string());
    assert_eq!(
        disputes,
        [
            json!({"disputeId": "du_1", "event": "charge.dispute.closed"}),
            json!({"disputeId": "du_1", "event": "charge.dispute.created"}),
        ]
    );
    let mut differences = begun(&shop, "payment_difference");
    differences.dedup();
    assert_eq!(differences, [json!({"reference": "re_1", "kind": "refund"})]);
}

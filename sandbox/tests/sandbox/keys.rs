//! Idempotency keys, and answers that get lost.

use super::*;

#[tokio::test]
async fn a_key_replays_its_answer_and_no_other_request() {
    let stripe = Stripe::start(Options::default()).await;
    let body = "amount=1000&currency=usd&payment_method=pm_card_visa";
    let (_, first) = stripe.post("/v1/payment_intents", body, Some("k")).await;
    let again = stripe
        .send(
            "/v1/payment_intents",
            "currency=usd&amount=1000&payment_method=pm_card_visa",
            Some("k"),
        )
        .await
        .unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first);
    let (status, refused) = stripe
        .post("/v1/payment_intents", "amount=1001&currency=usd", Some("k"))
        .await;
    assert_eq!(
        (status, refused["error"]["type"].as_str()),
        (400, Some("idempotency_error"))
    );

    // Declines are stored too, and so are Stripe's own errors; what was refused before work began is not.
    let id = stripe.create("pm_card_chargeDeclined").await;
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    let (status, declined) = stripe.post(&confirm, "", Some("c")).await;
    assert_eq!(
        (status, declined["error"]["decline_code"].as_str()),
        (402, Some("generic_decline"))
    );
    assert_eq!(declined["error"]["payment_intent"]["status"], "requires_payment_method");
    assert_eq!(stripe.post(&confirm, "", Some("c")).await, (402, declined));
    stripe.configure(json!({"error_rate": 1.0})).await;
    assert_eq!(stripe.post("/v1/payment_intents", body, Some("e")).await.0, 500);
    stripe
        .configure(json!({"error_rate": 0.0, "rate_limit_rate": 1.0}))
        .await;
    assert_eq!(stripe.post("/v1/payment_intents", body, Some("r")).await.0, 429);
    stripe.configure(json!({"rate_limit_rate": 0.0})).await;
    assert_eq!(stripe.post("/v1/payment_intents", body, Some("e")).await.0, 500);
    assert_eq!(stripe.post("/v1/payment_intents", body, Some("r")).await.0, 200);
    assert_eq!(
        stripe
            .post("/v1/payment_intents", "amount=x&currency=usd", Some("p"))
            .await
            .0,
        400
    );
    assert_eq!(stripe.post("/v1/payment_intents", body, Some("p")).await.0, 200);

    stripe.configure(json!({"idempotency_lifetime_s": 0})).await;
    assert_ne!(
        stripe.post("/v1/payment_intents", body, Some("k")).await.1["id"],
        first["id"]
    );
}

#[tokio::test]
async fn a_key_in_use_is_refused() {
    let stripe = Stripe::start(Options::default()).await;
    stripe.configure(json!({"latency_ms": [1500, 1500]})).await;
    let body = "amount=1000&currency=usd";
    let send = || stripe.post("/v1/payment_intents", body, Some("k"));
    let mut statuses: Vec<u16> = [send().await.0].into();
    stripe.configure(json!({"idempotency_lifetime_s": 0})).await;
    let (one, two) = tokio::join!(send(), send());
    statuses.extend([one.0, two.0]);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 409]);
}

#[tokio::test]
async fn the_ledger_says_how_long_a_payment_was_made_to_wait() {
    let stripe = Stripe::start(Options::default()).await;
    stripe.configure(json!({"latency_ms": [20, 20]})).await;
    let id = stripe.create("pm_card_visa").await;
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    assert_eq!(stripe.post(&confirm, "", Some("c")).await.0, 200);
    // A repetition gets the stored answer, and at once.
    assert_eq!(stripe.post(&confirm, "", Some("c")).await.0, 200);
    let ledger = stripe.sandbox.ledger();
    let waited: Vec<_> = ledger
        .intents
        .iter()
        .map(|intent| (intent.id.as_str(), intent.waited_ms))
        .collect();
    assert_eq!(waited, [(id.as_str(), 40)]);
}

#[tokio::test]
async fn answers_get_lost_but_the_work_is_done() {
    let stripe = Stripe::start(Options::default()).await;
    for rate in ["lost_answer_rate", "timeout_rate"] {
        let id = stripe.create("pm_card_visa").await;
        stripe.configure(json!({ rate: 1.0 })).await;
        let path = format!("{}/v1/payment_intents/{id}/confirm", stripe.sandbox.url);
        let request = stripe
            .http
            .post(path)
            .bearer_auth("sk_test_1")
            .timeout(Duration::from_millis(700));
        assert!(request.send().await.is_err(), "{rate}");
        stripe.configure(json!({ rate: 0.0 })).await;
        eventually("it was paid", LIMIT, async || {
            stripe.get(&format!("/v1/payment_intents/{id}")).await.1["status"] == "succeeded"
        })
        .await;
    }
}

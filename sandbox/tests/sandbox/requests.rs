//! What is asked, and what is refused.

use super::*;

#[tokio::test]
async fn wrong_requests_are_refused_as_stripe_does() {
    let stripe = Stripe::start(Options {
        intents_max: 2,
        ..Options::default()
    })
    .await;
    let table = [
        (
            "/v1/payment_intents",
            "currency=usd",
            400,
            "parameter_missing",
            "amount",
        ),
        (
            "/v1/payment_intents",
            "amount=1000",
            400,
            "parameter_missing",
            "currency",
        ),
        (
            "/v1/payment_intents",
            "amount=1.5&currency=usd",
            400,
            "parameter_invalid_integer",
            "amount",
        ),
        (
            "/v1/payment_intents",
            "amount=49&currency=usd",
            400,
            "amount_too_small",
            "amount",
        ),
        (
            "/v1/payment_intents",
            "amount=100000000&currency=usd",
            400,
            "amount_too_large",
            "amount",
        ),
        (
            "/v1/payment_intents",
            "amount=1000&currency=usd&payment_method=x",
            400,
            "resource_missing",
            "payment_method",
        ),
        (
            "/v1/payment_intents",
            "amount=1000&currency=usd&colour=red",
            400,
            "parameter_unknown",
            "colour",
        ),
        (
            "/v1/payment_intents/pi_none/confirm",
            "",
            404,
            "resource_missing",
            "intent",
        ),
        (
            "/v1/refunds",
            "payment_intent=pi_none",
            404,
            "resource_missing",
            "payment_intent",
        ),
    ];
    for (path, body, status, code, param) in table {
        let (got, answer) = stripe.post(path, body, None).await;
        let error = &answer["error"];
        assert_eq!(
            (got, error["code"].as_str(), error["param"].as_str()),
            (status, Some(code), Some(param)),
            "{body}: {answer}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let unauthorised = stripe
        .http
        .post(format!("{}/v1/refunds", stripe.sandbox.url))
        .send()
        .await
        .unwrap();
    assert_eq!(unauthorised.status(), 401);
    assert_eq!(stripe.get("/v1/charges").await.0, 404);
    stripe.create("pm_card_visa").await;
    stripe.create("pm_card_visa").await;
    assert_eq!(
        stripe
            .post("/v1/payment_intents", "amount=1000&currency=usd", None)
            .await
            .0,
        503
    );
}

#[tokio::test]
async fn an_intent_moves_only_along_its_states() {
    let stripe = Stripe::start(Options::default()).await;
    let id = stripe.create("pm_card_visa").await;
    let path = |what: &str| format!("/v1/payment_intents/{id}/{what}");
    assert_eq!(
        stripe
            .post(&path("cancel"), "cancellation_reason=abandoned", None)
            .await
            .1["status"],
        "canceled"
    );
    for what in ["cancel", "confirm"] {
        let (status, refused) = stripe.post(&path(what), "", None).await;
        assert_eq!(
            (status, refused["error"]["code"].as_str()),
            (400, Some("payment_intent_unexpected_state"))
        );
        assert_eq!(refused["error"]["payment_intent"]["id"], id.as_str());
    }
    let paid = stripe.create("pm_card_visa").await;
    let (_, intent) = stripe
        .post(&format!("/v1/payment_intents/{paid}/confirm"), "", None)
        .await;
    assert_eq!(
        (intent["status"].as_str(), intent["amount_received"].as_i64()),
        (Some("succeeded"), Some(1000))
    );
    let (_, part) = stripe
        .post("/v1/refunds", &format!("payment_intent={paid}&amount=400"), None)
        .await;
    assert_eq!(
        (part["amount"].as_i64(), part["status"].as_str()),
        (Some(400), Some("succeeded"))
    );
    assert_eq!(
        stripe
            .post("/v1/refunds", &format!("payment_intent={paid}&amount=601"), None)
            .await
            .0,
        400
    );
    assert_eq!(
        stripe
            .post("/v1/refunds", &format!("payment_intent={paid}"), None)
            .await
            .1["amount"],
        600
    );
    let (_, again) = stripe
        .post("/v1/refunds", &format!("payment_intent={paid}"), None)
        .await;
    assert_eq!(again["error"]["code"], "charge_already_refunded");
    assert_eq!(
        stripe.get(&format!("/v1/refunds?payment_intent={paid}")).await.1["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let ledger = stripe.sandbox.ledger();
    assert_eq!(
        (ledger.totals.captured, ledger.totals.refunded, ledger.totals.refunds),
        (1000, 1000, 2)
    );
}

#[tokio::test]
async fn lists_and_searches_have_pages() {
    let stripe = Stripe::start(Options::default()).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(stripe.create("pm_card_visa").await);
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let (_, page) = stripe.get(&format!("/v1/payment_intents?{query}")).await;
        seen.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|intent| intent["id"].as_str().unwrap().to_owned()),
        );
        if page["has_more"] == false {
            break;
        }
        query = format!("limit=2&starting_after={}", seen.last().unwrap());
    }
    assert_eq!(seen, ids);
    let (_, none) = stripe.get("/v1/payment_intents?created[gt]=99999999999").await;
    assert_eq!(none["data"], json!([]));
    let (_, found) = stripe
        .get("/v1/payment_intents/search?query=metadata%5B'bookingId'%5D%3A'b1'&limit=3")
        .await;
    assert_eq!(
        (found["data"].as_array().unwrap().len(), found["next_page"].as_str()),
        (3, Some("3"))
    );
    assert_eq!(stripe.get("/v1/payment_intents/search?query=nonsense").await.0, 400);
    let (_, page) = stripe.get(&format!("/_sandbox/ledger?limit=2&after={}", ids[4])).await;
    assert_eq!(
        (page["intents"][0]["id"].as_str(), page["has_more"].as_bool()),
        (Some(ids[3].as_str()), Some(true))
    );
}

//! Webhooks.

use super::*;

/// What a webhook's receiver has heard: signature and payload.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// A receiver that refuses the first `refusals` deliveries.
async fn receiver(refusals: usize) -> (String, Heard) {
    let heard = Heard::default();
    let keep = heard.clone();
    let app = axum::Router::new().fallback(move |headers: axum::http::HeaderMap, payload: String| async move {
        let mut heard = keep.lock().unwrap();
        heard.push((headers["stripe-signature"].to_str().unwrap().to_owned(), payload));
        if heard.len() <= refusals {
            axum::http::StatusCode::SERVICE_UNAVAILABLE
        } else {
            axum::http::StatusCode::OK
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/stripe", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, heard)
}

#[tokio::test]
async fn webhooks_are_signed_readable_repeated_and_reordered() {
    let (url, heard) = receiver(2).await;
    let mut switches = Switches::default();
    switches.webhook.url = Some(url);
    switches.webhook.retry_ms = 10;
    switches.webhook.duplicate_rate = 1.0;
    let stripe = Stripe::start(Options {
        switches,
        ..Options::default()
    })
    .await;
    let paid = stripe.create("pm_card_visa").await;
    stripe
        .post(&format!("/v1/payment_intents/{paid}/confirm"), "", Some("k"))
        .await;
    stripe
        .post("/v1/refunds", &format!("payment_intent={paid}"), None)
        .await;
    let declined = stripe.create("pm_card_chargeDeclined").await;
    stripe
        .post(&format!("/v1/payment_intents/{declined}/confirm"), "", None)
        .await;
    let canceled = stripe.create("pm_card_authenticationRequired").await;
    stripe
        .post(&format!("/v1/payment_intents/{canceled}/confirm"), "", None)
        .await;
    stripe
        .post(&format!("/v1/payment_intents/{canceled}/cancel"), "", None)
        .await;

    // Eight events, each twice.
    eventually("all are delivered", LIMIT, async || {
        stripe.sandbox.deliveries().delivered == 16
    })
    .await;
    assert_eq!(stripe.sandbox.deliveries().refused, 2);
    let mut kinds = std::collections::BTreeSet::new();
    for (signature, payload) in heard.lock().unwrap().iter() {
        let event = stripe_webhook::Webhook::construct_event(payload, signature, &stripe.sandbox.webhook_secret);
        kinds.insert(
            event
                .unwrap_or_else(|error| panic!("{error}: {payload}"))
                .type_
                .to_string(),
        );
        assert!(stripe_webhook::Webhook::construct_event(payload, signature, "whsec_other").is_err());
    }
    let expected = [
        "payment_intent.canceled",
        "payment_intent.created",
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "refund.created",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);

    stripe.configure(json!({"webhook": {"duplicate_rate": 0.0}})).await;
    let (_, events) = stripe.get("/v1/events?type=payment_intent.succeeded").await;
    let event = events["data"][0]["id"].as_str().unwrap();
    let url = format!("{}/_sandbox/events/{event}/resend", stripe.sandbox.url);
    assert_eq!(stripe.http.post(url).send().await.unwrap().status(), 202);
    eventually("it is sent again", LIMIT, async || {
        stripe.sandbox.deliveries().delivered == 17
    })
    .await;
    assert!(heard.lock().unwrap().last().unwrap().1.contains(event));
}

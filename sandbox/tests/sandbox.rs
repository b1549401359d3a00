//! The sandbox over real HTTP, as Stripe's clients see it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, Response};
use sandbox::{Handle, IntentStatus, Options, Range, Switches};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(30);

struct Stripe {
    sandbox: Handle,
    http: Client,
    done: tokio::task::JoinHandle<()>,
    stop: DropGuard,
}

/// A client that works wherever else in the workspace reqwest is asked to do TLS.
fn client() -> Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

impl Stripe {
    async fn start(options: Options) -> Stripe {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let serving = sandbox::start(options, listener, stop.clone()).await.unwrap();
        Stripe {
            sandbox: serving.handle,
            http: client(),
            done: serving.done,
            stop: stop.drop_guard(),
        }
    }

    async fn stop(self) {
        drop(self.stop);
        self.done.await.unwrap();
    }

    async fn send(&self, path: &str, body: &str, key: Option<&str>) -> reqwest::Result<Response> {
        let mut request = self
            .http
            .post(format!("{}{path}", self.sandbox.url))
            .bearer_auth("sk_test_1")
            .header("content-type", "application/x-www-form-urlencoded")
            .timeout(Duration::from_secs(20))
            .body(body.to_owned());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.send().await
    }

    async fn post(&self, path: &str, body: &str, key: Option<&str>) -> (u16, Value) {
        let answer = self.send(path, body, key).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let request = self
            .http
            .get(format!("{}{path}", self.sandbox.url))
            .bearer_auth("sk_test_1");
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn create(&self, method: &str) -> String {
        let body = format!("amount=1000&currency=usd&payment_method={method}&metadata[bookingId]=b1");
        let (status, intent) = self.post("/v1/payment_intents", &body, None).await;
        assert_eq!(status, 200, "{intent}");
        intent["id"].as_str().unwrap().to_owned()
    }

    async fn configure(&self, changes: Value) {
        let url = format!("{}/_sandbox/config", self.sandbox.url);
        let answer = self.http.post(url).json(&changes).send().await.unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }
}

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

#[tokio::test]
async fn what_was_answered_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        data_dir: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let stripe = Stripe::start(options()).await;
    let body = "amount=1000&currency=usd&payment_method=pm_card_visa&confirm=true&metadata[bookingId]=b";
    let (_, paid) = stripe.post("/v1/payment_intents", body, Some("k")).await;
    stripe
        .post(
            "/v1/refunds",
            &format!("payment_intent={}&amount=1", paid["id"].as_str().unwrap()),
            None,
        )
        .await;
    let before = stripe.sandbox.ledger();
    stripe.stop().await;
    cut_off_a_line(folder.path());

    let stripe = Stripe::start(options()).await;
    assert_eq!(stripe.sandbox.ledger(), before);
    assert_eq!(stripe.post("/v1/payment_intents", body, Some("k")).await, (200, paid));
    assert_eq!(stripe.sandbox.ledger().totals.intents, 1);
}

fn cut_off_a_line(folder: &Path) {
    use std::io::Write;
    let file = folder.join("stripe-sandbox.jsonl");
    let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(br#"{"intent":{"fixed":{"id":"pi_3cut"#).unwrap();
}

#[tokio::test]
async fn switches_are_checked_and_change_only_what_they_name() {
    let stripe = Stripe::start(Options::default()).await;
    stripe
        .configure(json!({"decline_rate": 0.5, "webhook": {"duplicate_rate": 0.25}}))
        .await;
    stripe.configure(json!({"latency_ms": [1, 2]})).await;
    let switches = stripe.sandbox.switches();
    assert_eq!(
        (
            switches.decline_rate,
            switches.webhook.duplicate_rate,
            switches.latency_ms
        ),
        (0.5, 0.25, Range(1, 2))
    );
    for wrong in [
        json!({"error_rate": 2}),
        json!({"latency_ms": [2, 1]}),
        json!({"unknown": 1}),
    ] {
        let url = format!("{}/_sandbox/config", stripe.sandbox.url);
        assert_eq!(
            stripe.http.post(url).json(&wrong).send().await.unwrap().status(),
            400,
            "{wrong}"
        );
    }
}

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

#[tokio::test]
async fn it_is_quick() {
    let stripe = Arc::new(Stripe::start(Options::default()).await);
    let started = std::time::Instant::now();
    let tasks = (0..16).map(|_| {
        let stripe = stripe.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                stripe
                    .post(
                        "/v1/payment_intents",
                        "amount=1000&currency=usd&payment_method=pm_card_visa&confirm=true",
                        None,
                    )
                    .await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let ledger = stripe.sandbox.ledger();
    assert_eq!(ledger.totals.succeeded, 800);
    assert!(
        ledger
            .intents
            .iter()
            .all(|intent| intent.status == IntentStatus::Succeeded)
    );
    println!(
        "{:.0} intents/s, unoptimised, client included",
        800.0 / started.elapsed().as_secs_f64()
    );
}

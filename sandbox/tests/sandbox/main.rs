//! The sandbox over real HTTP, as Stripe's clients see it.
#![allow(clippy::unwrap_used)]

mod keys;
mod requests;
mod webhooks;

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

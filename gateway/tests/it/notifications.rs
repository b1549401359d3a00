//! How buyers want to be written to, telling the engine of messages, and what providers say of them later.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder};
use ring::hmac;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{self, Answer, LIMIT, Shop};
use crate::users::{access, somebody};

const TOKEN: &str = "twilio-token";
const MAIL_SECRET: &str = "mail-secret";

async fn open() -> Shop {
    shop::open_with(gateway::Options {
        twilio_auth_token: Some(gateway::Secret::new(TOKEN)),
        mail_webhook_secret: Some(gateway::Secret::new(MAIL_SECRET)),
        shop_url: "https://shop.example".to_owned(),
        ..shop::options()
    })
    .await
}

/// Requests of one buyer.
struct Buyer<'a> {
    shop: &'a Shop,
    tokens: Value,
}

impl Buyer<'_> {
    async fn register<'a>(shop: &'a Shop, email: &str) -> Buyer<'a> {
        let tokens = somebody(shop, email).await;
        Buyer { shop, tokens }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.shop.request(method, path).bearer_auth(access(&self.tokens))
    }

    async fn get(&self, path: &str) -> Value {
        Answer::of(self.request(Method::GET, path)).await.json()
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(method, path).json(body)).await
    }
}

#[tokio::test]
async fn a_user_says_how_they_want_to_be_written_to() {
    let shop = open().await;
    let ada = Buyer::register(&shop, "ada@example.com").await;
    let path = "/users/me/notifications";
    shop.get(path).await.problem(401, "no-token");
    assert_eq!(
        ada.get(path).await,
        json!({"language": "en", "channels": ["email", "push"]})
    );
    let wish = json!({"language": "de", "channels": ["sms", "email"], "phone": "+49 (151) 12345678"});
    let now = json!({"language": "de", "channels": ["email", "sms"], "phone": "+4915112345678"});
    assert_eq!(ada.send(Method::PUT, path, &wish).await.json(), now);
    assert_eq!(ada.get(path).await, now);
    let nothing = json!({"language": "en", "channels": []});
    assert_eq!(ada.send(Method::PUT, path, &nothing).await.json(), nothing);
    for (wrong, pointer) in [
        (json!({"language": "fr", "channels": []}), "/language"),
        (json!({"language": "en", "channels": ["pigeon"]}), "/channels/0"),
        (json!({"language": "en", "channels": ["sms"]}), "/phone"),
        (json!({"language": "en", "channels": [], "phone": "911"}), "/phone"),
    ] {
        let answer = ada.send(Method::PUT, path, &wrong).await;
        assert_eq!(answer.invalid(), [pointer], "{wrong}");
    }
    assert_eq!(ada.get(path).await, nothing);
}

#[tokio::test]
async fn a_device_is_whose_it_was_registered_by_last() {
    let shop = open().await;
    let ada = Buyer::register(&shop, "ada@example.com").await;
    let eve = Buyer::register(&shop, "eve@example.com").await;
    let path = "/users/me/devices";
    let device = json!({"token": "t1", "name": "Telephone"});
    let first = ada.send(Method::POST, path, &device).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(
        ada.send(Method::POST, path, &device).await.json(),
        first.json(),
        "the same device"
    );
    let listed = ada.get(path).await;
    assert_eq!(listed["devices"].as_array().unwrap().len(), 1);
    assert_eq!(listed["devices"][0]["name"], "Telephone");
    assert!(!listed.to_string().contains("t1"), "no token is shown");

    let theirs = eve.send(Method::POST, path, &device).await.json();
    assert_ne!(theirs, first.json());
    assert_eq!(ada.get(path).await, json!({"devices": []}));
    let id = theirs["deviceId"].as_str().unwrap();
    let one = format!("{path}/{id}");
    Answer::of(ada.request(Method::DELETE, &one))
        .await
        .problem(404, "not-found");
    assert_eq!(Answer::of(eve.request(Method::DELETE, &one)).await.status, 204);
    Answer::of(eve.request(Method::DELETE, &one))
        .await
        .problem(404, "not-found");

    for number in 0..10 {
        let device = json!({"token": format!("a{number}"), "name": "D"});
        assert_eq!(ada.send(Method::POST, path, &device).await.status, 201);
    }
    let eleventh = json!({"token": "a11", "name": "D"});
    ada.send(Method::POST, path, &eleventh).await.problem(409, "conflict");
    let wrong = json!({"token": "", "name": "\u{0}"});
    assert_eq!(
        ada.send(Method::POST, path, &wrong).await.invalid(),
        ["/token", "/name"]
    );
}

/// A message that was written down.
async fn message(shop: &Shop, channel: &str) -> Uuid {
    sqlx::query_scalar(
        "insert into ticketing.notifications (id, booking_id, account_id, channel, kind, language, recipient, data)
         values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), $1, 'booking_confirmed', 'en', 'r', '{}') returning id",
    )
    .bind(channel)
    .fetch_one(&shop.pool)
    .await
    .unwrap()
}

/// What the engine was told, once it is so much.
async fn told(shop: &Shop, count: usize) -> Vec<(String, Value)> {
    let mut told = Vec::new();
    testkit::eventually("the engine is told", LIMIT, async || {
        let starts = shop.engine.starts().into_iter();
        let ours = starts.filter(|start| start.workflow.starts_with("notification"));
        told = ours.map(|start| (start.workflow, start.input)).collect();
        told.len() >= count
    })
    .await;
    told
}

async fn status(shop: &Shop, id: Uuid) -> (String, Option<String>) {
    sqlx::query_as("select status, problem from ticketing.notifications where id = $1")
        .bind(id)
        .fetch_one(&shop.pool)
        .await
        .unwrap()
}

/// A status callback as Twilio sends it.
async fn callback(shop: &Shop, id: Uuid, sid: &str, status: &str) -> Answer {
    let path = format!("/webhooks/twilio/{id}");
    let form = [("ErrorCode", "30003"), ("MessageSid", sid), ("MessageStatus", status)];
    let signed = form
        .iter()
        .fold(format!("https://shop.example{path}"), |text, (name, value)| {
            format!("{text}{name}{value}")
        });
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, TOKEN.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let request = shop
        .request(Method::POST, &path)
        .header("x-twilio-signature", signature);
    Answer::of(request.form(&form)).await
}

#[tokio::test]
async fn the_engine_is_told_of_each_message_once_and_never_of_a_devices_token() {
    let shop = open().await;
    let (sms, push) = (message(&shop, "sms").await, message(&shop, "push").await);
    let told = told(&shop, 2).await;
    for (id, channel, to) in [(sms, "sms", json!("r")), (push, "push", Value::Null)] {
        let inputs: Vec<&Value> = told
            .iter()
            .map(|(_, input)| input)
            .filter(|it| it["notificationId"] == json!(id))
            .collect();
        let [input] = inputs.as_slice() else { panic!("{told:?}") };
        assert_eq!((&input["channel"], &input["to"]), (&json!(channel), &to));
        assert!(input["userId"].as_str().unwrap().starts_with("usr_") && input["bookingId"].is_string());
    }
    testkit::eventually("nothing is left to tell", LIMIT, async || {
        let left: i64 = sqlx::query_scalar("select count(*) from ticketing.notifications where tell_at is not null")
            .fetch_one(&shop.pool)
            .await
            .unwrap();
        left == 0
    })
    .await;
}

#[tokio::test]
async fn receipts_come_in_any_order_and_any_number() {
    let shop = open().await;
    let id = message(&shop, "sms").await;
    told(&shop, 1).await;
    // The answer to our request was lost: the first callback says that it was taken.
    for (word, expected) in [
        ("queued", "sent"),
        ("delivered", "delivered"),
        ("sent", "delivered"),
        ("delivered", "delivered"),
    ] {
        assert_eq!(callback(&shop, id, "SM1", word).await.status, 204, "{word}");
        assert_eq!(status(&shop, id).await.0, expected, "{word}");
    }
    assert_eq!(callback(&shop, id, "SM2", "failed").await.status, 204);
    assert_eq!(status(&shop, id).await.0, "delivered", "another message's word");
    let all = told(&shop, 2).await;
    assert_eq!(
        (all[1].0.as_str(), &all[1].1["status"]),
        ("notification_receipt", &json!("delivered"))
    );

    let other = message(&shop, "sms").await;
    told(&shop, 3).await;
    assert_eq!(callback(&shop, other, "SM3", "undelivered").await.status, 204);
    assert_eq!(callback(&shop, other, "SM3", "delivered").await.status, 204);
    assert_eq!(
        status(&shop, other).await,
        ("failed".to_owned(), Some("undelivered: 30003".to_owned()))
    );
    let last = told(&shop, 4).await.remove(3);
    assert_eq!(
        (&last.1["status"], &last.1["reason"]),
        (&json!("failed"), &json!("undelivered: 30003"))
    );
}

#[tokio::test]
async fn a_bounce_comes_after_the_delivery() {
    let shop = open().await;
    let id = message(&shop, "email").await;
    told(&shop, 1).await;
    let send = async |body: Value, secret: &str| {
        let body = body.to_string();
        let signature = gateway::signature::sign(body.as_bytes(), secret, chrono::Utc::now().timestamp());
        let request = shop
            .request(Method::POST, "/webhooks/mail")
            .header("sagaline-signature", signature);
        Answer::of(request.header("content-type", "application/json").body(body)).await
    };
    let name = format!("<{id}@sagaline.example>");
    let word = |status: &str| json!({"messageId": name, "status": status, "reason": "550 no such user"});
    send(word("delivered"), "another").await.problem(400, "bad-signature");
    assert_eq!(status(&shop, id).await.0, "queued");
    for (word_of, expected) in [
        ("delivered", "delivered"),
        ("bounced", "failed"),
        ("delivered", "failed"),
    ] {
        assert_eq!(send(word(word_of), MAIL_SECRET).await.status, 204);
        assert_eq!(status(&shop, id).await.0, expected);
    }
    assert_eq!(status(&shop, id).await.1.unwrap(), "bounced: 550 no such user");
    // Mails about accounts are not followed; what is no word at all is said to be none.
    let account = json!({"messageId": "<0123456789abcdef@sagaline.example>", "status": "bounced"});
    assert_eq!(send(account, MAIL_SECRET).await.status, 204);
    let wrong = send(json!({"messageId": name, "status": "lost"}), MAIL_SECRET).await;
    assert_eq!(wrong.invalid(), ["/status"]);
}

#[tokio::test]
async fn who_is_not_twilio_changes_nothing() {
    let shop = open().await;
    let id = message(&shop, "sms").await;
    let path = format!("/webhooks/twilio/{id}");
    let form = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
    for signature in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        let request = shop
            .request(Method::POST, &path)
            .header("x-twilio-signature", signature);
        Answer::of(request.form(&form)).await.problem(400, "bad-signature");
    }
    assert_eq!(status(&shop, id).await.0, "queued");
    let closed = shop::open().await;
    Answer::of(closed.request(Method::POST, &path).form(&form))
        .await
        .problem(503, "unavailable");
}

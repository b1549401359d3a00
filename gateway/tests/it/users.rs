//! Users: registering, logging in and out, refreshing, profiles, links, and whose a booking is.

mod ownership;
mod profile;
mod sessions;

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use crate::shop::{self, Answer, LIMIT, Shop, wish, wish_with};

const EMAIL: &str = "Ada@Example.com";
const PASSWORD: &str = "correct horse battery";
const SECRET: &str = "the tests' secret of enough letters";

async fn open() -> Shop {
    shop::open_with(options()).await
}

pub fn options() -> gateway::Options {
    gateway::Options {
        token_secret: Some(gateway::Secret::new(SECRET)),
        ..shop::options()
    }
}

fn registration() -> Value {
    json!({"email": EMAIL, "password": PASSWORD, "name": "Ada Lovelace", "phone": "+1 (212) 555-0123"})
}

fn post(shop: &Shop, path: &str, body: &Value) -> RequestBuilder {
    shop.request(Method::POST, path).json(body)
}

/// Until the accounts' outbox is empty.
async fn until_all_is_told(shop: &Shop) {
    testkit::eventually("the outbox is empty", LIMIT, async || {
        let left: i64 = sqlx::query_scalar("select count(*) from ticketing.account_events")
            .fetch_one(&shop.pool)
            .await
            .unwrap();
        left == 0
    })
    .await;
}

async fn send(shop: &Shop, path: &str, body: &Value) -> Answer {
    Answer::of(post(shop, path, body)).await
}

async fn as_user(shop: &Shop, method: Method, path: &str, token: &str) -> Answer {
    Answer::of(shop.request(method, path).bearer_auth(token)).await
}

async fn log_in(shop: &Shop, email: &str, password: &str) -> Answer {
    send(shop, "/sessions", &json!({"email": email, "password": password})).await
}

/// Somebody's tokens, once registered and logged in.
pub async fn somebody(shop: &Shop, email: &str) -> Value {
    let mut body = registration();
    body["email"] = json!(email);
    assert_eq!(send(shop, "/users", &body).await.status, 201);
    let answer = log_in(shop, email, PASSWORD).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

pub fn access(tokens: &Value) -> &str {
    tokens["accessToken"].as_str().unwrap()
}

async fn refresh(shop: &Shop, token: &Value) -> Answer {
    send(shop, "/sessions/refresh", &json!({"refreshToken": token})).await
}

/// Puts a link there as the mail's activity does, for whoever registered first.
async fn link(pool: &PgPool, purpose: &str, life_s: f64) -> String {
    let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    sqlx::query(
        "insert into ticketing.account_links (token_hash, account_id, purpose, created_at, expires_at)
         select $1, id, $2, now() - interval '1 day', now() + make_interval(secs => $3) from ticketing.accounts
         order by created_at limit 1",
    )
    .bind(Sha256::digest(&token).to_vec())
    .bind(purpose)
    .bind(life_s)
    .execute(pool)
    .await
    .unwrap();
    token
}

const HOUR: f64 = 3_600.0;

/// What the engine was told of accounts, once there is so much of it.
async fn told(shop: &Shop, count: usize) -> Vec<Value> {
    let mut told = Vec::new();
    testkit::eventually("the engine is told", LIMIT, async || {
        let starts = shop.engine.starts();
        told = starts
            .into_iter()
            .filter(|start| start.workflow == "account_event")
            .map(|start| start.input)
            .collect();
        told.len() >= count
    })
    .await;
    told
}

#[tokio::test]
async fn somebody_registers_logs_in_and_out() {
    let shop = open().await;
    let registered = send(&shop, "/users", &registration()).await;
    assert_eq!(registered.status, 201, "{}", registered.text);
    assert_eq!(registered.header("location"), "/users/me");
    let user = registered.json();
    let user_id = user["userId"].as_str().unwrap();
    assert!(user_id.starts_with("usr_"), "{user}");
    assert_eq!(
        (&user["email"], &user["emailConfirmed"]),
        (&json!(EMAIL), &json!(false))
    );
    assert_eq!(user["phone"], "+12125550123");
    assert!(!registered.text.contains("argon2") && !registered.text.contains(PASSWORD));

    let tokens = log_in(&shop, &EMAIL.to_uppercase(), PASSWORD).await;
    assert_eq!(tokens.status, 201, "{}", tokens.text);
    assert_eq!(tokens.header("cache-control"), "no-store");
    let tokens = tokens.json();
    assert_eq!(
        (&tokens["tokenType"], &tokens["expiresIn"]),
        (&json!("Bearer"), &json!(600))
    );
    assert_eq!(tokens["userId"], user_id);
    let me = as_user(&shop, Method::GET, "/users/me", access(&tokens)).await;
    assert_eq!((me.status.as_u16(), me.json()), (200, user.clone()));

    let gone = as_user(&shop, Method::DELETE, "/sessions/current", access(&tokens)).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
    let after = as_user(&shop, Method::GET, "/users/me", access(&tokens)).await;
    after.problem(401, "no-token");
    assert_eq!(after.header("www-authenticate"), "Bearer");
    refresh(&shop, &tokens["refreshToken"]).await.problem(401, "no-token");

    let told = told(&shop, 3).await;
    let session = &tokens["sessionId"];
    assert_eq!(
        told[0],
        json!({"kind": "registered", "userId": user_id, "email": EMAIL})
    );
    assert_eq!((&told[1]["kind"], &told[1]["sessionId"]), (&json!("login"), session));
    assert_eq!(told[1]["address"], "127.0.0.1");
    assert_eq!(
        told[2],
        json!({"kind": "logout", "userId": user_id, "sessionId": session, "reason": "logged_out"})
    );
    let schema = workflows::tickets::account::definition().input_schema;
    let fields: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    for input in &told {
        assert!(
            input.as_object().unwrap().keys().all(|key| fields.contains(key)),
            "{input}"
        );
    }
    until_all_is_told(&shop).await;
}

#[tokio::test]
async fn nothing_secret_is_kept_as_it_is() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let rows: Vec<String> = sqlx::query_scalar(
        "select a::text from ticketing.accounts a union all select s::text from ticketing.sessions s
         union all select e::text from ticketing.account_events e",
    )
    .fetch_all(&shop.pool)
    .await
    .unwrap();
    let refresh = tokens["refreshToken"].as_str().unwrap();
    let (family, current) = refresh.split_once('.').unwrap();
    for row in rows {
        for secret in [PASSWORD, family, current, access(&tokens)] {
            assert!(!row.contains(secret), "{row}");
        }
    }
}

#[tokio::test]
async fn a_taken_address_is_refused_in_any_case_of_letters_also_at_once() {
    let shop = open().await;
    let mut other = registration();
    other["email"] = json!("ADA@example.COM");
    let (ada, other) = (registration(), other);
    let answers = tokio::join!(send(&shop, "/users", &ada), send(&shop, "/users", &other));
    let mut statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let problem = send(&shop, "/users", &other).await.problem(409, "conflict");
    assert_eq!(problem["errors"][0]["pointer"], "/email");
}

#[tokio::test]
async fn bad_registrations_name_the_fields() {
    let shop = open().await;
    let all = json!({"email": "ada", "password": "short", "name": "", "phone": "911", "role": "admin"});
    assert_eq!(
        send(&shop, "/users", &all).await.invalid(),
        ["/email", "/password", "/name", "/phone", "/role"]
    );
    for (field, value) in [
        ("email", json!("a@b\r\nBcc: everybody@c")),
        ("email", json!("a\u{0}@b")),
        ("email", json!(null)),
        ("email", json!(["a@b"])),
        ("email", json!(format!("{}@b", "x".repeat(254)))),
        ("password", json!("x".repeat(129))),
        ("password", json!("1234567\u{0}")),
        ("password", json!(12345678)),
        ("name", json!("A\nB")),
        ("phone", json!("0049123456")),
        ("userId", json!("usr_1")),
        ("emailConfirmed", json!(true)),
    ] {
        let mut body = registration();
        body[field] = value;
        assert_eq!(
            send(&shop, "/users", &body).await.invalid(),
            [format!("/{field}")],
            "{body}"
        );
    }
    let mut body = registration();
    body["password"] = json!("x".repeat(1024 * 1024));
    send(&shop, "/users", &body).await.problem(413, "too-large");
    let form = shop.request(Method::POST, "/users").body("email=a@b");
    Answer::of(form).await.problem(415, "unsupported-media-type");
    let accounts: i64 = sqlx::query_scalar("select count(*) from ticketing.accounts")
        .fetch_one(&shop.pool)
        .await
        .unwrap();
    assert_eq!(accounts, 0);
}

#[tokio::test]
async fn who_is_unknown_and_who_is_wrong_are_answered_alike() {
    let shop = open().await;
    assert_eq!(send(&shop, "/users", &registration()).await.status, 201);
    let strip = |answer: Answer| {
        let mut problem = answer.problem(401, "wrong-credentials");
        problem["traceId"] = json!(null);
        problem
    };
    let wrong = strip(log_in(&shop, EMAIL, "not the password").await);
    let unknown = strip(log_in(&shop, "nobody@example.com", PASSWORD).await);
    assert_eq!(wrong, unknown);
    let known = send(&shop, "/password-resets", &json!({"email": EMAIL})).await;
    let unknown = send(&shop, "/password-resets", &json!({"email": "nobody@example.com"})).await;
    assert_eq!(
        (known.status.as_u16(), known.text.as_str()),
        (unknown.status.as_u16(), unknown.text.as_str())
    );
    assert_eq!(known.status, 202);
    let names = |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(names(&known), names(&unknown));
    // Only the one of them has a mail to get.
    let told = told(&shop, 2).await;
    let kinds: Vec<&Value> = told.iter().map(|input| &input["kind"]).collect();
    assert_eq!(kinds, ["registered", "password_reset"]);
    assert_eq!(told[1]["email"], EMAIL);
    until_all_is_told(&shop).await;
}

#[tokio::test]
async fn attempts_run_out_at_an_account_that_exists_and_at_one_that_does_not() {
    let shop = open().await;
    assert_eq!(send(&shop, "/users", &registration()).await.status, 201);
    for email in [EMAIL, "nobody@example.com"] {
        for _ in 0..10 {
            log_in(&shop, email, "not the password")
                .await
                .problem(401, "wrong-credentials");
        }
        // The right one too: guessing goes on no faster for being right.
        let refused = log_in(&shop, &email.to_lowercase(), PASSWORD).await;
        refused.problem(429, "too-many-attempts");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
    }
    for _ in 0..3 {
        assert_eq!(
            send(&shop, "/password-resets", &json!({"email": EMAIL})).await.status,
            202
        );
    }
    send(&shop, "/password-resets", &json!({"email": EMAIL}))
        .await
        .problem(429, "too-many-attempts");
}

#[tokio::test]
async fn attempts_run_out_at_an_address() {
    let shop = open().await;
    let mut last = None;
    // One more comes back each second.
    for _ in 0..200 {
        let answer = refresh(&shop, &json!("nonsense")).await;
        if answer.status == 429 {
            last = Some(answer);
            break;
        }
        answer.problem(401, "no-token");
    }
    last.expect("a flood ends").problem(429, "too-many-attempts");
    log_in(&shop, EMAIL, PASSWORD).await.problem(429, "too-many-attempts");
    // Those who do something else aren't bothered.
    assert_eq!(shop.get("/events").await.status, 200);
}

#[tokio::test]
async fn a_crowd_at_the_door_is_sent_away_quickly() {
    let shop = shop::open_with(gateway::Options {
        hashes_max: 1,
        ..options()
    })
    .await;
    let crowd = (0..60).map(|number| {
        let email = format!("{number}@example.com");
        let shop = &shop;
        async move { log_in(shop, &email, PASSWORD).await }
    });
    let answers = futures::future::join_all(crowd).await;
    for answer in answers {
        match answer.status.as_u16() {
            401 => drop(answer.problem(401, "wrong-credentials")),
            429 => drop(answer.problem(429, "too-many-attempts")),
            _ => {
                answer.problem(503, "overloaded");
                assert!(!answer.header("retry-after").is_empty());
            }
        }
    }
    assert_eq!(shop.get("/events").await.status, 200);
}

#[tokio::test]
async fn while_the_engine_is_away_people_log_in_and_it_is_told_later() {
    let shop = open().await;
    shop.engine.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    let tokens = somebody(&shop, EMAIL).await;
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", access(&tokens)).await.status,
        200
    );
    testkit::eventually("it was tried", LIMIT, async || {
        let tried: i64 = sqlx::query_scalar("select count(*) from ticketing.account_events where attempts > 0")
            .fetch_one(&shop.pool)
            .await
            .unwrap();
        tried == 2
    })
    .await;
    shop.engine.is_away.store(false, std::sync::atomic::Ordering::SeqCst);
    let told = told(&shop, 2).await;
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn without_the_database_logins_are_put_off() {
    let shop = shop::open_without_database().await;
    for answer in [
        send(&shop, "/users", &registration()).await,
        log_in(&shop, EMAIL, PASSWORD).await,
        send(&shop, "/password-resets", &json!({"email": EMAIL})).await,
    ] {
        answer.problem(503, "unavailable");
    }
}

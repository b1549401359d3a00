//! Users: registering, logging in and out, refreshing, profiles, links, and whose a booking is.

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

/// Puts a link there as the mail's activity does.
async fn link(pool: &PgPool, purpose: &str, life_s: f64) -> String {
    let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    sqlx::query(
        "insert into ticketing.account_links (token_hash, account_id, purpose, created_at, expires_at)
         select $1, id, $2, now() - interval '1 day', now() + make_interval(secs => $3) from ticketing.accounts",
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
        json!({"kind": "registered", "userId": user_id, "email": EMAIL, "name": "Ada Lovelace"})
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
async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_session() {
    let shop = open().await;
    let first = somebody(&shop, EMAIL).await;
    let other = log_in(&shop, EMAIL, PASSWORD).await.json();
    let second = refresh(&shop, &first["refreshToken"]).await;
    assert_eq!(second.status, 200, "{}", second.text);
    let second = second.json();
    assert_ne!(second["refreshToken"], first["refreshToken"]);
    assert_eq!(second["sessionId"], first["sessionId"]);
    let third = refresh(&shop, &second["refreshToken"]).await.json();
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", access(&third)).await.status,
        200
    );

    // Somebody has copied the first one.
    refresh(&shop, &first["refreshToken"]).await.problem(401, "no-token");
    refresh(&shop, &third["refreshToken"]).await.problem(401, "no-token");
    for tokens in [&first, &second, &third] {
        as_user(&shop, Method::GET, "/users/me", access(tokens))
            .await
            .problem(401, "no-token");
    }
    // The other session goes on.
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", access(&other)).await.status,
        200
    );
    assert_eq!(refresh(&shop, &other["refreshToken"]).await.status, 200);
    let told = told(&shop, 4).await;
    let logout = told.iter().find(|input| input["kind"] == "logout").unwrap();
    assert_eq!(
        (&logout["sessionId"], &logout["reason"]),
        (&first["sessionId"], &json!("reused_token"))
    );
}

#[tokio::test]
async fn what_only_looks_like_a_refresh_token_ends_nothing() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let good = tokens["refreshToken"].as_str().unwrap();
    let (family, current) = good.split_once('.').unwrap();
    let foreign = URL_SAFE_NO_PAD.encode([7; 32]);
    for bad in [
        json!(""),
        json!("."),
        json!(family),
        json!(format!("{foreign}.{current}")),
        json!(format!("{family}.{current}.x")),
        json!(format!("{family}.{}", "x".repeat(10_000))),
        json!(access(&tokens)),
        json!("a\u{0}b"),
    ] {
        refresh(&shop, &bad).await.problem(401, "no-token");
    }
    for bad in [json!(null), json!(7), json!({})] {
        assert_eq!(refresh(&shop, &bad).await.invalid(), ["/refreshToken"]);
    }
    assert_eq!(refresh(&shop, &tokens["refreshToken"]).await.status, 200);
}

#[tokio::test]
async fn of_two_who_refresh_at_once_one_is_a_thief() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let token = &tokens["refreshToken"];
    let (one, two) = tokio::join!(refresh(&shop, token), refresh(&shop, token));
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    let got = if one.status == 200 { one } else { two };
    refresh(&shop, &got.json()["refreshToken"])
        .await
        .problem(401, "no-token");
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    sqlx::raw_sql("update ticketing.sessions set expires_at = now()")
        .execute(&shop.pool)
        .await
        .unwrap();
    as_user(&shop, Method::GET, "/users/me", access(&tokens))
        .await
        .problem(401, "no-token");
    refresh(&shop, &tokens["refreshToken"]).await.problem(401, "no-token");
}

#[tokio::test]
async fn sessions_are_listed_and_revoked_by_their_owner_alone() {
    let shop = open().await;
    let ada = somebody(&shop, EMAIL).await;
    let phone =
        post(&shop, "/sessions", &json!({"email": EMAIL, "password": PASSWORD})).header("user-agent", "Phone/1");
    let phone = Answer::of(phone).await.json();
    let bob = somebody(&shop, "bob@example.com").await;
    let listed = as_user(&shop, Method::GET, "/sessions", access(&ada)).await.json();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{listed}");
    assert_eq!(
        (&sessions[0]["sessionId"], &sessions[0]["userAgent"]),
        (&phone["sessionId"], &json!("Phone/1"))
    );
    assert_eq!(
        (&sessions[0]["current"], &sessions[1]["current"]),
        (&json!(false), &json!(true))
    );
    assert!(!listed.to_string().contains("hash"), "{listed}");

    let path = format!("/sessions/{}", phone["sessionId"].as_str().unwrap());
    as_user(&shop, Method::DELETE, &path, access(&bob))
        .await
        .problem(404, "not-found");
    assert_eq!(as_user(&shop, Method::DELETE, &path, access(&ada)).await.status, 204);
    as_user(&shop, Method::DELETE, &path, access(&ada))
        .await
        .problem(404, "not-found");
    as_user(&shop, Method::GET, "/users/me", access(&phone))
        .await
        .problem(401, "no-token");
    for id in ["nonsense", "%00", "'", &Uuid::nil().to_string()] {
        let path = format!("/sessions/{id}");
        as_user(&shop, Method::DELETE, &path, access(&ada))
            .await
            .problem(404, "not-found");
    }
    assert_eq!(
        as_user(&shop, Method::GET, "/sessions", access(&bob)).await.json()["sessions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_account_has_only_so_many_sessions() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    sqlx::raw_sql(
        "insert into ticketing.sessions (id, account_id, family_hash, token_hash, refreshed_at, expires_at)
         select gen_random_uuid(), a.id, sha256(n::text::bytea), sha256('x'), now() - interval '1 hour', now() + interval '1 day'
         from ticketing.accounts a, generate_series(1, 60) n",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    assert_eq!(log_in(&shop, EMAIL, PASSWORD).await.status, 201);
    let count: i64 = sqlx::query_scalar("select count(*) from ticketing.sessions")
        .fetch_one(&shop.pool)
        .await
        .unwrap();
    assert_eq!(count, 50);
    // Those that nobody uses have made room.
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", access(&tokens)).await.status,
        200
    );
}

#[tokio::test]
async fn a_profile_is_changed_where_it_may_be() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let patch = async |body: Value| {
        let request = shop
            .request(Method::PATCH, "/users/me")
            .bearer_auth(access(&tokens))
            .json(&body);
        Answer::of(request).await
    };
    assert_eq!(
        patch(json!({"name": "Augusta <b>Ada</b>"})).await.json()["name"],
        "Augusta <b>Ada</b>"
    );
    let changed = patch(json!({"phone": null})).await.json();
    assert_eq!(
        (changed.get("phone"), &changed["name"]),
        (None, &json!("Augusta <b>Ada</b>"))
    );
    assert_eq!(
        patch(json!({"phone": "+4930 1234567"})).await.json()["phone"],
        "+49301234567"
    );
    assert_eq!(patch(json!({})).await.status, 200);
    for (body, pointer) in [
        (json!({"name": null}), "/name"),
        (json!({"name": "  "}), "/name"),
        (json!({"phone": "x"}), "/phone"),
        (json!({"email": "other@example.com"}), "/email"),
        (json!({"emailConfirmed": true}), "/emailConfirmed"),
        (json!({"userId": "usr_1"}), "/userId"),
        (json!({"password": "a new password"}), "/password"),
    ] {
        assert_eq!(patch(body.clone()).await.invalid(), [pointer], "{body}");
    }
}

#[tokio::test]
async fn an_address_is_confirmed_by_a_link_once() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let asked = as_user(&shop, Method::POST, "/users/me/confirmations", access(&tokens)).await;
    assert_eq!(asked.status, 202, "{}", asked.text);
    let told = told(&shop, 3).await;
    assert_eq!(told[2]["kind"], "confirmation");

    let confirm = async |token: &str| send(&shop, "/confirmations", &json!({"token": token})).await;
    let late = link(&shop.pool, "confirmation", -HOUR).await;
    let other = link(&shop.pool, "password_reset", HOUR).await;
    for bad in [&late, &other, "", "x", "a\u{0}", &"x".repeat(43)] {
        assert_eq!(confirm(bad).await.invalid(), ["/token"], "{bad}");
    }
    let good = link(&shop.pool, "confirmation", HOUR).await;
    // Mail programs look at links by themselves: that uses nothing up.
    let page = shop.get(&format!("/confirmations?token={good}")).await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.text.contains(&good) && page.text.contains("<button>"));
    assert_eq!(shop.get("/confirmations?token=%22%3E%3Cscript%3E").await.status, 422);
    let form = shop.request(Method::POST, "/confirmations").form(&[("token", &good)]);
    let done = Answer::of(form).await;
    assert_eq!(
        (done.status.as_u16(), done.text.contains("is confirmed")),
        (200, true),
        "{}",
        done.text
    );
    assert_eq!(confirm(&good).await.invalid(), ["/token"]);
    let me = as_user(&shop, Method::GET, "/users/me", access(&tokens)).await;
    assert_eq!(me.json()["emailConfirmed"], true);
    as_user(&shop, Method::POST, "/users/me/confirmations", access(&tokens))
        .await
        .problem(409, "refused");
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_and_everybody_is_logged_out() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let reset = async |token: &str, password: &str| {
        send(
            &shop,
            &format!("/password-resets/{token}"),
            &json!({"password": password}),
        )
        .await
    };
    let late = link(&shop.pool, "password_reset", -HOUR).await;
    let other = link(&shop.pool, "confirmation", HOUR).await;
    for bad in [&late, &other, "x", "%00", &"x".repeat(43)] {
        reset(bad, "another password").await.problem(404, "not-found");
    }
    let (one, two) = (
        link(&shop.pool, "password_reset", HOUR).await,
        link(&shop.pool, "password_reset", HOUR).await,
    );
    assert_eq!(reset(&one, "short").await.invalid(), ["/password"]);
    let page = shop.get(&format!("/password-resets/{one}")).await;
    assert!(
        page.status == 200 && page.text.contains("type=\"password\""),
        "{}",
        page.text
    );
    // Both at once: one is used, and the other with it.
    let both = tokio::join!(reset(&one, "another password"), reset(&two, "another password"));
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404]);
    reset(&one, "a third password").await.problem(404, "not-found");
    reset(&two, "a third password").await.problem(404, "not-found");

    as_user(&shop, Method::GET, "/users/me", access(&tokens))
        .await
        .problem(401, "no-token");
    refresh(&shop, &tokens["refreshToken"]).await.problem(401, "no-token");
    log_in(&shop, EMAIL, PASSWORD).await.problem(401, "wrong-credentials");
    let tokens = log_in(&shop, EMAIL, "another password").await.json();
    let me = as_user(&shop, Method::GET, "/users/me", access(&tokens)).await;
    assert_eq!(
        me.json()["emailConfirmed"],
        true,
        "whoever reads the mail has the address"
    );
    let told = told(&shop, 4).await;
    let logout = told.iter().find(|input| input["kind"] == "logout").unwrap();
    assert_eq!(logout["reason"], "password_reset");
}

/// A token signed by hand.
fn forged(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn forged_and_old_tokens_open_nothing() {
    let shop = open().await;
    let tokens = somebody(&shop, EMAIL).await;
    let claims = |exp: u64| {
        json!({"iss": "sagaline", "aud": "shop", "sub": tokens["userId"], "sid": tokens["sessionId"], "email": EMAIL,
               "iat": 0, "exp": exp})
    };
    let (header, later) = (json!({"alg": "HS256", "typ": "JWT"}), 4_000_000_000);
    let by_hand = forged(&header, &claims(later), SECRET);
    assert_eq!(
        as_user(&shop, Method::GET, "/users/me", &by_hand).await.status,
        200,
        "the forger's tools work"
    );
    let none = forged(&json!({"alg": "none"}), &claims(later), "");
    let unsigned = format!("{}.", none.rsplit_once('.').unwrap().0);
    let bad = [
        forged(&header, &claims(later), "another secret of as many letters...."),
        forged(&header, &claims(1_000), SECRET),
        forged(&json!({"alg": "HS512"}), &claims(later), SECRET),
        none,
        unsigned,
        "x".repeat(10_000),
        "null".to_owned(),
    ];
    for token in &bad {
        as_user(&shop, Method::GET, "/users/me", token)
            .await
            .problem(401, "no-token");
        // Nobody books anonymously who believes to be logged in.
        Answer::of(shop.booking(&wish()).bearer_auth(token))
            .await
            .problem(401, "no-token");
    }
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", access(&tokens)] {
        let request = shop.booking(&wish()).header("authorization", value);
        Answer::of(request).await.problem(401, "no-token");
    }
    let twice = shop.booking(&wish()).bearer_auth(access(&tokens)).bearer_auth(&bad[0]);
    Answer::of(twice).await.problem(401, "no-token");
    for (method, path) in [
        (Method::GET, "/users/me"),
        (Method::PATCH, "/users/me"),
        (Method::GET, "/sessions"),
        (Method::DELETE, "/sessions/current"),
        (Method::DELETE, "/sessions/00000000-0000-0000-0000-000000000000"),
        (Method::POST, "/users/me/confirmations"),
    ] {
        Answer::of(shop.request(method, path)).await.problem(401, "no-token");
    }
    let starts = shop.engine.starts();
    assert!(starts.iter().all(|start| start.workflow != "booking"));
}

#[tokio::test]
async fn a_booking_belongs_to_the_token_whatever_the_body_says() {
    let shop = open().await;
    let (ada, bob) = (somebody(&shop, EMAIL).await, somebody(&shop, "bob@example.com").await);
    let book = async |wish: &Value| Answer::of(shop.booking(wish).bearer_auth(access(&ada))).await;
    for user_id in [json!("user_1"), bob["userId"].clone(), json!(null), json!(7)] {
        let answer = book(&wish_with("userId", user_id)).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let bookings: Vec<_> = shop
        .engine
        .starts()
        .into_iter()
        .filter(|start| start.workflow == "booking")
        .collect();
    assert_eq!(bookings.len(), 4);
    for start in &bookings {
        assert_eq!(start.input["userId"], ada["userId"]);
        assert_eq!(start.tags["userId"], ada["userId"].as_str().unwrap());
        assert_eq!(
            start.input["email"], EMAIL,
            "who says no other address gets the mail at their own"
        );
    }
    // Nobody acts for somebody else, in any case of letters.
    for id in [ada["userId"].as_str().unwrap(), "usr_1", "USR_x"] {
        let answer = Answer::of(shop.booking(&wish_with("userId", json!(id)))).await;
        assert_eq!(answer.invalid(), ["/userId"]);
    }
    for (field, value) in [
        ("status", json!("confirmed")),
        ("price", json!(1)),
        ("role", json!("admin")),
    ] {
        assert_eq!(book(&wish_with(field, value)).await.invalid(), [format!("/{field}")]);
    }
}

#[tokio::test]
async fn one_lists_ones_own_bookings_and_no_others() {
    let shop = open().await;
    let ada = somebody(&shop, EMAIL).await;
    let eve = somebody(&shop, "eve@example.com").await;
    shop.book().await;
    let booked = shop.booking(&wish()).bearer_auth(access(&ada));
    let booking = Answer::of(booked).await.json();
    let mine = as_user(&shop, Method::GET, "/bookings", access(&ada)).await.json();
    let found = &mine["bookings"][0];
    assert_eq!(
        (&found["bookingId"], &found["eventId"], &found["standing"]),
        (&booking["bookingId"], &json!("tour"), &json!("under_way")),
        "{mine}"
    );
    assert_eq!(mine["bookings"].as_array().map(Vec::len), Some(1));
    let none = as_user(&shop, Method::GET, "/bookings", access(&eve)).await.json();
    assert_eq!(none, json!({"bookings": []}));
    shop.get("/bookings").await.problem(401, "no-token");
    let odd = as_user(&shop, Method::GET, "/bookings?user=usr_1", access(&ada)).await;
    odd.problem(400, "malformed");
}

#[tokio::test]
async fn anothers_booking_is_not_there() {
    let shop = open().await;
    let (ada, bob) = (somebody(&shop, EMAIL).await, somebody(&shop, "bob@example.com").await);
    let booked = Answer::of(shop.booking(&wish()).bearer_auth(access(&ada))).await;
    let path = booked.header("location").to_owned();
    let cancel = format!("{path}/cancel");
    let missing = shop.get(&format!("/bookings/{}", Uuid::now_v7())).await;
    let mut missing = missing.problem(404, "not-found");
    missing["traceId"] = json!(null);
    for token in [None, Some(access(&bob))] {
        for (method, path) in [(Method::GET, &path), (Method::DELETE, &path), (Method::POST, &cancel)] {
            let request = shop.request(method, path);
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let mut problem = Answer::of(request).await.problem(404, "not-found");
            problem["traceId"] = json!(null);
            assert_eq!(problem, missing);
        }
    }
    assert_eq!(as_user(&shop, Method::GET, &path, access(&ada)).await.status, 200);
    assert_eq!(as_user(&shop, Method::DELETE, &path, access(&ada)).await.status, 202);
    // Anonymous ones are known by their id, as ever.
    let anonymous = shop.book().await;
    assert_eq!(shop.get(&format!("/bookings/{anonymous}")).await.status, 200);
    assert_eq!(
        as_user(&shop, Method::GET, &format!("/bookings/{anonymous}"), access(&bob))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_place_in_a_line_belongs_to_the_token_too() {
    let shop = open().await;
    let ada = somebody(&shop, EMAIL).await;
    sqlx::raw_sql(
        "insert into ticketing.waiting_rooms (event_id, opens_at) values ('tour', now() + interval '1 hour')",
    )
    .execute(&shop.pool)
    .await
    .unwrap();
    let join = async |user: &Value| post(&shop, "/events/tour/queue", &json!({"userId": user}));
    testkit::eventually("the room is seen", LIMIT, async || {
        Answer::of(join(&json!("user_1")).await).await.status == 200
    })
    .await;
    assert_eq!(Answer::of(join(&ada["userId"]).await).await.invalid(), ["/userId"]);
    let place = Answer::of(join(&json!("user_1")).await.bearer_auth(access(&ada))).await;
    assert_eq!(place.status, 200, "{}", place.text);
    let user_id = ada["userId"].as_str().unwrap();
    let mut places: Vec<String> = sqlx::query_scalar("select user_id from ticketing.queue_places")
        .fetch_all(&shop.pool)
        .await
        .unwrap();
    places.sort();
    assert_eq!(places, ["user_1", user_id]);
}

#[tokio::test]
async fn one_users_idempotency_key_is_not_anothers() {
    let shop = open().await;
    let (ada, bob) = (somebody(&shop, EMAIL).await, somebody(&shop, "bob@example.com").await);
    let book = async |tokens: &Value| {
        let request = shop
            .booking(&wish())
            .bearer_auth(access(tokens))
            .header("idempotency-key", "k");
        Answer::of(request).await
    };
    let first = book(&ada).await;
    assert_eq!(first.status, 202);
    assert_eq!(book(&ada).await.json()["bookingId"], first.json()["bookingId"]);
    let other = book(&bob).await;
    assert_eq!(other.status, 202, "{}", other.text);
    assert_ne!(other.json()["bookingId"], first.json()["bookingId"]);
    let anonymous = Answer::of(shop.booking(&wish()).header("idempotency-key", "k")).await;
    assert_eq!(anonymous.status, 202, "{}", anonymous.text);
    let theirs = format!("{}/k2", ada["userId"].as_str().unwrap());
    for taken in [
        theirs.as_str(),
        "schedule/hold-sweep/2026-11-23T17:00:00.000Z",
        "account-event/1",
        "refund/1",
        "event-cancellation/tour",
    ] {
        let squatter = Answer::of(shop.booking(&wish()).header("idempotency-key", taken)).await;
        squatter.problem(400, "malformed");
    }
}

#[tokio::test]
async fn where_anonymous_bookings_are_not_taken_one_logs_in() {
    let shop = shop::open_with(gateway::Options {
        anonymous_bookings: false,
        ..options()
    })
    .await;
    Answer::of(shop.booking(&wish())).await.problem(401, "no-token");
    let ada = somebody(&shop, EMAIL).await;
    let answer = Answer::of(shop.booking(&wish()).bearer_auth(access(&ada))).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
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

//! Budgets of users and addresses, other sites' pages, compressed answers, the page to try the API.

use std::io::Read;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::shop::{self, Answer, Shop, wish};
use crate::users::{access, somebody};

fn options(rates: &str) -> gateway::Options {
    gateway::Options {
        rates: Some(rates.parse().unwrap()),
        trusted_proxies: "127.0.0.1".parse().unwrap(),
        ..crate::users::options()
    }
}

async fn look(shop: &Shop, from: &str, token: Option<&str>) -> Answer {
    let mut request = shop.request(Method::GET, "/events").header("x-forwarded-for", from);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    Answer::of(request).await
}

/// Asks many at once until one is refused: budgets come back meanwhile.
async fn refused(shop: &Shop, from: impl Fn(usize) -> String, token: Option<&str>) -> Answer {
    let mut found = None;
    testkit::eventually("one is refused", testkit::PAGE_LIMIT, async || {
        let asked = (0..40).map(async |number| look(shop, &from(number), token).await);
        let answers = join_all(asked).await;
        found = answers.into_iter().find(|answer| answer.status != 200);
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test]
async fn an_address_has_a_budget_for_each_kind_of_request() {
    // An address may ask ten at once, and ten a second.
    let shop = shop::open_with(options("read=1/1,write=1/1,booking=1/1")).await;
    for _ in 0..10 {
        assert_eq!(look(&shop, "203.0.113.9", None).await.status, 200);
    }
    let answer = refused(&shop, |_| "203.0.113.9".to_owned(), None).await;
    answer.problem(429, "too-many-requests");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.header("x-request-id").is_empty());
    // Another address, and what it says itself of where it comes from, and another kind of request.
    assert_eq!(look(&shop, "203.0.113.9, 203.0.113.10", None).await.status, 200);
    refused(&shop, |number| format!("198.51.100.{number}, 203.0.113.9"), None).await;
    let booking = shop
        .request(Method::POST, "/bookings")
        .header("x-forwarded-for", "203.0.113.9");
    assert_eq!(Answer::of(booking.json(&wish())).await.status, 202);
    // Kubernetes is always answered.
    for _ in 0..30 {
        let asked = shop
            .request(Method::GET, "/health/live")
            .header("x-forwarded-for", "203.0.113.9");
        assert_eq!(Answer::of(asked).await.status, 200);
    }
}

#[tokio::test]
async fn a_user_has_a_budget_wherever_they_come_from() {
    let shop = shop::open_with(options("read=1/3,write=100/100,booking=1/1")).await;
    let ada = somebody(&shop, "ada@example.com").await;
    let bob = somebody(&shop, "bob@example.com").await;
    let answer = refused(&shop, |number| format!("203.0.113.{number}"), Some(access(&ada))).await;
    answer.problem(429, "too-many-requests");
    assert!(answer.text.contains("this user"), "{}", answer.text);
    assert_eq!(look(&shop, "203.0.113.1", Some(access(&bob))).await.status, 200);
    // A token that is nobody's has no budget of its own, and is refused by whoever wants one.
    assert_eq!(look(&shop, "203.0.113.1", Some("nobody's")).await.status, 200);
}

#[tokio::test]
async fn pages_of_other_sites_may_ask_if_they_are_named() {
    let site = "https://shop.example.com";
    let shop = shop::open_with(gateway::Options {
        cors_origins: site.parse().unwrap(),
        ..shop::options()
    })
    .await;
    let preflight = |origin: &str| {
        shop.request(Method::OPTIONS, "/bookings")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type,idempotency-key",
            )
    };
    let answer = Answer::of(preflight(site)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), site);
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("idempotency-key")
    );
    assert!(answer.headers.get("access-control-allow-credentials").is_none());
    let answer = Answer::of(preflight("https://evil.example.com")).await;
    assert!(answer.headers.get("access-control-allow-origin").is_none());

    let asked = shop.request(Method::GET, "/events").header("origin", site);
    let answer = Answer::of(asked).await;
    assert_eq!(answer.header("access-control-allow-origin"), site);
    assert!(answer.header("access-control-expose-headers").contains("retry-after"));
    // Refusals too: the page shall see why.
    let asked = shop
        .request(Method::POST, "/bookings")
        .header("origin", site)
        .json(&json!({}));
    assert_eq!(Answer::of(asked).await.header("access-control-allow-origin"), site);
    // Where none is named, none may.
    let closed = shop::open().await;
    let asked = closed.request(Method::GET, "/events").header("origin", site);
    assert!(
        Answer::of(asked)
            .await
            .headers
            .get("access-control-allow-origin")
            .is_none()
    );
}

#[tokio::test]
async fn what_is_the_same_for_all_is_compressed() {
    let shop = shop::open().await;
    let path = "/openapi.json";
    let plain = shop.get(path).await;
    assert!(plain.headers.get("content-encoding").is_none());
    let mut varies = plain.headers.get_all("vary").iter();
    assert!(varies.any(|value| value == "accept-encoding"), "{:?}", plain.headers);
    let request = shop.request(Method::GET, path).header("accept-encoding", "br, gzip");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(response.headers()["etag"].to_str().unwrap(), plain.header("etag"));
    let bytes = response.bytes().await.unwrap();
    assert!(
        bytes.len() * 4 < plain.text.len(),
        "{} of {}",
        bytes.len(),
        plain.text.len()
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, plain.text);
    // A session's tokens are not, beside whatever somebody else may have put into the same answer.
    let ada = json!({"email": "ada@example.com", "password": "correct horse battery", "name": "a".repeat(100)});
    let request = shop
        .request(Method::POST, "/users")
        .header("accept-encoding", "gzip")
        .json(&ada);
    assert!(Answer::of(request).await.headers.get("content-encoding").is_none());
}

#[tokio::test]
async fn the_api_can_be_read_and_tried_on_a_page() {
    let shop = shop::open().await;
    let page = shop.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy").to_owned();
    assert!(
        policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!page.text.contains("<script>"), "scripts are files: {}", page.text);
    let start = shop.get("/docs/swagger-initializer.js").await;
    assert!(start.text.contains("/openapi.json"), "{}", start.text);
    assert_eq!(shop.get("/docs/nothing").await.status, 404);
    assert_eq!(shop.get("/docs/../../etc/passwd").await.status, 404);
}

#[tokio::test]
async fn the_description_tells_of_limits() {
    let shop = shop::open().await;
    let api = shop.get("/openapi.json").await.json();
    let refused = |path: &str, method: &str| api["paths"][path][method]["responses"].get("429").is_some();
    assert!(refused("/bookings", "post") && refused("/events", "get"));
    assert!(!refused("/health/live", "get") && !refused("/webhooks/stripe", "post"));
    let response = &api["components"]["responses"]["TooManyRequests"];
    assert!(response["headers"]["Retry-After"].is_object(), "{response}");
}

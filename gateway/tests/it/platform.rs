//! What all routes have in common: unknown routes, outages, overload, headers, health, the API's description.

use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use tokio::sync::Semaphore;

use crate::engine::CURSED;
use crate::shop::{self, Answer, LIMIT, wish};

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let shop = shop::open().await;
    for path in ["/", "/nothing", "/bookings/a/b/c", "/events/", "/../etc/passwd", "//"] {
        shop.get(path).await.problem(404, "no-such-route");
    }
    let put = Answer::of(shop.request(Method::PUT, "/bookings")).await;
    put.problem(405, "method-not-allowed");
    assert_eq!(put.header("allow"), "POST,GET,HEAD");
    let get = shop.get("/webhooks/stripe").await;
    get.problem(405, "method-not-allowed");
    let odd = Answer::of(shop.request(Method::from_bytes(b"BREW").unwrap(), "/events")).await;
    odd.problem(405, "method-not-allowed");
    assert_eq!(odd.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn every_answer_carries_its_id_and_the_security_headers() {
    let shop = shop::open().await;
    for path in ["/events", "/nothing", "/health/live"] {
        let answer = Answer::of(shop.request(Method::GET, path).header("x-request-id", "mine-1")).await;
        assert_eq!(answer.header("x-request-id"), "mine-1", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; frame-ancestors 'none'"
        );
        // What is shown with a tag may be kept, to be asked about.
        let cached = if path == "/events" { "no-cache" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), cached);
    }
    assert!(!shop.get("/events").await.header("x-request-id").is_empty());
    let traced = shop
        .request(Method::GET, "/nothing")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(
        Answer::of(traced).await.json()["traceId"],
        "0af7651916cd43dd8448eb211c80319c"
    );
}

#[tokio::test]
async fn a_defect_is_answered_and_the_next_request_too() {
    let shop = shop::open().await;
    let answer = shop.get(&format!("/bookings/{CURSED}")).await;
    answer.problem(500, "internal");
    assert!(
        !answer.text.contains("cursed"),
        "the inside is not for the outside: {}",
        answer.text
    );
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(shop.get("/events").await.status, 200);
}

#[tokio::test]
async fn without_the_engine_bookings_are_put_off() {
    let shop = shop::open().await;
    let saga = shop.book().await;
    shop.engine.is_away.store(true, Ordering::SeqCst);
    for answer in [
        Answer::of(shop.booking(&wish())).await,
        shop.get(&format!("/bookings/{saga}")).await,
        Answer::of(shop.request(Method::DELETE, &format!("/bookings/{saga}"))).await,
    ] {
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "2");
    }
    assert_eq!(shop.get("/events").await.status, 200);
    let ready = shop.get("/health/ready").await;
    assert_eq!(
        (
            ready.status.as_u16(),
            ready.json()["dependencies"]["engine"]["problem"].as_str()
        ),
        (503, Some("not available"))
    );
    assert_eq!(shop.get("/health/live").await.status, 200);
    shop.engine.is_away.store(false, Ordering::SeqCst);
    assert_eq!(Answer::of(shop.booking(&wish())).await.status, 202);
    testkit::eventually("it is ready again", LIMIT, async || {
        shop.get("/health/ready").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn each_dependency_says_how_it_is_and_a_payment_outage_alone_stops_nobody() {
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = provider.local_addr().unwrap().to_string();
    let shop = shop::open_with(gateway::Options {
        payments_address: Some(address),
        ..shop::options()
    })
    .await;
    let ready = shop.get("/health/ready").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["degraded"]),
        (200, &Value::Bool(false))
    );
    for dependency in ["database", "engine", "payments"] {
        let found = &ready.json()["dependencies"][dependency];
        assert_eq!(found["state"], "up", "{dependency}");
        assert!(found["latencyMs"].is_number() && found["problem"].is_null(), "{found}");
    }
    drop(provider);
    testkit::eventually("its absence is noticed", LIMIT, async || {
        let ready = shop.get("/health/ready").await;
        assert_eq!(ready.status, 200);
        ready.json()["degraded"] == true && ready.json()["dependencies"]["payments"]["state"] == "down"
    })
    .await;
}

#[tokio::test]
async fn without_the_database_everything_is_put_off_and_nothing_crashes() {
    let shop = shop::open_without_database().await;
    for answer in [
        Answer::of(shop.booking(&wish())).await,
        shop.get("/events").await,
        shop.get("/events/tour").await,
        shop.get("/events/tour/seats").await,
    ] {
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "2");
    }
    let ready = shop.get("/health/ready").await;
    assert_eq!(
        (
            ready.status.as_u16(),
            ready.json()["dependencies"]["database"]["problem"].as_str()
        ),
        (503, Some("not available"))
    );
    assert_eq!(shop.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn too_much_at_once_is_refused_at_once() {
    let shop = shop::open_with(gateway::Options {
        requests_max: 1,
        ..shop::options()
    })
    .await;
    let gate = Arc::new(Semaphore::new(0));
    *shop.engine.gate.lock().unwrap() = Some(gate.clone());
    let first = tokio::spawn(Answer::of(shop.booking(&wish())));
    let mut refused = None;
    testkit::eventually("there is no room", LIMIT, async || {
        let answer = shop.get("/events").await;
        let is_refused = answer.status == 503;
        refused = Some(answer);
        is_refused
    })
    .await;
    let refused = refused.unwrap();
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(shop.get("/health/ready").await.status, 200);
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 202);
    assert_eq!(shop.get("/events").await.status, 200);
}

#[tokio::test]
async fn what_takes_too_long_is_given_up() {
    let shop = shop::open_with(gateway::Options {
        request_time_limit: Duration::from_millis(300),
        ..shop::options()
    })
    .await;
    *shop.engine.gate.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    let answer = Answer::of(shop.booking(&wish()).header("idempotency-key", "k")).await;
    answer.problem(503, "unavailable");
    *shop.engine.gate.lock().unwrap() = None;
    // The key is free again.
    assert_eq!(
        Answer::of(shop.booking(&wish()).header("idempotency-key", "k"))
            .await
            .status,
        202
    );
}

#[tokio::test]
async fn the_api_describes_itself() {
    let shop = shop::open().await;
    let api = shop.get("/openapi.json").await.json();
    assert_eq!(api, serde_json::to_value(gateway::openapi()).unwrap());
    assert_eq!(api["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let mut operations = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.insert(format!("{} {path}", method.to_uppercase()));
            // What is described is there: anything but an unknown route or method.
            let path = path.replace(['{', '}'], "");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = Answer::of(shop.request(method, &path)).await;
            assert!(!answer.text.contains("no-such-route"), "{path}: {}", answer.text);
            assert_ne!(answer.status, 405, "{path}");
        }
    }
    insta::assert_json_snapshot!("operations", operations);
    // And what is there is described: routes are made by `routes!`, which does both, and by nothing else.
    let source = include_str!("../../src/routes.rs");
    assert!(!source.contains(".route("));
    // Each schema that is named is there.
    let text = api.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(api["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn when_told_to_stop_it_finishes_what_it_began() {
    let database = testkit::migrated_database().await;
    let engine = Arc::new(crate::engine::FakeEngine::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let deps = gateway::Deps {
        pool: database.pool.clone(),
        engine,
        analytics: database.pool.clone().into(),
        actions: analytics::actions::Recorder::off(),
    };
    let server = tokio::spawn(gateway::serve(shop::options(), deps, listener, stop.clone()));
    let http = shop::http_client();
    assert_eq!(
        http.get(format!("{base}/health/ready")).send().await.unwrap().status(),
        200
    );
    stop.cancel();
    testkit::eventually("it is not ready any more", LIMIT, async || {
        http.get(format!("{base}/health/ready"))
            .send()
            .await
            .is_ok_and(|it| it.status() == 503)
    })
    .await;
    drop(http);
    tokio::time::timeout(LIMIT, server).await.unwrap().unwrap().unwrap();
}

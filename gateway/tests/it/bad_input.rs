//! Everything that should not be sent.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::shop::{self, Answer, Shop, wish, wish_with};

fn raw(shop: &Shop, body: impl Into<reqwest::Body>) -> RequestBuilder {
    shop.request(Method::POST, "/bookings")
        .header("content-type", "application/json")
        .body(body)
}

async fn pointers(shop: &Shop, wish: &Value) -> Vec<String> {
    Answer::of(shop.booking(wish)).await.invalid()
}

#[tokio::test]
async fn wishes_that_are_not_valid_are_refused_with_the_field_named() {
    let shop = shop::open().await;
    let seats: Vec<_> = (0..1_000).map(|seat| format!("A{seat}")).collect();
    let cases = [
        (wish_with("eventId", json!("nowhere")), "/eventId"),
        (wish_with("eventId", json!("draft")), "/eventId"),
        (wish_with("eventId", json!("over")), "/eventId"),
        (wish_with("eventId", Value::Null), "/eventId"),
        (
            wish_with("eventId", json!("a/b'c\"; drop table ticketing.seats; --")),
            "/eventId",
        ),
        (wish_with("eventId", json!("a\u{0}b")), "/eventId"),
        (wish_with("eventId", json!("x".repeat(101))), "/eventId"),
        (wish_with("userId", Value::Null), "/userId"),
        (wish_with("userId", json!("")), "/userId"),
        (wish_with("userId", json!("  ")), "/userId"),
        (wish_with("userId", json!(42)), "/userId"),
        (wish_with("userId", json!("u\u{0}")), "/userId"),
        (wish_with("userId", json!("u\nx")), "/userId"),
        (wish_with("seatIds", Value::Null), "/seatIds"),
        (wish_with("seatIds", json!([])), "/seatIds"),
        (wish_with("seatIds", json!("A15")), "/seatIds"),
        (wish_with("seatIds", json!({"0": "A15"})), "/seatIds"),
        (wish_with("seatIds", json!(seats)), "/seatIds"),
        (wish_with("seatIds", json!(["A15", "A15"])), "/seatIds/1"),
        (wish_with("seatIds", json!(["A15", "Z99"])), "/seatIds/1"),
        (wish_with("seatIds", json!(["A15", 16])), "/seatIds/1"),
        (wish_with("seatIds", json!(["A15", null])), "/seatIds/1"),
        (wish_with("seatIds", json!(["A15", "A\u{0}16"])), "/seatIds/1"),
        (wish_with("seatIds", json!(["' or 1=1 --", "A16"])), "/seatIds/0"),
        (wish_with("totalAmount", Value::Null), "/totalAmount"),
        (wish_with("totalAmount", json!("700")), "/totalAmount"),
        (wish_with("totalAmount", json!(-700)), "/totalAmount"),
        (wish_with("totalAmount", json!(699)), "/totalAmount"),
        (wish_with("totalAmount", json!(0)), "/totalAmount"),
        (wish_with("paymentMethod", json!("pm\u{7}")), "/paymentMethod"),
        (wish_with("paymentMethod", json!("p".repeat(256))), "/paymentMethod"),
        (wish_with("email", json!("nobody")), "/email"),
        (wish_with("email", json!("a@b, c@d")), "/email"),
        (wish_with("email", json!("a@b\r\nBcc: everybody@c")), "/email"),
        (wish_with("email", json!(true)), "/email"),
        (wish_with("language", json!("tlh")), "/language"),
        (wish_with("language", json!("DE")), "/language"),
        (wish_with("language", json!(["de"])), "/language"),
        (wish_with("coupon", json!("FREE")), "/coupon"),
        (wish_with("a/b~c", json!(1)), "/a~1b~0c"),
    ];
    for (wish, pointer) in cases {
        assert_eq!(pointers(&shop, &wish).await, [pointer], "{wish}");
    }
    assert!(shop.engine.starts().is_empty(), "nothing of this may reach the engine");
}

#[tokio::test]
async fn amounts_are_taken_exactly_or_not_at_all() {
    let shop = shop::open().await;
    let with_amount = |amount: &str| {
        raw(
            &shop,
            format!(r#"{{"userId": "u", "eventId": "tour", "seatIds": ["A15", "A16"], "totalAmount": {amount}}}"#),
        )
    };
    for amount in ["700", "700.0", "700.00"] {
        assert_eq!(Answer::of(with_amount(amount)).await.status, 202, "{amount}");
    }
    for amount in [
        "700.001",
        "700.000",
        "7e2",
        "70000E-2",
        "-700.00",
        "-0",
        "699.99",
        "700.01",
        "1e400",
        "99999999999999999999",
    ] {
        assert_eq!(
            Answer::of(with_amount(amount)).await.invalid(),
            ["/totalAmount"],
            "{amount}"
        );
    }
    for amount in ["07", "700.", ".5", "+700", "NaN", "0x2bc"] {
        Answer::of(with_amount(amount)).await.problem(400, "malformed");
    }
}

#[tokio::test]
async fn every_mistake_is_named_at_once() {
    let shop = shop::open().await;
    let wish =
        json!({"userId": "", "seatIds": ["A15", "A15", 3], "totalAmount": -1.005, "colour": "red", "email": "x"});
    let answer = Answer::of(shop.booking(&wish)).await;
    let mut problem = answer.problem(422, "invalid");
    problem["traceId"] = json!("[trace]");
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!(problem) });
}

#[tokio::test]
async fn a_field_given_twice_is_refused() {
    let shop = shop::open().await;
    let body = r#"{"userId": "u", "eventId": "tour", "seatIds": ["A15"], "totalAmount": 350, "totalAmount": 1}"#;
    assert_eq!(Answer::of(raw(&shop, body)).await.invalid(), ["/totalAmount"]);
}

#[tokio::test]
async fn bodies_that_can_not_be_read_are_refused_with_the_place() {
    let shop = shop::open().await;
    for (body, place) in [
        (b"".to_vec(), "is empty"),
        (b"{".to_vec(), "line 1 column 1"),
        (b"{\"userId\": \"u\",\n \"eventId\" \"tour\"}".to_vec(), "line 2 column"),
        (b"{\"userId\": \"\xc3\x28\"}".to_vec(), "offset 12"),
        (b"\xff\xfe{}".to_vec(), "offset 0"),
        (b"{\"userId\": \"a\0b\"}".to_vec(), "line 1 column"),
        (b"{} trailing".to_vec(), "line 1 column 4"),
    ] {
        let problem = Answer::of(raw(&shop, body.clone())).await.problem(400, "malformed");
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(
            message.contains(place),
            "{:?}: {message}",
            String::from_utf8_lossy(&body)
        );
    }
    for body in ["[]", "null", "\"text\"", "7"] {
        assert_eq!(Answer::of(raw(&shop, body)).await.invalid(), [""], "{body}");
    }
    let half_a_pair = r#"{"userId": "\ud800", "eventId": "tour", "seatIds": ["A15"], "totalAmount": 350}"#;
    assert_eq!(Answer::of(raw(&shop, half_a_pair)).await.invalid(), ["/userId"]);
    let escaped_nul = r#"{"userId": "u\u0000", "eventId": "tour", "seatIds": ["A15"], "totalAmount": 350}"#;
    let problem = Answer::of(raw(&shop, escaped_nul)).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["pointer"], "/userId");
    assert!(problem["errors"][0]["message"].as_str().unwrap().contains("U+0000"));
    let deep = format!("{{\"userId\": {}{}}}", "[".repeat(30_000), "]".repeat(30_000));
    assert!(Answer::of(raw(&shop, deep)).await.status.is_client_error());
}

#[tokio::test]
async fn an_oversized_body_is_refused_however_it_comes() {
    let shop = shop::open().await;
    let ten_megabytes = "x".repeat(10 * 1024 * 1024);
    Answer::of(raw(&shop, ten_megabytes.clone()))
        .await
        .problem(413, "too-large");
    // Without a length in advance.
    let chunks = ten_megabytes
        .into_bytes()
        .chunks(100_000)
        .map(|it| Ok::<_, std::io::Error>(it.to_vec()))
        .collect::<Vec<_>>();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    Answer::of(raw(&shop, stream)).await.problem(413, "too-large");
    let just_over = " ".repeat(64 * 1024 + 1);
    Answer::of(raw(&shop, just_over)).await.problem(413, "too-large");
    let padded = format!("{}{}", wish(), " ".repeat(60 * 1024));
    assert_eq!(Answer::of(raw(&shop, padded)).await.status, 202);
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let shop = shop::open().await;
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "",
    ] {
        let request = shop
            .request(Method::POST, "/bookings")
            .header("content-type", media_type)
            .body(wish().to_string());
        Answer::of(request).await.problem(415, "unsupported-media-type");
    }
    let undeclared = shop.request(Method::POST, "/bookings").body(wish().to_string());
    Answer::of(undeclared).await.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn ids_in_paths_are_only_ever_ids() {
    let shop = shop::open().await;
    for id in [
        "nowhere",
        "'",
        "%22",
        "a%2Fb",
        "..%2F..",
        "%00",
        "a%00b",
        "%ff%fe",
        "%0a",
        "1%20or%201=1",
        "';drop%20table%20x;--",
        "draft",
        &"x".repeat(5_000),
    ] {
        for path in [
            format!("/events/{id}"),
            format!("/events/{id}/seats"),
            format!("/bookings/{id}"),
        ] {
            shop.get(&path).await.problem(404, "not-found");
        }
        let cancel = shop.request(Method::POST, &format!("/bookings/{id}/cancel"));
        Answer::of(cancel).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn queries_that_do_not_fit_are_refused() {
    let shop = shop::open().await;
    for path in [
        "/events?limit=0",
        "/events?limit=201",
        "/events?limit=ten",
        "/events?after=%00",
        "/events?page=2",
        "/events/tour/seats?status=free",
        "/events/tour/seats?colour=red",
        "/events/tour/seats?status=sold&status=held",
    ] {
        shop.get(path).await.problem(400, "malformed");
    }
}

#[tokio::test]
async fn idempotency_keys_must_be_plain() {
    let shop = shop::open().await;
    for key in ["", " ", &"k".repeat(256)] {
        let request = shop.booking(&wish()).header("idempotency-key", key);
        Answer::of(request).await.problem(400, "malformed");
    }
    let binary = reqwest::header::HeaderValue::from_bytes(b"k\xff").unwrap();
    Answer::of(shop.booking(&wish()).header("idempotency-key", binary))
        .await
        .problem(400, "malformed");
    let twice = shop
        .booking(&wish())
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    Answer::of(twice).await.problem(400, "malformed");
}

//! The payment provider is away: seats are reserved all the same, bookings wait, and go on when it is back.
#![allow(clippy::unwrap_used)]

mod running;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use analytics::store::{Store, Time};
use chrono::{TimeDelta, Utc};
use localpg::LocalPostgres;
use running::Dev;
use serde_json::{Value, json};
use testkit::eventually;

/// How long anything may take that isn't waited for on purpose.
const LIMIT: Duration = Duration::from_secs(60);
const EVENT: &str = "taylor_swift_nyc_2024";

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn get(dev: &Dev, path: &str) -> Value {
    let request = dev.http.get(format!("{}{path}", dev.url("gateway")));
    request.send().await.unwrap().json().await.unwrap()
}

async fn book(dev: &Dev, seat: &str) -> (u16, Value) {
    let wish = json!({"userId": "user_1", "eventId": EVENT, "seatIds": [seat], "totalAmount": 400, "paymentMethod": "pm_card_visa"});
    let request = dev.http.post(format!("{}/bookings", dev.url("gateway"))).json(&wish);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_outage_degrades_payments_alone() {
    // Nobody serves it yet.
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let data = tempfile::tempdir().unwrap();
    let settings = [
        ("STRIPE_API_KEY", "sk_test_outage".to_owned()),
        ("STRIPE_BASE_URL", format!("http://127.0.0.1:{port}")),
        ("SAGALINE_PAYMENT_RETRY_INITIAL", "4s".to_owned()),
        ("SAGALINE_PAYMENT_RETRY_CAP", "4s".to_owned()),
    ];
    let dev = Dev::start(data.path(), &settings).await;
    let ready = get(&dev, "/health/ready").await;
    assert_eq!(
        (&ready["ready"], &ready["degraded"]),
        (&json!(true), &json!(true)),
        "{ready}"
    );
    assert_eq!(ready["dependencies"]["payments"]["state"], "down", "{ready}");

    let mut bookings = Vec::new();
    for seat in ["A15", "A16", "A17"] {
        let (status, booking) = book(&dev, seat).await;
        assert_eq!(status, 202, "{booking}");
        bookings.push(booking["bookingId"].as_str().unwrap().to_owned());
    }
    for id in &bookings {
        eventually("its seats are held", LIMIT, async || {
            let booking = get(&dev, &format!("/bookings/{id}")).await;
            assert_ne!(booking["status"], "cancelled", "{booking}");
            booking["holdExpiresAt"].is_string()
        })
        .await;
    }
    // They are nobody else's.
    eventually("the seat is refused", LIMIT, async || book(&dev, "A15").await.0 == 409).await;

    let provider = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args(["sandbox", "stripe", "--port", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _provider = Process(provider);
    for id in &bookings {
        eventually("the booking goes on", LIMIT, async || {
            get(&dev, &format!("/bookings/{id}")).await["status"] == "confirmed"
        })
        .await;
    }
    let ready = get(&dev, "/health/ready").await;
    assert_eq!(
        (&ready["degraded"], &ready["dependencies"]["payments"]["state"]),
        (&json!(false), &json!("up")),
        "{ready}"
    );
}

/// What the analytics have counted of a kind.
async fn counted(store: &Store, kind: &str) -> i64 {
    let now = Utc::now();
    let time = Time {
        from: now - TimeDelta::days(1),
        to: now + TimeDelta::minutes(1),
    };
    store.kinds(time, [kind]).await.map_or(-1, |[count]| count)
}

#[tokio::test(flavor = "multi_thread")]
async fn bookings_do_not_notice_that_the_analytics_are_away_and_none_is_missing_when_they_are_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = LocalPostgres::start(localpg::Options::new(folder.path()))
        .await
        .unwrap();
    let url = server.url("postgres");
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(data.path(), &[("ANALYTICS_URL", url.clone())]).await;
    let pool = sqlx::postgres::PgPoolOptions::new().acquire_timeout(Duration::from_secs(1));
    let store = Store::from(pool.connect_lazy(&url).unwrap());
    let confirmed = async |seats: std::ops::Range<usize>| {
        for number in seats {
            let (status, booking) = book(&dev, &format!("A{number}")).await;
            assert_eq!(status, 202, "{booking}");
            let path = format!("/bookings/{}", booking["bookingId"].as_str().unwrap());
            eventually("it is confirmed", LIMIT, async || {
                get(&dev, &path).await["status"] == "confirmed"
            })
            .await;
        }
    };
    // What was looked at is told too.
    get(&dev, &format!("/events/{EVENT}")).await;
    confirmed(20..22).await;
    eventually("they are counted", LIMIT, async || {
        counted(&store, "booking.confirmed").await == 2
    })
    .await;
    eventually("so is who looked", LIMIT, async || {
        counted(&store, "action.event_viewed").await == 1
    })
    .await;

    server.stop_immediate();
    confirmed(22..25).await;
    let ready = get(&dev, "/health/ready").await;
    assert_eq!(
        (&ready["ready"], &ready["degraded"]),
        (&json!(true), &json!(false)),
        "{ready}"
    );
    let report = dev
        .http
        .get(format!("{}/health/live", dev.url("gateway")))
        .send()
        .await
        .unwrap();
    assert_eq!(report.status(), 200);

    server.resume().unwrap();
    eventually("all are counted", LIMIT, async || {
        counted(&store, "booking.confirmed").await == 5
    })
    .await;
    confirmed(25..26).await;
    eventually("it goes on", LIMIT, async || {
        counted(&store, "booking.confirmed").await == 6
    })
    .await;
    assert_eq!(counted(&store, "booking.initiated").await, 6);
    eventually(
        "how the platform is was published",
        Duration::from_secs(120),
        async || counted(&store, "analytics.system-metrics").await >= 1,
    )
    .await;
}

//! What users do comes to the analytics, and no request waits for it.

use std::sync::Arc;
use std::time::Duration;

use analytics::actions::{self, Recorder};
use analytics::report;
use analytics::store::{Store, Time};
use chrono::{TimeDelta, Utc};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use transport::InProcessBroker;

use crate::shop::{self, LIMIT};

struct Watched {
    base: String,
    http: Client,
    store: Store,
    stop: CancellationToken,
    database: testkit::TestDatabase,
}

/// A gateway that takes down what users do by this recorder.
async fn serve(recorder: Recorder) -> Watched {
    let database = testkit::migrated_database().await;
    shop::seed(&database.pool).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let store = Store::from(database.pool.clone());
    let deps = gateway::Deps {
        pool: database.pool.clone(),
        engine: Arc::new(crate::engine::FakeEngine::default()),
        analytics: store.clone(),
        actions: recorder,
    };
    tokio::spawn(gateway::serve(shop::options(), deps, listener, stop.clone()));
    Watched {
        base,
        http: shop::http_client(),
        store,
        stop,
        database,
    }
}

impl Watched {
    async fn get(&self, path: &str, agent: &str) -> StatusCode {
        let request = self
            .http
            .get(format!("{}{path}", self.base))
            .header("user-agent", agent);
        request.send().await.unwrap().status()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_do_comes_to_the_analytics() {
    let (recorder, waiting) = Recorder::new();
    let shop = serve(recorder.clone()).await;
    let broker = InProcessBroker::start(2).unwrap();
    broker
        .create_topics(&analytics::fact::TOPICS.map(str::to_owned))
        .unwrap();
    let telling = tokio::spawn(actions::publish(waiting, broker.config("gateway"), shop.stop.clone()));
    let counting = tokio::spawn(analytics::consumer::run(
        shop.store.clone(),
        broker.config("test"),
        shop.stop.clone(),
    ));

    for agent in ["Firefox", "Chrome", "Safari"] {
        // Looked at twice within a minute, or so: it is one visitor.
        for _ in 0..2 {
            assert_eq!(shop.get("/events/tour", agent).await, 200);
        }
    }
    assert_eq!(shop.get("/events/tour/seats", "Firefox").await, 200);
    assert_eq!(shop.get("/events?text=tour", "Firefox").await, 200);
    // Neither the list, nor what isn't there, nor what nobody looks at is told of.
    assert_eq!(shop.get("/events", "Firefox").await, 200);
    assert_eq!(shop.get("/events/nowhere", "Firefox").await, 404);
    let ahead = shop
        .http
        .get(format!("{}/events/tour", shop.base))
        .header("sec-purpose", "prefetch")
        .header("user-agent", "Robot");
    assert_eq!(ahead.send().await.unwrap().status(), 200);
    let quote = shop
        .http
        .post(format!("{}/events/tour/quote", shop.base))
        .header("user-agent", "Firefox");
    let quoted = quote.json(&json!({"seatIds": ["A15"]})).send().await.unwrap();
    assert_eq!(quoted.status(), 200, "{}", quoted.text().await.unwrap());

    let now = Utc::now();
    let day = Time {
        from: now - TimeDelta::days(1),
        to: now + TimeDelta::days(1),
    };
    let whole = Time {
        from: now - TimeDelta::minutes(10),
        to: now + TimeDelta::minutes(10),
    };
    eventually("what they did is counted", LIMIT, async || {
        let [searched] = shop.store.kinds(whole, ["action.searched"]).await.unwrap();
        let [begun] = shop.store.kinds(whole, ["action.checkout_begun"]).await.unwrap();
        searched == 1 && begun == 1 && shop.store.active_users(whole).await.unwrap() == 3
    })
    .await;
    let stages = report::stages(&shop.store.funnel(day, Some(&["tour".to_owned()])).await.unwrap());
    let counts: Vec<i64> = stages.iter().map(|stage| stage.count).collect();
    assert_eq!(counts[..3], [3, 1, 1], "{stages:?}");
    assert_eq!(recorder.lost(), 0);

    // Of whom: no address, no name.
    let data: Vec<Value> = sqlx::query_scalar("select data from analytics.facts where kind = 'action.event_viewed'")
        .fetch_all(&shop.database.pool)
        .await
        .unwrap();
    assert!(data.len() >= 3, "{data:?}");
    for told in &data {
        assert_eq!(told["ip"], "127.0.0.0", "{told}");
        assert!(
            told["sessionId"].as_str().unwrap().starts_with("day_") && told["userId"].is_null(),
            "{told}"
        );
        assert!(told["userAgent"].is_string() && told["timestamp"].is_string(), "{told}");
    }
    shop.stop.cancel();
    telling.await.unwrap();
    counting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_waits_for_what_is_told_of_it() {
    // Nobody takes it out.
    let (recorder, _waiting) = Recorder::holding(1);
    let shop = serve(recorder.clone()).await;
    for n in 0..20 {
        let browser = format!("Browser {n}");
        let looked = tokio::time::timeout(Duration::from_secs(10), shop.get("/events/tour", &browser));
        assert_eq!(looked.await.expect("it is answered"), 200);
    }
    assert_eq!(
        recorder.lost(),
        19,
        "there was room for one, and the others are counted"
    );
    shop.stop.cancel();
}

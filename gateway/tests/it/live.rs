//! The live figures, over WebSockets.

use std::time::Duration;

use analytics::fact::Fact;
use analytics::store::Store;
use chrono::Utc;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::shop::{self, LIMIT, Shop};

type Listener = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn listen(shop: &Shop) -> Result<Listener, Error> {
    let url = shop.base.replace("http://", "ws://");
    connect_async(format!("{url}/ws/metrics"))
        .await
        .map(|(listener, _)| listener)
}

async fn next(listener: &mut Listener) -> Value {
    let message = tokio::time::timeout(LIMIT, listener.next()).await;
    let message = message.expect("it comes in time").unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_going_on_is_told_each_second() {
    let shop = shop::open().await;
    let now = Utc::now();
    let fact = |n: usize, kind: &str, event: &str| Fact {
        id: format!("{kind}/{n}"),
        at: now,
        kind: kind.to_owned(),
        event_id: Some(event.to_owned()),
        user_id: Some(format!("usr_{}", n % 3)),
        visitor: None,
        currency: None,
        cents: None,
        took: None,
        data: json!({}),
    };
    let mut facts: Vec<Fact> = (0..8)
        .map(|n| fact(n, "booking.initiated", if n < 6 { "tour" } else { "encore" }))
        .collect();
    facts.extend((0..2).map(|n| fact(n, "booking.confirmed", "tour")));
    let store = Store::from(shop.pool.clone());
    store.record(&facts, &mut Default::default()).await.unwrap();

    let mut listener = listen(&shop).await.unwrap();
    let first = next(&mut listener).await;
    assert_eq!(
        (&first["type"], &first["activeUsers"]),
        (&json!("metrics-update"), &json!(3)),
        "{first}"
    );
    assert_eq!(first["conversionRate"], 0.25);
    let popular = json!([{"eventId": "tour", "bookings": 6}, {"eventId": "encore", "bookings": 2}]);
    assert_eq!(first["popularEvents"], popular);
    assert!(
        first["bookingsPerMinute"].is_number() && first["systemLoad"].is_number(),
        "{first}"
    );
    let second = next(&mut listener).await;
    assert_ne!(first["at"], second["at"]);
}

#[tokio::test]
async fn many_listen_and_those_who_do_not_read_hold_nobody_up() {
    let shop = shop::open_with(gateway::Options {
        metrics_listeners_max: 300,
        ..shop::options()
    })
    .await;
    let all = futures::future::try_join_all((0..300).map(|_| listen(&shop)))
        .await
        .unwrap();
    // No more than there is room for.
    let refused = listen(&shop).await;
    assert!(
        matches!(&refused, Err(Error::Http(answer)) if answer.status() == 503),
        "{refused:?}"
    );
    let mut all = all.into_iter();
    let silent: Vec<Listener> = all.by_ref().take(100).collect();
    let told = all.map(|mut listener| async move {
        let first = next(&mut listener).await;
        (first, next(&mut listener).await)
    });
    let told = futures::future::join_all(told).await;
    assert_eq!(told.len(), 200);
    // All of them were told the same, at the same time.
    let times: std::collections::BTreeSet<String> = told.iter().map(|(first, _)| first["at"].to_string()).collect();
    assert!(times.len() <= 3, "{times:?}");
    // Who leaves makes room.
    drop(silent);
    testkit::eventually("there is room again", LIMIT, async || listen(&shop).await.is_ok()).await;
}

#[tokio::test]
async fn without_the_analytics_the_rest_is_told() {
    let shop = shop::open_without_database().await;
    let mut listener = listen(&shop).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(20), next(&mut listener))
        .await
        .unwrap();
    assert!(
        first["activeUsers"].is_null() && first["systemLoad"].is_number(),
        "{first}"
    );
}

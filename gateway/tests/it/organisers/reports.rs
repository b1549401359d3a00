//! How events sell, for those whose events they are.

use std::time::Duration;

use analytics::fact::Fact;
use analytics::store::Store;
use chrono::{DateTime, TimeDelta, Utc};

use super::*;

fn fact(n: usize, kind: &str, event: &str, at: DateTime<Utc>) -> Fact {
    Fact {
        id: format!("{kind}/{n}"),
        at,
        kind: kind.to_owned(),
        event_id: Some(event.to_owned()),
        user_id: None,
        visitor: None,
        currency: Some("usd".to_owned()),
        cents: Some(10_050),
        took: (kind == "booking.confirmed").then_some(Duration::from_millis(1_500)),
        data: json!({}),
    }
}

#[tokio::test]
async fn organisers_see_how_their_own_events_sell() {
    let shop = shop::open().await;
    let ada = organiser(&shop, "ada@example.com", "Ada's").await;
    let bob = organiser(&shop, "bob@example.com", "Bob's").await;
    let venue = ada.venue(HALL).await;
    let event = ada.draft(&venue, |_| ()).await;
    let (now, before) = (Utc::now(), Utc::now() - TimeDelta::hours(2));
    let told = [
        ("booking.initiated", before),
        ("booking.initiated", now),
        ("booking.initiated", now),
        ("booking.confirmed", now),
        ("booking.confirmed", now),
        ("payment.completed", now),
        ("payment.completed", now),
        ("payment.failed", before),
    ];
    let mut facts: Vec<Fact> = told
        .iter()
        .enumerate()
        .map(|(n, (kind, at))| fact(n, kind, &event, *at))
        .collect();
    facts.push(fact(99, "payment.completed", "another", now));
    let store = Store::from(shop.pool.clone());
    store.record(&facts, &mut Default::default()).await.unwrap();

    let path = format!("/analytics/events/{event}");
    let report = ada.get(&path).await.json();
    let total = &report["total"];
    assert_eq!([&total["initiated"], &total["confirmed"]], [3, 2], "{report}");
    assert_eq!([&total["paymentsCompleted"], &total["paymentsFailed"]], [2, 1]);
    assert_eq!(
        (&total["revenue"], &total["secondsToConfirm"]),
        (&json!(201.0), &json!(1.5))
    );
    assert_eq!(report["currency"], "usd");
    let points = report["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["initiated"]), (2, &json!(1)));
    let table = ada.get(&format!("{path}?format=csv&step=day")).await;
    assert_eq!(table.status, 200);
    assert!(table.text.starts_with("since,initiated,confirmed"), "{}", table.text);
    assert!(table.text.contains(",201.00,0.00,usd\r\n"), "{}", table.text);
    let all = ada.get("/analytics/events").await.json();
    assert_eq!(
        (&all["events"][0]["eventId"], &all["events"][0]["confirmed"]),
        (&json!(event), &json!(2))
    );

    // Nobody else's.
    bob.get(&path).await.problem(404, "not-found");
    assert_eq!(bob.get("/analytics/events").await.json(), json!({"events": []}));
    shop.get(&path).await.problem(401, "no-token");
    ada.get(&format!("{path}?step=week")).await.problem(400, "malformed");
    ada.get(&format!("{path}?step=minute&from=2020-01-01"))
        .await
        .problem(400, "malformed");
    ada.get(&format!("{path}?since=2020-01-01"))
        .await
        .problem(400, "malformed");
}

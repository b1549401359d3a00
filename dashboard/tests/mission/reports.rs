//! How sales go, and what is out of the ordinary: as pages, as JSON, as a table.

use std::time::Duration;

use analytics::fact::{Arrived, Fact, USER_ACTION};
use analytics::store::Store;
use chrono::{TimeDelta, Utc};
use dashboard::Role;
use operations::gather::Sample;
use operations::rules::Metric;
use operations::watch::{Plan, look};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::Program;
use crate::control::Control;
use crate::sagas::{HOSTILE, harmless};

fn fact(id: &str, topic: &str, data: &Value) -> Fact {
    let payload = data.to_string();
    let time = (Utc::now() - TimeDelta::seconds(1)).to_rfc3339();
    let arrived = Arrived {
        topic,
        id: Some(id),
        time: Some(&time),
        payload: payload.as_bytes(),
    };
    Fact::read(arrived, Utc::now()).unwrap()
}

async fn tell(control: &Control) {
    let mut facts = Vec::new();
    for n in 0..4 {
        let booking = json!({"bookingId": format!("b{n}"), "eventId": HOSTILE, "userId": format!("usr_{n}"), "totalCents": 7_050,
                             "amountCents": 7_050, "currency": "usd"});
        for topic in ["booking.initiated", "payment.requested"] {
            facts.push(fact(&format!("{n}/{topic}"), topic, &booking));
        }
        if n < 3 {
            for topic in [
                "payment.completed",
                "booking.confirmed",
                "notification.email",
                "notification.delivered",
            ] {
                facts.push(fact(&format!("{n}/{topic}"), topic, &booking));
            }
        }
    }
    for n in 0..8 {
        let seen =
            json!({"action": "event_viewed", "eventId": HOSTILE, "sessionId": format!("day_{n}"), "userId": null});
        facts.push(fact(&format!("seen/{n}"), USER_ACTION, &seen));
    }
    let system = json!({"at": "now", "queueLag": 17.0, "outboxSeconds": 0.4});
    facts.push(fact("system", "analytics.system-metrics", &system));
    let store = Store::from(control.database.pool.clone());
    store.record(&facts, &mut Default::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_how_all_events_sell() {
    let control = Control::start().await;
    tell(&control).await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    for path in [
        "/analytics",
        "/analytics?step=minute",
        "/analytics?from=2026-11-01T10:00&step=day",
    ] {
        let page = browser.page(path).await;
        harmless(&page);
        assert!(page.contains("75.0 %") && page.contains("211.50 USD"), "{page}");
        assert!(page.contains("<td>viewed</td><td class=\"number\">8</td>"), "{page}");
        assert!(page.contains("Queue lag <small>17 at most"), "{page}");
        assert!(page.len() < 100_000, "{path} has {} bytes", page.len());
    }
    let export = browser.get("/analytics/export?step=hour").await;
    assert_eq!(export.headers()["content-type"], "text/csv; charset=utf-8");
    let table = export.text().await.unwrap();
    assert!(table.contains(",21150 usd,"), "{table}");
    for wrong in [
        "/analytics?step=week",
        "/analytics?from=never",
        "/analytics?from=2027-01-02&to=2027-01-01",
    ] {
        assert_eq!(
            browser.get(wrong).await.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "{wrong}"
        );
    }
    let mut nobody = control.browser();
    for path in ["/analytics", "/analytics/export", "/alerts"] {
        assert_eq!(nobody.get(path).await.status(), StatusCode::SEE_OTHER, "{path}");
    }

    let olga = Program::new(&control, "olga", Role::Operator).await;
    let report = olga.get("/analytics?step=hour").await;
    let total = &report["total"];
    assert_eq!(
        (&total["initiated"], &total["confirmed"]),
        (&json!(4), &json!(3)),
        "{report}"
    );
    assert_eq!(
        (&total["conversionRate"], &total["paymentSuccess"]),
        (&json!(0.75), &json!(0.75))
    );
    assert_eq!(
        (&total["revenueCents"], &total["deliveryRate"]),
        (&json!({"usd": 21_150}), &json!(1.0))
    );
    assert_eq!(total["activeUsers"], 12, "four bookers, and eight who looked");
    let funnel: Vec<&Value> = report["funnel"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| &stage["count"])
        .collect();
    assert_eq!(funnel, [8, 0, 0, 4, 3, 3]);
    let popular = &report["popular"][0];
    assert_eq!(
        (&popular["eventId"], &popular["views"], &popular["initiated"]),
        (&json!(HOSTILE), &json!(8), &json!(4))
    );
    assert_eq!(report["system"][0]["metrics"]["queueLag"], 17.0);
    let table = olga.send(Method::GET, "/analytics?format=csv", None, None).await;
    assert!(table.text().await.unwrap().starts_with("since,activeUsers,"));
    let unknown = olga.send(Method::GET, "/analytics?since=1", None, None).await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_which_alerts_are_raised_and_what_is_wanted() {
    let control = Control::start().await;
    let mut browser = control.logged_in("vera", Role::Viewer).await;
    assert!(browser.page("/alerts").await.contains("Nobody watches"));
    let plan = Plan {
        rules: "HIGH_LOAD: active_users > 100 for 0s until < 80 for 0s scale worker-seats=10; \
                QUEUE_LAG: queue_lag > 10 for 1h until < 5 for 0s"
            .parse()
            .unwrap(),
        targets: "worker-seats=2..20".parse().unwrap(),
        cool_down: Duration::ZERO,
        every: Duration::from_secs(1),
        scales: true,
    };
    let pool = &control.database.pool;
    let high = Sample::from([(Metric::ActiveUsers, 120.0), (Metric::QueueLag, 50.0)]);
    look(&plan, pool, &high).await.unwrap();
    let page = browser.page("/alerts").await;
    harmless(&page);
    assert!(
        page.contains("‼ firing") && page.contains("◷ pending") && page.contains("‼ goes on"),
        "{page}"
    );
    assert!(
        page.contains("active_users &#62; 100 for 0s until &#60; 80 for 0s scale worker-seats=10"),
        "{page}"
    );
    assert!(
        page.contains("<td class=\"number\">10</td>") && page.contains("◷ not yet"),
        "{page}"
    );
    let olga = Program::new(&control, "olga", Role::Operator).await;
    let known = olga.get("/alerts").await;
    assert_eq!(known["alerts"][0]["value"], 120.0);
    assert_eq!(
        (&known["targets"][0]["replicas"], &known["targets"][0]["toldAt"]),
        (&json!(10), &Value::Null)
    );
    look(&plan, pool, &Sample::from([(Metric::ActiveUsers, 1.0)]))
        .await
        .unwrap();
    let known = olga.get("/alerts").await;
    assert!(known["alerts"][0]["endedAt"].is_string(), "{known}");
    assert_eq!(known["rules"][1]["value"], Value::Null, "it can't be told");
    control.stop().await;
}

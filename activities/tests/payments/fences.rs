//! Lost answers, late workers, forgotten keys: what is certain stays certain, and nobody pays twice.

use std::time::Duration;

use futures::future::join_all;
use sandbox::{IntentStatus, Range, Switches};
use uuid::{NoContext, Timestamp, Uuid};

use crate::shop::{self, Shop, assert_unknown, booking, context, failure, input, output};

#[tokio::test]
async fn a_payment_whose_answer_was_lost_is_found() {
    let shop = Shop::with(Switches::default(), Duration::from_millis(1_500)).await;
    for card in ["pm_sandbox_lostAnswer", "pm_sandbox_timeout", "pm_sandbox_serverError"] {
        for settle in ["payments.lookup", "payments.cancel"] {
            let booking = booking();
            let (context, input) = (context(booking, 1), input(booking, card));
            assert_unknown(&shop.run("payments.charge", &context, input.clone()).await);
            let found = shop.run(settle, &context, input.clone()).await;
            assert_eq!(output(&found)["status"], "succeeded", "{card} {settle}");
            assert_eq!(
                shop.run("payments.charge", &context, input).await,
                found,
                "{card} {settle}"
            );
            assert_eq!(shop.captures_of(booking), 1);
        }
    }
}

#[tokio::test]
async fn what_never_reached_stripe_is_charged_under_the_same_key() {
    let shop = Shop::with(Switches::default(), Duration::from_millis(1_500)).await;
    let booking = booking();
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    assert_eq!(
        failure(&shop.run("payments.lookup", &context, input.clone()).await),
        ("not_charged", true)
    );

    // The creation is carried out, and its answer lost.
    shop.sandbox.change(|switches| switches.lost_answer_rate = 1.0);
    assert_unknown(&shop.run("payments.charge", &context, input.clone()).await);
    shop.sandbox.change(|switches| switches.lost_answer_rate = 0.0);
    assert_eq!(
        failure(&shop.run("payments.lookup", &context, input.clone()).await),
        ("not_charged", true)
    );
    output(&shop.run("payments.charge", &context, input).await);
    let intents = shop.intents_of(booking);
    assert_eq!((intents.len(), intents[0].status), (1, IntentStatus::Succeeded));
}

#[tokio::test]
async fn stripes_own_errors_end_in_a_new_key() {
    let shop = Shop::open().await;
    let booking = booking();
    let input = input(booking, "pm_card_visa");
    shop.sandbox.change(|switches| switches.error_rate = 1.0);
    let first = shop.run("payments.charge", &context(booking, 1), input.clone()).await;
    assert_eq!(failure(&first), ("provider_error", true));
    shop.sandbox.change(|switches| switches.error_rate = 0.0);
    output(&shop.run("payments.charge", &context(booking, 2), input.clone()).await);
    // A late twin of the first attempt.
    assert_eq!(
        failure(&shop.run("payments.charge", &context(booking, 1), input).await),
        ("provider_error", true)
    );
    assert_eq!(shop.captures_of(booking), 1);
}

#[tokio::test]
async fn an_absent_provider_is_a_definite_failure() {
    let shop = Shop::open().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let registry = shop::registry(&nowhere, Duration::from_secs(5), &shop.database);
    let booking = booking();
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    let outcome = shop::run(&registry, "payments.charge", &context, input.clone()).await;
    assert_eq!(failure(&outcome), ("provider_unavailable", true));
    // The fence needs no provider as long as nothing was confirmed.
    let outcome = shop::run(&registry, "payments.cancel", &context, input.clone()).await;
    assert_eq!(failure(&outcome), ("not_charged", false));
    // And holds when the provider is back.
    assert_eq!(
        failure(&shop.run("payments.charge", &context, input).await),
        ("intent_canceled", false)
    );
    assert_eq!(shop.captures_of(booking), 0);
}

#[tokio::test]
async fn a_fence_keeps_late_workers_out() {
    let shop = Shop::open().await;
    let booking = booking();
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    for _ in 0..2 {
        assert_eq!(
            failure(&shop.run("payments.cancel", &context, input.clone()).await),
            ("not_charged", false)
        );
        assert_eq!(
            failure(&shop.run("payments.charge", &context, input.clone()).await),
            ("intent_canceled", false)
        );
    }
    assert_eq!(shop.captures_of(booking), 0);
}

#[tokio::test]
async fn a_fence_overtakes_a_charge_that_is_under_way() {
    let shop = Shop::open().await;
    let bookings: Vec<Uuid> = (0..40).map(|_| booking()).collect();
    shop.sandbox.change(|switches| switches.latency_ms = Range(0, 20));
    let rounds = bookings.iter().map(|booking| async {
        let (context, input) = (context(*booking, 1), input(*booking, "pm_card_visa"));
        let charge = shop.run("payments.charge", &context, input.clone());
        let cancel = shop.run("payments.cancel", &context, input.clone());
        let (charged, canceled) = tokio::join!(charge, cancel);
        (*booking, charged, canceled)
    });
    for (booking, charged, canceled) in join_all(rounds).await {
        use workflows::protocol::Outcome::{Failed, Succeeded};
        let captures = shop.captures_of(booking);
        match (&charged, &canceled) {
            (_, Succeeded { .. }) => assert_eq!(captures, 1),
            (_, Failed { code, .. }) => assert_eq!((code.as_str(), captures), ("not_charged", 0), "{charged:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn charging_at_the_same_time_charges_once() {
    let shop = Shop::open().await;
    shop.sandbox.change(|switches| switches.latency_ms = Range(0, 20));
    let booking = booking();
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    let outcomes = join_all((0..8).map(|_| shop.run("payments.charge", &context, input.clone()))).await;
    for outcome in &outcomes {
        use workflows::protocol::Outcome::{Succeeded, Unknown};
        assert!(matches!(outcome, Succeeded { .. } | Unknown { .. }), "{outcome:?}");
    }
    output(&shop.run("payments.charge", &context, input).await);
    let intents = shop.intents_of(booking);
    assert_eq!((intents.len(), intents[0].captured), (1, shop::AMOUNT_CENTS));
}

#[tokio::test]
async fn past_a_keys_lifetime_the_payment_is_looked_up() {
    let shop = Shop::open().await;
    shop.sandbox.change(|switches| switches.idempotency_lifetime_s = 0);
    let two_days_ago = u64::try_from(chrono::Utc::now().timestamp()).unwrap() - 2 * 24 * 60 * 60;
    let booking = Uuid::new_v7(Timestamp::from_unix(NoContext, two_days_ago, 0));
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    let paid = shop.run("payments.charge", &context, input.clone()).await;
    for activity in ["payments.charge", "payments.lookup", "payments.cancel"] {
        assert_eq!(
            shop.run(activity, &context, input.clone()).await,
            paid,
            "{activity} by id"
        );
    }
    // Even where the row is gone, the intent is found by its metadata.
    for activity in ["payments.charge", "payments.lookup", "payments.cancel"] {
        sqlx::query("delete from ticketing.payments")
            .execute(&shop.database.pool)
            .await
            .unwrap();
        assert_eq!(
            shop.run(activity, &context, input.clone()).await,
            paid,
            "{activity} by metadata"
        );
    }
    assert_eq!(shop.intents_of(booking).len(), 1);
}

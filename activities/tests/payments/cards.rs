//! Every test card, and each activity run twice with one effect.

use std::time::Duration;

use workflows::protocol::Outcome;

use crate::shop::{self, AMOUNT_CENTS, Shop, booking, context, failure, input, output};

#[tokio::test]
async fn good_cards_pay_once_however_often_they_are_charged() {
    let shop = Shop::open().await;
    for card in sandbox::cards::SUCCEEDING {
        let booking = booking();
        let (context, input) = (context(booking, 1), input(booking, card));
        let first = shop.run("payments.charge", &context, input.clone()).await;
        assert_eq!(output(&first)["amountCents"], AMOUNT_CENTS, "{card}");
        assert_eq!(output(&first)["status"], "succeeded");
        for activity in ["payments.charge", "payments.lookup", "payments.cancel"] {
            assert_eq!(
                shop.run(activity, &context, input.clone()).await,
                first,
                "{card} {activity}"
            );
        }
        assert_eq!(shop.intents_of(booking).len(), 1, "{card}");
    }
    let ledger = shop.sandbox.ledger();
    assert_eq!(
        ledger.totals.captured,
        AMOUNT_CENTS * sandbox::cards::SUCCEEDING.len() as i64
    );
    assert!(ledger.totals.captured_twice.is_empty());
}

#[tokio::test]
async fn bad_cards_say_why_and_never_pay() {
    let shop = Shop::open().await;
    let cards = [
        ("pm_card_chargeDeclined", "card_declined", false),
        ("pm_card_visa_chargeDeclined", "card_declined", false),
        ("pm_card_chargeCustomerFail", "card_declined", false),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds", false),
        ("pm_card_chargeDeclinedLostCard", "fraudulent", false),
        ("pm_card_chargeDeclinedStolenCard", "fraudulent", false),
        ("pm_card_chargeDeclinedFraudulent", "fraudulent", false),
        ("pm_card_radarBlock", "fraudulent", false),
        ("pm_card_chargeDeclinedVelocityLimitExceeded", "card_declined", false),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", false),
        ("pm_card_chargeDeclinedIncorrectCvc", "invalid_payment_method", false),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", true),
        ("pm_sandbox_tryAgainLater", "processing_error", true),
        ("pm_sandbox_rateLimited", "rate_limited", true),
        ("pm_card_nobodyKnows", "invalid_payment_method", false),
    ];
    for (card, code, retryable) in cards {
        let booking = booking();
        let (context, input) = (context(booking, 1), input(booking, card));
        for _ in 0..2 {
            let outcome = shop.run("payments.charge", &context, input.clone()).await;
            assert_eq!(failure(&outcome), (code, retryable), "{card}: {outcome:?}");
        }
        let fenced = shop.run("payments.cancel", &context, input.clone()).await;
        assert_eq!(failure(&fenced), ("not_charged", false), "{card}");
        let refunded = shop.run("payments.refund", &context, input).await;
        assert_eq!(output(&refunded)["refundedCents"], 0, "{card}");
        assert_eq!(shop.captures_of(booking), 0, "{card}");
    }
}

#[tokio::test]
async fn a_flaky_card_pays_under_a_new_key() {
    let shop = Shop::open().await;
    let booking = booking();
    let input = input(booking, "pm_sandbox_flaky");
    let first = shop.run("payments.charge", &context(booking, 1), input.clone()).await;
    assert_eq!(failure(&first), ("processing_error", true));
    output(&shop.run("payments.charge", &context(booking, 2), input).await);
    assert_eq!(shop.captures_of(booking), 1);
}

#[tokio::test]
async fn authentication_is_waited_for_and_its_end_is_found() {
    let shop = Shop::open().await;
    let http = shop::http();
    let endings = [
        ("pm_card_authenticationRequired", "", None),
        (
            "pm_card_authenticationRequired",
            "?fail=true",
            Some("authentication_required"),
        ),
    ];
    for (card, query, code) in endings {
        let booking = booking();
        let (context, input) = (context(booking, 1), input(booking, card));
        let outcome = shop.run("payments.charge", &context, input.clone()).await;
        let Outcome::Pending { details, .. } = &outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(details["status"], "requires_action");
        // The secret is the buyer's, who gets it from the payment's row; it must not get into the saga.
        assert!(!details.to_string().contains("secret"), "{details}");
        assert!(shop.client_secret(booking).await.unwrap().contains("_secret_"));
        let again = shop.run("payments.lookup", &context, input.clone()).await;
        assert!(matches!(again, Outcome::Pending { .. }), "{again:?}");
        let id = details["paymentId"].as_str().unwrap();
        let url = format!("{}/_sandbox/payment_intents/{id}/complete{query}", shop.sandbox.url);
        assert!(http.post(url).send().await.unwrap().status().is_success());
        let end = shop.run("payments.lookup", &context, input.clone()).await;
        assert_eq!(shop.client_secret(booking).await, None);
        match code {
            None => assert_eq!(output(&end)["paymentId"], id),
            Some(code) => {
                assert_eq!(failure(&end), (code, false));
                // The buyer held the client secret, so the intent must be closed before failure is reported.
                assert_eq!(shop.intents_of(booking)[0].status, sandbox::IntentStatus::Canceled);
            }
        }
    }
}

#[tokio::test]
async fn the_bank_takes_its_time() {
    let switches = sandbox::Switches {
        processing_ms: 300,
        ..sandbox::Switches::default()
    };
    let shop = Shop::with(switches, Duration::from_secs(10)).await;
    for (card, code) in [
        ("pm_sandbox_processing", None),
        ("pm_sandbox_processingFails", Some("insufficient_funds")),
    ] {
        let booking = booking();
        let (context, input) = (context(booking, 1), input(booking, card));
        let outcome = shop.run("payments.charge", &context, input.clone()).await;
        assert!(matches!(outcome, Outcome::Pending { .. }), "{outcome:?}");
        testkit::eventually("the bank is done", Duration::from_secs(20), async || {
            !matches!(
                shop.run("payments.lookup", &context, input.clone()).await,
                Outcome::Pending { .. }
            )
        })
        .await;
        let end = shop.run("payments.lookup", &context, input.clone()).await;
        match code {
            None => drop(output(&end).clone()),
            Some(code) => assert_eq!(failure(&end).0, code),
        }
    }
}

#[tokio::test]
async fn bad_inputs_name_the_place() {
    let shop = Shop::open().await;
    let booking = booking();
    let with = |field: &str, value: serde_json::Value| {
        let mut input = input(booking, "pm_card_visa");
        input[field] = value;
        input
    };
    let bad = [
        ("/amountCents", with("amountCents", 0.into())),
        ("/amountCents", with("amountCents", (-5).into())),
        ("/amountCents", with("amountCents", 1.5.into())),
        ("/currency", with("currency", "USD".into())),
        ("/paymentMethod", with("paymentMethod", "".into())),
        ("/bookingId", with("bookingId", "x".into())),
    ];
    for (pointer, input) in bad {
        let outcome = shop.run("payments.charge", &context(booking, 1), input).await;
        let Outcome::Failed {
            code,
            details,
            retryable: false,
            ..
        } = &outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (code.as_str(), details["pointer"].as_str()),
            ("invalid_input", Some(pointer))
        );
    }
}

//! Money goes back once, whatever is known of it.

use std::time::Duration;

use futures::future::join_all;
use sandbox::Switches;
use serde_json::Value;

use crate::shop::{AMOUNT_CENTS, Shop, assert_unknown, booking, context, failure, input, output};

#[tokio::test]
async fn refunding_twice_refunds_once() {
    let shop = Shop::open().await;
    let booking = booking();
    let (context, mut input) = (context(booking, 1), input(booking, "pm_card_visa"));
    let paid = shop.run("payments.charge", &context, input.clone()).await;
    input["paymentId"] = output(&paid)["paymentId"].clone();
    input["reason"] = "CANCELLED".into();
    let first = shop.run("payments.refund", &context, input.clone()).await;
    assert_eq!(output(&first)["refundedCents"], AMOUNT_CENTS);
    assert_eq!(output(&first)["paymentId"], output(&paid)["paymentId"]);
    assert_eq!(shop.run("payments.refund", &context, input.clone()).await, first);
    // Even if the database has forgotten.
    sqlx::query("delete from ticketing.payments")
        .execute(&shop.database.pool)
        .await
        .unwrap();
    assert_eq!(shop.run("payments.refund", &context, input).await, first);
    let totals = shop.sandbox.ledger().totals;
    assert_eq!(
        (totals.captured, totals.refunded, totals.refunds),
        (AMOUNT_CENTS, AMOUNT_CENTS, 1)
    );
    let accounts = ["provider", "sales", "refunds"].map(|account| shop.balance(account));
    assert_eq!(join_all(accounts).await, [0, -AMOUNT_CENTS, AMOUNT_CENTS]);
}

#[tokio::test]
async fn refunding_at_the_same_time_refunds_once() {
    let shop = Shop::open().await;
    let booking = booking();
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    output(&shop.run("payments.charge", &context, input.clone()).await);
    join_all((0..6).map(|_| shop.run("payments.refund", &context, input.clone()))).await;
    output(&shop.run("payments.refund", &context, input).await);
    let totals = shop.sandbox.ledger().totals;
    assert_eq!((totals.refunded, totals.refunds), (AMOUNT_CENTS, 1));
}

#[tokio::test]
async fn what_is_in_doubt_is_refunded_if_it_was_paid() {
    let shop = Shop::with(Switches::default(), Duration::from_millis(1_500)).await;
    let booking = booking();
    let (context, mut input) = (context(booking, 1), input(booking, "pm_sandbox_lostAnswer"));
    input["paymentId"] = Value::Null;
    assert_unknown(&shop.run("payments.charge", &context, input.clone()).await);
    let refunded = shop.run("payments.refund", &context, input).await;
    assert_eq!(output(&refunded)["refundedCents"], AMOUNT_CENTS);
    assert_eq!(shop.intents_of(booking)[0].refunded, AMOUNT_CENTS);
}

#[tokio::test]
async fn what_was_never_begun_is_fenced() {
    let shop = Shop::open().await;
    let booking = booking();
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    let refunded = shop.run("payments.refund", &context, input.clone()).await;
    assert_eq!(output(&refunded)["refundedCents"], 0);
    assert_eq!(
        failure(&shop.run("payments.charge", &context, input).await),
        ("intent_canceled", false)
    );
}

#[tokio::test]
async fn a_refund_gets_through_a_bad_day() {
    let shop = Shop::with(Switches::default(), Duration::from_millis(1_500)).await;
    let booking = booking();
    let (context, input) = (context(booking, 1), input(booking, "pm_card_visa"));
    output(&shop.run("payments.charge", &context, input.clone()).await);
    for fault in ["error", "lost", "limit"] {
        shop.sandbox.change(|switches| match fault {
            "error" => switches.error_rate = 1.0,
            "lost" => switches.lost_answer_rate = 1.0,
            _ => switches.rate_limit_rate = 1.0,
        });
        let outcome = shop.run("payments.refund", &context, input.clone()).await;
        assert!(
            !matches!(outcome, workflows::protocol::Outcome::Succeeded { .. }),
            "{fault}: {outcome:?}"
        );
        shop.sandbox.change(|switches| *switches = Switches::default());
    }
    assert_eq!(
        output(&shop.run("payments.refund", &context, input).await)["refundedCents"],
        AMOUNT_CENTS
    );
    assert_eq!(shop.sandbox.ledger().totals.refunded, AMOUNT_CENTS);
}

#[tokio::test]
async fn another_bookings_payment_is_not_refunded() {
    let shop = Shop::open().await;
    let (mine, theirs) = (booking(), booking());
    let paid = shop
        .run("payments.charge", &context(theirs, 1), input(theirs, "pm_card_visa"))
        .await;
    let mut input = input(mine, "pm_card_visa");
    input["paymentId"] = output(&paid)["paymentId"].clone();
    assert_eq!(
        failure(&shop.run("payments.refund", &context(mine, 1), input).await),
        ("invalid_input", false)
    );
    assert_eq!(shop.sandbox.ledger().totals.refunded, 0);
}

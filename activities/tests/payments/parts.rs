//! Payments that go back by parts.

use std::time::Duration;

use futures::future::join_all;
use sandbox::Switches;
use serde_json::{Value, json};
use uuid::Uuid;
use workflows::protocol::Outcome;

use crate::shop::{AMOUNT_CENTS, Shop, booking, context, failure, input, output};

impl Shop {
    async fn paid(&self) -> Uuid {
        let booking = booking();
        output(
            &self
                .run("payments.charge", &context(booking, 1), input(booking, "pm_card_visa"))
                .await,
        );
        booking
    }

    async fn give_back(&self, booking: Uuid, refund: Uuid, cents: i64) -> Outcome {
        let input = json!({
            "refundId": refund, "bookingId": booking, "eventId": "taylor_swift_nyc_2024", "amountCents": cents,
        });
        self.run_on("refunds", "payments.give_back", &context(refund, 1), input)
            .await
    }

    async fn give_back_at_last(&self, booking: Uuid, refund: Uuid, cents: i64) -> Value {
        for _ in 0..40 {
            if let Outcome::Succeeded { output } = self.give_back(booking, refund, cents).await {
                return output;
            }
        }
        panic!("it never got through")
    }
}

#[tokio::test]
async fn each_part_goes_back_once_and_not_more_than_was_paid() {
    let shop = Shop::open().await;
    let booking = shop.paid().await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let one = shop.give_back(booking, first, 20_000).await;
    assert_eq!(output(&one)["refundedCents"], 20_000);
    assert_eq!(shop.give_back(booking, first, 20_000).await, one);
    assert_eq!(
        failure(&shop.give_back(booking, first, 30_000).await),
        ("invalid_input", false)
    );
    assert_eq!(shop.sandbox.ledger().totals.refunded, 20_000);
    let too_much = shop.give_back(booking, Uuid::now_v7(), AMOUNT_CENTS).await;
    assert_eq!(failure(&too_much), ("refund_failed", false));
    output(&shop.give_back(booking, second, AMOUNT_CENTS - 20_000).await);
    assert_eq!(
        failure(&shop.give_back(booking, Uuid::now_v7(), 1).await),
        ("refund_failed", false)
    );
    assert_eq!(
        failure(&shop.give_back(Uuid::now_v7(), Uuid::now_v7(), 1).await),
        ("not_charged", false)
    );
    let totals = shop.sandbox.ledger().totals;
    assert_eq!((totals.refunded, totals.refunds), (AMOUNT_CENTS, 2));
    let accounts = ["provider", "sales", "refunds"].map(|account| shop.balance(account));
    assert_eq!(join_all(accounts).await, [0, -AMOUNT_CENTS, AMOUNT_CENTS]);
    let status: String = sqlx::query_scalar("select status from ticketing.payments where booking_id = $1")
        .bind(booking)
        .fetch_one(&shop.database.pool)
        .await
        .unwrap();
    assert_eq!(status, "refunded");
}

#[tokio::test]
async fn on_a_bad_day_every_part_goes_back_exactly_once() {
    let shop = Shop::with(Switches::default(), Duration::from_millis(400)).await;
    let mut bookings = Vec::new();
    for _ in 0..10 {
        bookings.push(shop.paid().await);
    }
    shop.sandbox.change(|switches| {
        switches.rate_limit_rate = 0.3;
        switches.error_rate = 0.2;
        switches.lost_answer_rate = 0.1;
        switches.timeout_rate = 0.05;
        // Stripe forgets a key in a day; here it is forgotten before the next attempt.
        switches.idempotency_lifetime_s = 0;
    });
    join_all(bookings.iter().map(async |booking| {
        for _ in 0..2 {
            shop.give_back_at_last(*booking, Uuid::now_v7(), AMOUNT_CENTS / 2).await;
        }
    }))
    .await;
    for booking in &bookings {
        let intents = shop.intents_of(*booking);
        assert_eq!((intents[0].refunded, intents[0].refunds.len()), (AMOUNT_CENTS, 2));
    }
    assert_eq!(shop.balance("provider").await, 0);
    assert_eq!(shop.balance("refunds").await, AMOUNT_CENTS * 10);
}

#[tokio::test]
async fn what_the_compensation_gave_back_is_not_given_back_again() {
    let shop = Shop::open().await;
    let booking = shop.paid().await;
    // The event is called off while the confirmation's answer is lost: the booking is compensated, and refunded.
    let payment = shop
        .run("payments.refund", &context(booking, 1), input(booking, "pm_card_visa"))
        .await;
    assert_eq!(output(&payment)["refundedCents"], AMOUNT_CENTS);
    let refund = Uuid::now_v7();
    let given = shop.give_back(booking, refund, AMOUNT_CENTS).await;
    assert_eq!(output(&given)["refundedCents"], AMOUNT_CENTS);
    assert_eq!(output(&given)["refundId"], output(&payment)["refundId"]);
    assert_eq!(shop.give_back(booking, refund, AMOUNT_CENTS).await, given);
    let more = shop.give_back(booking, Uuid::now_v7(), AMOUNT_CENTS + 1).await;
    assert_eq!(failure(&more), ("refund_failed", false));
    let totals = shop.sandbox.ledger().totals;
    assert_eq!((totals.refunded, totals.refunds), (AMOUNT_CENTS, 1));
    assert_eq!(shop.balance("provider").await, 0);
    assert_eq!(shop.balance("refunds").await, AMOUNT_CENTS);
}

#[tokio::test]
async fn compensation_and_refund_of_one_booking_at_once_give_back_what_was_paid() {
    let shop = Shop::open().await;
    for _ in 0..10 {
        let booking = shop.paid().await;
        let refund = Uuid::now_v7();
        let context = context(booking, 1);
        let compensate = async {
            for _ in 0..40 {
                let outcome = shop
                    .run("payments.refund", &context, input(booking, "pm_card_visa"))
                    .await;
                if let Outcome::Succeeded { .. } = outcome {
                    return;
                }
            }
            panic!("the compensation never got through")
        };
        futures::join!(compensate, shop.give_back_at_last(booking, refund, AMOUNT_CENTS));
        let intents = shop.intents_of(booking);
        assert_eq!((intents[0].refunded, intents[0].refunds.len()), (AMOUNT_CENTS, 1));
    }
    assert_eq!(shop.balance("provider").await, 0);
    assert_eq!(shop.balance("refunds").await, AMOUNT_CENTS * 10);
}

//! Disputes, and refunds that fail days later.

use serde_json::{Value, json};
use uuid::Uuid;
use workflows::protocol::Outcome;

use crate::shop::{AMOUNT_CENTS, Shop, booking, context, failure, input, output};

/// What Stripe takes for a dispute.
const FEE: i64 = 1_500;

impl Shop {
    async fn ask(&self, activity: &str, input: Value) -> Outcome {
        self.run_on("refunds", activity, &context(Uuid::now_v7(), 1), input)
            .await
    }

    /// Has something happen at the bank.
    async fn at_the_bank(&self, path: &str) -> Value {
        let answer = crate::shop::http()
            .post(format!("{}/_sandbox{path}", self.sandbox.url))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// The dispute that a payment of a booking led to, as the provider's event tells of it.
    async fn disputed(&self) -> (Uuid, String) {
        let booking = booking();
        let paid = self
            .run(
                "payments.charge",
                &context(booking, 1),
                input(booking, "pm_card_createDispute"),
            )
            .await;
        output(&paid);
        let events = format!("{}/v1/events?type=charge.dispute.created&limit=1", self.sandbox.url);
        let events = crate::shop::http().get(events).bearer_auth("sk_test_sagaline");
        let events: Value = events.send().await.unwrap().json().await.unwrap();
        let id = events["data"][0]["data"]["object"]["id"].as_str().unwrap();
        (booking, id.to_owned())
    }
}

#[tokio::test]
async fn a_dispute_is_written_down_and_waits_for_somebody_to_answer() {
    let shop = Shop::open().await;
    let (booking, id) = shop.disputed().await;
    let wish = json!({ "disputeId": id });
    let noted = shop.ask("payments.note_dispute", wish.clone()).await;
    assert_eq!(output(&noted)["bookingId"], json!(booking));
    assert_eq!(output(&noted)["needsAnswer"], true);
    assert_eq!(output(&noted)["amountCents"], AMOUNT_CENTS);
    assert_eq!(output(&noted)["isNew"], true);
    // However often it is told.
    let again = shop.ask("payments.note_dispute", wish.clone()).await;
    assert_eq!(output(&again)["isNew"], false);
    assert_eq!(output(&again)["bookingId"], json!(booking));
    assert_eq!(
        failure(&shop.ask("payments.check_dispute", wish.clone()).await),
        ("disputed", false)
    );
    assert_eq!(shop.balance("disputes").await, AMOUNT_CENTS + FEE);
    assert_eq!(shop.balance("provider").await, -FEE);
    assert_eq!(shop.sandbox.ledger().totals.disputed, AMOUNT_CENTS + FEE);
    // What the bank has is not given back once more.
    let refund = json!({
        "refundId": Uuid::now_v7(), "bookingId": booking, "eventId": "taylor_swift_nyc_2024", "amountCents": AMOUNT_CENTS,
    });
    let Outcome::Failed { retryable: false, .. } = shop.ask("payments.give_back", refund).await else {
        panic!("a disputed payment was refunded")
    };
}

#[tokio::test]
async fn what_a_won_dispute_brings_back_is_in_the_ledger_whatever_comes_first() {
    let shop = Shop::open().await;
    for (is_won, is_seen_before, lost) in [(true, true, 0), (true, false, 0), (false, true, AMOUNT_CENTS + FEE)] {
        let before = shop.balance("disputes").await;
        let (_, id) = shop.disputed().await;
        let wish = json!({ "disputeId": id });
        if is_seen_before {
            output(&shop.ask("payments.note_dispute", wish.clone()).await);
        }
        shop.at_the_bank(&format!("/disputes/{id}/decide?won={is_won}")).await;
        for _ in 0..2 {
            let noted = shop.ask("payments.note_dispute", wish.clone()).await;
            assert_eq!(output(&noted)["needsAnswer"], false);
        }
        // Retried once it is decided, what waited for an answer ends.
        output(&shop.ask("payments.check_dispute", wish).await);
        assert_eq!(shop.balance("disputes").await - before, lost);
    }
    assert_eq!(
        shop.balance("disputes").await + shop.balance("provider").await + shop.balance("sales").await,
        0
    );
}

#[tokio::test]
async fn what_is_nobodys_dispute_is_said() {
    let shop = Shop::open().await;
    let unknown = shop
        .ask("payments.note_dispute", json!({"disputeId": "du_nothing"}))
        .await;
    assert_eq!(failure(&unknown), ("unknown_dispute", false));
    // A payment that the database has lost: it is written down, without a booking and without entries.
    let (booking, id) = shop.disputed().await;
    sqlx::query("delete from ticketing.payments where booking_id = $1")
        .bind(booking)
        .execute(&shop.database.pool)
        .await
        .unwrap();
    let noted = shop.ask("payments.note_dispute", json!({ "disputeId": id })).await;
    assert_eq!(output(&noted)["bookingId"], Value::Null);
    assert_eq!(shop.balance("disputes").await, 0);
}

#[tokio::test]
async fn a_refund_that_fails_days_later_differs_until_it_is_mended() {
    let shop = Shop::open().await;
    let booking = booking();
    let charged = shop
        .run("payments.charge", &context(booking, 1), input(booking, "pm_card_visa"))
        .await;
    output(&charged);
    let refund = json!({
        "refundId": Uuid::now_v7(), "bookingId": booking, "eventId": "taylor_swift_nyc_2024", "amountCents": AMOUNT_CENTS,
    });
    let given = shop.ask("payments.give_back", refund).await;
    let reference = json!({"reference": output(&given)["refundId"]});
    output(&shop.ask("payments.check_difference", reference.clone()).await);
    let id = output(&given)["refundId"].as_str().unwrap().to_owned();
    assert_eq!(
        shop.at_the_bank(&format!("/refunds/{id}/fail")).await["status"],
        "failed"
    );
    assert_eq!(shop.sandbox.ledger().totals.refunded, 0);
    let differs = shop.ask("payments.check_difference", reference).await;
    assert_eq!(failure(&differs), ("difference", false));
}

//! Our ledger against Stripe's lists.

use serde_json::{Value, json};
use uuid::Uuid;
use workflows::protocol::Outcome;

use crate::shop::{AMOUNT_CENTS, Shop, booking, context, failure, input, output};

/// Compares all that there is, however many tasks it takes.
async fn compare(shop: &Shop, run: Uuid) -> Value {
    for _ in 0..20 {
        let input = json!({"reconciliationId": run, "fromHours": 2, "untilHours": 0});
        match shop
            .run_on("refunds", "payments.reconcile", &context(run, 1), input)
            .await
        {
            Outcome::Succeeded { output } => return output,
            Outcome::Pending { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("it does not end")
}

async fn check(shop: &Shop, reference: &str) -> Outcome {
    let input = json!({"reference": reference});
    let run = Uuid::now_v7();
    shop.run_on("refunds", "payments.check_difference", &context(run, 1), input)
        .await
}

async fn open(shop: &Shop) -> Vec<(String, Option<i64>, Option<i64>)> {
    sqlx::query_as(
        "select reference, ours_cents, theirs_cents from ticketing.payment_differences where status <> 'settled' order by 1",
    )
    .fetch_all(&shop.database.pool)
    .await
    .unwrap()
}

/// Takes a payment's entries out of the ledger, which nothing but a defect could; gives them back.
async fn rewrite(shop: &Shop, intent: &str) -> Vec<(String, Uuid, i64)> {
    let mut connection = shop.database.pool.acquire().await.unwrap();
    let disable = "alter table ticketing.ledger_entries disable trigger ledger_entries_stay";
    sqlx::raw_sql(disable).execute(&mut *connection).await.unwrap();
    let gone = "delete from ticketing.ledger_entries where reference = $1 returning account, booking_id, amount_cents";
    let gone = sqlx::query_as(gone)
        .bind(intent)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let enable = "alter table ticketing.ledger_entries enable trigger ledger_entries_stay";
    sqlx::raw_sql(enable).execute(&mut *connection).await.unwrap();
    gone
}

/// What an operator would write.
async fn put_back(shop: &Shop, intent: &str, entries: &[(String, Uuid, i64)]) {
    let accounts: Vec<&str> = entries.iter().map(|(account, ..)| account.as_str()).collect();
    let cents: Vec<i64> = entries.iter().map(|(.., cents)| *cents).collect();
    sqlx::query(
        "insert into ticketing.ledger_entries (transaction_id, account, booking_id, reference, currency, amount_cents)
         select 'payment/' || $1, account, $2, $1, 'usd', cents from unnest($3::text[], $4::int8[]) as e (account, cents)",
    )
    .bind(intent)
    .bind(entries[0].1)
    .bind(accounts)
    .bind(cents)
    .execute(&shop.database.pool)
    .await
    .unwrap();
}

/// A second passes by the provider's clock, which counts in seconds: what is younger is not compared.
async fn a_second_later() {
    let now = chrono::Utc::now().timestamp();
    testkit::eventually("a second passes", std::time::Duration::from_secs(5), async || {
        chrono::Utc::now().timestamp() > now
    })
    .await;
}

#[tokio::test]
async fn where_all_is_well_nothing_is_found() {
    let shop = Shop::open().await;
    let mut paid = Vec::new();
    for _ in 0..105 {
        let booking = booking();
        output(
            &shop
                .run("payments.charge", &context(booking, 1), input(booking, "pm_card_visa"))
                .await,
        );
        paid.push(booking);
    }
    for card in ["pm_card_chargeDeclined", "pm_card_authenticationRequired"] {
        let booking = booking();
        shop.run("payments.charge", &context(booking, 1), input(booking, card))
            .await;
    }
    let refund = json!({
        "refundId": Uuid::now_v7(), "bookingId": paid[0], "eventId": "e", "amountCents": AMOUNT_CENTS / 2,
    });
    output(
        &shop
            .run_on("refunds", "payments.give_back", &context(paid[0], 1), refund)
            .await,
    );
    output(
        &shop
            .run("payments.refund", &context(paid[1], 1), input(paid[1], "pm_card_visa"))
            .await,
    );
    a_second_later().await;
    let run = Uuid::now_v7();
    let found = compare(&shop, run).await;
    assert_eq!(found, json!({"payments": 107, "refunds": 2, "differences": 0}));
    assert_eq!(compare(&shop, run).await, found, "a repeated task");
    assert_eq!(open(&shop).await, []);
}

#[tokio::test]
async fn each_difference_is_found_and_settled_once_it_is_mended() {
    let shop = Shop::open().await;
    let provider = activities::payments::provider::Provider::new(&activities::payments::PaymentsConfig::new(
        "sk_test_sagaline",
        &shop.sandbox.url,
    ))
    .unwrap();
    // Somebody refunds in Stripe's own pages, of which we know nothing.
    let by_hand = booking();
    let paid = shop
        .run("payments.charge", &context(by_hand, 1), input(by_hand, "pm_card_visa"))
        .await;
    let intent = output(&paid)["paymentId"].as_str().unwrap().to_owned();
    let wish = serde_json::from_value(input(by_hand, "pm_card_visa")).unwrap();
    let refund = provider.refund(&intent, &wish, "by-hand").await.unwrap();
    // A payment that we have forgotten.
    let forgotten = booking();
    let paid = shop
        .run(
            "payments.charge",
            &context(forgotten, 1),
            input(forgotten, "pm_card_visa"),
        )
        .await;
    let forgotten = output(&paid)["paymentId"].as_str().unwrap().to_owned();
    let keep = rewrite(&shop, &forgotten).await;
    // One that Stripe has never heard of.
    sqlx::query(
        "insert into ticketing.ledger_entries (transaction_id, account, booking_id, reference, currency, amount_cents)
         select 'payment/pi_made_up', account, gen_random_uuid(), 'pi_made_up', 'usd', cents
         from (values ('provider', 500), ('sales', -500)) as e (account, cents)",
    )
    .execute(&shop.database.pool)
    .await
    .unwrap();
    a_second_later().await;
    let found = compare(&shop, Uuid::now_v7()).await;
    let mut expected = vec![
        (forgotten.clone(), None, Some(AMOUNT_CENTS)),
        (refund.id.as_str().to_owned(), None, Some(AMOUNT_CENTS)),
        ("pi_made_up".to_owned(), Some(500), None),
    ];
    expected.sort();
    let mut differences = open(&shop).await;
    differences.sort();
    assert_eq!(differences, expected);
    assert_eq!(found["differences"], 3);
    // It stays in front of an operator until it is mended.
    assert_eq!(failure(&check(&shop, &forgotten).await), ("difference", false));
    put_back(&shop, &forgotten, &keep).await;
    assert_eq!(output(&check(&shop, &forgotten).await)["cents"], AMOUNT_CENTS);
    assert!(open(&shop).await.iter().all(|(reference, ..)| *reference != forgotten));
}

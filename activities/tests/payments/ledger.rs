//! The ledger: as much as the provider says, balanced, and for good.

use futures::future::join_all;

use crate::shop::{AMOUNT_CENTS, Shop, booking, context, input, output};

#[tokio::test]
async fn many_payments_at_once_are_in_the_ledger_once_each() {
    let shop = Shop::open().await;
    let bookings: Vec<_> = (0..60).map(|_| booking()).collect();
    join_all(bookings.iter().map(async |booking| {
        let (context, input) = (context(*booking, 1), input(*booking, "pm_card_visa"));
        output(&shop.run("payments.charge", &context, input.clone()).await);
        // A repeated task, and somebody who looks.
        output(&shop.run("payments.charge", &context, input.clone()).await);
        output(&shop.run("payments.lookup", &context, input).await);
    }))
    .await;
    let captured = shop.sandbox.ledger().totals.captured;
    assert_eq!(captured, AMOUNT_CENTS * 60);
    assert_eq!(
        (shop.balance("provider").await, shop.balance("sales").await),
        (captured, -captured)
    );
}

#[tokio::test]
async fn what_is_not_paid_is_not_in_the_ledger() {
    let shop = Shop::open().await;
    for card in ["pm_card_chargeDeclined", "pm_card_authenticationRequired"] {
        let booking = booking();
        shop.run("payments.charge", &context(booking, 1), input(booking, card))
            .await;
    }
    assert_eq!(shop.balance("provider").await, 0);
}

/// Adds a transaction by hand: accounts and amounts.
async fn add(shop: &Shop, entries: &[(&str, &str, i64)]) -> Result<(), String> {
    let (accounts, rest): (Vec<&str>, Vec<(&str, i64)>) = entries
        .iter()
        .map(|(account, currency, cents)| (*account, (*currency, *cents)))
        .unzip();
    let (currencies, cents): (Vec<&str>, Vec<i64>) = rest.into_iter().unzip();
    sqlx::query(
        "insert into ticketing.ledger_entries (transaction_id, account, booking_id, reference, currency, amount_cents)
         select 'by/hand', account, gen_random_uuid(), 'x', currency, cents
         from unnest($1::text[], $2::text[], $3::int8[]) as e (account, currency, cents)",
    )
    .bind(accounts)
    .bind(currencies)
    .bind(cents)
    .execute(&shop.database.pool)
    .await
    .map(drop)
    .map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_does_not_balance_cannot_be_written_and_nothing_can_be_changed() {
    let shop = Shop::open().await;
    for (entries, why) in [
        (vec![("provider", "usd", 100)], "does not balance"),
        (
            vec![("provider", "usd", 100), ("sales", "usd", -99)],
            "does not balance",
        ),
        (
            vec![("provider", "usd", 100), ("sales", "eur", -100)],
            "does not balance",
        ),
        (
            vec![("provider", "usd", 100), ("pocket", "usd", -100)],
            "no account pocket",
        ),
    ] {
        let error = add(&shop, &entries).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    add(&shop, &[("provider", "usd", 100), ("sales", "usd", -100)])
        .await
        .unwrap();
    for change in [
        "update ticketing.ledger_entries set amount_cents = 2 * amount_cents",
        "delete from ticketing.ledger_entries",
        "truncate ticketing.ledger_entries",
    ] {
        let error = sqlx::raw_sql(change).execute(&shop.database.pool).await.unwrap_err();
        assert!(error.to_string().contains("stays"), "{error}");
    }
    assert_eq!(shop.balance("provider").await, 100);
}

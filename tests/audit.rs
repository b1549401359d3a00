//! `sagaline audit` on a database that is in order, and on one that isn't.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;
use sqlx::PgPool;
use testkit::migrated_database;
use uuid::Uuid;

fn audit(url: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args(["audit", "--output", "json", "--database-url", url])
        .output()
        .unwrap()
}

fn findings(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A booking that has its seat, with or without having paid for it.
async fn confirmed_booking(pool: &PgPool, seat: &str, paid: bool) {
    let booking = Uuid::now_v7();
    let seat_row =
        "insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents, status, booking_id)
                    values ('e', $1, 's', 'A', substr($1, 2)::int, 100, 'sold', $2)";
    sqlx::query(seat_row)
        .bind(seat)
        .bind(booking)
        .execute(pool)
        .await
        .unwrap();
    let hold =
        "insert into ticketing.holds (event_id, booking_id, seat_ids, status, reserved_at, expires_at, total_cents,
                                             confirmation_number, confirmed_at)
                values ('e', $2, array[$1], 'confirmed', now(), now() + interval '1 minute', 100, $1, now())";
    sqlx::query(hold).bind(seat).bind(booking).execute(pool).await.unwrap();
    if paid {
        let payment = "insert into ticketing.payments (key, booking_id, status, intent_id, amount_cents, currency)
                       values ($1, $2, 'succeeded', 'pi_' || $1, 100, 'usd')";
        sqlx::query(payment)
            .bind(seat)
            .bind(booking)
            .execute(pool)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn it_finds_what_is_wrong_and_nothing_else() {
    let database = migrated_database().await;
    let event = "insert into ticketing.events (id, name, venue, city, starts_at, time_zone, currency)
                 values ('e', 'E', 'v', 'c', now(), 'UTC', 'usd')";
    sqlx::query(event).execute(&database.pool).await.unwrap();
    confirmed_booking(&database.pool, "A1", true).await;
    let good = audit(&database.url);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(findings(&good).is_empty());

    confirmed_booking(&database.pool, "A2", false).await;
    let kept = "insert into ticketing.payments (key, booking_id, status, intent_id, amount_cents, currency, updated_at)
                values ('k', $1, 'succeeded', 'pi_k', 100, 'usd', now() - interval '1 hour')";
    sqlx::query(kept)
        .bind(Uuid::now_v7())
        .execute(&database.pool)
        .await
        .unwrap();
    let bad = audit(&database.url);
    assert_eq!(bad.status.code(), Some(1));
    let rules: Vec<Value> = findings(&bad)
        .into_iter()
        .map(|finding| finding["rule"].clone())
        .collect();
    assert_eq!(
        rules,
        [
            "a confirmed booking is paid in full, exactly once, but for what it has given back",
            "money that was taken and kept belongs to a confirmed booking"
        ]
    );
}

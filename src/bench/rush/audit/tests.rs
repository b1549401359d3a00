//! A sale that is in order, and each way in which one is not.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;
use testkit::migrated_database;

use super::super::buyer::Card;
use super::super::told::Booking;
use super::*;

const EVENT: &str = "e";

/// One confirmed booking of two seats, and one that was rejected.
struct Case {
    sale: Sale,
    told: Told,
    ledger: Ledger,
    confirmed: Uuid,
    rejected: Uuid,
}

impl Case {
    async fn new(pool: &PgPool) -> Case {
        let sale = Sale::open(pool, EVENT, 20).await.unwrap();
        let (confirmed, rejected) = (Uuid::now_v7(), Uuid::now_v7());
        saga(pool, confirmed, "completed").await;
        saga(pool, rejected, "rejected").await;
        run(
            pool,
            "update ticketing.seats set status = 'sold', booking_id = $1 where seat_id in ('S1', 'S2')",
            confirmed,
        )
        .await;
        run(
            pool,
            "insert into ticketing.holds (event_id, booking_id, seat_ids, status, reserved_at, expires_at, total_cents,
                                          confirmation_number, confirmed_at)
             values ('e', $1, '{S1,S2}', 'confirmed', now(), now() + interval '1 minute', 99000, 'C1', now())",
            confirmed,
        )
        .await;
        run(
            pool,
            "insert into ticketing.payments (key, booking_id, status, intent_id, amount_cents, currency)
             values ('k', $1, 'succeeded', 'pi_1', (select sum(price_cents) from ticketing.seats where status = 'sold'), 'usd')",
            confirmed,
        )
        .await;
        run(
            pool,
            "insert into ticketing.notifications (id, booking_id, channel, kind, language, recipient, data, status, sent_at)
             values (gen_random_uuid(), $1, 'email', 'booking_confirmed', 'en', 'b@example.com', '{}', 'sent', now())",
            confirmed,
        )
        .await;
        let price: i64 =
            sqlx::query_scalar("select sum(price_cents)::bigint from ticketing.seats where status = 'sold'")
                .fetch_one(pool)
                .await
                .unwrap();
        let mut case = Case {
            sale,
            told: Told::default(),
            ledger: Ledger::default(),
            confirmed,
            rejected,
        };
        case.tell(confirmed, End::Confirmed, vec![0, 1]);
        case.tell(rejected, End::Rejected, Vec::new());
        case.capture(confirmed, price);
        case
    }

    fn tell(&mut self, id: Uuid, end: End, seats: Vec<u32>) {
        self.told.bookings.push(Booking {
            id,
            end,
            card: Card::Good,
            is_first_payment: end == End::Confirmed,
            seats,
            took_us: 1,
            deferred_us: 0,
        });
    }

    /// Money taken for a booking, by the provider's account.
    fn capture(&mut self, booking: Uuid, cents: i64) {
        let payment = json!({
            "id": format!("pi_{booking}"), "metadata": { "bookingId": booking },
            "amount": cents, "captured": cents, "refunded": 0, "waited_ms": 0, "refunds": [],
        });
        self.ledger.add(serde_json::from_value(payment).unwrap());
    }

    async fn problems(&self, pool: &PgPool) -> Vec<String> {
        let audit = Audit::run(pool, &self.sale, &self.told, &self.ledger, 0).await.unwrap();
        audit.problems
    }

    async fn is_wrong(&self, pool: &PgPool, wanted: &str) {
        let problems = self.problems(pool).await;
        assert!(
            problems.iter().any(|problem| problem.starts_with(wanted)),
            "{wanted}: {problems:?}"
        );
    }
}

async fn saga(pool: &PgPool, id: Uuid, status: &str) {
    let query = "insert into saga.sagas (id, workflow, definition_id, status, business_key, state, seq, created_at, \
                                         updated_at, ended_at) \
                 values ($1, 'booking', 1, $2, $3, '', 1, now(), now(), case when $2 <> 'running' then now() end)";
    sqlx::query(query)
        .bind(id)
        .bind(status)
        .bind(EVENT)
        .execute(pool)
        .await
        .unwrap();
}

/// A statement with one booking in it.
async fn run(pool: &PgPool, statement: &'static str, booking: Uuid) {
    sqlx::query(statement).bind(booking).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_sale_in_order_has_no_problems() {
    let database = migrated_database().await;
    let case = Case::new(&database.pool).await;
    assert_eq!(case.problems(&database.pool).await, Vec::<String>::new());
    wait_for_rest(&database.pool, EVENT, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn seats_that_are_not_the_buyers_are_found() {
    let database = migrated_database().await;
    let pool = &database.pool;
    let case = Case::new(pool).await;
    run(
        pool,
        "update ticketing.seats set booking_id = $1 where seat_id = 'S2'",
        case.rejected,
    )
    .await;
    let audit = Audit::run(pool, &case.sale, &case.told, &case.ledger, 0).await.unwrap();
    assert_eq!(audit.oversold, 1);
    for wanted in [
        "promised seats that are not sold to their booking",
        "sold seats that no confirmed hold of their booking names",
        "seats of confirmed holds that are not sold to their booking",
        "sold seats of bookings that are not confirmed",
        "confirmed bookings not paid exactly once by our books",
    ] {
        case.is_wrong(pool, wanted).await;
    }
    run(
        pool,
        "update ticketing.seats set status = 'held', held_until = now(), booking_id = $1 where seat_id = 'S3'",
        case.rejected,
    )
    .await;
    case.is_wrong(pool, "seats still held").await;
    case.is_wrong(pool, "seats sold or free").await;
}

#[tokio::test]
async fn money_that_does_not_agree_is_found() {
    let database = migrated_database().await;
    let pool = &database.pool;
    let mut case = Case::new(pool).await;
    case.capture(case.rejected, 500);
    case.is_wrong(pool, "others whose money is kept by the provider's ledger")
        .await;
    case.is_wrong(pool, "cents kept").await;

    case.ledger.payments.remove(&case.rejected);
    case.capture(case.confirmed, 500);
    case.is_wrong(
        pool,
        "confirmed bookings not paid exactly once by the provider's ledger",
    )
    .await;

    case.ledger.payments.clear();
    case.is_wrong(
        pool,
        "confirmed bookings not paid exactly once by the provider's ledger",
    )
    .await;

    run(
        pool,
        "insert into ticketing.payments (key, booking_id, status, intent_id, amount_cents, currency)
         values ('l', $1, 'confirming', 'pi_2', 500, 'usd')",
        case.rejected,
    )
    .await;
    case.is_wrong(pool, "bookings with a payment that is not settled").await;
}

#[tokio::test]
async fn a_second_booking_of_a_double_submit_is_found() {
    let database = migrated_database().await;
    let pool = &database.pool;
    let case = Case::new(pool).await;
    saga(pool, Uuid::now_v7(), "rejected").await;
    case.is_wrong(pool, "bookings that nobody was told of").await;
}

#[tokio::test]
async fn words_that_did_not_come_true_and_open_sagas_are_found() {
    let database = migrated_database().await;
    let pool = &database.pool;
    let mut case = Case::new(pool).await;
    let open = Uuid::now_v7();
    saga(pool, open, "running").await;
    case.tell(open, End::Cancelled, Vec::new());
    case.is_wrong(pool, "bookings that ended otherwise than their buyer was told")
        .await;
    case.is_wrong(pool, "sagas that have not ended").await;
    run(
        pool,
        "delete from ticketing.notifications where booking_id = $1",
        case.confirmed,
    )
    .await;
    case.is_wrong(pool, "confirmations mailed").await;
}

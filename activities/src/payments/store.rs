//! All SQL about payments. One statement each, in autocommit; `updated_at` is for people.

use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use super::contract::PaymentInput;

/// Postgres did not do what it was asked.
pub(super) type StoreError = sqlx::Error;

/// A payment as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Payment {
    pub key: String,
    pub status: Status,
    pub intent_id: Option<String>,
    pub amount_cents: i64,
    pub confirm_spent: bool,
    pub failure: Option<Value>,
    pub refund_attempt: i32,
    pub refund_id: Option<String>,
    pub refunded_cents: i64,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Nothing was confirmed; an intent may have been made.
    New,
    /// A confirmation was sent, or is about to be.
    Confirming,
    /// The bank or the buyer is at it.
    Pending,
    /// Paid.
    Succeeded,
    /// Paid and given back.
    Refunded,
    /// Not paid, and never will be: it was declined or refused.
    Failed,
    /// Not paid, and never will be: somebody gave it up.
    Canceled,
}

const COLUMNS: &str =
    "key, status, intent_id, amount_cents, confirm_spent, failure, refund_attempt, refund_id, refunded_cents";

impl FromRow<'_, PgRow> for Payment {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let status = match row.try_get::<&str, _>("status")? {
            "new" => Status::New,
            "confirming" => Status::Confirming,
            "pending" => Status::Pending,
            "succeeded" => Status::Succeeded,
            "refunded" => Status::Refunded,
            "failed" => Status::Failed,
            "canceled" => Status::Canceled,
            other => return Err(sqlx::Error::Decode(format!("{other:?} is no payment status").into())),
        };
        Ok(Payment {
            key: row.try_get("key")?,
            status,
            intent_id: row.try_get("intent_id")?,
            amount_cents: row.try_get("amount_cents")?,
            confirm_spent: row.try_get("confirm_spent")?,
            failure: row.try_get("failure")?,
            refund_attempt: row.try_get("refund_attempt")?,
            refund_id: row.try_get("refund_id")?,
            refunded_cents: row.try_get("refunded_cents")?,
        })
    }
}

/// The payment of a key, begun now if it was not before.
pub(super) async fn begin(pool: &PgPool, key: &str, input: &PaymentInput) -> Result<Payment, StoreError> {
    let sql = format!(
        "insert into ticketing.payments (key, booking_id, amount_cents, currency) values ($1, $2, $3, $4)
         on conflict (key) do nothing returning {COLUMNS}"
    );
    let begun = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(input.booking_id)
        .bind(input.amount_cents)
        .bind(&input.currency)
        .fetch_optional(pool)
        .await?;
    match begun {
        Some(payment) => Ok(payment),
        None => read(pool, key).await?.ok_or(sqlx::Error::RowNotFound),
    }
}

/// The payment of a key.
pub(super) async fn read(pool: &PgPool, key: &str) -> Result<Option<Payment>, StoreError> {
    let sql = format!("select {COLUMNS} from ticketing.payments where key = $1");
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .fetch_optional(pool)
        .await
}

/// Claims the right to confirm. None: the payment has been closed, and must not be confirmed.
pub(super) async fn confirming(pool: &PgPool, key: &str, intent: &str) -> Result<Option<Payment>, StoreError> {
    let sql = format!(
        "update ticketing.payments
         set status = 'confirming', intent_id = coalesce(intent_id, $2), updated_at = now()
         where key = $1 and status in ('new', 'confirming') returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(intent)
        .fetch_optional(pool)
        .await
}

/// Gives up a payment that nobody can have confirmed, because of `failure`. False: somebody can.
pub(super) async fn abandon(pool: &PgPool, key: &str, failure: &Value) -> Result<bool, StoreError> {
    let sql = "update ticketing.payments set status = 'failed', failure = $2, updated_at = now()
               where key = $1 and status = 'new'";
    Ok(sqlx::query(sql)
        .bind(key)
        .bind(failure)
        .execute(pool)
        .await?
        .rows_affected()
        > 0)
}

/// Closes a payment that nobody can have confirmed, whether it was begun or not; the answer says whether that was so.
pub(super) async fn fence(pool: &PgPool, key: &str, input: &PaymentInput) -> Result<Payment, StoreError> {
    let sql = format!(
        "insert into ticketing.payments as payment (key, booking_id, amount_cents, currency, status)
         values ($1, $2, $3, $4, 'canceled')
         on conflict (key) do update
         set status = case payment.status when 'new' then 'canceled' else payment.status end, updated_at = now()
         returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(input.booking_id)
        .bind(input.amount_cents)
        .bind(&input.currency)
        .fetch_one(pool)
        .await
}

/// Takes in a payment that was found at Stripe.
pub(super) async fn adopt(pool: &PgPool, key: &str, input: &PaymentInput, intent: &str) -> Result<Payment, StoreError> {
    let sql = format!(
        "insert into ticketing.payments as payment (key, booking_id, amount_cents, currency, status, intent_id)
         values ($1, $2, $3, $4, 'confirming', $5)
         on conflict (key) do update
         set status = case payment.status when 'new' then 'confirming' else payment.status end,
             intent_id = coalesce(payment.intent_id, excluded.intent_id), updated_at = now()
         returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(input.booking_id)
        .bind(input.amount_cents)
        .bind(&input.currency)
        .bind(intent)
        .fetch_one(pool)
        .await
}

/// Stripe answered the confirmation with an error of its own, or it may still be under way.
pub(super) async fn confirm_spent(pool: &PgPool, key: &str) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set confirm_spent = true, updated_at = now() where key = $1";
    sqlx::query(sql).bind(key).execute(pool).await.map(drop)
}

/// The bank or the buyer is at it.
pub(super) async fn pending(pool: &PgPool, key: &str) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set status = 'pending', updated_at = now()
               where key = $1 and status = 'confirming'";
    sqlx::query(sql).bind(key).execute(pool).await.map(drop)
}

/// It is paid.
pub(super) async fn succeeded(pool: &PgPool, key: &str) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set status = 'succeeded', updated_at = now()
               where key = $1 and status in ('confirming', 'pending')";
    sqlx::query(sql).bind(key).execute(pool).await.map(drop)
}

/// It will never be paid, because of `failure`.
pub(super) async fn failed(pool: &PgPool, key: &str, failure: &Value) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set status = 'failed', failure = $2, updated_at = now()
               where key = $1 and status in ('new', 'confirming', 'pending')";
    sqlx::query(sql).bind(key).bind(failure).execute(pool).await.map(drop)
}

/// It will never be paid, because somebody gave it up.
pub(super) async fn canceled(pool: &PgPool, key: &str) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set status = 'canceled', updated_at = now()
               where key = $1 and status in ('new', 'confirming', 'pending')";
    sqlx::query(sql).bind(key).execute(pool).await.map(drop)
}

/// The next attempt at this refund gets a new idempotency key, unless somebody else has seen to that.
pub(super) async fn next_refund_attempt(pool: &PgPool, key: &str, spent: i32) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set refund_attempt = refund_attempt + 1, updated_at = now()
               where key = $1 and refund_attempt = $2";
    sqlx::query(sql).bind(key).bind(spent).execute(pool).await.map(drop)
}

/// The money has gone back.
pub(super) async fn refunded(pool: &PgPool, key: &str, refund: &str, cents: i64) -> Result<(), StoreError> {
    let sql = "update ticketing.payments
               set status = 'refunded', refund_id = $2, refunded_cents = least($3, amount_cents), updated_at = now()
               where key = $1 and status in ('confirming', 'pending', 'succeeded')";
    sqlx::query(sql)
        .bind(key)
        .bind(refund)
        .bind(cents)
        .execute(pool)
        .await
        .map(drop)
}

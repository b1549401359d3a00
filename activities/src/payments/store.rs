//! All SQL about payments. One statement each, in autocommit; `updated_at` is for people.

pub(super) mod disputes;
pub(super) mod reconcile;
pub(super) mod refunds;

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

/// The bank is at it; or the buyer is, who needs the secret.
pub(super) async fn pending(pool: &PgPool, key: &str, client_secret: Option<&str>) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set status = 'pending', client_secret = $2, updated_at = now()
               where key = $1 and (status = 'confirming' or status = 'pending' and client_secret is distinct from $2)";
    sqlx::query(sql)
        .bind(key)
        .bind(client_secret)
        .execute(pool)
        .await
        .map(drop)
}

/// They are paid: so the ledger says as well.
pub(super) async fn succeeded(pool: &PgPool, keys: &[String]) -> Result<(), StoreError> {
    let sql = "with paid as (
                   update ticketing.payments p
                   set status = 'succeeded', client_secret = null, updated_at = now()
                   from (select key from ticketing.payments
                         where key = any($1) and status in ('confirming', 'pending') order by key for update) l
                   where p.key = l.key
                   returning p.key, p.booking_id, p.intent_id, p.currency, p.amount_cents
               )
               insert into ticketing.ledger_entries (transaction_id, account, booking_id, reference, currency, amount_cents)
               select 'payment/' || p.intent_id, e.account, p.booking_id, p.intent_id, p.currency, e.sign * p.amount_cents
               from paid p cross join (values ('provider', 1), ('sales', -1)) as e (account, sign)
               on conflict do nothing";
    sqlx::query(sql).bind(keys).execute(pool).await.map(drop)
}

/// It will never be paid, because of `failure`.
pub(super) async fn failed(pool: &PgPool, key: &str, failure: &Value) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set status = 'failed', failure = $2, client_secret = null, updated_at = now()
               where key = $1 and status in ('new', 'confirming', 'pending')";
    sqlx::query(sql).bind(key).bind(failure).execute(pool).await.map(drop)
}

/// It will never be paid, because somebody gave it up.
pub(super) async fn canceled(pool: &PgPool, key: &str) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set status = 'canceled', client_secret = null, updated_at = now()
               where key = $1 and status in ('new', 'confirming', 'pending')";
    sqlx::query(sql).bind(key).execute(pool).await.map(drop)
}

/// The next attempt at this refund gets a new idempotency key, unless somebody else has seen to that.
pub(super) async fn next_refund_attempt(pool: &PgPool, key: &str, spent: i32) -> Result<(), StoreError> {
    let sql = "update ticketing.payments set refund_attempt = refund_attempt + 1, updated_at = now()
               where key = $1 and refund_attempt = $2";
    sqlx::query(sql).bind(key).bind(spent).execute(pool).await.map(drop)
}

/// All of the money has gone back, by these refunds (the provider's ids and what each gave back), the latest first. Nothing may
/// have been known of the payment itself: then the ledger is told of it now.
pub(super) async fn refunded(pool: &PgPool, key: &str, refunds: &[(String, i64)]) -> Result<(), StoreError> {
    let sql = "with given as (
                   select * from unnest($2::text[], $3::int8[]) with ordinality as r (refund_id, cents, place)
               ), back as (
                   update ticketing.payments
                   set status = 'refunded', client_secret = null, updated_at = now(),
                       refund_id = (select refund_id from given where place = 1),
                       refunded_cents = least((select sum(cents) from given), amount_cents)
                   where key = $1 and status in ('confirming', 'pending', 'succeeded')
                   returning key, booking_id, intent_id, currency, amount_cents
               )
               insert into ticketing.ledger_entries (transaction_id, account, booking_id, reference, currency, amount_cents)
               select 'payment/' || b.intent_id, e.account, b.booking_id, b.intent_id, b.currency, e.sign * b.amount_cents
               from back b cross join (values ('provider', 1), ('sales', -1)) as e (account, sign)
               union all
               select 'refund/' || g.refund_id, e.account, b.booking_id, g.refund_id, b.currency, e.sign * g.cents
               from back b cross join given g cross join (values ('refunds', 1), ('provider', -1)) as e (account, sign)
               on conflict do nothing";
    let (ids, cents): (Vec<&str>, Vec<i64>) = refunds.iter().map(|(id, cents)| (id.as_str(), *cents)).unzip();
    sqlx::query(sql)
        .bind(key)
        .bind(ids)
        .bind(cents)
        .execute(pool)
        .await
        .map(drop)
}

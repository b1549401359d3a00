//! Disputed payments.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::StoreError;

/// What the provider says of a dispute.
#[derive(Clone, Debug)]
pub(in crate::payments) struct Noted {
    pub dispute_id: String,
    pub intent_id: Option<String>,
    pub amount_cents: i64,
    pub currency: String,
    pub reason: String,
    pub status: String,
    pub respond_by: Option<DateTime<Utc>>,
    pub opened_at: DateTime<Utc>,
    /// In which currency money moved: the account's, which may not be the payment's.
    pub moved_currency: String,
    /// What the bank has taken, with the provider's fee.
    pub withdrawn_cents: i64,
    /// What of that has come back.
    pub reinstated_cents: i64,
}

/// What we know of a dispute.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(in crate::payments) struct Known {
    /// Whose payment it is about.
    pub booking_id: Option<Uuid>,
    /// It stood differently when it was last looked at, or nobody had.
    pub is_new: bool,
}

/// Writes down how a dispute stands, and in the ledger what moved, once.
pub(in crate::payments) async fn note(pool: &PgPool, noted: &Noted) -> Result<Known, StoreError> {
    let sql = "with before as (
                   select status from ticketing.disputes where dispute_id = $1
               ), payment as (
                   select booking_id from ticketing.payments where intent_id = $2 limit 1
               ), noted as (
                   insert into ticketing.disputes as d
                          (dispute_id, intent_id, booking_id, amount_cents, currency, reason, status, respond_by, opened_at)
                   values ($1, $2, (select booking_id from payment), $3, $4, $5, $6, $7, $8)
                   on conflict (dispute_id) do update
                   set booking_id = excluded.booking_id, amount_cents = excluded.amount_cents, reason = excluded.reason,
                       status = excluded.status, respond_by = excluded.respond_by, seen_at = now()
                   returning d.booking_id
               ), moved as (
                   insert into ticketing.ledger_entries (transaction_id, account, booking_id, reference, currency, amount_cents)
                   select 'dispute/' || $1 || '/' || m.what, e.account, n.booking_id, $1, $11, e.sign * m.cents
                   from noted n
                   cross join (values ('withdrawn', $9::int8), ('reinstated', -$10::int8)) as m (what, cents)
                   cross join (values ('disputes', 1), ('provider', -1)) as e (account, sign)
                   where n.booking_id is not null and m.cents <> 0
                   on conflict do nothing
                   returning 1
               )
               select booking_id, $6 is distinct from (select status from before) as is_new from noted";
    sqlx::query_as(sql)
        .bind(&noted.dispute_id)
        .bind(&noted.intent_id)
        .bind(noted.amount_cents)
        .bind(&noted.currency)
        .bind(&noted.reason)
        .bind(&noted.status)
        .bind(noted.respond_by)
        .bind(noted.opened_at)
        .bind(noted.withdrawn_cents)
        .bind(noted.reinstated_cents)
        .bind(&noted.moved_currency)
        .fetch_one(pool)
        .await
}

//! The outbox of what happened to accounts.

use std::time::Duration;

use serde_json::Value;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::store::outbox::Table;

/// Something that happened, to be told now.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Due {
    pub id: Uuid,
    pub kind: String,
    pub data: Value,
    /// Tries so far, this one included.
    pub attempts: i32,
    /// None: it is nobody's.
    pub account_id: Option<Uuid>,
    pub email: Option<String>,
}

/// Writes down what happened.
pub async fn insert(db: impl PgExecutor<'_>, kind: &str, account: Uuid, data: &Value) -> Result<(), sqlx::Error> {
    sqlx::query("insert into ticketing.account_events (id, kind, account_id, data) values ($1, $2, $3, $4)")
        .bind(Uuid::now_v7())
        .bind(kind)
        .bind(account)
        .bind(data)
        .execute(db)
        .await?;
    Ok(())
}

/// Writes down that somebody wants a new password. The same for an address that nobody has: it takes as long.
pub async fn insert_reset(pool: &PgPool, email_key: &str, data: &Value) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ticketing.account_events (id, kind, account_id, data)
         values ($1, 'password_reset', (select id from ticketing.accounts where email_key = $2), $3)",
    )
    .bind(Uuid::now_v7())
    .bind(email_key)
    .bind(data)
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes up to `limit` events that are due, for the length of a lease.
pub async fn claim(pool: &PgPool, limit: i64, lease: Duration) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "with taken as (
             update ticketing.account_events
             set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => $2)
             where id in (
                 select id from ticketing.account_events where next_attempt_at <= now()
                 order by next_attempt_at limit $1 for update skip locked)
             returning id, kind, data, attempts, account_id
         )
         select t.id, t.kind, t.data, t.attempts, t.account_id, a.email
         from taken t left join ticketing.accounts a on a.id = t.account_id
         order by t.id",
    )
    .bind(limit)
    .bind(lease.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// How they are settled.
pub const TABLE: Table = Table {
    delete: "delete from ticketing.account_events where id = any($1)",
    put_off: "update ticketing.account_events e set next_attempt_at = now() + make_interval(secs => d.seconds)
              from unnest($1::uuid[], $2::float8[]) as d (id, seconds)
              where e.id = d.id",
};

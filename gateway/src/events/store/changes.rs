//! The outbox of what happened to events.

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
    pub event_id: String,
    pub data: Value,
    /// Tries so far, this one included.
    pub attempts: i32,
}

/// Writes down what happened.
pub async fn insert(db: impl PgExecutor<'_>, kind: &str, event_id: &str, data: &[Value]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = data.iter().map(|_| Uuid::now_v7()).collect();
    sqlx::query(
        "insert into ticketing.event_changes (id, kind, event_id, data)
         select c.id, $1, $2, c.data from unnest($3::uuid[], $4::jsonb[]) as c (id, data)",
    )
    .bind(kind)
    .bind(event_id)
    .bind(ids)
    .bind(data)
    .execute(db)
    .await?;
    Ok(())
}

/// Takes up to `limit` changes that are due, for the length of a lease.
pub async fn claim(pool: &PgPool, limit: i64, lease: Duration) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "update ticketing.event_changes
         set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => $2)
         where id in (
             select id from ticketing.event_changes where next_attempt_at <= now()
             order by next_attempt_at limit $1 for update skip locked)
         returning id, kind, event_id, data, attempts",
    )
    .bind(limit)
    .bind(lease.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// How they are settled.
pub const TABLE: Table = Table {
    delete: "delete from ticketing.event_changes where id = any($1)",
    put_off: "update ticketing.event_changes c set next_attempt_at = now() + make_interval(secs => d.seconds)
              from unnest($1::uuid[], $2::float8[]) as d (id, seconds)
              where c.id = d.id",
};

//! What all outboxes' tables have in common.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

/// The statements of one table.
pub struct Table {
    /// Forgets rows: `$1` are their ids.
    pub delete: &'static str,
    /// Puts rows off: `$1` are their ids, `$2` by how many seconds each.
    pub put_off: &'static str,
}

/// Forgets those that were told.
pub async fn delete(pool: &PgPool, table: &Table, told: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(table.delete).bind(told).execute(pool).await.map(drop)
}

/// Puts off those that weren't, each by so long.
pub async fn put_off(pool: &PgPool, table: &Table, again: &[(Uuid, Duration)]) -> Result<(), sqlx::Error> {
    let (ids, seconds): (Vec<Uuid>, Vec<f64>) = again.iter().map(|(id, delay)| (*id, delay.as_secs_f64())).unzip();
    sqlx::query(table.put_off)
        .bind(ids)
        .bind(seconds)
        .execute(pool)
        .await
        .map(drop)
}

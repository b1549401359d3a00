//! Messages of committed batches that the broker may not have yet.

use sqlx::{PgPool, Row};
use uuid::Uuid;

/// An outbox row.
#[derive(Debug)]
pub struct StoredOutbox {
    /// Its id; version 7, so rows sort by time.
    pub id: Uuid,
    /// Its messages, encoded.
    pub payload: Vec<u8>,
}

/// Takes over rows whose owner is silent: from now on they are this instance's to publish.
pub async fn claim_orphans(pool: &PgPool, instance: Uuid, lease_s: f64, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update saga.outbox set instance = $1 where id in (
             select o.id from saga.outbox o
             where o.instance <> $1 and not exists (
                 select 1 from saga.instances i
                 where i.id = o.instance and i.seen_at > now() - make_interval(secs => $2))
             order by o.id limit $3 for update skip locked)",
    )
    .bind(instance)
    .bind(lease_s)
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// This instance's rows, oldest first, without those that are on their way.
pub async fn own_rows(
    pool: &PgPool,
    instance: Uuid,
    on_their_way: &[Uuid],
    limit: i64,
) -> Result<Vec<StoredOutbox>, sqlx::Error> {
    let rows =
        sqlx::query("select id, payload from saga.outbox where instance = $1 and id <> all($2) order by id limit $3")
            .bind(instance)
            .bind(on_their_way)
            .bind(limit)
            .fetch_all(pool)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(StoredOutbox {
                id: row.try_get(0)?,
                payload: row.try_get(1)?,
            })
        })
        .collect()
}

/// Deletes rows whose messages have been acknowledged.
pub async fn delete(pool: &PgPool, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from saga.outbox where id = any($1)")
        .bind(ids)
        .execute(pool)
        .await?;
    Ok(())
}

/// How many rows there are, and the age of the oldest in seconds.
pub async fn backlog(pool: &PgPool) -> Result<(i64, f64), sqlx::Error> {
    let row = sqlx::query(
        "select count(*), coalesce(extract(epoch from now() - min(created_at)), 0)::float8 from saga.outbox",
    )
    .fetch_one(pool)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

//! Signals that were seen, and those that wait for their saga.

use std::collections::HashMap;

use sqlx::{PgPool, Row};
use uuid::Uuid;
use workflows::event::Signal;
use workflows::ids::SagaId;

/// Of these signals, the ones that came before; true: delivered, false: parked.
pub async fn load_seen(
    pool: &PgPool,
    sagas: &[Uuid],
    ids: &[&str],
) -> Result<HashMap<(SagaId, String), bool>, sqlx::Error> {
    let rows = sqlx::query(
        "select s.saga_id, s.id, s.delivered from unnest($1::uuid[], $2::text[]) as u(saga_id, id)
         join saga.signals s on s.saga_id = u.saga_id and s.id = u.id",
    )
    .bind(sagas)
    .bind(ids)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| Ok(((SagaId(row.try_get(0)?), row.try_get(1)?), row.try_get(2)?)))
        .collect()
}

/// Signals that wait for one of these sagas, in the order in which they came.
pub async fn load_parked(pool: &PgPool, sagas: &[Uuid]) -> Result<Vec<(SagaId, Signal)>, sqlx::Error> {
    let rows = sqlx::query(
        "select saga_id, signal from saga.signals where saga_id = any($1) and not delivered order by received_at",
    )
    .bind(sagas)
    .fetch_all(pool)
    .await?;
    rows.iter().map(parked).collect()
}

/// Parked signals whose saga is there, in the order in which they came.
pub async fn load_deliverable(pool: &PgPool, limit: i64) -> Result<Vec<(SagaId, Signal)>, sqlx::Error> {
    let rows = sqlx::query(
        "select p.saga_id, p.signal from saga.signals p
         where not p.delivered and exists (select 1 from saga.sagas s where s.id = p.saga_id)
         order by p.received_at limit $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(parked).collect()
}

/// Drops signals whose saga never came.
pub async fn expire_parked(pool: &PgPool, keep_s: f64) -> Result<u64, sqlx::Error> {
    let done =
        sqlx::query("delete from saga.signals where not delivered and received_at < now() - make_interval(secs => $1)")
            .bind(keep_s)
            .execute(pool)
            .await?;
    Ok(done.rows_affected())
}

fn parked(row: &sqlx::postgres::PgRow) -> Result<(SagaId, Signal), sqlx::Error> {
    let text: &str = row.try_get(1)?;
    let signal = serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok((SagaId(row.try_get(0)?), signal))
}

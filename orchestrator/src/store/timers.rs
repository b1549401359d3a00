//! What is due: timers, unanswered attempts, live sagas.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};

/// Timers that were claimed.
#[derive(Debug)]
pub struct Claim {
    /// Their sagas.
    pub sagas: Vec<SagaId>,
    /// The database's time.
    pub now: Timestamp,
    /// How late the latest of them is, in seconds.
    pub lag_s: f64,
    /// Seconds until the next timer is due, at most as many as were asked for; if none was claimed.
    pub next_s: f64,
}

/// Claims due timers: for the time of the lease nobody else is given them. One statement also says when the next is due, within
/// `within_s`, for most looks find nothing else.
pub async fn claim_due(pool: &PgPool, lease_s: f64, limit: i64, within_s: f64) -> Result<Claim, sqlx::Error> {
    let rows = sqlx::query(
        "with due as (
             select saga_id, due_at from saga.timers where due_at <= clock_timestamp()
             order by due_at limit $2 for update skip locked),
         claimed as (
             update saga.timers t set due_at = clock_timestamp() + make_interval(secs => $1) from due
             where t.saga_id = due.saga_id
             returning t.saga_id, extract(epoch from clock_timestamp() - due.due_at)::float8 as lag_s)
         select claimed.saga_id, clock_timestamp(), claimed.lag_s,
                least($3, greatest(0, coalesce(
                    extract(epoch from (select due_at from saga.timers order by due_at limit 1) - clock_timestamp()), $3)))::float8
         from (select 1) always left join claimed on true",
    )
    .bind(lease_s)
    .bind(limit)
    .bind(within_s)
    .fetch_all(pool)
    .await?;
    let mut claim = Claim {
        sagas: Vec::with_capacity(rows.len()),
        now: Timestamp(0),
        lag_s: 0.0,
        next_s: within_s,
    };
    for row in &rows {
        claim.now = claim.now.max(row.try_get::<DateTime<Utc>, _>(1)?.into());
        claim.next_s = row.try_get(3)?;
        if let Some(saga) = row.try_get::<Option<Uuid>, _>(0)? {
            claim.sagas.push(SagaId(saga));
            claim.lag_s = claim.lag_s.max(row.try_get(2)?);
        }
    }
    Ok(claim)
}

/// Seconds until the next timer is due, at most `within_s`.
pub async fn seconds_to_next(pool: &PgPool, within_s: f64) -> Result<f64, sqlx::Error> {
    sqlx::query_scalar(
        "select least($1, greatest(0, coalesce(
             extract(epoch from (select due_at from saga.timers order by due_at limit 1) - clock_timestamp()), $1)))::float8",
    )
    .bind(within_s)
    .fetch_one(pool)
    .await
}

/// Live sagas with an attempt that should have been answered by now.
pub async fn overdue_attempts(pool: &PgPool, limit: i64) -> Result<Vec<SagaId>, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select id from saga.sagas where ended_at is null and attempt_due_at <= clock_timestamp() limit $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(SagaId).collect())
}

/// Live sagas in the order of their ids, after `after`.
pub async fn live_sagas(pool: &PgPool, after: SagaId, limit: i64) -> Result<Vec<SagaId>, sqlx::Error> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select id from saga.sagas where ended_at is null and id > $1 order by id limit $2")
            .bind(after.0)
            .bind(limit)
            .fetch_all(pool)
            .await?;
    Ok(ids.into_iter().map(SagaId).collect())
}

/// Removes the timers of sagas that are not there (any more).
pub async fn delete_timers(pool: &PgPool, sagas: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from saga.timers where saga_id = any($1) and not exists (select 1 from saga.sagas s where s.id = saga_id)",
    )
    .bind(sagas)
    .execute(pool)
    .await?;
    Ok(())
}

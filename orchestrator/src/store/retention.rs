//! What is dropped when it is old.

use sqlx::{PgPool, Row};

/// Weeks of journal partitions made ahead: a month without any orchestrator would have to pass before rows landed
/// in the default partition.
const WEEKS_AHEAD: i32 = 4;

/// Makes the journal's next partitions.
pub async fn create_journal_partitions(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("select saga.create_journal_partitions($1)")
        .bind(WEEKS_AHEAD)
        .execute(pool)
        .await?;
    Ok(())
}

/// Deletes up to `limit` sagas that ended before the retention time, with their signals; gives how many. They are found by id, which is by
/// age, so nothing needs an index on when they ended.
pub async fn delete_ended(pool: &PgPool, keep_s: f64, limit: i64) -> Result<u64, sqlx::Error> {
    let row = sqlx::query(
        "with old as (
             select id from saga.sagas
             where id < saga.first_id_at(now() - make_interval(secs => $1))
               and ended_at < now() - make_interval(secs => $1)
             order by id limit $2 for update skip locked
         ), gone as (
             delete from saga.sagas where id in (select id from old) returning id
         ), signals_gone as (
             delete from saga.signals where saga_id in (select id from gone)
         )
         select count(*) from gone",
    )
    .bind(keep_s)
    .bind(limit)
    .fetch_one(pool)
    .await?;
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}

/// Deletes start keys older than the retention time.
pub async fn delete_start_keys(pool: &PgPool, keep_s: f64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query("delete from saga.start_keys where created_at < now() - make_interval(secs => $1)")
        .bind(keep_s)
        .execute(pool)
        .await?;
    Ok(done.rows_affected())
}

/// Drops journal partitions that lie wholly before the retention time and none of whose sagas is left.
pub async fn drop_journal_partitions(pool: &PgPool, keep_s: f64) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("select saga.drop_journal_partitions(make_interval(secs => $1)) as dropped")
        .bind(keep_s)
        .fetch_one(pool)
        .await?;
    Ok(i64::from(row.try_get::<i32, _>(0)?).unsigned_abs())
}

//! What the overview and the inbox count. Each goes by an index, over a bounded number of rows.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::limits::{COUNT_MAX, INBOX_GROUPS_MAX, TIMER_LATE};

/// Live sagas of a workflow in a status.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Live {
    /// The workflow.
    pub workflow: String,
    /// The status.
    pub status: String,
    /// How many.
    pub sagas: i64,
}

/// Sagas that wait for an operator for the same reason.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Group {
    /// The workflow.
    pub workflow: String,
    /// Where they failed.
    pub step: String,
    /// How they failed.
    pub code: String,
    /// How many.
    pub sagas: i64,
    /// When the first of them stopped.
    pub first: DateTime<Utc>,
    /// When the last of them stopped.
    pub last: DateTime<Utc>,
}

/// What began in a minute, and what has become of it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Minute {
    /// How many minutes ago.
    pub ago: i32,
    /// How many began.
    pub begun: i64,
    /// How many of these have completed.
    pub completed: i64,
    /// How many of these ended otherwise.
    pub undone: i64,
}

/// What else may be wrong.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Health {
    /// Batches whose messages the broker has not acknowledged.
    pub outbox: i64,
    /// How old the oldest of them is.
    pub outbox_seconds: f64,
    /// Timers that are late, [`COUNT_MAX`] at most.
    pub late_timers: i64,
    /// Since when the longest stuck saga (by its begin) is there.
    pub oldest_stuck: Option<DateTime<Utc>>,
}

/// Live sagas by workflow and status: at most [`COUNT_MAX`] of them are counted.
pub async fn live(pool: &PgPool) -> Result<Vec<Live>, sqlx::Error> {
    sqlx::query_as(
        "select workflow, status, count(*) as sagas from \
           (select workflow, status from saga.sagas where ended_at is null order by status, id limit $1) as live \
         group by workflow, status order by workflow, status",
    )
    .bind(COUNT_MAX)
    .fetch_all(pool)
    .await
}

/// What waits for an operator, by reason, the largest group first: of the oldest [`COUNT_MAX`] sagas.
pub async fn stuck(pool: &PgPool) -> Result<Vec<Group>, sqlx::Error> {
    sqlx::query_as(
        "select workflow, coalesce(failure_step, '') as step, coalesce(failure_code, '') as code, count(*) as sagas, \
                min(updated_at) as first, max(updated_at) as last \
         from (select workflow, failure_step, failure_code, updated_at from saga.sagas \
               where status = 'failed' and ended_at is null order by id limit $1) as stuck \
         group by 1, 2, 3 order by sagas desc, 1, 2, 3 limit $2",
    )
    .bind(COUNT_MAX)
    .bind(INBOX_GROUPS_MAX)
    .fetch_all(pool)
    .await
}

/// The last ten minutes' begins, by what became of them; of the newest [`COUNT_MAX`] sagas.
pub async fn minutes(pool: &PgPool) -> Result<Vec<Minute>, sqlx::Error> {
    sqlx::query_as(
        "select floor(extract(epoch from now() - created_at) / 60)::int as ago, count(*) as begun, \
                count(*) filter (where status = 'completed') as completed, \
                count(*) filter (where ended_at is not null and status <> 'completed') as undone \
         from (select created_at, status, ended_at from saga.sagas \
               where id >= saga.first_id_at(now() - interval '10 minutes') order by id desc limit $1) as recent \
         where created_at > now() - interval '10 minutes' group by 1 order by 1",
    )
    .bind(COUNT_MAX)
    .fetch_all(pool)
    .await
}

/// The outbox, late timers, the oldest stuck saga.
pub async fn health(pool: &PgPool) -> Result<Health, sqlx::Error> {
    sqlx::query_as(
        "select o.outbox, o.outbox_seconds, t.late_timers, s.oldest_stuck from \
           (select count(*) as outbox, coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as outbox_seconds \
            from saga.outbox) as o, \
           (select count(*) as late_timers from \
              (select 1 from saga.timers where due_at < now() - $1 * interval '1 second' limit $2) as late) as t, \
           (select min(created_at) as oldest_stuck from \
              (select created_at from saga.sagas where status = 'failed' and ended_at is null order by id limit 1) as f) as s",
    )
    .bind(TIMER_LATE.as_secs_f64())
    .bind(COUNT_MAX)
    .fetch_one(pool)
    .await
}

//! Queues that are paused or limited, and the tasks that wait for them.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool, Row};
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};

use super::batch::{GoneTasks, HeldTasks};

/// What was said of a queue.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Queue {
    /// Its name.
    pub queue: String,
    /// Nothing is sent to it.
    pub paused: bool,
    /// Tasks a second that are sent to it at most, over all replicas.
    pub rate: Option<f64>,
    /// Who said so.
    pub changed_by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub changed_at: DateTime<Utc>,
}

/// Queues of which something was said; the others are open.
pub async fn all(pool: &PgPool) -> Result<Vec<Queue>, sqlx::Error> {
    sqlx::query_as("select queue, paused, rate, changed_by, reason, changed_at from saga.queues order by queue")
        .fetch_all(pool)
        .await
}

/// A queue as it matters to what is sent.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Standing {
    /// Its name.
    pub queue: String,
    /// Nothing is sent to it.
    pub paused: bool,
    /// Tasks a second that are sent to it at most.
    pub rate: Option<f64>,
    /// Tasks wait for it.
    pub held: bool,
}

/// Queues of which something was said, or for which tasks wait.
pub async fn standing(pool: &PgPool) -> Result<Vec<Standing>, sqlx::Error> {
    sqlx::query_as(
        "select coalesce(q.queue, h.queue) as queue, coalesce(q.paused, false) as paused, q.rate, h.queue is not null as held
         from saga.queues q full join saga.held_queues h on h.queue = q.queue",
    )
    .fetch_all(pool)
    .await
}

/// What was said of a queue, which stays so until the transaction ends.
pub async fn lock(executor: impl PgExecutor<'_>, queue: &str) -> Result<Option<Queue>, sqlx::Error> {
    sqlx::query_as(
        "select queue, paused, rate, changed_by, reason, changed_at from saga.queues where queue = $1 for update",
    )
    .bind(queue)
    .fetch_optional(executor)
    .await
}

/// Pauses, resumes or limits a queue. `paused`, none: as it was; `rate`, outer none: as it was.
pub async fn set(
    executor: impl PgExecutor<'_>,
    queue: &str,
    paused: Option<bool>,
    rate: Option<Option<f64>>,
    by: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into saga.queues as q (queue, paused, rate, changed_by, reason)
         values ($1, coalesce($2, false), $4, $5, $6)
         on conflict (queue) do update set paused = coalesce($2, q.paused), rate = case when $3 then $4 else q.rate end,
             changed_by = $5, reason = $6, changed_at = now()",
    )
    .bind(queue)
    .bind(paused)
    .bind(rate.is_some())
    .bind(rate.flatten())
    .bind(by)
    .bind(reason)
    .execute(executor)
    .await?;
    Ok(())
}

/// How many tasks wait for each queue for which some do; at most `limit` are counted of each.
pub async fn waiting(pool: &PgPool, limit: i64) -> Result<Vec<(String, i64, Option<DateTime<Utc>>)>, sqlx::Error> {
    sqlx::query_as(
        "select q.queue, held.tasks, held.since from saga.held_queues q cross join lateral (
             select count(*) as tasks, min(due_at) as since from (
                 select h.due_at from saga.held_tasks h where h.queue = q.queue order by h.due_at limit $1) first) held
         order by q.queue",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Notes tasks that wait.
pub async fn hold(executor: impl PgExecutor<'_>, at: Timestamp, held: &HeldTasks) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into saga.held_tasks (saga_id, step, queue, due_at)
         select h.saga_id, h.step, h.queue, $1::timestamptz from unnest($2::uuid[], $3::text[], $4::text[]) as h(saga_id, step, queue)
         on conflict (saga_id, step) do update set queue = excluded.queue, due_at = excluded.due_at",
    )
    .bind(at.to_datetime())
    .bind(&held.saga_id)
    .bind(&held.step)
    .bind(&held.queue)
    .execute(executor)
    .await?;
    Ok(())
}

/// Removes tasks that wait no more.
pub async fn let_go(executor: impl PgExecutor<'_>, gone: &GoneTasks) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from saga.held_tasks h using unnest($1::uuid[], $2::text[]) as g(saga_id, step)
         where h.saga_id = g.saga_id and h.step = g.step",
    )
    .bind(&gone.saga_id)
    .bind(&gone.step)
    .execute(executor)
    .await?;
    Ok(())
}

/// Takes the tasks of these queues that may go now, those first that wait longest: of each at most as many as the caller has room for, and
/// no more than its rate allows. For the time of the lease nobody else is given them. Replicas that ask at the same time
/// share the queues.
pub async fn let_through(
    pool: &PgPool,
    lease_s: f64,
    rooms: &[(String, i64)],
    burst_s: f64,
) -> Result<Vec<(SagaId, String, String)>, sqlx::Error> {
    let (queues, rooms): (Vec<&str>, Vec<i64>) = rooms.iter().map(|(queue, room)| (queue.as_str(), *room)).unzip();
    let rows = sqlx::query(
        "with asked as materialized (
             select a.queue, a.room from unnest($2::text[], $4::bigint[]) as a(queue, room)
         ), limited as materialized (
             select q.queue, least(a.room, greatest(0, floor(q.rate * extract(epoch from clock_timestamp() - greatest(q.paid_until,
                 clock_timestamp() - make_interval(secs => greatest($3, 1.5 / q.rate))))))::bigint) as room
             from saga.queues q join asked a on a.queue = q.queue
             where not q.paused and q.rate is not null for update of q skip locked
         ), open as materialized (
             select queue, room from limited
             union all
             select a.queue, a.room from asked a
             where not exists (select from saga.queues q where q.queue = a.queue and (q.paused or q.rate is not null))
         ), due as materialized (
             select first.saga_id, first.step, open.queue from open cross join lateral (
                 select h.saga_id, h.step from saga.held_tasks h
                 where h.queue = open.queue and h.due_at <= clock_timestamp()
                 order by h.due_at, h.saga_id, h.step limit open.room for update skip locked) first
         ), paid as (
             update saga.queues q set paid_until = greatest(q.paid_until,
                 clock_timestamp() - make_interval(secs => greatest($3, 1.5 / q.rate))) + make_interval(secs => taken.tasks / q.rate)
             from (select queue, count(*) as tasks from due group by queue) taken
             where q.queue = taken.queue and q.rate is not null
         )
         update saga.held_tasks h set due_at = clock_timestamp() + make_interval(secs => $1) from due
         where h.saga_id = due.saga_id and h.step = due.step
         returning h.saga_id, h.step, h.queue",
    )
    .bind(lease_s)
    .bind(&queues)
    .bind(burst_s)
    .bind(&rooms)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let saga: Uuid = row.try_get(0)?;
            Ok((SagaId(saga), row.try_get(1)?, row.try_get(2)?))
        })
        .collect()
}

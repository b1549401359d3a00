//! Workers that have announced themselves.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;
use workflows::protocol::{AnnouncedActivity, QueueStanding};

/// A worker's last sign of life.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Worker {
    /// The process.
    pub id: Uuid,
    /// What it calls itself.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// Where it runs.
    pub host: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was last heard of.
    pub seen_at: DateTime<Utc>,
    /// What it works on.
    pub queues: Json<Vec<QueueStanding>>,
}

/// Signs of life, by column.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct SeenWorkers {
    pub id: Vec<Uuid>,
    pub name: Vec<String>,
    pub version: Vec<String>,
    pub host: Vec<String>,
    pub started_at: Vec<DateTime<Utc>>,
    pub queues: Vec<String>,
}

/// Announced activities, by column.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct Announced {
    pub queue: Vec<String>,
    pub activity: Vec<String>,
    pub version: Vec<String>,
    pub input: Vec<String>,
    pub output: Vec<String>,
    /// As JSON: Postgres knows no arrays of arrays of different lengths.
    pub codes: Vec<String>,
}

/// Notes signs of life. An id may come once.
pub async fn seen(pool: &PgPool, workers: &SeenWorkers) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into saga.workers (id, name, version, host, started_at, queues)
         select w.id, w.name, w.version, w.host, w.started_at, w.queues::jsonb
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
           as w(id, name, version, host, started_at, queues)
         on conflict (id) do update set seen_at = now(), queues = excluded.queues",
    )
    .bind(&workers.id)
    .bind(&workers.name)
    .bind(&workers.version)
    .bind(&workers.host)
    .bind(&workers.started_at)
    .bind(&workers.queues)
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets workers that have said goodbye.
pub async fn left(pool: &PgPool, workers: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from saga.workers where id = any($1)")
        .bind(workers)
        .execute(pool)
        .await?;
    Ok(())
}

/// Forgets workers that have been silent for a day.
pub async fn forget_silent(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("delete from saga.workers where seen_at < now() - interval '1 day'")
        .execute(pool)
        .await?;
    Ok(())
}

/// Notes what activities take and give. A queue's activity may come once.
pub async fn announce(pool: &PgPool, announced: &Announced) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into saga.activities (queue, activity, version, input, output, codes)
         select a.queue, a.activity, a.version, a.input::jsonb, a.output::jsonb,
                array(select jsonb_array_elements_text(a.codes::jsonb))
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
           as a(queue, activity, version, input, output, codes)
         on conflict (queue, activity) do update set version = excluded.version, input = excluded.input,
             output = excluded.output, codes = excluded.codes, announced_at = now()",
    )
    .bind(&announced.queue)
    .bind(&announced.activity)
    .bind(&announced.version)
    .bind(&announced.input)
    .bind(&announced.output)
    .bind(&announced.codes)
    .execute(pool)
    .await?;
    Ok(())
}

/// Workers heard of within so many seconds, at most `limit`.
pub async fn alive(pool: &PgPool, within_s: f64, limit: i64) -> Result<Vec<Worker>, sqlx::Error> {
    sqlx::query_as(
        "select id, name, version, host, started_at, seen_at, queues from saga.workers
         where seen_at > now() - make_interval(secs => $1) order by name, id limit $2",
    )
    .bind(within_s)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// What the workers of each queue do at once, by those heard of within so many seconds.
pub async fn concurrency(pool: &PgPool, within_s: f64) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select q.queue, least(sum(q.concurrency), 1000000)::bigint
         from saga.workers w cross join lateral jsonb_to_recordset(w.queues) as q(queue text, concurrency bigint)
         where w.seen_at > now() - make_interval(secs => $1) and q.queue is not null group by q.queue",
    )
    .bind(within_s)
    .fetch_all(pool)
    .await
}

/// What an activity of a queue takes and gives, if a worker has said so.
pub async fn activity(pool: &PgPool, queue: &str, activity: &str) -> Result<Option<AnnouncedActivity>, sqlx::Error> {
    type Row = (
        String,
        String,
        Json<serde_json::Value>,
        Json<serde_json::Value>,
        Vec<String>,
    );
    let row: Option<Row> = sqlx::query_as(
        "select queue, activity, input, output, codes from saga.activities where queue = $1 and activity = $2",
    )
    .bind(queue)
    .bind(activity)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(queue, activity, input, output, codes)| AnnouncedActivity {
        queue,
        activity,
        input: input.0,
        output: output.0,
        codes,
    }))
}

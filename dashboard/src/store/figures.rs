//! What the overview and the inbox count. Each goes by an index, over a bounded number of rows.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::limits::{
    CHART_MINUTES, COUNT_MAX, SALES_HOURS, SAMPLE_AMONG, SAMPLE_ENTRIES, SAMPLE_SAGAS, STATE_LOOK_MAX, STEP_SAMPLE,
    TIMER_LATE,
};

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

/// What happened in a minute.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Minute {
    /// `started`, `completed`, `undone` or `failing`.
    pub kind: String,
    /// How many minutes ago.
    pub ago: i32,
    /// To how many sagas.
    pub sagas: i64,
}

/// Live sagas at a node of their definition.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AtNode {
    /// The definition.
    pub definition_id: i64,
    /// The node's index there.
    pub node: i32,
    /// How many.
    pub sagas: i64,
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

/// What happened in each of the last minutes, as the orchestrators have counted it.
pub async fn minutes(pool: &PgPool) -> Result<Vec<Minute>, sqlx::Error> {
    sqlx::query_as(
        "select kind, floor(extract(epoch from date_trunc('minute', now()) - minute) / 60)::int as ago, sum(sagas)::bigint as sagas \
         from saga.counts where minute > now() - ($1 + 1) * interval '1 minute' and minute <= now() group by 1, 2",
    )
    .bind(CHART_MINUTES as f64)
    .fetch_all(pool)
    .await
}

/// What a workflow's sagas were worth within a day.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Sales {
    /// The workflow.
    pub workflow: String,
    /// Begun.
    pub started: i64,
    /// Completed.
    pub completed: i64,
    /// Ended otherwise.
    pub undone: i64,
    /// For how many things the completed ones were, e.g. seats.
    pub items: i64,
    /// Their money.
    pub money_cents: i64,
}

/// Sales of the last so many hours, of workflows that money moves in: a row a minute, workflow and kind is read, however many sagas there were.
pub async fn sales(pool: &PgPool) -> Result<Vec<Sales>, sqlx::Error> {
    sqlx::query_as(
        "select workflow, \
                coalesce(sum(sagas) filter (where kind = 'started'), 0)::bigint as started, \
                coalesce(sum(sagas) filter (where kind = 'completed'), 0)::bigint as completed, \
                coalesce(sum(sagas) filter (where kind = 'undone'), 0)::bigint as undone, \
                coalesce(sum(items) filter (where kind = 'completed'), 0)::bigint as items, \
                coalesce(sum(money_cents) filter (where kind = 'completed'), 0)::bigint as money_cents \
         from saga.counts where minute > now() - $1 * interval '1 hour' \
         group by workflow having sum(money_cents) > 0 order by workflow",
    )
    .bind(SALES_HOURS as f64)
    .fetch_all(pool)
    .await
}

/// At which nodes live sagas are: of each status the newest [`STEP_SAMPLE`]. Large states are left out, and those
/// with an escaped U+0000, since Postgres refuses to look into them.
pub async fn at_nodes(pool: &PgPool) -> Result<Vec<AtNode>, sqlx::Error> {
    sqlx::query_as(
        "select sample.definition_id, node.index::int as node, count(*) as sagas \
         from unnest(array['running', 'waiting', 'compensating', 'failed', 'paused']) as wanted(status) \
         cross join lateral (select definition_id, state from saga.sagas \
             where status = wanted.status and ended_at is null order by id desc limit $1) as sample \
         cross join lateral json_object_keys(case when octet_length(sample.state) <= $2 \
             and position('\\u0000' in sample.state) = 0 then sample.state::json -> 'ac' end) as node(index) group by 1, 2",
    )
    .bind(STEP_SAMPLE)
    .bind(STATE_LOOK_MAX)
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

/// A journal entry of a saga in a sample.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Entry {
    /// The saga.
    pub saga_id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// The event, as JSON.
    pub event: String,
}

/// The journals of the newest [`SAMPLE_SAGAS`] sagas on a definition, of the newest [`SAMPLE_AMONG`] of any; the last saga's may
/// end early.
pub async fn sample(pool: &PgPool, definition: i64) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query_as(
        "select entry.saga_id, entry.at, entry.event from \
           (select newest.id from (select id, definition_id from saga.sagas order by id desc limit $2) as newest \
            where newest.definition_id = $1 order by newest.id desc limit $3) as sample \
         cross join lateral (select j.saga_id, j.seq, j.at, j.event from saga.journal j where j.saga_id = sample.id \
            order by j.seq limit $4) as entry \
         order by entry.saga_id, entry.seq limit $4",
    )
    .bind(definition)
    .bind(SAMPLE_AMONG)
    .bind(SAMPLE_SAGAS)
    .bind(SAMPLE_ENTRIES)
    .fetch_all(pool)
    .await
}

/// The last entry of these sagas' journals.
pub async fn entries(pool: &PgPool, sagas: &[Uuid]) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    sqlx::query_as("select id, seq from saga.sagas where id = any($1)")
        .bind(sagas)
        .fetch_all(pool)
        .await
}

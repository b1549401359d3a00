//! What the stuck inbox asks: sagas in trouble, by the partial index that holds nothing else, and what people said of groups.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use crate::limits::{INBOX_GROUPS_MAX, INBOX_LOOK_MAX, INBOX_SAGAS_MAX, STATE_LOOK_MAX, TIMER_LATE};

/// Sagas in the same trouble that stopped, or failed again, in the same hour.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Trouble {
    /// The workflow.
    pub workflow: String,
    /// The definition.
    pub definition_id: i64,
    /// Where they fail.
    pub step: String,
    /// How they fail.
    pub code: String,
    /// Their effects are being undone.
    pub undoing: bool,
    /// They wait for an operator: nothing more happens by itself.
    pub waits: bool,
    /// The outcome of an attempt is unknown, and asking about it fails.
    pub unknown: bool,
    /// How many hours ago.
    pub hours: i32,
    /// How many.
    pub sagas: i64,
    /// The states of so many were looked into.
    pub looked: i64,
    /// When the first of them changed last.
    pub first: DateTime<Utc>,
    /// When the last of them did.
    pub last: DateTime<Utc>,
    /// The sum of their inputs' `totalAmount`, where there is one.
    pub money: Option<String>,
}

/// Live sagas that nobody works on in time.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Overdue {
    /// The workflow.
    pub workflow: String,
    /// How many.
    pub sagas: i64,
    /// Since when the first of them should have gone on.
    pub since: DateTime<Utc>,
}

/// What somebody said of a group.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Said {
    /// The group.
    pub fingerprint: String,
    /// `open`, `acknowledged` or `resolved`.
    pub state: String,
    /// Who looks after it.
    pub owner: String,
    /// When it was said.
    pub changed_at: DateTime<Utc>,
}

/// The oldest [`INBOX_SAGAS_MAX`] sagas in trouble; the states of the first [`INBOX_LOOK_MAX`] of them are looked into, but for large
/// ones and those with an escaped U+0000, since Postgres refuses to. Which way a saga goes stands at the beginning of its state,
/// before any text of anybody's. A sum is one only of what looks like an amount of money.
pub async fn troubles(pool: &PgPool) -> Result<Vec<Trouble>, sqlx::Error> {
    sqlx::query_as(
        "select s.workflow, s.definition_id, s.step, s.code, s.undoing, s.status = 'failed' as waits, \
                exists (select from json_each(d.ac) as open(index, work) \
                        where open.work ->> 'r' in ('probe', 'fence')) as unknown, \
                s.hours, count(*) as sagas, count(s.state) as looked, min(s.updated_at) as first, max(s.updated_at) as last, \
                sum(case when length(d.input ->> 'totalAmount') <= 17 \
                         and d.input ->> 'totalAmount' ~ '^[0-9]+([.][0-9][0-9]?[0-9]?[0-9]?)?$' \
                    then (d.input ->> 'totalAmount')::numeric end)::text as money \
         from (select workflow, definition_id, status, updated_at, coalesce(failure_step, '') as step, \
                      coalesce(failure_code, '') as code, left(state, 30) like '%\"ph\":\"u\"%' as undoing, \
                      greatest(0, floor(extract(epoch from now() - updated_at) / 3600))::int as hours, \
                      case when row_number() over (order by id) <= $2 and octet_length(state) <= $3 \
                           and position('\\u0000' in state) = 0 then state::json end as state \
               from saga.sagas where ended_at is null and (failure_code is not null or status = 'failed') \
               order by id limit $1) as s \
         cross join lateral (select s.state -> 'ac' as ac, s.state -> 'in' as input) as d \
         group by 1, 2, 3, 4, 5, 6, 7, 8",
    )
    .bind(INBOX_SAGAS_MAX)
    .bind(INBOX_LOOK_MAX)
    .bind(STATE_LOOK_MAX)
    .fetch_all(pool)
    .await
}

/// Sagas whose attempt or timer is late: among [`INBOX_SAGAS_MAX`] live ones, and as many of the latest timers. Where nobody works
/// them off, some are enough to see it.
pub async fn overdue(pool: &PgPool) -> Result<Vec<Overdue>, sqlx::Error> {
    sqlx::query_as(
        "select late.workflow, count(distinct late.id) as sagas, min(late.due_at) as since from \
           (select live.workflow, live.id, live.attempt_due_at as due_at from \
              (select workflow, id, attempt_due_at from saga.sagas where ended_at is null order by status, id limit $2) as live \
            where live.attempt_due_at < now() - $1 * interval '1 second' \
            union all \
            select s.workflow, s.id, t.due_at from \
              (select saga_id, due_at from saga.timers where due_at < now() - $1 * interval '1 second' \
               order by due_at limit $2) as t join saga.sagas s on s.id = t.saga_id) as late \
         group by late.workflow order by since limit $3",
    )
    .bind(TIMER_LATE.as_secs_f64())
    .bind(INBOX_SAGAS_MAX)
    .bind(INBOX_GROUPS_MAX)
    .fetch_all(pool)
    .await
}

/// What was said of these groups.
pub async fn said(pool: &PgPool, fingerprints: &[String]) -> Result<Vec<Said>, sqlx::Error> {
    sqlx::query_as("select fingerprint, state, owner, changed_at from ops.stuck_groups where fingerprint = any($1)")
        .bind(fingerprints)
        .fetch_all(pool)
        .await
}

/// What was said of a group, which stays so until the transaction ends.
pub async fn lock(db: impl PgExecutor<'_>, fingerprint: &str) -> Result<Option<Said>, sqlx::Error> {
    sqlx::query_as(
        "select fingerprint, state, owner, changed_at from ops.stuck_groups where fingerprint = $1 for update",
    )
    .bind(fingerprint)
    .fetch_optional(db)
    .await
}

/// Says something of a group; an owner that isn't given stays.
pub async fn say(
    db: impl PgExecutor<'_>,
    fingerprint: &str,
    state: &str,
    owner: Option<&str>,
    operator: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into ops.stuck_groups as g (fingerprint, state, owner, changed_by) values ($1, $2, coalesce($3, ''), $4) \
         on conflict (fingerprint) do update set state = excluded.state, owner = coalesce($3, g.owner), \
             changed_by = excluded.changed_by, changed_at = now()",
    )
    .bind(fingerprint)
    .bind(state)
    .bind(owner)
    .bind(operator)
    .execute(db)
    .await?;
    Ok(())
}

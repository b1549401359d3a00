//! The store: Postgres, schema `analytics`. Nobody else names its tables.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgPool;

use crate::fact::Fact;

/// How many facts of a kind there were in a step of time, and what they come to.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Count {
    /// When the step begins.
    pub since: DateTime<Utc>,
    /// The facts' topic.
    pub kind: String,
    /// The shop's event; none: empty.
    pub event_id: String,
    /// The amounts' currency; none: empty.
    pub currency: String,
    /// How many.
    pub facts: i64,
    /// The amounts' sum.
    pub cents: i64,
    /// How long all of them took together.
    pub millis: i64,
}

/// How long a step of time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Step {
    /// As the store has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Minute => "minute",
            Step::Hour => "hour",
            Step::Day => "day",
        }
    }
}

/// Writes facts, each once, and counts those that were new: all by one statement, so counts are exact whatever comes twice or late. Says how
/// many were new. Rows are taken in one order, so that two writers don't wait for each other in a circle.
pub async fn record(pool: &PgPool, facts: &[Fact]) -> Result<i64, sqlx::Error> {
    let column = |of: fn(&Fact) -> Option<&String>| -> Vec<Option<&str>> {
        facts.iter().map(|fact| of(fact).map(String::as_str)).collect()
    };
    let millis = |fact: &Fact| fact.took.and_then(|took| i64::try_from(took.as_millis()).ok());
    sqlx::query_scalar(
        "with given as (
             select * from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text[])
                 as g (id, at, kind, event_id, user_id, currency, cents, millis, data)
         ), fresh as (
             insert into analytics.facts (id, at, kind, event_id, user_id, currency, cents, millis, data)
             select id, at, kind, coalesce(event_id, ''), user_id, coalesce(currency, ''), cents, millis, data::jsonb
             from given order by id, at
             on conflict (id, at) do nothing
             returning at, kind, event_id, user_id, currency, cents, millis
         ), counted as (
             insert into analytics.rollups as r (step, since, kind, event_id, currency, facts, cents, millis)
             select s.step, date_trunc(s.step, f.at, 'UTC'), f.kind, f.event_id, f.currency,
                    count(*), coalesce(sum(f.cents), 0)::bigint, coalesce(sum(f.millis), 0)::bigint
             from fresh f cross join unnest(array['minute', 'hour', 'day']) as s (step)
             group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
             on conflict (step, since, kind, event_id, currency) do update
             set facts = r.facts + excluded.facts, cents = r.cents + excluded.cents, millis = r.millis + excluded.millis
         ), active as (
             insert into analytics.active_users (minute, user_id)
             select distinct date_trunc('minute', at, 'UTC'), user_id from fresh where user_id is not null order by 1, 2
             on conflict do nothing
         )
         select count(*) from fresh",
    )
    .bind(column(|fact| Some(&fact.id)))
    .bind(facts.iter().map(|fact| fact.at).collect::<Vec<_>>())
    .bind(column(|fact| Some(&fact.kind)))
    .bind(column(|fact| fact.event_id.as_ref()))
    .bind(column(|fact| fact.user_id.as_ref()))
    .bind(column(|fact| fact.currency.as_ref()))
    .bind(facts.iter().map(|fact| fact.cents).collect::<Vec<_>>())
    .bind(facts.iter().map(millis).collect::<Vec<_>>())
    .bind(facts.iter().map(|fact| fact.data.to_string()).collect::<Vec<_>>())
    .fetch_one(pool)
    .await
}

/// Makes the partitions of days that are missing.
pub async fn make_days(pool: &PgPool, days: &BTreeSet<NaiveDate>) -> Result<(), sqlx::Error> {
    sqlx::query("select analytics.make_days($1)")
        .bind(days.iter().copied().collect::<Vec<_>>())
        .execute(pool)
        .await
        .map(drop)
}

/// Drops the facts of days before this one; says of how many days there were any.
pub async fn drop_days(pool: &PgPool, before: NaiveDate) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select analytics.drop_days($1)")
        .bind(before)
        .fetch_one(pool)
        .await
}

/// Clears roll-ups by minute away that are older than this, at most so many; says how many.
pub async fn clear_minutes(pool: &PgPool, before: DateTime<Utc>, limit: i64) -> Result<u64, sqlx::Error> {
    let cleared = sqlx::query(
        "delete from analytics.rollups r
         using (select step, since, kind, event_id, currency from analytics.rollups
                where step = 'minute' and since < $1 order by since limit $2) o
         where (r.step, r.since, r.kind, r.event_id, r.currency) = (o.step, o.since, o.kind, o.event_id, o.currency)",
    )
    .bind(before)
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(cleared.rows_affected())
}

/// Forgets who was active before this, at most so many; says how many.
pub async fn clear_active(pool: &PgPool, before: DateTime<Utc>, limit: i64) -> Result<u64, sqlx::Error> {
    let cleared = sqlx::query(
        "delete from analytics.active_users a
         using (select minute, user_id from analytics.active_users where minute < $1 order by minute limit $2) o
         where (a.minute, a.user_id) = (o.minute, o.user_id)",
    )
    .bind(before)
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(cleared.rows_affected())
}

/// What happened from `from` until before `to`, by step.
pub async fn counts(
    pool: &PgPool,
    step: Step,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(
        "select since, kind, event_id, currency, facts, cents, millis from analytics.rollups
         where step = $1 and since >= $2 and since < $3
         order by since, kind, event_id, currency",
    )
    .bind(step.as_str())
    .bind(from)
    .bind(to)
    .fetch_all(pool)
    .await
}

/// What happened with these events of the shop from `from` until before `to`, by step.
pub async fn event_counts(
    pool: &PgPool,
    step: Step,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    events: &[String],
) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(
        "select r.since, r.kind, r.event_id, r.currency, r.facts, r.cents, r.millis
         from unnest($4::text[]) as wanted (event_id)
         join analytics.rollups r on r.event_id = wanted.event_id and r.step = $1 and r.since >= $2 and r.since < $3
         order by r.since, r.kind, r.event_id, r.currency",
    )
    .bind(step.as_str())
    .bind(from)
    .bind(to)
    .bind(events)
    .fetch_all(pool)
    .await
}

/// The same of all that time together, from the counts by hour: a few rows for each event, however long it is.
pub async fn event_totals(
    pool: &PgPool,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    events: &[String],
) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(
        "select $1::timestamptz as since, r.kind, r.event_id, r.currency, sum(r.facts)::bigint as facts,
                sum(r.cents)::bigint as cents, sum(r.millis)::bigint as millis
         from unnest($3::text[]) as wanted (event_id)
         join analytics.rollups r on r.event_id = wanted.event_id and r.step = 'hour' and r.since >= $1 and r.since < $2
         group by r.kind, r.event_id, r.currency",
    )
    .bind(from)
    .bind(to)
    .bind(events)
    .fetch_all(pool)
    .await
}

/// How many facts of each of these kinds there were from `from` until before `to`, whatever they are about.
pub async fn kinds<const N: usize>(
    pool: &PgPool,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    kinds: [&str; N],
) -> Result<[i64; N], sqlx::Error> {
    let counts: Vec<i64> = sqlx::query_scalar(
        "select coalesce(sum(r.facts), 0)::bigint
         from unnest($3::text[]) with ordinality as wanted (kind, number)
         left join analytics.rollups r on r.kind = wanted.kind and r.step = 'minute' and r.since >= $1 and r.since < $2
         group by wanted.number order by wanted.number",
    )
    .bind(from)
    .bind(to)
    .bind(kinds.as_slice())
    .fetch_all(pool)
    .await?;
    Ok(std::array::from_fn(|number| {
        counts.get(number).copied().unwrap_or_default()
    }))
}

/// The events with the most bookings begun from `from` until before `to`, at most so many, and how many those are.
pub async fn popular(
    pool: &PgPool,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select event_id, sum(facts)::bigint as bookings from analytics.rollups
         where step = 'minute' and since >= $1 and since < $2 and kind = 'booking.initiated' and event_id <> ''
         group by event_id order by bookings desc, event_id limit $3",
    )
    .bind(from)
    .bind(to)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// How many users did something from `from` until before `to`, each counted once.
pub async fn active_users(pool: &PgPool, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(distinct user_id) from analytics.active_users where minute >= $1 and minute < $2")
        .bind(from)
        .bind(to)
        .fetch_one(pool)
        .await
}

//! Postgres, schema `analytics`. Nobody else names its tables.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::PgPool;

use super::{Cleared, Count, Step, Time, Took};
use crate::fact::{self, Fact};
use crate::limits::{CLEARED_MAX, FACTS_KEPT_DAYS, MINUTES_KEPT_DAYS};

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
         ), beside as (
             select * from unnest($1::text[], $2::timestamptz[], $10::integer[], $11::text[]) as b (id, at, bucket, visitor)
         ), fresh as (
             insert into analytics.facts (id, at, kind, event_id, user_id, currency, cents, millis, data)
             select id, at, kind, coalesce(event_id, ''), user_id, coalesce(currency, ''), cents, millis, data::jsonb
             from given order by id, at
             on conflict (id, at) do nothing
             returning id, at, kind, event_id, user_id, currency, cents, millis
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
         ), known as (
             select distinct on (f.id, f.at) f.at, f.kind, f.event_id, b.bucket, b.visitor
             from fresh f join beside b on b.id = f.id and b.at = f.at
             where b.bucket is not null or b.visitor is not null
         ), timed as (
             insert into analytics.durations as d (step, since, event_id, bucket, facts)
             select s.step, date_trunc(s.step, k.at, 'UTC'), k.event_id, k.bucket, count(*)
             from known k cross join unnest(array['minute', 'hour']) as s (step)
             where k.bucket is not null
             group by 1, 2, 3, 4 order by 1, 2, 3, 4
             on conflict (step, since, event_id, bucket) do update set facts = d.facts + excluded.facts
         ), seen as (
             insert into analytics.visitors (day, kind, event_id, visitor)
             select distinct (at at time zone 'UTC')::date, kind, event_id, visitor from known
             where visitor is not null order by 1, 2, 3, 4
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
    .bind(facts.iter().map(|fact| fact.took.map(fact::bucket)).collect::<Vec<_>>())
    .bind(column(|fact| fact.visitor.as_ref()))
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
async fn drop_days(pool: &PgPool, before: NaiveDate) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select analytics.drop_days($1)")
        .bind(before)
        .fetch_one(pool)
        .await
}

/// Clears roll-ups by minute away that are older than this, at most so many; says how many.
async fn clear_minutes(pool: &PgPool, before: DateTime<Utc>, limit: i64) -> Result<u64, sqlx::Error> {
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
async fn clear_active(pool: &PgPool, before: DateTime<Utc>, limit: i64) -> Result<u64, sqlx::Error> {
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
pub async fn counts(pool: &PgPool, step: Step, time: Time) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(
        "select since, kind, event_id, currency, facts, cents, millis from analytics.rollups
         where step = $1 and since >= $2 and since < $3
         order by since, kind, event_id, currency",
    )
    .bind(step.as_str())
    .bind(time.from)
    .bind(time.to)
    .fetch_all(pool)
    .await
}

/// What happened with these events of the shop from `from` until before `to`, by step.
pub async fn event_counts(pool: &PgPool, step: Step, time: Time, events: &[String]) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(
        "select r.since, r.kind, r.event_id, r.currency, r.facts, r.cents, r.millis
         from unnest($4::text[]) as wanted (event_id)
         join analytics.rollups r on r.event_id = wanted.event_id and r.step = $1 and r.since >= $2 and r.since < $3
         order by r.since, r.kind, r.event_id, r.currency",
    )
    .bind(step.as_str())
    .bind(time.from)
    .bind(time.to)
    .bind(events)
    .fetch_all(pool)
    .await
}

/// The same of all that time together, from the counts by hour: a few rows for each event, however long it is.
pub async fn event_totals(pool: &PgPool, time: Time, events: &[String]) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(
        "select $1::timestamptz as since, r.kind, r.event_id, r.currency, sum(r.facts)::bigint as facts,
                sum(r.cents)::bigint as cents, sum(r.millis)::bigint as millis
         from unnest($3::text[]) as wanted (event_id)
         join analytics.rollups r on r.event_id = wanted.event_id and r.step = 'hour' and r.since >= $1 and r.since < $2
         group by r.kind, r.event_id, r.currency",
    )
    .bind(time.from)
    .bind(time.to)
    .bind(events)
    .fetch_all(pool)
    .await
}

/// How many facts of each of these kinds there were from `from` until before `to`, whatever they are about.
pub async fn kinds(pool: &PgPool, time: Time, kinds: &[&str]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(sum(r.facts), 0)::bigint
         from unnest($3::text[]) with ordinality as wanted (kind, number)
         left join analytics.rollups r on r.kind = wanted.kind and r.step = 'minute' and r.since >= $1 and r.since < $2
         group by wanted.number order by wanted.number",
    )
    .bind(time.from)
    .bind(time.to)
    .bind(kinds)
    .fetch_all(pool)
    .await
}

/// The events with the most bookings begun from `from` until before `to`, at most so many, and how many those are.
pub async fn popular(pool: &PgPool, step: Step, time: Time, limit: i64) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select event_id, sum(facts)::bigint as bookings from analytics.rollups
         where step = $4 and since >= $1 and since < $2 and kind = 'booking.initiated' and event_id <> ''
         group by event_id order by bookings desc, event_id collate \"C\" limit $3",
    )
    .bind(time.from)
    .bind(time.to)
    .bind(limit)
    .bind(step.as_str())
    .fetch_all(pool)
    .await
}

/// How many users did something from `from` until before `to`, each counted once.
pub async fn active_users(pool: &PgPool, time: Time) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(distinct user_id) from analytics.active_users where minute >= $1 and minute < $2")
        .bind(time.from)
        .bind(time.to)
        .fetch_one(pool)
        .await
}

/// The same of each step in which somebody did.
pub async fn active_by(pool: &PgPool, step: Step, time: Time) -> Result<Vec<(DateTime<Utc>, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select date_trunc($3, minute, 'UTC') as since, count(distinct user_id) from analytics.active_users
         where minute >= $1 and minute < $2 group by 1 order by 1",
    )
    .bind(time.from)
    .bind(time.to)
    .bind(step.as_str())
    .fetch_all(pool)
    .await
}

/// What happened, whatever it was about, by step.
pub async fn kind_counts(pool: &PgPool, step: Step, time: Time) -> Result<Vec<Count>, sqlx::Error> {
    sqlx::query_as(
        "select since, kind, '' as event_id, currency, sum(facts)::bigint as facts, sum(cents)::bigint as cents,
                sum(millis)::bigint as millis
         from analytics.rollups
         where step = $1 and since >= $2 and since < $3
         group by since, kind, currency order by since, kind, currency",
    )
    .bind(step.as_str())
    .bind(time.from)
    .bind(time.to)
    .fetch_all(pool)
    .await
}

/// How many visitors of events came how far on these days, by kind.
pub async fn funnel(pool: &PgPool, time: Time) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select kind, count(*) from analytics.visitors
         where day >= ($1 at time zone 'UTC')::date and day < ($2 at time zone 'UTC')::date
         group by kind order by kind",
    )
    .bind(time.from)
    .bind(time.to)
    .fetch_all(pool)
    .await
}

/// The same of these events.
pub async fn event_funnel(pool: &PgPool, time: Time, events: &[String]) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select kind, count(*) from analytics.visitors
         where day >= ($1 at time zone 'UTC')::date and day < ($2 at time zone 'UTC')::date and event_id = any($3)
         group by kind order by kind",
    )
    .bind(time.from)
    .bind(time.to)
    .bind(events)
    .fetch_all(pool)
    .await
}

/// How long bookings took until they were confirmed.
pub async fn took(pool: &PgPool, step: Step, time: Time) -> Result<Vec<Took>, sqlx::Error> {
    sqlx::query_as(
        "select since, bucket, sum(facts)::bigint as facts from analytics.durations
         where step = $1 and since >= $2 and since < $3
         group by since, bucket order by since, bucket",
    )
    .bind(step.as_str())
    .bind(time.from)
    .bind(time.to)
    .fetch_all(pool)
    .await
}

/// What was published of the system's state.
pub async fn system(pool: &PgPool, time: Time, limit: i64) -> Result<Vec<(DateTime<Utc>, Value)>, sqlx::Error> {
    sqlx::query_as(
        "select at, data from analytics.facts
         where kind = 'analytics.system-metrics' and at >= $1 and at < $2 order by at limit $3",
    )
    .bind(time.from)
    .bind(time.to)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Clears away what is over.
pub async fn clear_away(pool: &PgPool, now: DateTime<Utc>) -> Result<Cleared, sqlx::Error> {
    // A day more than facts are taken of, so that none is written into a day that goes.
    let facts_before = (now - chrono::Days::new(FACTS_KEPT_DAYS + 1)).date_naive();
    let minutes_before = now - chrono::Days::new(MINUTES_KEPT_DAYS);
    let mut cleared = Cleared {
        days: drop_days(pool, facts_before).await?.unsigned_abs(),
        rows: 0,
    };
    // A full batch means that there is more.
    loop {
        let batches = [
            clear_minutes(pool, minutes_before, CLEARED_MAX).await?,
            clear_active(pool, minutes_before, CLEARED_MAX).await?,
            clear_durations(pool, minutes_before, CLEARED_MAX).await?,
            clear_visitors(pool, facts_before, CLEARED_MAX).await?,
        ];
        cleared.rows += batches.iter().sum::<u64>();
        if batches.iter().all(|rows| *rows < CLEARED_MAX.unsigned_abs()) {
            return Ok(cleared);
        }
    }
}

async fn clear_durations(pool: &PgPool, before: DateTime<Utc>, limit: i64) -> Result<u64, sqlx::Error> {
    let cleared = sqlx::query(
        "delete from analytics.durations d
         using (select step, since, event_id, bucket from analytics.durations
                where step = 'minute' and since < $1 order by since limit $2) o
         where (d.step, d.since, d.event_id, d.bucket) = (o.step, o.since, o.event_id, o.bucket)",
    )
    .bind(before)
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(cleared.rows_affected())
}

async fn clear_visitors(pool: &PgPool, before: NaiveDate, limit: i64) -> Result<u64, sqlx::Error> {
    let cleared = sqlx::query(
        "delete from analytics.visitors v
         using (select day, kind, event_id, visitor from analytics.visitors where day < $1 order by day limit $2) o
         where (v.day, v.kind, v.event_id, v.visitor) = (o.day, o.kind, o.event_id, o.visitor)",
    )
    .bind(before)
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(cleared.rows_affected())
}

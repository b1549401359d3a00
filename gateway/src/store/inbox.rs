//! The webhook inbox.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// A webhook event as it comes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Incoming {
    /// The provider's id for it.
    pub event_id: String,
    /// E.g. `payment_intent.succeeded`.
    pub kind: String,
    /// The booking it concerns.
    pub booking_id: Option<Uuid>,
    /// Somebody is told; else the event is kept only to be recognised.
    pub is_news: bool,
    /// The provider's object, e.g. a payment intent.
    pub object_id: Option<String>,
    /// When it came about, by the provider's clock.
    pub created_at: Option<DateTime<Utc>>,
}

/// A webhook event of which somebody is to be told now.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Due {
    /// The provider's id for it.
    pub event_id: String,
    /// E.g. `payment_intent.succeeded`.
    pub kind: String,
    /// The booking that it names.
    pub booking_id: Option<Uuid>,
    /// The provider's object.
    pub object_id: Option<String>,
    /// Tries so far, this one included.
    pub attempts: i32,
    /// It has waited for its booking long enough.
    pub out_of_patience: bool,
}

/// What came of one try.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The event.
    pub event_id: String,
    /// What now.
    pub outcome: Outcome,
    /// Why, for operators.
    pub note: Option<String>,
}

/// What becomes of an event after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its booking knows.
    Delivered,
    /// Its booking never came.
    Expired,
    /// Try again after this long.
    Again(Duration),
}

impl Outcome {
    fn status(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Expired => "expired",
            Outcome::Again(_) => "waiting",
        }
    }

    fn delay_seconds(self) -> f64 {
        match self {
            Outcome::Again(delay) => delay.as_secs_f64(),
            Outcome::Delivered | Outcome::Expired => 0.0,
        }
    }
}

/// Keeps events, and says of each that is here for the first time that it is new. Of several with the same id one is kept.
pub async fn keep(pool: &PgPool, events: &[Incoming]) -> Result<HashMap<String, bool>, sqlx::Error> {
    let of = |event: &Incoming| (event.booking_id, event.is_news);
    let ids: Vec<&str> = events.iter().map(|event| event.event_id.as_str()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let (bookings, told): (Vec<Option<Uuid>>, Vec<bool>) = events.iter().map(of).unzip();
    let objects: Vec<Option<&str>> = events.iter().map(|event| event.object_id.as_deref()).collect();
    let created: Vec<Option<DateTime<Utc>>> = events.iter().map(|event| event.created_at).collect();
    let kept: Vec<(String, bool)> = sqlx::query_as(
        "insert into ticketing.webhook_inbox as i
             (event_id, kind, booking_id, object_id, created_at, status, next_attempt_at, finished_at)
         select distinct on (e.event_id) e.event_id, e.kind, e.booking_id, e.object_id, e.created_at,
                case when e.is_told then 'waiting' else 'ignored' end,
                case when e.is_told then now() end,
                case when e.is_told then null else now() end
         from unnest($1::text[], $2::text[], $3::uuid[], $4::bool[], $5::text[], $6::timestamptz[])
              as e (event_id, kind, booking_id, is_told, object_id, created_at)
         order by e.event_id
         on conflict (event_id) do update set repeats = i.repeats + 1
         returning event_id, repeats = 0",
    )
    .bind(ids)
    .bind(kinds)
    .bind(bookings)
    .bind(told)
    .bind(objects)
    .bind(created)
    .fetch_all(pool)
    .await?;
    Ok(kept.into_iter().collect())
}

/// Takes what is due, for `lease`: past that, whoever took it is presumed dead and others may take it.
pub async fn claim_due(
    pool: &PgPool,
    limit: i64,
    lease: Duration,
    patience: Duration,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "update ticketing.webhook_inbox
         set attempts = attempts + 1, next_attempt_at = now() + make_interval(secs => $2)
         where event_id in (
             select event_id from ticketing.webhook_inbox
             where status = 'waiting' and next_attempt_at <= now()
             order by next_attempt_at
             limit $1
             for update skip locked)
         returning event_id, kind, booking_id, object_id, attempts,
                   received_at < now() - make_interval(secs => $3) as out_of_patience",
    )
    .bind(limit)
    .bind(lease.as_secs_f64())
    .bind(patience.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// Records what came of a batch's tries.
pub async fn settle(pool: &PgPool, settled: &[Settled]) -> Result<(), sqlx::Error> {
    let ids: Vec<_> = settled.iter().map(|it| it.event_id.as_str()).collect();
    let statuses: Vec<_> = settled.iter().map(|it| it.outcome.status()).collect();
    let delays: Vec<_> = settled.iter().map(|it| it.outcome.delay_seconds()).collect();
    let notes: Vec<_> = settled.iter().map(|it| it.note.as_deref()).collect();
    sqlx::query(
        "with locked as (
             select w.event_id from (select id from unnest($1::text[]) as u (id) order by id) o
             cross join lateral (
                 select event_id from ticketing.webhook_inbox where event_id = o.id and status = 'waiting' limit 1 for update
             ) w)
         update ticketing.webhook_inbox i
         set status = o.status,
             note = o.note,
             next_attempt_at = case when o.status = 'waiting' then now() + make_interval(secs => o.delay) end,
             finished_at = case when o.status <> 'waiting' then now() end
         from unnest($1::text[], $2::text[], $3::float8[], $4::text[]) as o (event_id, status, delay, note)
         join locked using (event_id)
         where i.event_id = o.event_id",
    )
    .bind(ids)
    .bind(statuses)
    .bind(delays)
    .bind(notes)
    .execute(pool)
    .await?;
    Ok(())
}

/// How many events wait for their bookings.
pub async fn count_waiting(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from ticketing.webhook_inbox where status = 'waiting'")
        .fetch_one(pool)
        .await
}

/// Forgets up to `limit` events that were finished longer ago than `retention`, and says how many.
pub async fn purge(pool: &PgPool, retention: Duration, limit: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from ticketing.webhook_inbox
         where event_id in (
             select event_id from ticketing.webhook_inbox
             where status <> 'waiting' and finished_at < now() - make_interval(secs => $1)
             order by finished_at
             limit $2
             for update skip locked)",
    )
    .bind(retention.as_secs_f64())
    .bind(limit)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

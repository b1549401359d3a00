//! The list of bookings of events that were called off. Whoever changes rows of it locks them first, in the order of its key.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// How far an event's bookings are.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Standing {
    /// The event.
    pub event_id: String,
    /// The saga.
    pub cancellation_id: Uuid,
    /// Why.
    pub reason: String,
    /// When it was called off.
    pub began_at: DateTime<Utc>,
    /// When all was done.
    pub finished_at: Option<DateTime<Utc>>,
    /// Bookings on the list.
    pub total: i64,
    /// Done, refunded.
    pub refunded: i64,
    /// Done, of those in flight.
    pub cancelled: i64,
    /// Not taken up yet.
    pub waiting: i64,
    /// What went back.
    pub refunded_cents: i64,
}

/// A booking to be taken up.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Due {
    /// The event.
    pub event_id: String,
    /// The booking.
    pub booking_id: Uuid,
    /// `refund` or `cancel`.
    pub deed: String,
    /// Tries so far, this one included.
    pub attempts: i32,
}

/// How far an event's cancellation is; none: it was not called off.
pub async fn read(pool: &PgPool, event: &str) -> Result<Option<Standing>, sqlx::Error> {
    sqlx::query_as(
        "select c.event_id, c.cancellation_id, c.reason, c.began_at, c.finished_at, i.total, i.refunded, i.cancelled, i.waiting,
                (select coalesce(sum(r.amount_cents), 0)::int8 from ticketing.refunds r
                 where r.event_id = c.event_id and r.refunded_at is not null) as refunded_cents
         from ticketing.event_cancellations c
         cross join lateral (
             select count(*) as total,
                    count(*) filter (where status = 'done' and deed = 'refund') as refunded,
                    count(*) filter (where status = 'done' and deed = 'cancel') as cancelled,
                    count(*) filter (where status = 'due') as waiting
             from ticketing.event_cancellation_items where event_id = c.event_id
         ) i
         where c.event_id = $1",
    )
    .bind(event)
    .fetch_optional(pool)
    .await
}

/// Takes up to `limit` bookings that are due, for the length of a lease.
pub async fn claim(pool: &PgPool, limit: i64, lease: Duration) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "update ticketing.event_cancellation_items i
         set attempts = i.attempts + 1, next_attempt_at = now() + make_interval(secs => $2)
         from (select event_id, booking_id from ticketing.event_cancellation_items
               where status = 'due' and next_attempt_at <= now()
               order by next_attempt_at limit $1 for update skip locked) d
         where i.event_id = d.event_id and i.booking_id = d.booking_id
         returning i.event_id, i.booking_id, i.deed, i.attempts",
    )
    .bind(limit)
    .bind(lease.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// Those that were taken up; unless their deed is another one by now.
pub async fn begun(pool: &PgPool, items: &[Due]) -> Result<(), sqlx::Error> {
    let events: Vec<&str> = items.iter().map(|item| item.event_id.as_str()).collect();
    let bookings: Vec<Uuid> = items.iter().map(|item| item.booking_id).collect();
    let deeds: Vec<&str> = items.iter().map(|item| item.deed.as_str()).collect();
    sqlx::query(
        "with locked as materialized (
             select i.event_id, i.booking_id
             from unnest($1::text[], $2::uuid[], $3::text[]) as d (event_id, booking_id, deed)
             join ticketing.event_cancellation_items i
               on i.event_id = d.event_id and i.booking_id = d.booking_id and i.deed = d.deed and i.status = 'due'
             order by i.event_id, i.booking_id
             for update of i
         )
         update ticketing.event_cancellation_items i set status = 'begun'
         from locked l
         where i.event_id = l.event_id and i.booking_id = l.booking_id",
    )
    .bind(events)
    .bind(bookings)
    .bind(deeds)
    .execute(pool)
    .await
    .map(drop)
}

/// Puts off those that could not be, each by so many seconds.
pub async fn put_off(pool: &PgPool, items: &[(Due, Duration)]) -> Result<(), sqlx::Error> {
    let events: Vec<&str> = items.iter().map(|(item, _)| item.event_id.as_str()).collect();
    let bookings: Vec<Uuid> = items.iter().map(|(item, _)| item.booking_id).collect();
    let seconds: Vec<f64> = items.iter().map(|(_, delay)| delay.as_secs_f64()).collect();
    sqlx::query(
        "with locked as materialized (
             select i.event_id, i.booking_id, d.seconds
             from unnest($1::text[], $2::uuid[], $3::float8[]) as d (event_id, booking_id, seconds)
             join ticketing.event_cancellation_items i
               on i.event_id = d.event_id and i.booking_id = d.booking_id and i.status = 'due'
             order by i.event_id, i.booking_id
             for update of i
         )
         update ticketing.event_cancellation_items i set next_attempt_at = now() + make_interval(secs => l.seconds)
         from locked l
         where i.event_id = l.event_id and i.booking_id = l.booking_id",
    )
    .bind(events)
    .bind(bookings)
    .bind(seconds)
    .execute(pool)
    .await
    .map(drop)
}

//! All SQL about events that are called off. Sets, never a booking at a time.

use sqlx::PgPool;
use uuid::Uuid;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// How far an event's bookings are.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Progress {
    /// All that were found.
    pub bookings: i64,
    /// Those of them that are not done.
    pub open: i64,
    /// What went back, in minor units.
    pub refunded_cents: i64,
    /// Since it began.
    pub seconds: f64,
}

/// Ends an event's sale, and says which saga calls it off: this one, or one that was there before. None: there is no such event.
pub(super) async fn close(pool: &PgPool, event: &str, cancellation: Uuid, reason: &str) -> Result<Option<Uuid>> {
    sqlx::query_scalar(
        "with closed as (
             update ticketing.events set status = 'cancelled', updated_at = now()
             where id = $1 and status <> 'draft'
             returning id
         )
         insert into ticketing.event_cancellations as c (event_id, cancellation_id, reason)
         select $1, $2, $3 from closed
         on conflict (event_id) do update set reason = c.reason where c.event_id = $1
         returning cancellation_id",
    )
    .bind(event)
    .bind(cancellation)
    .bind(reason)
    .fetch_optional(pool)
    .await
}

/// Waits for everybody who has a seat of the event locked, in the order in which all lock them.
pub(super) async fn await_claims(pool: &PgPool, event: &str) -> Result<i64> {
    sqlx::query_scalar(
        "with locked as (
             select 1 from ticketing.seats where event_id = $1 order by event_id, seat_id for update
         )
         select count(*) from locked",
    )
    .bind(event)
    .fetch_one(pool)
    .await
}

/// Lists bookings that have seats and are not on the list yet; says how many.
pub(super) async fn list_bookings(pool: &PgPool, event: &str) -> Result<u64> {
    let listed = sqlx::query(
        "insert into ticketing.event_cancellation_items (event_id, booking_id, deed)
         select h.event_id, h.booking_id, case h.status when 'confirmed' then 'refund' else 'cancel' end
         from ticketing.holds h
         where h.event_id = $1 and h.status in ('held', 'confirmed')
         order by h.event_id, h.booking_id
         on conflict do nothing",
    );
    Ok(listed.bind(event).execute(pool).await?.rows_affected())
}

/// Looks how far the bookings are: without seats and with the money back they are done; those that were confirmed although they were told
/// to end are refunded; those that somebody else refunds are waited for. Rows are locked in the order of the list's key, as by all.
pub(super) async fn note_progress(pool: &PgPool, event: &str) -> Result<()> {
    sqlx::query(
        "with seen as (
             select i.booking_id, i.status, i.deed, coalesce(h.status, 'released') as hold,
                    coalesce((select bool_and(r.refunded_at is not null or r.amount_cents = 0)
                              from ticketing.refunds r
                              where r.event_id = i.event_id and r.booking_id = i.booking_id), true) as is_back
             from ticketing.event_cancellation_items i
             left join ticketing.holds h on h.event_id = i.event_id and h.booking_id = i.booking_id
             where i.event_id = $1 and i.status <> 'done'
         ), next as (
             select booking_id,
                    case when hold = 'released' and is_back then 'done' when hold = 'released' then 'begun' else 'due' end
                        as status,
                    case when hold = 'confirmed' then 'refund' else deed end as deed
             from seen
             where hold = 'released' and (is_back or status = 'due') or hold = 'confirmed' and deed = 'cancel'
         ), locked as materialized (
             select i.booking_id, n.status, n.deed
             from next n
             join ticketing.event_cancellation_items i
               on i.event_id = $1 and i.booking_id = n.booking_id and i.status <> 'done'
             order by i.booking_id
             for update of i
         )
         update ticketing.event_cancellation_items i
         set status = l.status, deed = l.deed, done_at = case l.status when 'done' then now() end, next_attempt_at = now()
         from locked l
         where i.event_id = $1 and i.booking_id = l.booking_id",
    )
    .bind(event)
    .execute(pool)
    .await
    .map(drop)
}

/// How far it is; none: the event was not called off.
pub(super) async fn progress(pool: &PgPool, event: &str) -> Result<Option<Progress>> {
    sqlx::query_as(
        "select (select count(*) from ticketing.event_cancellation_items where event_id = $1) as bookings,
                (select count(*) from ticketing.event_cancellation_items where event_id = $1 and status <> 'done') as open,
                (select coalesce(sum(amount_cents), 0)::int8 from ticketing.refunds
                 where event_id = $1 and refunded_at is not null) as refunded_cents,
                extract(epoch from now() - began_at)::float8 as seconds
         from ticketing.event_cancellations where event_id = $1",
    )
    .bind(event)
    .fetch_optional(pool)
    .await
}

/// All of its bookings are done.
pub(super) async fn finish(pool: &PgPool, event: &str) -> Result<()> {
    sqlx::query(
        "update ticketing.event_cancellations set finished_at = now() where event_id = $1 and finished_at is null",
    )
    .bind(event)
    .execute(pool)
    .await
    .map(drop)
}

//! Waiting rooms and the places in them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// A buyer in a line: the event and the buyer.
pub type Buyer = (String, String);

/// A waiting room.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Room {
    /// The event that it is in front of.
    pub event_id: String,
    /// When it lets people in.
    pub opens_at: DateTime<Utc>,
    /// Whether that time has come.
    pub is_open: bool,
    /// Places up to this one may book.
    pub admitted: i64,
    /// Somebody waits, with a place or for one.
    pub is_busy: bool,
    /// Signs places.
    pub secret: Vec<u8>,
}

/// The waiting rooms of events on sale.
pub async fn rooms(pool: &PgPool) -> Result<Vec<Room>, sqlx::Error> {
    sqlx::query_as(
        "select r.event_id, r.opens_at, r.opens_at <= now() as is_open, r.admitted, r.secret,
                r.admitted < r.last_place
                or exists (select 1 from ticketing.queue_places q where q.event_id = r.event_id and q.place is null) as is_busy
         from ticketing.waiting_rooms r
         join ticketing.events e on e.id = r.event_id
         where e.status = 'on_sale'",
    )
    .fetch_all(pool)
    .await
}

/// Puts these buyers into their lines, where they aren't yet.
pub async fn join(pool: &PgPool, buyers: &[Buyer]) -> Result<(), sqlx::Error> {
    let (events, users) = columns(buyers);
    sqlx::query(
        "insert into ticketing.queue_places (event_id, user_id)
         select distinct b.event_id, b.user_id from unnest($1::text[], $2::text[]) as b (event_id, user_id)
         order by b.event_id, b.user_id
         on conflict do nothing",
    )
    .bind(events)
    .bind(users)
    .execute(pool)
    .await?;
    Ok(())
}

/// The places of those of these buyers who stand in a line; none: it isn't given yet.
pub async fn places(pool: &PgPool, buyers: &[Buyer]) -> Result<HashMap<Buyer, Option<i64>>, sqlx::Error> {
    let (events, users) = columns(buyers);
    let rows: Vec<(String, String, Option<i64>)> = sqlx::query_as(
        "select q.event_id, q.user_id, q.place
         from unnest($1::text[], $2::text[]) as b (event_id, user_id)
         join ticketing.queue_places q on q.event_id = b.event_id and q.user_id = b.user_id",
    )
    .bind(events)
    .bind(users)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(event, user, place)| ((event, user), place))
        .collect())
}

/// Gives places to those who have none, and lets `count` more in. Says up to which place; none: it isn't open.
pub async fn advance(pool: &PgPool, event_id: &str, count: i64) -> Result<Option<i64>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // Gateways one after the other; the statements below see what the one before has done.
    let open: Option<(DateTime<Utc>,)> = sqlx::query_as(
        "select opens_at from ticketing.waiting_rooms where event_id = $1 and opens_at <= now() for no key update",
    )
    .bind(event_id)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some((opens_at,)) = open else { return Ok(None) };
    sqlx::query(
        "with fresh as (
             select q.user_id,
                    row_number() over (order by q.joined_at >= $2, case when q.joined_at < $2 then q.lot end,
                                                q.joined_at, q.user_id) as nth
             from ticketing.queue_places q
             where q.event_id = $1 and q.place is null
         ), placed as (
             update ticketing.queue_places q
             set place = r.last_place + f.nth
             from fresh f, ticketing.waiting_rooms r
             where q.event_id = $1 and q.user_id = f.user_id and r.event_id = $1
             returning 1
         )
         update ticketing.waiting_rooms set last_place = last_place + (select count(*) from placed)
         where event_id = $1 and exists (select 1 from fresh)",
    )
    .bind(event_id)
    .bind(opens_at)
    .execute(&mut *transaction)
    .await?;
    let (admitted,): (i64,) = sqlx::query_as(
        "update ticketing.waiting_rooms set admitted = least(last_place, admitted + $2) where event_id = $1
         returning admitted",
    )
    .bind(event_id)
    .bind(count)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(admitted))
}

fn columns(buyers: &[Buyer]) -> (Vec<&str>, Vec<&str>) {
    buyers
        .iter()
        .map(|(event, user)| (event.as_str(), user.as_str()))
        .unzip()
}

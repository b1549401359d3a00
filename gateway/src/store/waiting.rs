//! Waiting rooms and the places in them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::limits::ROOM_TURN_STEP_S;

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
    /// Places up to this one may book, but for those whose turn is over.
    pub admitted: i64,
    /// The turns of places up to this one are over.
    pub ended: i64,
    /// When turns end, the next ones first; of those places up to the one of the same index in `turn_places`.
    pub turn_ends: Vec<DateTime<Utc>>,
    /// See `turn_ends`.
    pub turn_places: Vec<i64>,
    /// Somebody waits, with a place or for one.
    pub is_busy: bool,
    /// Signs places.
    pub secret: Vec<u8>,
}

impl Room {
    /// It is the turn of this place.
    pub fn admits(&self, place: i64) -> bool {
        place <= self.admitted && !self.is_over(place)
    }

    /// The turn of this place came and went.
    pub fn is_over(&self, place: i64) -> bool {
        place <= self.ended
    }

    /// When the turn of a place that is let in ends, if others wait by then.
    pub fn turn_end(&self, place: i64) -> Option<DateTime<Utc>> {
        let step = self.turn_places.iter().position(|last| place <= *last)?;
        self.turn_ends.get(step).copied()
    }
}

/// A turn that was used: whose, and of which place.
pub type Used = (Buyer, i64);

/// The waiting rooms of events on sale.
pub async fn rooms(pool: &PgPool) -> Result<Vec<Room>, sqlx::Error> {
    sqlx::query_as(
        "select r.event_id, r.opens_at, r.opens_at <= now() as is_open, r.admitted, r.ended, r.secret,
                array(select t.until + make_interval(secs => r.turn_seconds) from ticketing.queue_turns t
                      where t.event_id = r.event_id order by t.until) as turn_ends,
                array(select t.admitted from ticketing.queue_turns t
                      where t.event_id = r.event_id order by t.until) as turn_places,
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

/// Puts those of these buyers whose turn is over at the end of their lines.
pub async fn rejoin(pool: &PgPool, buyers: &[Buyer]) -> Result<(), sqlx::Error> {
    let (events, users) = columns(buyers);
    // Whom another request has in hand is skipped: nobody waits for a row here while holding others.
    sqlx::query(
        "with back as (
             select q.event_id, q.user_id
             from unnest($1::text[], $2::text[]) as b (event_id, user_id)
             join ticketing.waiting_rooms r on r.event_id = b.event_id
             join ticketing.queue_places q on q.event_id = b.event_id and q.user_id = b.user_id
             where q.place <= r.ended
             for update of q skip locked
         )
         update ticketing.queue_places q
         set place = null, joined_at = now(), used_at = null
         from back b
         where q.event_id = b.event_id and q.user_id = b.user_id",
    )
    .bind(events)
    .bind(users)
    .execute(pool)
    .await?;
    Ok(())
}

/// Marks turns as used.
pub async fn mark_used(pool: &PgPool, turns: &[Used]) -> Result<(), sqlx::Error> {
    let (events, users): (Vec<&str>, Vec<&str>) = turns
        .iter()
        .map(|((event, user), _)| (event.as_str(), user.as_str()))
        .unzip();
    let places: Vec<i64> = turns.iter().map(|(_, place)| *place).collect();
    // In order, for another gateway may mark the same ones.
    sqlx::query(
        "with used as (
             select q.event_id, q.user_id
             from unnest($1::text[], $2::text[], $3::int8[]) as u (event_id, user_id, place)
             join ticketing.queue_places q on q.event_id = u.event_id and q.user_id = u.user_id
             where q.place = u.place and q.used_at is null
             order by q.event_id, q.user_id
             for no key update of q
         )
         update ticketing.queue_places q
         set used_at = now()
         from used u
         where q.event_id = u.event_id and q.user_id = u.user_id",
    )
    .bind(events)
    .bind(users)
    .bind(places)
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

/// How far a line is.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
struct Progress {
    last_place: i64,
    admitted: i64,
    ended: i64,
    unused: i64,
}

impl Progress {
    /// With turns up to `ended` over, `unused` more of them unused, and `count` more let in: those, and others in place of
    /// the turns that were not used, but no more than twice as many at once, for they would all come together.
    fn advanced(self, ended: i64, unused: i64, count: i64) -> Progress {
        let unused = self.unused + unused;
        let instead = unused.min(count);
        let admitted = self.admitted.saturating_add(count).saturating_add(instead);
        let is_empty = admitted >= self.last_place;
        Progress {
            last_place: self.last_place,
            admitted: admitted.min(self.last_place),
            ended: self.ended.max(ended),
            // Where nobody waits, nobody is owed anything: those who come later don't all come in at once.
            unused: if is_empty { 0 } else { unused - instead },
        }
    }
}

/// Gives places to those who have none, ends turns and lets `count` more in. Says up to which place; none: it isn't open.
/// With a `count` of 0 no turn ends: there is no room to use it in.
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
    let progress: Progress =
        sqlx::query_as("select last_place, admitted, ended, unused from ticketing.waiting_rooms where event_id = $1")
            .bind(event_id)
            .fetch_one(&mut *transaction)
            .await?;
    let (ended, unused) = if count > 0 {
        over(&mut transaction, event_id, progress.ended).await?
    } else {
        (progress.ended, 0)
    };
    let next = progress.advanced(ended, unused, count);
    if next != progress {
        sqlx::query("update ticketing.waiting_rooms set admitted = $2, ended = $3, unused = $4 where event_id = $1")
            .bind(event_id)
            .bind(next.admitted)
            .bind(next.ended)
            .bind(next.unused)
            .execute(&mut *transaction)
            .await?;
        remember_turns(&mut transaction, event_id, &next).await?;
    }
    transaction.commit().await?;
    Ok(Some(next.admitted))
}

/// Up to which place turns are over, and how many of those after `ended` were not used.
async fn over(connection: &mut PgConnection, event_id: &str, ended: i64) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(
        "with over as (
             select coalesce(max(t.admitted), $2) as place
             from ticketing.queue_turns t
             join ticketing.waiting_rooms r on r.event_id = t.event_id
             where t.event_id = $1 and t.until + make_interval(secs => r.turn_seconds) <= now()
         )
         select o.place, (select count(*) from ticketing.queue_places q
                          where q.event_id = $1 and q.place > $2 and q.place <= o.place and q.used_at is null)
         from over o",
    )
    .bind(event_id)
    .bind(ended)
    .fetch_one(connection)
    .await
}

/// Keeps when the line came to where it is, and forgets turns that are over.
async fn remember_turns(connection: &mut PgConnection, event_id: &str, now: &Progress) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with gone as (
             delete from ticketing.queue_turns where event_id = $1 and admitted <= $3
         )
         insert into ticketing.queue_turns (event_id, until, admitted)
         select $1, to_timestamp(ceil(extract(epoch from now()) / $4) * $4), $2
         where $2 > (select coalesce(max(admitted), $3) from ticketing.queue_turns where event_id = $1)
         on conflict (event_id, until) do update set admitted = excluded.admitted",
    )
    .bind(event_id)
    .bind(now.admitted)
    .bind(now.ended)
    .bind(ROOM_TURN_STEP_S)
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(buyers: &[Buyer]) -> (Vec<&str>, Vec<&str>) {
    buyers
        .iter()
        .map(|(event, user)| (event.as_str(), user.as_str()))
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Progress = Progress {
        last_place: 1_000,
        admitted: 100,
        ended: 40,
        unused: 0,
    };

    #[test]
    fn unused_turns_are_given_to_the_next_at_no_more_than_twice_the_pace() {
        let first = LINE.advanced(60, 15, 10);
        assert_eq!((first.admitted, first.ended, first.unused), (120, 60, 5));
        let second = first.advanced(60, 0, 10);
        assert_eq!((second.admitted, second.unused), (135, 0));
        // Nobody is let in while there is no room; what is owed stays so.
        let full = first.advanced(60, 0, 0);
        assert_eq!(full, first);
    }

    #[test]
    fn an_empty_line_is_owed_nothing() {
        let line = Progress {
            last_place: 105,
            ..LINE
        };
        let next = line.advanced(100, 60, 10);
        assert_eq!((next.admitted, next.ended, next.unused), (105, 100, 0));
    }
}

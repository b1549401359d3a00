//! All SQL of the seat activities. See the module's documentation for the order of locks.

pub(super) mod buyers;
pub(super) mod places;
pub(crate) mod returns;
pub(super) mod rules;
pub(super) mod seeding;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use thiserror::Error;
use uuid::Uuid;

use super::contract::ReleaseReason;
use super::plan::{Claim, Hold, HoldKey, Holder, Holds, LockedSeat, SeatKey, Seats, Terms};

/// Why a statement did not do its work.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Postgres refused it, or is away.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A row says what none should.
    #[error("{0}")]
    Inconsistent(String),
}

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A wanted seat, as seen without a lock. The fields are empty where there is no such event or seat.
#[derive(sqlx::FromRow)]
pub(super) struct SeenSeat {
    pub event_id: String,
    pub seat_id: String,
    pub event_status: Option<String>,
    pub seats_per_buyer_max: Option<i32>,
    pub seats_per_order_max: Option<i32>,
    pub section: Option<String>,
    status: Option<String>,
    booking_id: Option<Uuid>,
}

impl SeenSeat {
    pub fn holder(&self) -> Result<Option<Holder>> {
        self.status
            .as_deref()
            .map(|status| holder(status, self.booking_id))
            .transpose()
    }

    pub fn on_sale(&self) -> bool {
        self.event_status.as_deref() == Some("on_sale")
    }
}

#[derive(sqlx::FromRow)]
struct SeatRow {
    event_id: String,
    seat_id: String,
    status: String,
    booking_id: Option<Uuid>,
    price_cents: i64,
}

#[derive(sqlx::FromRow)]
struct HoldRow {
    event_id: String,
    booking_id: Uuid,
    seat_ids: Vec<String>,
    status: String,
    reserved_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    total_cents: Option<i64>,
    confirmation_number: Option<String>,
    confirmed_at: Option<DateTime<Utc>>,
    release_reason: Option<String>,
    user_id: Option<String>,
}

#[derive(sqlx::FromRow)]
struct PlacedRow {
    #[sqlx(flatten)]
    hold: HoldRow,
    seats_taken: i64,
}

/// Looks at the wanted seats, without locks: at least one row for each event and seat that is named.
pub(super) async fn see_seats(executor: impl PgExecutor<'_>, claims: &[&Claim]) -> Result<Vec<SeenSeat>> {
    let (events, seats) = named_seats(claims);
    let query = sqlx::query_as(
        "select w.event_id, w.seat_id, ticketing.sale_status(e.status, e.sale_starts_at, e.sale_ends_at) as event_status,
                e.seats_per_buyer_max, e.seats_per_order_max, s.section, s.status, s.booking_id
         from unnest($1::text[], $2::text[]) as w (event_id, seat_id)
         left join ticketing.events e on e.id = w.event_id
         left join ticketing.seats s on s.event_id = w.event_id and s.seat_id = w.seat_id",
    );
    Ok(query.bind(events).bind(seats).fetch_all(executor).await?)
}

/// Locks those of the wanted seats that are free or in one of the claiming bookings' hands. A seat that belongs to
/// somebody else is not locked, and missing from the answer.
pub(super) async fn lock_free_seats(connection: &mut PgConnection, claims: &[&Claim]) -> Result<Seats> {
    let (events, seats) = named_seats(claims);
    let bookings: Vec<Uuid> = claims.iter().map(|claim| claim.booking_id()).collect();
    let query = sqlx::query_as(
        "select s.event_id, s.seat_id, s.status, s.booking_id, s.price_cents
         from ticketing.seats s
         join (select distinct event_id, seat_id from unnest($1::text[], $2::text[]) as u (event_id, seat_id)) w
           on s.event_id = w.event_id and s.seat_id = w.seat_id
         where s.status = 'available' or s.booking_id = any($3)
         order by s.event_id, s.seat_id
         for update of s",
    );
    locked(
        query
            .bind(events)
            .bind(seats)
            .bind(bookings)
            .fetch_all(connection)
            .await?,
    )
}

/// Locks all seats that the claims name or their holds list, whoever has them.
pub(super) async fn lock_seats(connection: &mut PgConnection, claims: &[&Claim]) -> Result<Seats> {
    let (events, seats) = named_seats(claims);
    let (hold_events, hold_bookings) = hold_keys(claims.iter().map(|claim| &claim.hold));
    let query = sqlx::query_as(
        "select s.event_id, s.seat_id, s.status, s.booking_id, s.price_cents
         from ticketing.seats s
         join (select event_id, seat_id from unnest($1::text[], $2::text[]) as u (event_id, seat_id)
               union
               select h.event_id, unnest(h.seat_ids)
               from unnest($3::text[], $4::uuid[]) as b (event_id, booking_id)
               join ticketing.holds h on h.event_id = b.event_id and h.booking_id = b.booking_id) w
           on s.event_id = w.event_id and s.seat_id = w.seat_id
         order by s.event_id, s.seat_id
         for update of s",
    );
    let query = query.bind(events).bind(seats).bind(hold_events).bind(hold_bookings);
    locked(query.fetch_all(connection).await?)
}

/// Locks as many of the seats as nobody else has locked.
pub(super) async fn lock_idle_seats(connection: &mut PgConnection, claims: &[&Claim]) -> Result<Seats> {
    let (events, seats) = named_seats(claims);
    let query = sqlx::query_as(
        "select s.event_id, s.seat_id, s.status, s.booking_id, s.price_cents
         from ticketing.seats s
         join (select distinct event_id, seat_id from unnest($1::text[], $2::text[]) as u (event_id, seat_id)) w
           on s.event_id = w.event_id and s.seat_id = w.seat_id
         order by s.event_id, s.seat_id
         for update of s skip locked",
    );
    locked(query.bind(events).bind(seats).fetch_all(connection).await?)
}

/// Reads the bookings' holds, tombstones included. After the seats are locked, so that it sees what their last holders did.
pub(super) async fn read_holds(executor: impl PgExecutor<'_>, claims: &[&Claim]) -> Result<Holds> {
    let (events, bookings) = hold_keys(claims.iter().map(|claim| &claim.hold));
    let query = sqlx::query_as(
        "select h.event_id, h.booking_id, h.seat_ids, h.status, h.reserved_at, h.expires_at, h.total_cents,
                h.confirmation_number, h.confirmed_at, h.release_reason, h.user_id
         from unnest($1::text[], $2::uuid[]) as b (event_id, booking_id)
         join ticketing.holds h on h.event_id = b.event_id and h.booking_id = b.booking_id",
    );
    let rows: Vec<HoldRow> = query.bind(events).bind(bookings).fetch_all(executor).await?;
    rows.into_iter().map(hold).collect()
}

/// A hold to be made.
pub(super) struct NewHold<'a> {
    pub claim: &'a Claim,
    pub hold_seconds: u32,
    pub total_cents: i64,
    pub confirmation_number: String,
}

/// Makes the holds and takes their seats, which must be locked and free. A booking that got a hold in the meantime
/// (or a confirmation number that exists), or whose event isn't on sale any more, is left out of the answer, and its seats are left alone.
/// That the event is looked at here, after the locks, is what `events.close` relies on.
pub(super) async fn place_holds(connection: &mut PgConnection, holds: &[NewHold<'_>]) -> Result<Holds> {
    let (events, bookings) = hold_keys(holds.iter().map(|hold| &hold.claim.hold));
    let seconds: Vec<f64> = holds.iter().map(|hold| f64::from(hold.hold_seconds)).collect();
    let totals: Vec<i64> = holds.iter().map(|hold| hold.total_cents).collect();
    let numbers: Vec<&str> = holds.iter().map(|hold| hold.confirmation_number.as_str()).collect();
    let users: Vec<Option<&str>> = holds.iter().map(|hold| hold.claim.user_id.as_deref()).collect();
    let (seat_events, seats, seat_bookings) = claimed_seats(holds.iter().map(|hold| hold.claim));
    let query = sqlx::query_as(
        "with claimed as (
             select * from unnest($1::text[], $2::text[], $3::uuid[]) as c (event_id, seat_id, booking_id)
         ), placed as (
             insert into ticketing.holds (event_id, booking_id, seat_ids, status, reserved_at, expires_at, total_cents,
                                          confirmation_number, user_id)
             select h.event_id, h.booking_id, c.seat_ids, 'held', t.at, t.at + make_interval(secs => h.seconds),
                    h.total_cents, h.confirmation_number, h.user_id
             from unnest($4::text[], $5::uuid[], $6::float8[], $7::int8[], $8::text[], $9::text[])
                  as h (event_id, booking_id, seconds, total_cents, confirmation_number, user_id)
             join (select event_id, booking_id, array_agg(seat_id order by seat_id) as seat_ids
                   from claimed group by event_id, booking_id) c
               on c.event_id = h.event_id and c.booking_id = h.booking_id
             join ticketing.events e on e.id = h.event_id and e.status = 'on_sale'
             cross join (select date_trunc('milliseconds', statement_timestamp()) as at) t
             order by h.event_id, h.booking_id
             on conflict do nothing
             returning *
         ), taken as (
             update ticketing.seats s
             set status = 'held', booking_id = c.booking_id, held_until = p.expires_at
             from claimed c
             join placed p on p.event_id = c.event_id and p.booking_id = c.booking_id
             where s.event_id = c.event_id and s.seat_id = c.seat_id and s.status = 'available'
             returning s.event_id, s.booking_id
         )
         select p.event_id, p.booking_id, p.seat_ids, p.status, p.reserved_at, p.expires_at, p.total_cents,
                p.confirmation_number, p.confirmed_at, p.release_reason, p.user_id,
                (select count(*) from taken) as seats_taken
         from placed p",
    );
    let query = query.bind(seat_events).bind(seats).bind(seat_bookings);
    let query = query
        .bind(events)
        .bind(bookings)
        .bind(seconds)
        .bind(totals)
        .bind(numbers)
        .bind(users);
    let rows: Vec<PlacedRow> = query.fetch_all(connection).await?;
    let expected: usize = rows.iter().map(|row| row.hold.seat_ids.len()).sum();
    let taken = rows.first().map_or(0, |row| row.seats_taken);
    check_count("seats taken", expected, taken)?;
    rows.into_iter().map(|row| hold(row.hold)).collect()
}

/// Gives up the holds for these reasons and frees the seats, which must be locked and in their bookings' hands.
pub(super) async fn release_holds(
    connection: &mut PgConnection,
    holds: &[(&HoldKey, ReleaseReason)],
    seats: &[(SeatKey, Uuid)],
) -> Result<()> {
    let (events, bookings) = hold_keys(holds.iter().map(|(key, _)| *key));
    let reasons: Vec<&str> = holds.iter().map(|(_, reason)| reason.as_str()).collect();
    let (seat_events, seat_ids, seat_bookings) = owned_seats(seats);
    let query = sqlx::query_as(
        "with freed as (
             update ticketing.seats s
             set status = 'available', booking_id = null, held_until = null
             from unnest($1::text[], $2::text[], $3::uuid[]) as c (event_id, seat_id, booking_id)
             where s.event_id = c.event_id and s.seat_id = c.seat_id and s.booking_id = c.booking_id
             returning 1
         ), released as (
             update ticketing.holds h
             set status = 'released', released_at = statement_timestamp(), release_reason = r.reason
             from unnest($4::text[], $5::uuid[], $6::text[]) as r (event_id, booking_id, reason)
             where h.event_id = r.event_id and h.booking_id = r.booking_id
             returning 1
         )
         select (select count(*) from freed), (select count(*) from released)",
    );
    let query = query
        .bind(seat_events)
        .bind(seat_ids)
        .bind(seat_bookings)
        .bind(events)
        .bind(bookings)
        .bind(reasons);
    let (freed, released): (i64, i64) = query.fetch_one(connection).await?;
    check_count("seats freed", seats.len(), freed)?;
    check_count("holds released", holds.len(), released)
}

/// Leaves tombstones of bookings that never had a hold; gives those back that it could leave.
pub(super) async fn bury(
    connection: &mut PgConnection,
    holds: &[(&HoldKey, ReleaseReason)],
) -> Result<std::collections::BTreeSet<HoldKey>> {
    let (events, bookings) = hold_keys(holds.iter().map(|(key, _)| *key));
    let reasons: Vec<&str> = holds.iter().map(|(_, reason)| reason.as_str()).collect();
    let query = sqlx::query_as(
        "insert into ticketing.holds (event_id, booking_id, seat_ids, status, released_at, release_reason)
         select r.event_id, r.booking_id, '{}', 'released', statement_timestamp(), r.reason
         from unnest($1::text[], $2::uuid[], $3::text[]) as r (event_id, booking_id, reason)
         order by r.event_id, r.booking_id
         on conflict do nothing
         returning event_id, booking_id",
    );
    let rows: Vec<(String, Uuid)> = query
        .bind(events)
        .bind(bookings)
        .bind(reasons)
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(event_id, booking_id)| HoldKey { event_id, booking_id })
        .collect())
}

/// Sells the seats, which must be locked and free or in their bookings' hands, and says when.
pub(super) async fn sell_seats(connection: &mut PgConnection, claims: &[&Claim]) -> Result<DateTime<Utc>> {
    let (events, bookings) = hold_keys(claims.iter().map(|claim| &claim.hold));
    let (seat_events, seats, seat_bookings) = claimed_seats(claims.iter().copied());
    let expected = seats.len();
    let query = sqlx::query_as(
        "with sold as (
             update ticketing.seats s
             set status = 'sold', booking_id = c.booking_id, held_until = null
             from unnest($1::text[], $2::text[], $3::uuid[]) as c (event_id, seat_id, booking_id)
             where s.event_id = c.event_id and s.seat_id = c.seat_id
               and (s.status = 'available' or s.booking_id = c.booking_id)
             returning 1
         ), confirmed as (
             update ticketing.holds h
             set status = 'confirmed', confirmed_at = date_trunc('milliseconds', statement_timestamp()),
                 released_at = null, release_reason = null
             from unnest($4::text[], $5::uuid[]) as b (event_id, booking_id)
             where h.event_id = b.event_id and h.booking_id = b.booking_id and h.status <> 'confirmed'
             returning 1
         )
         select (select count(*) from sold), (select count(*) from confirmed),
                date_trunc('milliseconds', statement_timestamp())",
    );
    let query = query
        .bind(seat_events)
        .bind(seats)
        .bind(seat_bookings)
        .bind(events)
        .bind(bookings);
    let (sold, confirmed, at): (i64, i64, DateTime<Utc>) = query.fetch_one(connection).await?;
    check_count("seats sold", expected, sold)?;
    check_count("holds confirmed", claims.len(), confirmed)?;
    Ok(at)
}

/// Which of these events were called off.
pub(super) async fn called_off(executor: impl PgExecutor<'_>, events: &[&str]) -> Result<Vec<String>> {
    let query = sqlx::query_scalar("select id from ticketing.events where id = any($1) and status = 'cancelled'");
    Ok(query.bind(events).fetch_all(executor).await?)
}

/// Holds that were over `grace_seconds` ago and are still there, the oldest first.
pub(super) async fn overdue_holds(executor: impl PgExecutor<'_>, grace_seconds: f64, limit: i64) -> Result<Vec<Claim>> {
    let query = sqlx::query_as(
        "select event_id, booking_id, seat_ids
         from ticketing.holds
         where status = 'held' and expires_at < now() - make_interval(secs => $1)
         order by expires_at
         limit $2",
    );
    let rows: Vec<(String, Uuid, Vec<String>)> = query.bind(grace_seconds).bind(limit).fetch_all(executor).await?;
    Ok(rows
        .into_iter()
        .map(|(event_id, booking_id, seat_ids)| Claim::new(event_id, booking_id, seat_ids))
        .collect())
}

fn named_seats<'a>(claims: &[&'a Claim]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (events, seats, _) = claimed_seats(claims.iter().copied());
    (events, seats)
}

fn claimed_seats<'a>(claims: impl Iterator<Item = &'a Claim>) -> (Vec<&'a str>, Vec<&'a str>, Vec<Uuid>) {
    let (mut events, mut seats, mut bookings) = (Vec::new(), Vec::new(), Vec::new());
    for claim in claims {
        for seat_id in &claim.seat_ids {
            events.push(claim.hold.event_id.as_str());
            seats.push(seat_id.as_str());
            bookings.push(claim.hold.booking_id);
        }
    }
    (events, seats, bookings)
}

fn owned_seats(seats: &[(SeatKey, Uuid)]) -> (Vec<&str>, Vec<&str>, Vec<Uuid>) {
    let events = seats.iter().map(|(seat, _)| seat.event_id.as_str()).collect();
    let seat_ids = seats.iter().map(|(seat, _)| seat.seat_id.as_str()).collect();
    (
        events,
        seat_ids,
        seats.iter().map(|(_, booking_id)| *booking_id).collect(),
    )
}

fn hold_keys<'a>(keys: impl Iterator<Item = &'a HoldKey>) -> (Vec<&'a str>, Vec<Uuid>) {
    keys.map(|key| (key.event_id.as_str(), key.booking_id)).unzip()
}

fn locked(rows: Vec<SeatRow>) -> Result<Seats> {
    let seat = |row: SeatRow| {
        let holder = holder(&row.status, row.booking_id)?;
        let key = SeatKey {
            event_id: row.event_id,
            seat_id: row.seat_id,
        };
        Ok((
            key,
            LockedSeat {
                holder,
                price_cents: row.price_cents,
            },
        ))
    };
    rows.into_iter().map(seat).collect()
}

fn holder(status: &str, booking_id: Option<Uuid>) -> Result<Holder> {
    match (status, booking_id) {
        ("available", None) => Ok(Holder::Nobody),
        ("held", Some(booking_id)) => Ok(Holder::HeldBy(booking_id)),
        ("sold", Some(booking_id)) => Ok(Holder::SoldTo(booking_id)),
        ("house", None) => Ok(Holder::House),
        _ => Err(StoreError::Inconsistent(format!(
            "a seat is {status} with booking {booking_id:?}"
        ))),
    }
}

fn hold(row: HoldRow) -> Result<(HoldKey, Hold)> {
    let terms = match (
        row.reserved_at,
        row.expires_at,
        row.total_cents,
        row.confirmation_number,
    ) {
        (Some(reserved_at), Some(expires_at), Some(total_cents), Some(confirmation_number)) => Some(Terms {
            reserved_at,
            expires_at,
            total_cents,
            confirmation_number,
            user_id: row.user_id,
        }),
        _ => None,
    };
    let reason = row
        .release_reason
        .as_deref()
        .and_then(|text| ReleaseReason::ALL.into_iter().find(|reason| reason.as_str() == text));
    let seat_ids = row.seat_ids;
    let hold = match (row.status.as_str(), terms, row.confirmed_at, reason) {
        ("held", Some(terms), _, _) => Hold::Held { seat_ids, terms },
        ("confirmed", Some(terms), Some(at), _) => Hold::Confirmed { seat_ids, terms, at },
        ("released", terms, _, Some(reason)) => Hold::Released {
            seat_ids,
            terms,
            reason,
        },
        (status, ..) => {
            let problem = format!(
                "the hold of booking {} is {status} without what belongs to it",
                row.booking_id
            );
            return Err(StoreError::Inconsistent(problem));
        }
    };
    Ok((
        HoldKey {
            event_id: row.event_id,
            booking_id: row.booking_id,
        },
        hold,
    ))
}

/// The rows were locked and looked at, so a write that finds others means a bug: better no write than half of one.
fn check_count(what: &str, expected: usize, found: i64) -> Result<()> {
    if usize::try_from(found).is_ok_and(|found| found == expected) {
        Ok(())
    } else {
        Err(StoreError::Inconsistent(format!(
            "{what}: {found}, where {expected} were decided"
        )))
    }
}

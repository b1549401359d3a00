//! The SQL of tickets and doors.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tickets::Ticket;
use uuid::Uuid;

/// A seat that is sold to a booking.
#[derive(sqlx::FromRow)]
pub struct SoldSeat {
    pub seat_id: String,
    pub section: String,
    pub row_name: String,
    pub price_cents: i64,
    /// When somebody was let in.
    pub admitted_at: Option<DateTime<Utc>>,
    pub door: Option<String>,
}

/// Somebody holds a ticket to a scanner.
pub struct Scan {
    pub ticket: Ticket,
    /// The booking that the seat is sold to, if the ticket is that booking's; otherwise one that has nothing.
    pub booking_id: Uuid,
    pub scan_id: Uuid,
    pub admitted_at: DateTime<Utc>,
}

/// What is known of a scanned ticket, once those who may be let in have been.
#[derive(sqlx::FromRow)]
pub struct Seen {
    pub section: Option<String>,
    pub row_name: Option<String>,
    /// The seat is this booking's, and paid.
    pub sold: bool,
    pub admitted_at: Option<DateTime<Utc>>,
    pub door: Option<String>,
    pub scan_id: Option<Uuid>,
}

/// The keys, newest first.
pub async fn keys(pool: &PgPool) -> Result<Vec<(String, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as("select id, seed from ticketing.ticket_keys order by created_at desc, id")
        .fetch_all(pool)
        .await
}

/// Keeps a key, unless there is one.
pub async fn add_first_key(pool: &PgPool, id: &str, seed: &[u8]) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("lock table ticketing.ticket_keys in share row exclusive mode")
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "insert into ticketing.ticket_keys (id, seed) select $1, $2 where not exists (select from ticketing.ticket_keys)",
    )
    .bind(id)
    .bind(seed)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// The seats that are sold to a booking.
pub async fn sold_seats(
    pool: &PgPool,
    event_id: &str,
    booking_id: Uuid,
    seat_ids: &[String],
) -> Result<Vec<SoldSeat>, sqlx::Error> {
    sqlx::query_as(
        "select s.seat_id, s.section, s.row_name, s.price_cents, c.admitted_at, c.door
         from ticketing.seats s
         left join ticketing.check_ins c on c.event_id = $1 and c.booking_id = $2 and c.seat_id = s.seat_id
         where s.event_id = $1 and s.seat_id = any($3) and s.booking_id = $2 and s.status = 'sold'
         order by s.section, s.row_name, s.number",
    )
    .bind(event_id)
    .bind(booking_id)
    .bind(seat_ids)
    .fetch_all(pool)
    .await
}

/// To which bookings these seats of an event are sold.
pub async fn owners(pool: &PgPool, event_id: &str, seat_ids: &[&str]) -> Result<Vec<(String, Uuid)>, sqlx::Error> {
    sqlx::query_as(
        "select seat_id, booking_id from ticketing.seats
         where event_id = $1 and seat_id = any($2) and status = 'sold' and booking_id is not null",
    )
    .bind(event_id)
    .bind(seat_ids)
    .fetch_all(pool)
    .await
}

/// The bookings of which somebody was let in to a seat: one, unless the seat was given back and sold again.
pub async fn admitted_to(pool: &PgPool, event_id: &str, seat_id: &str) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar("select booking_id from ticketing.check_ins where event_id = $1 and seat_id = $2")
        .bind(event_id)
        .bind(seat_id)
        .fetch_all(pool)
        .await
}

/// Those of a booking's seats to which somebody was let in.
pub async fn admitted_of(
    pool: &PgPool,
    event_id: &str,
    booking_id: Uuid,
    seat_ids: &[&str],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select c.seat_id from unnest($3::text[]) as w (seat_id)
         join ticketing.check_ins c on c.event_id = $1 and c.seat_id = w.seat_id and c.booking_id = $2
         order by c.seat_id",
    )
    .bind(event_id)
    .bind(booking_id)
    .bind(seat_ids)
    .fetch_all(pool)
    .await
}

/// Lets in whoever has a seat that is theirs and was not let in before; all scans are of this event. The seats are locked, in the
/// order in which refunds lock them: a ticket is used or given back, never both.
pub async fn admit(pool: &PgPool, event_id: &str, door: &str, scans: &[Scan]) -> Result<(), sqlx::Error> {
    let columns = Columns::of(scans);
    sqlx::query(
        "insert into ticketing.check_ins (event_id, booking_id, seat_id, admitted_at, door, scan_id)
         select $1, s.booking_id, s.seat_id, w.admitted_at, $2, w.scan_id
         from unnest($3::text[], $4::uuid[], $5::timestamptz[], $6::uuid[]) as w (seat_id, booking_id, admitted_at, scan_id)
         join ticketing.seats s on s.event_id = $1 and s.seat_id = w.seat_id and s.booking_id = w.booking_id and s.status = 'sold'
         order by s.seat_id, w.admitted_at
         for share of s
         on conflict do nothing",
    )
    .bind(event_id)
    .bind(door)
    .bind(columns.seats)
    .bind(columns.bookings)
    .bind(columns.times)
    .bind(columns.scans)
    .execute(pool)
    .await?;
    Ok(())
}

/// What is known of these tickets now, in the order of the scans.
pub async fn seen(pool: &PgPool, event_id: &str, scans: &[Scan]) -> Result<Vec<Seen>, sqlx::Error> {
    let columns = Columns::of(scans);
    sqlx::query_as(
        "select s.section, s.row_name, coalesce(s.booking_id = w.booking_id and s.status = 'sold', false) as sold,
                c.admitted_at, c.door, c.scan_id
         from unnest($2::text[], $3::uuid[]) with ordinality as w (seat_id, booking_id, position)
         left join ticketing.seats s on s.event_id = $1 and s.seat_id = w.seat_id
         left join ticketing.check_ins c on c.event_id = $1 and c.booking_id = w.booking_id and c.seat_id = w.seat_id
         order by w.position",
    )
    .bind(event_id)
    .bind(columns.seats)
    .bind(columns.bookings)
    .fetch_all(pool)
    .await
}

/// Takes a check-in back; none: there was none.
pub async fn undo(
    pool: &PgPool,
    ticket: &Ticket,
    booking_id: Uuid,
    by: &str,
    reason: &str,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar(
        "with gone as (
             delete from ticketing.check_ins
             where event_id = $1 and booking_id = $2 and seat_id = $3
             returning event_id, booking_id, seat_id, admitted_at, door, scan_id
         )
         insert into ticketing.check_ins_undone (event_id, booking_id, seat_id, admitted_at, admitted_by, undone_by, reason, scan_id)
         select event_id, booking_id, seat_id, admitted_at, door, $4, $5, scan_id from gone
         returning admitted_at",
    )
    .bind(&ticket.event_id)
    .bind(booking_id)
    .bind(&ticket.seat_id)
    .bind(by)
    .bind(reason)
    .fetch_optional(pool)
    .await
}

/// An event's name, its seats sold, and people let in.
pub async fn progress(pool: &PgPool, event_id: &str) -> Result<(String, i64, i64), sqlx::Error> {
    sqlx::query_as(
        "select coalesce((select name from ticketing.events where id = $1), $1),
                (select count(*) from ticketing.seats where event_id = $1 and status = 'sold'),
                (select count(*) from ticketing.check_ins where event_id = $1)",
    )
    .bind(event_id)
    .fetch_one(pool)
    .await
}

/// The door of a pass that is good now.
pub async fn door(pool: &PgPool, event_id: &str, digest: &[u8]) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select door from ticketing.door_passes
         where event_id = $1 and digest = $2 and revoked_at is null and expires_at > now()",
    )
    .bind(event_id)
    .bind(digest)
    .fetch_optional(pool)
    .await
}

/// Keeps a pass; false: there is no such event.
pub async fn add_pass(
    pool: &PgPool,
    event_id: &str,
    digest: &[u8],
    door: &str,
    hours: i32,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query(
        "insert into ticketing.door_passes (event_id, digest, door, expires_at)
         select id, $2, $3, now() + make_interval(hours => $4) from ticketing.events where id = $1",
    )
    .bind(event_id)
    .bind(digest)
    .bind(door)
    .bind(hours)
    .execute(pool)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// Bookings with this confirmation number: events may share it, hardly ever.
pub async fn bookings_of_number(pool: &PgPool, number: &str) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select booking_id from ticketing.holds where confirmation_number = $1 order by reserved_at limit 10",
    )
    .bind(number)
    .fetch_all(pool)
    .await
}

/// Scans as the statements want them.
struct Columns<'a> {
    seats: Vec<&'a str>,
    bookings: Vec<Uuid>,
    times: Vec<DateTime<Utc>>,
    scans: Vec<Uuid>,
}

impl<'a> Columns<'a> {
    fn of(scans: &'a [Scan]) -> Columns<'a> {
        Columns {
            seats: scans.iter().map(|scan| scan.ticket.seat_id.as_str()).collect(),
            bookings: scans.iter().map(|scan| scan.booking_id).collect(),
            times: scans.iter().map(|scan| scan.admitted_at).collect(),
            scans: scans.iter().map(|scan| scan.scan_id).collect(),
        }
    }
}

//! What confirmed bookings give back.

use std::collections::BTreeSet;

use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{Result, check_count, owned_seats};
use crate::seats::plan::SeatKey;

/// A refund's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RefundKey {
    pub event_id: String,
    pub booking_id: Uuid,
    pub refund_id: Uuid,
}

/// What a booking gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::seats) struct Return {
    pub key: RefundKey,
    pub seat_ids: Vec<String>,
    pub amount_cents: i64,
    pub seats_left: i32,
}

#[derive(sqlx::FromRow)]
struct Row {
    event_id: String,
    booking_id: Uuid,
    refund_id: Uuid,
    seat_ids: Vec<String>,
    amount_cents: i64,
    seats_left: i32,
}

fn names(keys: &[&RefundKey]) -> (Vec<String>, Vec<Uuid>, Vec<Uuid>) {
    let events = keys.iter().map(|key| key.event_id.clone()).collect();
    let bookings = keys.iter().map(|key| key.booking_id).collect();
    (events, bookings, keys.iter().map(|key| key.refund_id).collect())
}

/// What these refunds gave back before. After the seats are locked, so that it sees what an earlier attempt did.
pub(in crate::seats) async fn read(executor: impl PgExecutor<'_>, keys: &[&RefundKey]) -> Result<Vec<Return>> {
    let (events, bookings, refunds) = names(keys);
    let rows: Vec<Row> = sqlx::query_as(
        "select r.event_id, r.booking_id, r.refund_id, r.seat_ids, r.amount_cents, r.seats_left
         from unnest($1::text[], $2::uuid[], $3::uuid[]) as k (event_id, booking_id, refund_id)
         join ticketing.refunds r
           on r.event_id = k.event_id and r.booking_id = k.booking_id and r.refund_id = k.refund_id",
    )
    .bind(events)
    .bind(bookings)
    .bind(refunds)
    .fetch_all(executor)
    .await?;
    let into = |row: Row| Return {
        key: RefundKey {
            event_id: row.event_id,
            booking_id: row.booking_id,
            refund_id: row.refund_id,
        },
        seat_ids: row.seat_ids,
        amount_cents: row.amount_cents,
        seats_left: row.seats_left,
    };
    Ok(rows.into_iter().map(into).collect())
}

/// Those of these seats to which somebody was let in by their bookings' tickets. After the seats are locked, which doors do too.
pub(in crate::seats) async fn admitted(
    connection: &mut PgConnection,
    sold: &[(SeatKey, Uuid)],
) -> Result<BTreeSet<SeatKey>> {
    if sold.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (events, seats, bookings) = owned_seats(sold);
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select c.event_id, c.seat_id
         from unnest($1::text[], $2::text[], $3::uuid[]) as k (event_id, seat_id, booking_id)
         join ticketing.check_ins c
           on c.event_id = k.event_id and c.seat_id = k.seat_id and c.booking_id = k.booking_id",
    )
    .bind(events)
    .bind(seats)
    .bind(bookings)
    .fetch_all(connection)
    .await?;
    let key = |(event_id, seat_id)| SeatKey { event_id, seat_id };
    Ok(rows.into_iter().map(key).collect())
}

/// Gives the seats back, which must be locked and sold to their bookings, at most one refund a booking: they are free, the holds are
/// smaller or released, and the refunds are written down.
pub(in crate::seats) async fn give_back(connection: &mut PgConnection, returns: &[Return]) -> Result<()> {
    let seats: Vec<(SeatKey, Uuid)> = returns
        .iter()
        .flat_map(|it| {
            it.seat_ids.iter().map(|seat_id| {
                let seat = SeatKey {
                    event_id: it.key.event_id.clone(),
                    seat_id: seat_id.clone(),
                };
                (seat, it.key.booking_id)
            })
        })
        .collect();
    let (seat_events, seat_ids, seat_bookings) = owned_seats(&seats);
    let keys: Vec<&RefundKey> = returns.iter().map(|it| &it.key).collect();
    let (events, bookings, refunds) = names(&keys);
    let amounts: Vec<i64> = returns.iter().map(|it| it.amount_cents).collect();
    let left: Vec<i32> = returns.iter().map(|it| it.seats_left).collect();
    let counts: (i64, i64, i64) = sqlx::query_as(
        "with returned as (
             select * from unnest($1::text[], $2::text[], $3::uuid[]) as c (event_id, seat_id, booking_id)
         ), given as (
             select r.*, c.seat_ids
             from unnest($4::text[], $5::uuid[], $6::uuid[], $7::int8[], $8::int4[])
                  as r (event_id, booking_id, refund_id, amount_cents, seats_left)
             join (select event_id, booking_id, array_agg(seat_id order by seat_id) as seat_ids
                   from returned group by event_id, booking_id) c
               on c.event_id = r.event_id and c.booking_id = r.booking_id
         ), freed as (
             update ticketing.seats s
             set status = 'available', booking_id = null, held_until = null
             from returned c
             where s.event_id = c.event_id and s.seat_id = c.seat_id and s.booking_id = c.booking_id and s.status = 'sold'
             returning 1
         ), changed as (
             update ticketing.holds h
             set seat_ids = case g.seats_left when 0 then h.seat_ids
                            else array(select seat_id from unnest(h.seat_ids) as l (seat_id)
                                       where l.seat_id <> all (g.seat_ids) order by seat_id) end,
                 total_cents = case g.seats_left when 0 then h.total_cents else h.total_cents - g.amount_cents end,
                 status = case g.seats_left when 0 then 'released' else h.status end,
                 released_at = case g.seats_left when 0 then statement_timestamp() end,
                 release_reason = case g.seats_left when 0 then 'CANCELLED' end
             from given g
             where h.event_id = g.event_id and h.booking_id = g.booking_id and h.status = 'confirmed'
             returning 1
         ), written as (
             insert into ticketing.refunds (event_id, booking_id, refund_id, seat_ids, amount_cents, seats_left)
             select event_id, booking_id, refund_id, seat_ids, amount_cents, seats_left from given
             order by event_id, booking_id, refund_id
             returning 1
         )
         select (select count(*) from freed), (select count(*) from changed), (select count(*) from written)",
    )
    .bind(seat_events)
    .bind(seat_ids)
    .bind(seat_bookings)
    .bind(events)
    .bind(bookings)
    .bind(refunds)
    .bind(amounts)
    .bind(left)
    .fetch_one(connection)
    .await?;
    check_count("seats given back", seats.len(), counts.0)?;
    check_count("holds changed", returns.len(), counts.1)?;
    check_count("refunds written", returns.len(), counts.2)
}

/// Writes down that the money of these refunds went back.
pub(crate) async fn money_is_back(executor: impl PgExecutor<'_>, keys: &[RefundKey]) -> Result<(), sqlx::Error> {
    let (events, bookings, refunds) = names(&keys.iter().collect::<Vec<_>>());
    let query = sqlx::query(
        "with back as (
             select r.event_id, r.booking_id, r.refund_id
             from unnest($1::text[], $2::uuid[], $3::uuid[]) as k (event_id, booking_id, refund_id)
             join ticketing.refunds r
               on r.event_id = k.event_id and r.booking_id = k.booking_id and r.refund_id = k.refund_id
             where r.refunded_at is null
             order by r.event_id, r.booking_id, r.refund_id
             for update of r
         )
         update ticketing.refunds r set refunded_at = now()
         from back b
         where r.event_id = b.event_id and r.booking_id = b.booking_id and r.refund_id = b.refund_id",
    );
    query
        .bind(events)
        .bind(bookings)
        .bind(refunds)
        .execute(executor)
        .await
        .map(drop)
}

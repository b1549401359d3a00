//! Seats that the organiser keeps for the house.

use sqlx::PgConnection;

/// A seat under lock.
#[derive(sqlx::FromRow)]
pub struct Seat {
    pub seat_id: String,
    pub status: String,
}

/// Locks these seats of an event until the transaction ends.
pub async fn lock_seats(
    connection: &mut PgConnection,
    event_id: &str,
    seat_ids: &[String],
) -> Result<Vec<Seat>, sqlx::Error> {
    sqlx::query_as(
        "select s.seat_id, s.status
         from unnest($1::text[], $2::text[]) as w (event_id, seat_id)
         join ticketing.seats s on s.event_id = w.event_id and s.seat_id = w.seat_id
         order by s.event_id, s.seat_id
         for update of s",
    )
    // Both halves of the key for each seat: so each is found by it.
    .bind(vec![event_id; seat_ids.len()])
    .bind(seat_ids)
    .fetch_all(connection)
    .await
}

/// The names of up to `limit` seats of a section, or of some rows of it.
pub async fn seats_of(
    connection: &mut PgConnection,
    event_id: &str,
    section: &str,
    rows: Option<&[String]>,
    limit: i64,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select seat_id
         from ticketing.seats
         where event_id = $1 and section = $2 and ($3::text[] is null or row_name = any($3))
         order by row_name, number
         limit $4",
    )
    .bind(event_id)
    .bind(section)
    .bind(rows)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Keeps seats, which must be locked, for the house (`house`), or lets them go (`available`).
pub async fn set(
    connection: &mut PgConnection,
    event_id: &str,
    seat_ids: &[String],
    status: &str,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update ticketing.seats s
         set status = $3
         from unnest($1::text[], $2::text[]) as w (event_id, seat_id)
         where s.event_id = w.event_id and s.seat_id = w.seat_id and s.booking_id is null",
    )
    .bind(vec![event_id; seat_ids.len()])
    .bind(seat_ids)
    .bind(status)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

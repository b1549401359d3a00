//! Events and seats from a seed.

use sqlx::PgExecutor;

use super::Result;
use crate::seats::seed::EventSeed;

/// Adds the event unless it is there.
pub(in crate::seats) async fn insert_event(executor: impl PgExecutor<'_>, event: &EventSeed) -> Result<()> {
    let query = sqlx::query(
        "insert into ticketing.events (id, name, venue, city, starts_at, time_zone, currency, attributes)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (id) do nothing",
    );
    let query = query
        .bind(&event.id)
        .bind(&event.name)
        .bind(&event.venue)
        .bind(&event.city);
    let query = query
        .bind(event.starts_at)
        .bind(&event.time_zone)
        .bind(&event.currency)
        .bind(&event.attributes);
    query.execute(executor).await?;
    Ok(())
}

/// Adds those of the blocks' seats that are not there; says how many. Rows are named A, B, C, …
pub(in crate::seats) async fn insert_seats(executor: impl PgExecutor<'_>, event: &EventSeed) -> Result<u64> {
    let blocks = &event.blocks;
    let sections: Vec<&str> = blocks.iter().map(|block| block.section.as_str()).collect();
    let plain: Vec<bool> = blocks.iter().map(|block| block.plain_ids).collect();
    let rows: Vec<i32> = blocks.iter().map(|block| i32::from(block.rows)).collect();
    let numbers: Vec<i32> = blocks.iter().map(|block| i32::from(block.seats_per_row)).collect();
    let first: Vec<i64> = blocks.iter().map(|block| block.first_row_cents).collect();
    let last: Vec<i64> = blocks.iter().map(|block| block.last_row_cents).collect();
    let query = sqlx::query(
        "insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents)
         select $1,
                case when b.plain then r.name || n.number else b.section || '-' || r.name || '-' || n.number end,
                b.section, r.name, n.number,
                b.first_cents + (b.last_cents - b.first_cents) * r.place / greatest(b.rows - 1, 1) / 100 * 100
         from unnest($2::text[], $3::bool[], $4::int[], $5::int[], $6::int8[], $7::int8[])
              as b (section, plain, rows, numbers, first_cents, last_cents)
         cross join lateral (select place, chr(65 + place) as name from generate_series(0, b.rows - 1) as g (place)) r
         cross join lateral generate_series(1, b.numbers) as n (number)
         on conflict do nothing",
    );
    let query = query
        .bind(&event.id)
        .bind(sections)
        .bind(plain)
        .bind(rows)
        .bind(numbers)
        .bind(first)
        .bind(last);
    Ok(query.execute(executor).await?.rows_affected())
}

/// Tells the planner what is there, so that its first plans are good ones.
pub(in crate::seats) async fn analyse(executor: impl PgExecutor<'_>) -> Result<()> {
    sqlx::raw_sql("analyze ticketing.events, ticketing.seats, ticketing.holds")
        .execute(executor)
        .await?;
    Ok(())
}

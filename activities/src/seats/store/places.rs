//! Free seats near by.

use sqlx::PgExecutor;

use super::Result;

/// A part of an event's seat map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::seats) struct Place {
    pub event_id: String,
    pub section: String,
}

/// Seats read in search of free ones: for each place in its own section; once for each event in the sections behind the
/// first place, and as many from the front. A sold-out event of 20,000 seats costs some milliseconds a batch, no more.
const SCAN_SECTION: i64 = 500;
const SCAN_ELSEWHERE: i64 = 1_000;

/// Up to `limit` free seats around each place: its index, whether they are in its section, and the seat. Seats of
/// other sections are given with the first place of an event alone, for all of them.
pub(in crate::seats) async fn free_seats_around(
    executor: impl PgExecutor<'_>,
    places: &[Place],
    limit: i64,
) -> Result<Vec<(usize, bool, String)>> {
    let events: Vec<&str> = places.iter().map(|place| place.event_id.as_str()).collect();
    let sections: Vec<&str> = places.iter().map(|place| place.section.as_str()).collect();
    let mut searched = std::collections::HashSet::new();
    let first: Vec<bool> = events.iter().map(|event| searched.insert(*event)).collect();
    let query = sqlx::query_as(
        "select p.place, f.same_section, f.seat_id
         from unnest($1::text[], $2::text[], $6::bool[]) with ordinality as p (event_id, section, first, place)
         cross join lateral (
             (select true as same_section, seat_id
              from (select seat_id, status from ticketing.seats s
                    where s.event_id = p.event_id and s.section = p.section
                    order by s.row_name, s.number limit $4) own
              where status = 'available'
              limit $3)
             union all
             (select false, seat_id
              from (select seat_id, status from ticketing.seats s
                    where s.event_id = p.event_id and s.section > p.section
                    order by s.section, s.row_name, s.number limit $5) behind
              where p.first and status = 'available'
              limit $3)
             union all
             (select false, seat_id
              from (select seat_id, status from ticketing.seats s
                    where s.event_id = p.event_id and s.section < p.section
                    order by s.section, s.row_name, s.number limit $5) front
              where p.first and status = 'available'
              limit $3)
         ) f",
    );
    let query = query
        .bind(events)
        .bind(sections)
        .bind(limit)
        .bind(SCAN_SECTION)
        .bind(SCAN_ELSEWHERE)
        .bind(first);
    let rows: Vec<(i64, bool, String)> = query.fetch_all(executor).await?;
    // Ordinality counts from 1.
    let row = |(place, same_section, seat_id): (i64, bool, String)| (place as usize - 1, same_section, seat_id);
    Ok(rows.into_iter().map(row).collect())
}

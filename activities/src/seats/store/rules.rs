//! What seats and holds must keep, as queries.

use sqlx::PgExecutor;

use super::Result;

/// Rules that seats and holds keep, each with a query for the cases that break it. Together they say that a seat has at most one
/// holder, that every holder has a hold, and that a hold has all of its seats or none.
pub(in crate::seats) const AUDIT_RULES: [(&str, &str); 2] = [
    (
        "a seat in somebody's hands is listed by that booking's hold, held or confirmed as the seat is held or sold",
        "with bad as (
             select s.event_id || '/' || s.seat_id || '/' || s.booking_id as place
             from ticketing.seats s
             left join ticketing.holds h on h.event_id = s.event_id and h.booking_id = s.booking_id
             where s.status not in ('available', 'house')
               and (h.status is distinct from case s.status when 'held' then 'held' else 'confirmed' end
                    or s.seat_id <> all (h.seat_ids))
         )
         select count(*), coalesce((array_agg(place order by place))[1:$1], '{}') from bad",
    ),
    (
        "a hold that is held or confirmed has all of its seats",
        "with bad as (
             select h.event_id || '/' || l.seat_id || '/' || h.booking_id as place
             from ticketing.holds h
             cross join unnest(h.seat_ids) as l (seat_id)
             left join ticketing.seats s on s.event_id = h.event_id and s.seat_id = l.seat_id
             where h.status <> 'released' and s.booking_id is distinct from h.booking_id
         )
         select count(*), coalesce((array_agg(place order by place))[1:$1], '{}') from bad",
    ),
];

/// How often a rule is broken, and some of the cases.
pub(in crate::seats) async fn audit_rule(
    executor: impl PgExecutor<'_>,
    query: &'static str,
    examples_max: i32,
) -> Result<(i64, Vec<String>)> {
    Ok(sqlx::query_as(query).bind(examples_max).fetch_one(executor).await?)
}

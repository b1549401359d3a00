//! Do holds and payments agree? Reads only, takes no lock.

use activities::seats::audit::{EXAMPLES_MAX, Finding};
use sqlx::PgPool;

/// How long after its last change a payment counts as settled. A booking holds its seats for 15 minutes, and the money
/// of one that failed is on its way back for a while.
const SETTLED_AFTER_MINUTES: i32 = 30;

/// The rules that are broken; empty if all is well.
pub async fn audit(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let found = [
        (
            "a confirmed booking is paid in full, exactly once, but for what it has given back",
            unpaid_confirmations(pool).await?,
        ),
        (
            "money that was taken and kept belongs to a confirmed booking",
            kept_without_booking(pool).await?,
        ),
    ];
    let broken = found.into_iter().filter(|(_, (count, _))| *count > 0);
    Ok(broken
        .map(|(rule, (count, examples))| Finding { rule, count, examples })
        .collect())
}

async fn unpaid_confirmations(pool: &PgPool) -> sqlx::Result<(i64, Vec<String>)> {
    sqlx::query_as(
        "with bad as (
             select h.event_id || '/' || h.booking_id as place
             from ticketing.holds h
             left join ticketing.payments p on p.booking_id = h.booking_id and p.status = 'succeeded'
             where h.status = 'confirmed'
             group by h.event_id, h.booking_id, h.total_cents
             having count(p.key) <> 1
                 or sum(p.amount_cents) is distinct from h.total_cents + coalesce(
                        (select sum(r.amount_cents) from ticketing.refunds r
                         where r.event_id = h.event_id and r.booking_id = h.booking_id), 0)
         )
         select count(*), coalesce((array_agg(place order by place))[1:$1], '{}') from bad",
    )
    .bind(EXAMPLES_MAX)
    .fetch_one(pool)
    .await
}

async fn kept_without_booking(pool: &PgPool) -> sqlx::Result<(i64, Vec<String>)> {
    sqlx::query_as(
        "with bad as (
             select p.booking_id || '/' || p.key as place
             from ticketing.payments p
             where p.status = 'succeeded'
               and p.updated_at < now() - make_interval(mins => $2)
               and not exists (
                   select from ticketing.holds h where h.booking_id = p.booking_id and h.status = 'confirmed'
               )
         )
         select count(*), coalesce((array_agg(place order by place))[1:$1], '{}') from bad",
    )
    .bind(EXAMPLES_MAX)
    .bind(SETTLED_AFTER_MINUTES)
    .fetch_one(pool)
    .await
}

//! What buyers have of events that limit it.

use std::collections::BTreeSet;

use sqlx::{PgConnection, PgExecutor};

use super::Result;
use crate::seats::plan::{Allowance, Allowances, BuyerKey};

/// Locks these buyers, where their event has a limit, until the transaction ends: what they have can then be counted.
pub(in crate::seats) async fn lock(connection: &mut PgConnection, buyers: &BTreeSet<BuyerKey>) -> Result<()> {
    let (events, users) = columns(buyers);
    // An update of nothing, for its lock.
    let query = sqlx::query(
        "insert into ticketing.event_buyers (event_id, user_id)
         select b.event_id, b.user_id
         from unnest($1::text[], $2::text[]) as b (event_id, user_id)
         join ticketing.events e on e.id = b.event_id
         where e.seats_per_buyer_max is not null
         order by b.event_id, b.user_id
         on conflict (event_id, user_id) do update set user_id = excluded.user_id where false",
    );
    query.bind(events).bind(users).execute(connection).await?;
    Ok(())
}

/// What these buyers may have and have. In a statement of its own after [`lock`], so that it sees what whoever had the lock
/// before has done.
pub(in crate::seats) async fn allowances(
    executor: impl PgExecutor<'_>,
    buyers: &BTreeSet<BuyerKey>,
) -> Result<Allowances> {
    let (events, users) = columns(buyers);
    let query = sqlx::query_as(
        "select b.event_id, b.user_id, e.seats_per_buyer_max::bigint, h.seats
         from unnest($1::text[], $2::text[]) as b (event_id, user_id)
         join ticketing.events e on e.id = b.event_id
         cross join lateral (
             select coalesce(sum(cardinality(h.seat_ids)), 0) as seats
             from ticketing.holds h
             where h.event_id = b.event_id and h.user_id = b.user_id and h.status <> 'released'
         ) h
         where e.seats_per_buyer_max is not null",
    );
    let rows: Vec<(String, String, i64, i64)> = query.bind(events).bind(users).fetch_all(executor).await?;
    Ok(rows
        .into_iter()
        .map(|(event_id, user_id, max, has)| (BuyerKey { event_id, user_id }, Allowance { max, has }))
        .collect())
}

fn columns(buyers: &BTreeSet<BuyerKey>) -> (Vec<&str>, Vec<&str>) {
    buyers
        .iter()
        .map(|buyer| (buyer.event_id.as_str(), buyer.user_id.as_str()))
        .unzip()
}

//! How far a comparison with the provider is, and what it has found. A page at a time, one statement each.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::StoreError;
use crate::payments::reconcile::DIFFERENCES_MAX;

/// Which list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::payments) enum Phase {
    Payments,
    Refunds,
    Ours,
    Done,
}

/// A comparison.
#[derive(Clone, Debug)]
pub(in crate::payments) struct Run {
    pub id: Uuid,
    pub from_at: DateTime<Utc>,
    pub until_at: DateTime<Utc>,
    pub phase: Phase,
    pub cursor: Option<String>,
    pub payments: i64,
    pub refunds: i64,
    pub differences: i64,
}

/// What the provider says of a payment or a refund.
#[derive(Clone, Debug)]
pub(in crate::payments) struct Found {
    pub reference: String,
    pub booking_id: Option<Uuid>,
    /// None: nothing was paid, or given back.
    pub cents: Option<i64>,
}

/// Where the two disagree.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(in crate::payments) struct Difference {
    pub ours_cents: Option<i64>,
    pub theirs_cents: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    from_at: DateTime<Utc>,
    until_at: DateTime<Utc>,
    phase: String,
    cursor: Option<String>,
    payments: i64,
    refunds: i64,
    differences: i64,
}

impl TryFrom<Row> for Run {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Run, sqlx::Error> {
        let phase = match row.phase.as_str() {
            "payments" => Phase::Payments,
            "refunds" => Phase::Refunds,
            "ours" => Phase::Ours,
            "done" => Phase::Done,
            other => return Err(sqlx::Error::Decode(format!("{other:?} is no phase").into())),
        };
        Ok(Run {
            id: row.id,
            from_at: row.from_at,
            until_at: row.until_at,
            phase,
            cursor: row.cursor,
            payments: row.payments,
            refunds: row.refunds,
            differences: row.differences,
        })
    }
}

/// Begins a comparison, or goes on with it.
pub(in crate::payments) async fn begin(pool: &PgPool, id: Uuid, from: i64, until: i64) -> Result<Run, StoreError> {
    let sql = "insert into ticketing.reconciliations as r (id, from_at, until_at)
               values ($1, now() - make_interval(hours => $2::int), now() - make_interval(hours => $3::int))
               on conflict (id) do update set cursor = r.cursor
               returning id, from_at, until_at, phase, cursor, payments, refunds, differences";
    let row: Row = sqlx::query_as(sql)
        .bind(id)
        .bind(from)
        .bind(until)
        .fetch_one(pool)
        .await?;
    row.try_into()
}

fn columns(found: &[Found]) -> (Vec<&str>, Vec<Option<Uuid>>, Vec<Option<i64>>) {
    let references = found.iter().map(|found| found.reference.as_str()).collect();
    let bookings = found.iter().map(|found| found.booking_id).collect();
    (references, bookings, found.iter().map(|found| found.cents).collect())
}

/// Compares a page with the ledger, writes down what differs and what was seen, and moves on: to the next page, or to the next list. A page
/// that was compared before changes nothing.
pub(in crate::payments) async fn compare(
    pool: &PgPool,
    run: &Run,
    found: &[Found],
    has_more: bool,
) -> Result<Run, StoreError> {
    let sql = "with page as (
                   select * from unnest($2::text[], $3::uuid[], $4::int8[]) as f (reference, booking_id, cents)
               ), ours as (
                   select p.reference, p.booking_id, p.cents as theirs_cents, o.cents as ours_cents, o.booking_id as our_booking
                   from page p
                   left join lateral (
                       select e.amount_cents as cents, e.booking_id
                       from ticketing.ledger_entries e
                       where e.transaction_id in ('payment/' || p.reference, 'refund/' || p.reference)
                         and e.account in ('sales', 'refunds')
                       limit 1
                   ) o on true
               ), moved as (
                   update ticketing.reconciliations r
                   set cursor = $5, phase = $6, finished_at = case $6 when 'done' then now() end,
                       payments = r.payments + case r.phase when 'payments' then $7 else 0 end,
                       refunds = r.refunds + case r.phase when 'refunds' then $7 else 0 end,
                       differences = r.differences + (select count(*) from ours
                                                      where abs(ours_cents) is distinct from theirs_cents)
                   where r.id = $1 and r.cursor is not distinct from $8 and r.phase = $9
                   returning r.id, r.from_at, r.until_at, r.phase, r.cursor, r.payments, r.refunds, r.differences
               ), noted as (
                   insert into ticketing.payment_differences as d
                          (reference, kind, booking_id, ours_cents, theirs_cents, found_by)
                   select o.reference, case when o.reference like 'pi\\_%' then 'payment' else 'refund' end,
                          coalesce(o.booking_id, o.our_booking), abs(o.ours_cents), o.theirs_cents, m.id
                   from ours o cross join moved m
                   where abs(o.ours_cents) is distinct from o.theirs_cents and m.differences <= $10
                   on conflict (reference) do update
                   set ours_cents = excluded.ours_cents, theirs_cents = excluded.theirs_cents,
                       status = 'new', settled_at = null, found_by = excluded.found_by, found_at = now(),
                       next_attempt_at = now()
                   where d.status = 'settled'
                   returning 1
               ), seen as (
                   insert into ticketing.reconciliation_seen (id, reference)
                   select m.id, p.reference from page p cross join moved m
                   where m.phase <> 'done'
                   on conflict do nothing
                   returning 1
               ), forgotten as (
                   delete from ticketing.reconciliation_seen s using moved m where s.id = m.id and m.phase = 'done'
                   returning 1
               )
               select m.* from moved m
               union all
               select r.id, r.from_at, r.until_at, r.phase, r.cursor, r.payments, r.refunds, r.differences
               from ticketing.reconciliations r
               where r.id = $1 and not exists (select 1 from moved)";
    let (references, bookings, cents) = columns(found);
    let (phase, cursor) = next(run, found, has_more);
    let row: Row = sqlx::query_as(sql)
        .bind(run.id)
        .bind(references)
        .bind(bookings)
        .bind(cents)
        .bind(cursor)
        .bind(name(phase))
        .bind(i64::try_from(found.len()).unwrap_or(i64::MAX))
        .bind(&run.cursor)
        .bind(name(run.phase))
        .bind(DIFFERENCES_MAX)
        .fetch_one(pool)
        .await?;
    row.try_into()
}

fn next<'a>(run: &Run, found: &'a [Found], has_more: bool) -> (Phase, Option<&'a str>) {
    let last = found.last().map(|found| found.reference.as_str());
    match (run.phase, has_more && last.is_some()) {
        (phase, true) => (phase, last),
        (Phase::Payments, false) => (Phase::Refunds, None),
        (Phase::Refunds, false) => (Phase::Ours, None),
        (Phase::Ours | Phase::Done, false) => (Phase::Done, None),
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Payments => "payments",
        Phase::Refunds => "refunds",
        Phase::Ours => "ours",
        Phase::Done => "done",
    }
}

/// Those of a page that the ledger says otherwise.
pub(in crate::payments) async fn differ(pool: &PgPool, found: &[Found]) -> Result<Vec<Difference>, StoreError> {
    let sql = "select abs(o.cents) as ours_cents, p.cents as theirs_cents
               from unnest($1::text[], $2::uuid[], $3::int8[]) as p (reference, booking_id, cents)
               left join lateral (
                   select e.amount_cents as cents
                   from ticketing.ledger_entries e
                   where e.transaction_id in ('payment/' || p.reference, 'refund/' || p.reference)
                     and e.account in ('sales', 'refunds')
                   limit 1
               ) o on true
               where abs(o.cents) is distinct from p.cents";
    let (references, bookings, cents) = columns(found);
    sqlx::query_as(sql)
        .bind(references)
        .bind(bookings)
        .bind(cents)
        .fetch_all(pool)
        .await
}

/// What the ledger has of that time, and no list had.
pub(in crate::payments) async fn unseen(pool: &PgPool, run: &Run, limit: i64) -> Result<Vec<String>, StoreError> {
    let sql = "select e.reference from ticketing.ledger_entries e
               where e.at >= $2 and e.at < $3 and e.account in ('sales', 'refunds')
                 and (e.transaction_id like 'payment/%' or e.transaction_id like 'refund/%')
                 and not exists (select 1 from ticketing.reconciliation_seen s
                                 where s.id = $1 and s.reference = e.reference)
               order by e.reference limit $4";
    sqlx::query_scalar(sql)
        .bind(run.id)
        .bind(run.from_at)
        .bind(run.until_at)
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// The two agree about this by now.
pub(in crate::payments) async fn settle(pool: &PgPool, reference: &str) -> Result<(), StoreError> {
    let sql = "update ticketing.payment_differences set status = 'settled', settled_at = now()
               where reference = $1 and status <> 'settled'";
    sqlx::query(sql).bind(reference).execute(pool).await.map(drop)
}

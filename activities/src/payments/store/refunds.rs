//! Refunds of confirmed bookings: of a part of a payment, or of all of it.

use sqlx::PgPool;
use uuid::Uuid;

use super::StoreError;

/// A refund that is to be.
#[derive(Clone, Copy, Debug)]
pub(in crate::payments) struct Wish {
    pub refund_id: Uuid,
    pub booking_id: Uuid,
    pub amount_cents: i64,
}

/// A refund that may be carried out, or was.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(in crate::payments) struct Begun {
    pub intent_id: String,
    pub amount_cents: i64,
    /// How often the provider is or was asked, this time included.
    pub asked: i32,
    /// How often it has answered that it did nothing.
    pub refused: i32,
    /// Its id, once the money has gone back.
    pub provider_id: Option<String>,
}

/// A payment that has gone back.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(in crate::payments) struct Covering {
    pub intent_id: Option<String>,
    pub refund_id: Option<String>,
}

/// A refund that was carried out.
#[derive(Clone, Debug)]
pub(in crate::payments) struct Given {
    pub refund_id: Uuid,
    pub provider_id: String,
}

/// Begins a refund, or goes on with it: the provider is about to be asked once more, unless it is done. None: there is no payment of this
/// booking that has so much left, with what other refunds are about to take. Two that begin at the same moment may both pass; the provider
/// has the last word.
pub(in crate::payments) async fn begin(pool: &PgPool, wish: &Wish) -> Result<Option<Begun>, StoreError> {
    let sql = "with payment as materialized (
                   select key, intent_id, amount_cents, refunded_cents from ticketing.payments
                   where booking_id = $2 and status in ('succeeded', 'refunded')
                   limit 1
               ), begun as (
                   insert into ticketing.payment_refunds as r (refund_id, payment_key, amount_cents)
                   select $1, p.key, $3 from payment p
                   where exists (select 1 from ticketing.payment_refunds before where before.refund_id = $1)
                      or $3 <= p.amount_cents - p.refunded_cents - (
                             select coalesce(sum(other.amount_cents), 0)::int8 from ticketing.payment_refunds other
                             where other.payment_key = p.key and other.provider_id is null)
                   on conflict (refund_id) do update
                   set asked = r.asked + case when r.provider_id is null then 1 else 0 end
                   returning r.amount_cents, r.asked, r.refused, r.provider_id
               )
               select p.intent_id, b.amount_cents, b.asked, b.refused, b.provider_id from begun b cross join payment p";
    sqlx::query_as(sql)
        .bind(wish.refund_id)
        .bind(wish.booking_id)
        .bind(wish.amount_cents)
        .fetch_optional(pool)
        .await
}

/// What is left of a booking's payment; none: there is no payment.
pub(in crate::payments) async fn left(pool: &PgPool, booking: Uuid) -> Result<Option<i64>, StoreError> {
    let sql = "select p.amount_cents - p.refunded_cents - (
                   select coalesce(sum(r.amount_cents), 0) from ticketing.payment_refunds r
                   where r.payment_key = p.key and r.provider_id is null)::int8
               from ticketing.payments p
               where p.booking_id = $1 and p.status in ('succeeded', 'refunded')
               limit 1";
    sqlx::query_scalar(sql).bind(booking).fetch_optional(pool).await
}

/// A payment of this booking that has gone back as a whole, not by parts, with so much of it that no part accounts for.
pub(in crate::payments) async fn covering(pool: &PgPool, wish: &Wish) -> Result<Option<Covering>, StoreError> {
    let sql = "select p.intent_id, p.refund_id from ticketing.payments p
               where p.booking_id = $1 and p.status = 'refunded'
                 and p.refunded_cents - (
                     select coalesce(sum(r.amount_cents), 0) from ticketing.payment_refunds r
                     where r.payment_key = p.key and r.provider_id is not null)::int8 >= $2
               limit 1";
    sqlx::query_as(sql)
        .bind(wish.booking_id)
        .bind(wish.amount_cents)
        .fetch_optional(pool)
        .await
}

/// The provider has answered the question of this number that it did nothing. If somebody has asked once more since, that
/// one may be carried out: then nothing is settled, and the next attempt looks first.
pub(in crate::payments) async fn refused(pool: &PgPool, refund: Uuid, asked: i32) -> Result<(), StoreError> {
    let sql = "update ticketing.payment_refunds set refused = asked
               where refund_id = $1 and provider_id is null and asked = $2";
    sqlx::query(sql).bind(refund).bind(asked).execute(pool).await.map(drop)
}

/// These were carried out: so the payments say, and the ledger.
pub(in crate::payments) async fn given(pool: &PgPool, given: &[Given]) -> Result<(), StoreError> {
    let sql = "with given as (
                   select * from unnest($1::uuid[], $2::text[]) as g (refund_id, provider_id)
               ), locked as materialized (
                   select p.key from ticketing.payments p
                   where p.key in (select r.payment_key from ticketing.payment_refunds r
                                   where r.refund_id = any($1) and r.provider_id is null)
                   order by p.key for update
               ), done as (
                   update ticketing.payment_refunds r
                   set provider_id = g.provider_id, refunded_at = now()
                   from given g
                   where r.refund_id = g.refund_id and r.provider_id is null
                     and r.payment_key in (select key from locked)
                   returning r.payment_key, r.provider_id, r.amount_cents
               ), paid as (
                   update ticketing.payments p
                   set refunded_cents = least(p.amount_cents, p.refunded_cents + d.cents), refund_id = d.latest, updated_at = now(),
                       status = case when p.refunded_cents + d.cents >= p.amount_cents then 'refunded' else p.status end
                   from (select payment_key, sum(amount_cents)::int8 as cents, max(provider_id) as latest
                         from done group by payment_key) d
                   where p.key = d.payment_key
                   returning p.key, p.booking_id, p.currency
               )
               insert into ticketing.ledger_entries (transaction_id, account, booking_id, reference, currency, amount_cents)
               select 'refund/' || d.provider_id, e.account, p.booking_id, d.provider_id, p.currency, e.sign * d.amount_cents
               from done d
               join paid p on p.key = d.payment_key
               cross join (values ('refunds', 1), ('provider', -1)) as e (account, sign)
               on conflict do nothing";
    let (refunds, providers): (Vec<Uuid>, Vec<&str>) =
        given.iter().map(|it| (it.refund_id, it.provider_id.as_str())).unzip();
    sqlx::query(sql)
        .bind(refunds)
        .bind(providers)
        .execute(pool)
        .await
        .map(drop)
}

//! Events as their organisers see and change them. What buyers read is `crate::store::events`'s.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::events::import::Layout;
use crate::money::Cents;

/// An event's row.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Row {
    pub id: String,
    pub venue_id: Option<Uuid>,
    pub name: String,
    pub venue: String,
    pub city: String,
    pub performers: Vec<String>,
    pub attributes: Value,
    pub starts_at: DateTime<Utc>,
    pub time_zone: String,
    pub currency: String,
    pub status: String,
    pub sale_starts_at: Option<DateTime<Utc>>,
    pub sale_ends_at: Option<DateTime<Utc>>,
    pub seats_per_order_max: Option<i32>,
    pub seats_per_buyer_max: Option<i32>,
    /// As text: amounts are read exactly.
    pub pricing: String,
    pub postponed_from: Option<DateTime<Utc>>,
    pub version: i64,
    /// When it was read, on the database's clock.
    pub read_at: DateTime<Utc>,
}

/// One of an organisation's events.
pub async fn get(pool: &PgPool, organisation: Uuid, id: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, venue_id, name, venue, city, performers, attributes, starts_at, time_zone, currency, status,
                sale_starts_at, sale_ends_at, seats_per_order_max, seats_per_buyer_max, pricing::text as pricing,
                postponed_from, version, now() as read_at
         from ticketing.events
         where id = $2 and organisation_id = $1",
    )
    .bind(organisation)
    .bind(id)
    .fetch_optional(pool)
    .await
}

/// The same, locked until the transaction ends.
pub async fn lock(connection: &mut PgConnection, organisation: Uuid, id: &str) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, venue_id, name, venue, city, performers, attributes, starts_at, time_zone, currency, status,
                sale_starts_at, sale_ends_at, seats_per_order_max, seats_per_buyer_max, pricing::text as pricing,
                postponed_from, version, now() as read_at
         from ticketing.events
         where id = $2 and organisation_id = $1
         for update",
    )
    .bind(organisation)
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// An organisation's events after the one with the id `after`, drafts included.
pub async fn list(pool: &PgPool, organisation: Uuid, after: Option<&str>, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, venue_id, name, venue, city, performers, attributes, starts_at, time_zone, currency, status,
                sale_starts_at, sale_ends_at, seats_per_order_max, seats_per_buyer_max, pricing::text as pricing,
                postponed_from, version, now() as read_at
         from ticketing.events
         where organisation_id = $1 and id > $2
         order by id
         limit $3",
    )
    .bind(organisation)
    .bind(after.unwrap_or_default())
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// Makes an event.
pub async fn insert(db: impl PgExecutor<'_>, organisation: Uuid, row: &Row) -> Result<(), sqlx::Error> {
    let sql =
        "insert into ticketing.events (id, venue_id, name, venue, city, performers, attributes, starts_at, time_zone,
                                              currency, status, sale_starts_at, sale_ends_at, seats_per_order_max,
                                              seats_per_buyer_max, pricing, organisation_id)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::jsonb, $17)";
    bind(sql, row).bind(organisation).execute(db).await?;
    Ok(())
}

/// Writes an event that is locked, with its next version.
pub async fn update(db: impl PgExecutor<'_>, row: &Row) -> Result<(), sqlx::Error> {
    let sql = "update ticketing.events
         set venue_id = $2, name = $3, venue = $4, city = $5, performers = $6, attributes = $7, starts_at = $8,
             time_zone = $9, currency = $10, status = $11, sale_starts_at = $12, sale_ends_at = $13,
             seats_per_order_max = $14, seats_per_buyer_max = $15, pricing = $16::jsonb, postponed_from = $17,
             version = $18, updated_at = now()
         where id = $1";
    bind(sql, row)
        .bind(row.postponed_from)
        .bind(row.version)
        .execute(db)
        .await?;
    Ok(())
}

/// Binds what an organiser says of an event, as `$1` to `$16`.
fn bind<'q>(sql: &'static str, row: &'q Row) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(sql)
        .bind(&row.id)
        .bind(row.venue_id)
        .bind(&row.name)
        .bind(&row.venue)
        .bind(&row.city)
        .bind(&row.performers)
        .bind(&row.attributes)
        .bind(row.starts_at)
        .bind(&row.time_zone)
        .bind(&row.currency)
        .bind(&row.status)
        .bind(row.sale_starts_at)
        .bind(row.sale_ends_at)
        .bind(row.seats_per_order_max)
        .bind(row.seats_per_buyer_max)
        .bind(&row.pricing)
}

/// Where an event's stage is, as its venue has it.
pub async fn set_stage(db: impl PgExecutor<'_>, id: &str, x: f32, y: f32) -> Result<(), sqlx::Error> {
    sqlx::query("update ticketing.events set stage_x = $2, stage_y = $3 where id = $1")
        .bind(id)
        .bind(x)
        .bind(y)
        .execute(db)
        .await?;
    Ok(())
}

/// Gives an event its seats, which has none yet: one statement for all of them.
pub async fn insert_seats(
    db: impl PgExecutor<'_>,
    id: &str,
    layout: &Layout,
    prices: &[Cents],
) -> Result<(), sqlx::Error> {
    let prices: Vec<i64> = prices.iter().map(|price| price.get()).collect();
    sqlx::query(
        "insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents, x, y, marks)
         select $1, s.seat_id, s.section, s.row_name, s.number, s.price_cents, s.x, s.y, string_to_array(s.marks, ' ')
         from unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::int8[], $7::real[], $8::real[], $9::text[])
              as s (seat_id, section, row_name, number, price_cents, x, y, marks)",
    )
    .bind(id)
    .bind(&layout.seat_ids)
    .bind(&layout.sections)
    .bind(&layout.rows)
    .bind(&layout.numbers)
    .bind(prices)
    .bind(&layout.xs)
    .bind(&layout.ys)
    .bind(&layout.marks)
    .execute(db)
    .await?;
    Ok(())
}

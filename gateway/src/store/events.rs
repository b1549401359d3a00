//! Events and seats, read only; the activities own the tables.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use sqlx::PgPool;

use crate::events::pricing::Pricing;
use crate::money::Cents;

/// An event that the public may see.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub venue: String,
    /// The city.
    pub city: String,
    /// When it begins.
    pub starts_at: StartsAt,
    /// ISO 4217, lower case.
    pub currency: String,
    /// `upcoming`, `on_sale`, `closed`, `postponed` or `cancelled`, at this moment.
    pub status: String,
    /// Who is on stage.
    pub performers: Vec<String>,
    /// From when on it is sold.
    pub sale_starts_at: Option<DateTime<Utc>>,
    /// Until when.
    pub sale_ends_at: Option<DateTime<Utc>>,
    /// When it was to begin before it was postponed.
    pub postponed_from: Option<DateTime<Utc>>,
    /// Seats of one booking.
    pub seats_per_order_max: Option<i32>,
    /// Seats that each buyer may have, held and sold together.
    pub seats_per_buyer_max: Option<i32>,
    /// What is added to prices.
    pub pricing: Pricing,
    /// Whatever else is known of it: an object.
    pub attributes: Value,
}

/// When an event begins, and on which clock.
#[derive(Clone, Debug, PartialEq)]
pub struct StartsAt {
    instant: DateTime<Utc>,
    zone: chrono_tz::Tz,
}

impl StartsAt {
    /// A zone that isn't known counts as UTC: a slip in the data must not take the event off the shop.
    fn new(instant: DateTime<Utc>, zone: &str) -> StartsAt {
        StartsAt {
            instant,
            zone: zone.parse().unwrap_or(chrono_tz::UTC),
        }
    }

    /// RFC 3339, with the offset of the venue's clock.
    pub fn to_rfc3339(&self) -> String {
        self.instant
            .with_timezone(&self.zone)
            .to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// For people: `Sunday, 17 May 2026, 19:30 (America/New_York)`.
    pub fn to_text(&self) -> String {
        self.instant
            .with_timezone(&self.zone)
            .format("%A, %-d %B %Y, %H:%M")
            .to_string()
            + &format!(" ({})", self.zone)
    }

    /// The IANA name of the venue's time zone.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }
}

/// Whether a seat can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeatStatus {
    /// It can be booked.
    Available,
    /// Somebody is about to pay for it, or the organiser keeps it.
    Held,
    /// It is paid.
    Sold,
}

impl SeatStatus {
    /// As in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            SeatStatus::Available => "available",
            SeatStatus::Held => "held",
            SeatStatus::Sold => "sold",
        }
    }

    /// As the database has it.
    pub(super) fn of(text: &str) -> Result<SeatStatus, sqlx::Error> {
        match text {
            "available" => Ok(SeatStatus::Available),
            // The house's seats can't be had, and why is nobody's business.
            "held" | "house" => Ok(SeatStatus::Held),
            "sold" => Ok(SeatStatus::Sold),
            other => Err(unexpected(format!("seat status {other:?}"))),
        }
    }
}

/// What a booking needs to know of its event and seats.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    /// The event's name.
    pub name: String,
    /// Where it is.
    pub venue: String,
    /// When it begins, for people.
    pub date: String,
    /// ISO 4217, lower case.
    pub currency: String,
    /// Whether it is on sale: `on_sale`, or why not.
    pub status: String,
    /// Seats of one booking.
    pub order_max: Option<i64>,
    /// What is added to prices.
    pub pricing: Pricing,
    /// Seats that each buyer may have; and what this one has, where that is limited.
    pub limit: Option<(i64, i64)>,
    /// The price of each seat asked for that exists.
    pub prices: HashMap<String, Cents>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    id: String,
    name: String,
    venue: String,
    city: String,
    starts_at: DateTime<Utc>,
    time_zone: String,
    currency: String,
    status: String,
    performers: Vec<String>,
    sale_starts_at: Option<DateTime<Utc>>,
    sale_ends_at: Option<DateTime<Utc>>,
    postponed_from: Option<DateTime<Utc>>,
    seats_per_order_max: Option<i32>,
    seats_per_buyer_max: Option<i32>,
    pricing: String,
    attributes: Value,
}

impl TryFrom<EventRow> for Event {
    type Error = sqlx::Error;

    fn try_from(row: EventRow) -> Result<Event, sqlx::Error> {
        Ok(Event {
            pricing: pricing(&row.pricing)?,
            performers: row.performers,
            sale_starts_at: row.sale_starts_at,
            sale_ends_at: row.sale_ends_at,
            postponed_from: row.postponed_from,
            seats_per_order_max: row.seats_per_order_max,
            id: row.id,
            name: row.name,
            venue: row.venue,
            city: row.city,
            starts_at: StartsAt::new(row.starts_at, &row.time_zone),
            currency: row.currency,
            status: row.status,
            seats_per_buyer_max: row.seats_per_buyer_max,
            attributes: row.attributes,
        })
    }
}

/// An event's pricing as the database has it.
pub fn pricing(text: &str) -> Result<Pricing, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| unexpected(format!("pricing that can't be read ({error})")))
}

/// An amount as the database has it.
pub(super) fn price(cents: i64) -> Result<Cents, sqlx::Error> {
    Cents::new(cents).ok_or_else(|| unexpected(format!("price {cents}")))
}

/// Something that no row should hold.
pub fn unexpected(what: String) -> sqlx::Error {
    sqlx::Error::Decode(format!("the database holds a {what}, which this version does not know").into())
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// A text search's query, in Postgres' form.
    pub words: Option<String>,
    /// In this city, in any case of letters.
    pub city: Option<String>,
    /// Beginning then or later.
    pub from: Option<DateTime<Utc>>,
    /// Beginning before then.
    pub to: Option<DateTime<Utc>>,
    /// After this event in the order of the list.
    pub after: Option<String>,
}

/// Events that begin soonest first come first.
pub async fn list(pool: &PgPool, search: &Search, limit: u32) -> Result<Vec<Event>, sqlx::Error> {
    let rows: Vec<EventRow> = sqlx::query_as(
        "select id, name, venue, city, starts_at, time_zone, currency,
                ticketing.sale_status(status, sale_starts_at, sale_ends_at) as status, performers, sale_starts_at,
                sale_ends_at, postponed_from, seats_per_order_max, seats_per_buyer_max, pricing::text as pricing, attributes
         from ticketing.events
         where status <> 'draft'
           and ($1::text is null or (starts_at, id) > (select starts_at, id from ticketing.events where id = $1))
           and ($3::text is null or words @@ to_tsquery('simple', $3))
           and ($4::text is null or lower(city) = lower($4))
           and ($5::timestamptz is null or starts_at >= $5)
           and ($6::timestamptz is null or starts_at < $6)
         order by starts_at, id
         limit $2",
    )
    .bind(search.after.as_deref())
    .bind(i64::from(limit))
    .bind(search.words.as_deref())
    .bind(search.city.as_deref())
    .bind(search.from)
    .bind(search.to)
    // Planned for what is asked each time: a plan for any question could use no index but that of the order.
    .persistent(false)
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(Event::try_from).collect()
}

/// One event.
pub async fn get(pool: &PgPool, id: &str) -> Result<Option<Event>, sqlx::Error> {
    let row: Option<EventRow> = sqlx::query_as(
        "select id, name, venue, city, starts_at, time_zone, currency,
                ticketing.sale_status(status, sale_starts_at, sale_ends_at) as status, performers, sale_starts_at,
                sale_ends_at, postponed_from, seats_per_order_max, seats_per_buyer_max, pricing::text as pricing, attributes
         from ticketing.events
         where id = $1 and status <> 'draft'",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    row.map(Event::try_from).transpose()
}

/// An event with the prices of these of its seats and what this buyer has of it, in one round trip; none if there is no such
/// event.
pub async fn quote(
    pool: &PgPool,
    event_id: &str,
    user_id: &str,
    seat_ids: &[String],
) -> Result<Option<Quote>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        name: String,
        venue: String,
        starts_at: DateTime<Utc>,
        time_zone: String,
        currency: String,
        status: String,
        order_max: Option<i64>,
        pricing: String,
        seats_max: Option<i64>,
        seats_had: Option<i64>,
        seat_id: Option<String>,
        price_cents: Option<i64>,
    }

    let rows: Vec<Row> = sqlx::query_as(
        "with e as materialized (
             select id, name, venue, starts_at, time_zone, currency,
                    ticketing.sale_status(status, sale_starts_at, sale_ends_at) as status,
                    seats_per_order_max::bigint as order_max, pricing::text as pricing,
                    seats_per_buyer_max::bigint as seats_max,
                    case when seats_per_buyer_max is not null then (
                        select coalesce(sum(cardinality(h.seat_ids)), 0) from ticketing.holds h
                        where h.event_id = $1 and h.user_id = $3 and h.status <> 'released'
                    ) end as seats_had
             from ticketing.events
             where id = $1 and status <> 'draft'
         )
         select e.name, e.venue, e.starts_at, e.time_zone, e.currency, e.status, e.order_max, e.pricing, e.seats_max,
                e.seats_had,
                s.seat_id, s.price_cents
         from e
         left join (
             unnest($2::text[]) as w (wanted)
             cross join lateral (
                 select seat_id, price_cents from ticketing.seats where event_id = $1 and seat_id = w.wanted limit 1
             ) s
         ) on true",
    )
    .bind(event_id)
    .bind(seat_ids)
    .bind(user_id)
    .fetch_all(pool)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut quote = Quote {
        name: first.name.clone(),
        venue: first.venue.clone(),
        date: StartsAt::new(first.starts_at, &first.time_zone).to_text(),
        currency: first.currency.clone(),
        status: first.status.clone(),
        order_max: first.order_max,
        pricing: pricing(&first.pricing)?,
        limit: first.seats_max.zip(first.seats_had),
        prices: HashMap::with_capacity(rows.len()),
    };
    for row in rows {
        if let (Some(seat), Some(cents)) = (row.seat_id, row.price_cents) {
            quote.prices.insert(seat, price(cents)?);
        }
    }
    Ok(Some(quote))
}

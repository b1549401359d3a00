//! An event's seats and whether they can be had, for the availability view; read only.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::events::{SeatStatus, price, unexpected};
use crate::money::Cents;

/// A seat, but for whether it can be had.
#[derive(Clone, Debug, PartialEq)]
pub struct Seat {
    /// Unique within the event.
    pub id: String,
    /// The section's name.
    pub section: String,
    /// The row's name.
    pub row: String,
    /// Its number in the row.
    pub number: i32,
    /// What it costs.
    pub price: Cents,
    /// Where it is, if the venue says so.
    pub at: Option<(f32, f32)>,
    /// Whether it is for somebody in a wheelchair, for who comes with them, without steps, of a restricted view.
    pub marks: Marks,
}

/// What is to be known about a seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// A place for a wheelchair.
    pub wheelchair: bool,
    /// For who comes with somebody in a wheelchair.
    pub companion: bool,
    /// Reached without steps.
    pub step_free: bool,
    /// Something is in the way.
    pub restricted_view: bool,
}

impl Marks {
    fn parse(text: Option<&str>) -> Marks {
        let has = |mark: &str| text.is_some_and(|text| text.split(' ').any(|word| word == mark));
        Marks {
            wheelchair: has("wheelchair"),
            companion: has("companion"),
            step_free: has("step_free"),
            restricted_view: has("restricted_view"),
        }
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let marks = [
            (self.wheelchair, "wheelchair"),
            (self.companion, "companion"),
            (self.step_free, "step_free"),
            (self.restricted_view, "restricted_view"),
        ];
        marks.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name)
    }
}

/// All seats of an event at one moment, by section, row and number.
#[derive(Clone, Debug, PartialEq)]
pub struct Hall {
    /// Whether the event is on sale.
    pub on_sale: bool,
    /// When it was read, on the database's clock.
    pub version: i64,
    /// Where the stage is, in the seats' coordinates.
    pub stage: (f32, f32),
    /// The seats, as they are shown.
    pub seats: Vec<Seat>,
    /// Whether each of them can be had.
    pub statuses: Vec<SeatStatus>,
    /// The seats' places in `seats`, in the order of their ids: the order of [`Statuses::statuses`].
    pub by_id: Vec<u32>,
    /// Changes when a seat comes or goes.
    pub fingerprint: i64,
}

/// Whether the seats of an event can be had, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Statuses {
    /// The event.
    pub event_id: String,
    /// Whether it is on sale.
    pub on_sale: bool,
    /// When it was read, on the database's clock.
    pub version: i64,
    /// One for each seat, in the order of the seats' ids.
    pub statuses: Vec<SeatStatus>,
    /// As [`Hall::fingerprint`].
    pub fingerprint: i64,
}

#[derive(sqlx::FromRow)]
struct HallRow {
    event_status: String,
    read_at: DateTime<Utc>,
    stage_x: f32,
    stage_y: f32,
    seat_id: Option<String>,
    section: Option<String>,
    row_name: Option<String>,
    number: Option<i32>,
    price_cents: Option<i64>,
    x: Option<f32>,
    y: Option<f32>,
    marks: Option<String>,
    status: Option<String>,
    place: Option<i64>,
    hash: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct StatusesRow {
    event_id: String,
    event_status: String,
    read_at: DateTime<Utc>,
    statuses: Option<String>,
    fingerprint: Option<i64>,
}

/// All seats of an event; none if there is no such event.
pub async fn hall(executor: impl PgExecutor<'_>, event_id: &str) -> Result<Option<Hall>, sqlx::Error> {
    let rows: Vec<HallRow> = sqlx::query_as(
        "select ticketing.sale_status(e.status, e.sale_starts_at, e.sale_ends_at) as event_status,
                statement_timestamp() as read_at, e.stage_x, e.stage_y, s.seat_id, s.section, s.row_name, s.number,
                s.price_cents, s.x, s.y, array_to_string(s.marks, ' ') as marks, s.status, s.place, s.hash
         from ticketing.events e
         left join (select event_id, seat_id, section, row_name, number, price_cents, x, y, marks, status,
                           row_number() over (order by seat_id) as place, hashtextextended(seat_id, 0) as hash
                    from ticketing.seats where event_id = $1) s on s.event_id = e.id
         where e.id = $1 and e.status <> 'draft'
         order by s.section, s.row_name, s.number",
    )
    .bind(event_id)
    .fetch_all(executor)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let mut hall = Hall {
        on_sale: first.event_status == "on_sale",
        version: first.read_at.timestamp_micros(),
        stage: (first.stage_x, first.stage_y),
        seats: Vec::with_capacity(rows.len()),
        statuses: Vec::with_capacity(rows.len()),
        by_id: vec![0; rows.len()],
        fingerprint: 0,
    };
    for row in rows {
        let (Some(id), Some(section), Some(row_name), Some(number), Some(cents), Some(status), Some(place), Some(hash)) = (
            row.seat_id,
            row.section,
            row.row_name,
            row.number,
            row.price_cents,
            row.status,
            row.place,
            row.hash,
        ) else {
            // The one row of an event without seats.
            hall.by_id.clear();
            break;
        };
        // Row numbers count from 1; a hall has far fewer seats than fit 32 bits.
        hall.by_id[place as usize - 1] = hall.seats.len() as u32;
        hall.fingerprint ^= hash;
        hall.statuses.push(SeatStatus::of(&status)?);
        hall.seats.push(Seat {
            id,
            section,
            row: row_name,
            number,
            price: price(cents)?,
            at: row.x.zip(row.y),
            marks: Marks::parse(row.marks.as_deref()),
        });
    }
    Ok(Some(hall))
}

/// Whether the seats of these events can be had: a byte a seat rather than a row a seat, for it is asked several times
/// a second. Events that are gone are missing from the answer.
pub async fn statuses(executor: impl PgExecutor<'_>, event_ids: &[String]) -> Result<Vec<Statuses>, sqlx::Error> {
    // Sorted by reading along the primary key, and aggregated in that order.
    let rows: Vec<StatusesRow> = sqlx::query_as(
        "select e.id as event_id, ticketing.sale_status(e.status, e.sale_starts_at, e.sale_ends_at) as event_status,
                statement_timestamp() as read_at, s.statuses, s.fingerprint
         from unnest($1::text[]) as w (event_id)
         join ticketing.events e on e.id = w.event_id and e.status <> 'draft'
         cross join lateral (
             select string_agg(left(o.status, 1), '') as statuses,
                    bit_xor(hashtextextended(o.seat_id, 0)) as fingerprint
             from (select seat_id, status from ticketing.seats where event_id = w.event_id order by seat_id) o
         ) s",
    )
    .bind(event_ids)
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Statuses::try_from).collect()
}

impl TryFrom<StatusesRow> for Statuses {
    type Error = sqlx::Error;

    fn try_from(row: StatusesRow) -> Result<Statuses, sqlx::Error> {
        let status = |initial: char| match initial {
            'a' => Ok(SeatStatus::Available),
            // `held`, and `house`: nobody can have those either.
            'h' => Ok(SeatStatus::Held),
            's' => Ok(SeatStatus::Sold),
            other => Err(unexpected(format!("seat status that begins with {other:?}"))),
        };
        let initials = row.statuses.unwrap_or_default();
        Ok(Statuses {
            event_id: row.event_id,
            on_sale: row.event_status == "on_sale",
            version: row.read_at.timestamp_micros(),
            statuses: initials.chars().map(status).collect::<Result<_, _>>()?,
            fingerprint: row.fingerprint.unwrap_or_default(),
        })
    }
}

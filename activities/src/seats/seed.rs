//! Events with seats, to try things out with.

use chrono::{DateTime, TimeZone, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::store::{self, StoreError};

/// The demo event's id.
pub const DEMO_EVENT_ID: &str = "taylor_swift_nyc_2024";

/// An event and its seats.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSeed {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// Where.
    pub venue: String,
    /// Where that is.
    pub city: String,
    /// When it begins.
    pub starts_at: DateTime<Utc>,
    /// The venue's IANA time zone.
    pub time_zone: String,
    /// ISO 4217, lower case.
    pub currency: String,
    /// Anything else.
    pub attributes: Value,
    /// Its seats.
    pub blocks: Vec<SeatBlock>,
}

/// Rows of seats of one section, named A, B, C, … from the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatBlock {
    /// Its section.
    pub section: String,
    /// Seats are called `A15`, not `101-A-15`. At most one section of an event can have this.
    pub plain_ids: bool,
    /// Rows, at most 26.
    pub rows: u8,
    /// Seats in each row, numbered from 1.
    pub seats_per_row: u16,
    /// The front row's price, in minor units.
    pub first_row_cents: i64,
    /// The last row's; those between are spread evenly, in whole units of the currency.
    pub last_row_cents: i64,
}

impl SeatBlock {
    fn new(
        section: impl Into<String>,
        rows: u8,
        seats_per_row: u16,
        first_row_cents: i64,
        last_row_cents: i64,
    ) -> Self {
        let section = section.into();
        SeatBlock {
            section,
            plain_ids: false,
            rows,
            seats_per_row,
            first_row_cents,
            last_row_cents,
        }
    }
}

impl EventSeed {
    /// The demo: 20,000 seats at $150 to $500; on the floor, `A15` and its neighbours cost $400.
    pub fn demo() -> Self {
        let floor = SeatBlock {
            plain_ids: true,
            ..SeatBlock::new("Floor", 19, 30, 40_000, 40_000)
        };
        let mut blocks = vec![SeatBlock::new("VIP", 2, 15, 50_000, 50_000), floor];
        blocks.extend((101..=120).map(|section| SeatBlock::new(section.to_string(), 20, 14, 35_000, 28_000)));
        blocks.extend((201..=223).map(|section| SeatBlock::new(section.to_string(), 20, 15, 26_000, 20_000)));
        blocks.extend((301..=323).map(|section| SeatBlock::new(section.to_string(), 20, 15, 19_000, 15_000)));
        EventSeed {
            id: DEMO_EVENT_ID.to_owned(),
            name: "Taylor Swift | The Eras Tour".to_owned(),
            venue: "Madison Square Garden".to_owned(),
            city: "New York".to_owned(),
            starts_at: Utc
                .with_ymd_and_hms(2027, 6, 12, 23, 0, 0)
                .single()
                .expect("a valid instant"),
            time_zone: "America/New_York".to_owned(),
            currency: "usd".to_owned(),
            attributes: json!({ "category": "concert", "artist": "Taylor Swift", "tour": "The Eras Tour" }),
            blocks,
        }
    }

    /// How many seats it has.
    pub fn seat_count(&self) -> u64 {
        self.blocks
            .iter()
            .map(|block| u64::from(block.rows) * u64::from(block.seats_per_row))
            .sum()
    }
}

/// Adds the event and its seats, as far as they are not there; says how many seats it added. Seats that are there stay as
/// they are, sold ones included.
pub async fn seed_demo_event(pool: &PgPool, event: &EventSeed) -> Result<u64, StoreError> {
    let mut transaction = pool.begin().await?;
    store::seeding::insert_event(&mut *transaction, event).await?;
    let added = store::seeding::insert_seats(&mut *transaction, event).await?;
    transaction.commit().await?;
    if added > 0 {
        store::seeding::analyse(pool).await?;
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_event_fills_the_garden() {
        assert_eq!(EventSeed::demo().seat_count(), 20_000);
    }
}

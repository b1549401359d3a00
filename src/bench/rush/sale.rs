//! What is on sale: an event with rows of seats, the most wanted ones first and dearest.

use std::fmt::Display;
use std::sync::Arc;

use anyhow::Context as _;
use sqlx::PgPool;

use super::buyer::Card;

/// Seats of a row.
const ROW: u32 = 50;
/// Seats of a section.
const SECTION: u32 = 1_000;
/// The dearest seat, in cents.
const PRICE_MAX: i64 = 50_000;
/// The cheapest seat, in cents.
const PRICE_MIN: i64 = 15_000;

/// An event on sale. Its seats go by their rank, from 0, the most wanted.
#[derive(Clone, Debug)]
pub struct Sale {
    /// The event's id.
    pub event: String,
    /// Each seat's price in cents, by rank.
    prices: Arc<Vec<i64>>,
}

impl Sale {
    /// Puts this many seats on sale.
    pub async fn open(pool: &PgPool, event: &str, seats: u32) -> anyhow::Result<Sale> {
        let prices: Vec<i64> = (0..seats).map(|rank| price(rank, seats)).collect();
        insert_event(pool, event).await.context("making the event")?;
        insert_seats(pool, event, &prices).await.context("making its seats")?;
        Ok(Sale {
            event: event.to_owned(),
            prices: Arc::new(prices),
        })
    }

    /// A seat's id.
    pub fn seat_id(rank: u32) -> String {
        format!("S{}", rank + 1)
    }

    /// The rank of a seat of this sale.
    pub fn rank(&self, seat_id: &str) -> Option<u32> {
        let rank = seat_id.strip_prefix('S')?.parse::<u32>().ok()?.checked_sub(1)?;
        ((rank as usize) < self.prices.len()).then_some(rank)
    }

    /// What a seat costs.
    pub fn cents(&self, rank: u32) -> i64 {
        self.prices[rank as usize]
    }

    /// What these seats cost together, as the shop's API writes it.
    pub fn total(&self, ranks: &[u32]) -> String {
        let cents: i64 = ranks.iter().map(|rank| self.prices[*rank as usize]).sum();
        format!("{}.{:02}", cents / 100, cents % 100)
    }

    /// What a buyer posts who wants these seats.
    pub fn wish(&self, number: impl Display, ranks: &[u32], card: Card) -> String {
        let seats: Vec<String> = ranks
            .iter()
            .map(|rank| format!("\"{}\"", Sale::seat_id(*rank)))
            .collect();
        format!(
            r#"{{"userId":"buyer-{number}","eventId":"{event}","seatIds":[{seats}],"totalAmount":{total},"paymentMethod":"{method}","email":"buyer-{number}@example.com"}}"#,
            event = self.event,
            seats = seats.join(","),
            total = self.total(ranks),
            method = card.payment_method(),
        )
    }

    /// Seats on sale.
    pub fn seats(&self) -> u64 {
        self.prices.len() as u64
    }
}

/// From the dearest to the cheapest, in steps of five.
fn price(rank: u32, seats: u32) -> i64 {
    let cents = PRICE_MAX - (PRICE_MAX - PRICE_MIN) * i64::from(rank) / i64::from(seats);
    cents - cents % 500
}

async fn insert_event(pool: &PgPool, event: &str) -> sqlx::Result<()> {
    let query = "insert into ticketing.events (id, name, venue, city, starts_at, time_zone, currency) \
                 values ($1, 'The rush', 'Stadium', 'Town', now() + interval '90 days', 'UTC', 'usd')";
    sqlx::query(query).bind(event).execute(pool).await.map(|_| ())
}

async fn insert_seats(pool: &PgPool, event: &str, prices: &[i64]) -> sqlx::Result<()> {
    let query = "insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents) \
                 select $1, 'S' || rank, 'Section ' || (rank - 1) / $3, 'R' || (rank - 1) % $3 / $4, \
                        (rank - 1) % $4 + 1, price \
                 from unnest($2::bigint[]) with ordinality as u(price, rank)";
    sqlx::query(query)
        .bind(event)
        .bind(prices)
        .bind(i64::from(SECTION))
        .bind(i64::from(ROW))
        .execute(pool)
        .await?;
    // As whoever puts seats on sale should: until then, what is known of them is that there are none.
    sqlx::raw_sql("analyze ticketing.seats").execute(pool).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn seats_go_by_rank_and_cost_what_their_sum_says() {
        let prices = (0..100).map(|rank| price(rank, 100)).collect();
        let sale = Sale {
            event: "e".to_owned(),
            prices: Arc::new(prices),
        };
        assert_eq!(sale.rank(&Sale::seat_id(7)), Some(7));
        assert_eq!((sale.rank("S101"), sale.rank("S0"), sale.rank("x")), (None, None, None));
        assert_eq!(sale.total(&[0]), "500.00");
        assert_eq!(sale.total(&[0, 99]), "650.00");
    }
}

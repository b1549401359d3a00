//! Buyers: they want random seats, pay with all sorts of cards, and ask again with the same key until they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// The event on sale.
pub const EVENT: &str = "survival";
/// A seat's price.
pub const PRICE_CENTS: i64 = 12_345;
/// Buyers at once.
const BUYERS: u64 = 48;
/// How long a sale takes at the least, about: buyers think, so that there is something to break all the while.
const SALE: Duration = Duration::from_secs(30);
/// How long a buyer keeps asking: longer than every outage of these tests together.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a buyer was promised.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: Uuid,
    pub seats: Vec<String>,
    pub email: Option<String>,
}

/// Puts `seats` seats on sale.
pub async fn open_sale(pool: &PgPool, seats: u64) {
    let event = "insert into ticketing.events (id, name, venue, city, starts_at, time_zone, currency) \
                 values ($1, 'Survival', 'Here', 'Nowhere', now() + interval '30 days', 'UTC', 'usd')";
    sqlx::query(event).bind(EVENT).execute(pool).await.unwrap();
    let rows = "insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents) \
                select $1, 'S' || n, 'Floor', 'R' || n / 100, n % 100 + 1, $2 from generate_series(1, $3) n";
    sqlx::query(rows)
        .bind(EVENT)
        .bind(PRICE_CENTS)
        .bind(seats as i64)
        .execute(pool)
        .await
        .unwrap();
}

/// A sale's progress, for whoever breaks things meanwhile.
#[derive(Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    pub fn accepted(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Wishes for this many bookings among this many seats; gives those that were accepted. The others were refused at once,
/// because somebody had the seats already.
pub async fn book(gateway: &str, bookings: u64, seats: u64, seed: u64, progress: Progress) -> Vec<Accepted> {
    let next = Arc::new(AtomicU64::new(0));
    let client = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let buyers: Vec<_> = (0..BUYERS)
        .map(|_| {
            let (client, url, next, progress) = (
                client.clone(),
                format!("{gateway}/bookings"),
                next.clone(),
                progress.clone(),
            );
            let pause_ms_max = SALE.as_millis() as u64 * 2 * BUYERS / bookings;
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= bookings {
                        return accepted;
                    }
                    let pause_ms = rand::rng().random_range(0..=pause_ms_max);
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    accepted.extend(buy(&client, &url, &wish(number, seats, seed), number).await);
                    progress.0.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for buyer in buyers {
        all.extend(buyer.await.expect("a buyer gets along"));
    }
    all
}

/// The same for the same number and seed, whoever asks in whatever order.
fn wish(number: u64, seats: u64, seed: u64) -> Value {
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) ^ number);
    let count = random.random_range(1..=3);
    let first = random.random_range(1..=seats - count);
    let method = match random.random_range(0..100) {
        0..78 => "pm_card_visa",
        78..84 => "pm_card_visa_chargeDeclined",
        84..88 => "pm_card_visa_chargeDeclinedInsufficientFunds",
        88..92 => "pm_sandbox_flaky",
        92..95 => "pm_sandbox_lostAnswer",
        95..98 => "pm_sandbox_serverError",
        _ => "pm_sandbox_processing",
    };
    let mut wish = json!({
        "userId": format!("user-{number}"),
        "eventId": EVENT,
        "seatIds": (first..first + count).map(|n| format!("S{n}")).collect::<Vec<_>>(),
        "totalAmount": (count as i64 * PRICE_CENTS) as f64 / 100.0,
        "paymentMethod": method,
    });
    if number.is_multiple_of(4) {
        wish["email"] = json!(format!("user-{number}@example.com"));
    }
    wish
}

/// None: somebody had the seats.
async fn buy(client: &Client, url: &str, wish: &Value, number: u64) -> Option<Accepted> {
    let begun = tokio::time::Instant::now();
    loop {
        let answer = client
            .post(url)
            .header("idempotency-key", format!("buy-{number}"))
            .json(wish)
            .send()
            .await;
        let why = match answer {
            Ok(response) if response.status() == StatusCode::ACCEPTED => match response.json::<Value>().await {
                Ok(booking) => {
                    return Some(Accepted {
                        id: booking["bookingId"].as_str().unwrap().parse().unwrap(),
                        seats: serde_json::from_value(wish["seatIds"].clone()).unwrap(),
                        email: wish["email"].as_str().map(str::to_owned),
                    });
                }
                Err(error) => error.to_string(),
            },
            // 409: somebody has the seats; or this key's first request is still being worked on, by a gateway that may
            // be dead.
            Ok(response) if response.status() == StatusCode::CONFLICT || response.status().is_server_error() => {
                let status = response.status();
                let text = response.text().await.unwrap_or_default();
                if text.contains("urn:sagaline:problem:seats-unavailable") {
                    return None;
                }
                format!("{status}: {text}")
            }
            Ok(response) => panic!(
                "booking {number}: {}: {}",
                response.status(),
                response.text().await.unwrap()
            ),
            Err(error) => error.to_string(),
        };
        assert!(
            begun.elapsed() < PATIENCE,
            "booking {number} was never accepted; at last: {why}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

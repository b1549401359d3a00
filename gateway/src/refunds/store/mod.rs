//! What refunds and payments are known of here; the activities write both.

pub mod cancellations;
pub mod differences;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::payment::{ClientSecret, NextAction};

/// What an event says about giving tickets back.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Terms {
    /// `on_sale`, `closed`, `cancelled`.
    pub status: String,
    /// When it begins.
    pub starts_at: DateTime<Utc>,
    /// Until so many hours before; none: never.
    pub refund_hours: Option<i32>,
    /// The time is up, on the database's clock.
    pub is_over: bool,
}

/// What a booking has given back.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Given {
    /// The refund's saga.
    pub refund_id: Uuid,
    /// The seats.
    pub seat_ids: Vec<String>,
    /// What they were worth.
    pub amount_cents: i64,
    /// Seats that the booking had left.
    pub seats_left: i32,
    /// When the seats came back.
    pub returned_at: DateTime<Utc>,
    /// When the money went back.
    pub refunded_at: Option<DateTime<Utc>>,
}

/// An event's terms.
pub async fn terms(pool: &PgPool, event_id: &str) -> Result<Option<Terms>, sqlx::Error> {
    sqlx::query_as(
        "select status, starts_at, refund_hours,
                coalesce(now() > starts_at - make_interval(hours => refund_hours), true) as is_over
         from ticketing.events where id = $1",
    )
    .bind(event_id)
    .fetch_optional(pool)
    .await
}

/// What a booking has given back, the earliest first.
pub async fn of_booking(pool: &PgPool, event_id: &str, booking: Uuid) -> Result<Vec<Given>, sqlx::Error> {
    sqlx::query_as(
        "select refund_id, seat_ids, amount_cents, seats_left, returned_at, refunded_at
         from ticketing.refunds where event_id = $1 and booking_id = $2
         order by returned_at, refund_id",
    )
    .bind(event_id)
    .bind(booking)
    .fetch_all(pool)
    .await
}

/// What the buyer has to do for a booking's payment.
pub async fn next_action(pool: &PgPool, booking: Uuid) -> Result<Option<NextAction>, sqlx::Error> {
    let found: Option<(String, String)> = sqlx::query_as(
        "select intent_id, client_secret from ticketing.payments
         where booking_id = $1 and status = 'pending' and client_secret is not null
         limit 1",
    )
    .bind(booking)
    .fetch_optional(pool)
    .await?;
    Ok(found.map(|(payment_id, client_secret)| NextAction {
        kind: "authenticate",
        payment_id,
        client_secret: ClientSecret(client_secret),
    }))
}

//! `/bookings/{bookingId}/tickets`: what the buyer shows at the door, as data and as paper.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use orchestrator::client::SagaDetail;
use serde::Serialize;
use tickets::pdf::{self, Page};
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::{self, SoldSeat};
use crate::app::App;
use crate::bookings::routes::{any_booking, find, no_booking};
use crate::bookings::view::{Booking, BookingStatus};
use crate::http::extract::PathId;
use crate::money::Cents;
use crate::problem::{Kind, Problem, ProblemDetails};
use crate::store::events;
use crate::users::identify::Buyer;

/// A ticket.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// The seat.
    #[schema(example = "A15")]
    seat_id: String,
    /// Its section.
    section: String,
    /// Its row.
    row: String,
    /// What the door scans: a JSON Web Signature (EdDSA). Show it as a QR code.
    code: String,
    /// When somebody was let in by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    admitted_at: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<String>,
}

/// A booking's tickets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tickets {
    /// The booking.
    #[schema(format = "uuid")]
    booking_id: String,
    /// The event.
    event_id: String,
    /// One for each seat.
    tickets: Vec<Ticket>,
}

/// A confirmed booking and its seats.
struct Order {
    booking: Booking,
    id: Uuid,
    seats: Vec<SoldSeat>,
}

impl Order {
    async fn of(app: &App, buyer: &Buyer, id: &str) -> Result<Order, Problem> {
        Order::in_saga(app, &find(app, buyer, id).await?).await
    }

    async fn in_saga(app: &App, saga: &SagaDetail) -> Result<Order, Problem> {
        let booking = Booking::current(saga, &[]).ok_or_else(|| Problem::not_found("there is no such booking"))?;
        if booking.status != BookingStatus::Confirmed {
            return Err(no_tickets());
        }
        let id = saga.id.0;
        let seats = store::sold_seats(app.pool(), &booking.event_id, id, &booking.seat_ids).await?;
        match seats.is_empty() {
            // Given back since.
            true => Err(no_tickets()),
            false => Ok(Order { booking, id, seats }),
        }
    }

    async fn code(&self, app: &App, seat: &SoldSeat) -> Result<String, Problem> {
        let keys = app.ticket_keys().get(app.pool()).await?;
        Ok(keys.sign(&tickets::Ticket {
            event_id: self.booking.event_id.clone(),
            seat_id: seat.seat_id.clone(),
            holder: tickets::holder(self.id, &self.booking.event_id, &seat.seat_id),
        }))
    }
}

fn no_tickets() -> Problem {
    Problem::new(
        Kind::Refused,
        "there are no tickets: the booking is not confirmed, or was given back",
    )
}

/// Show a booking's tickets.
#[utoipa::path(
    get,
    path = "/bookings/{bookingId}/tickets",
    tag = "tickets",
    security((), ("access_token" = [])),
    params(("bookingId" = String, Path, description = "The booking's id")),
    responses(
        (status = 200, description = "The tickets", body = Tickets),
        (status = 401, description = "The access token isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such booking of this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It is not confirmed, or was given back (`refused`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, buyer: Buyer, PathId(id): PathId) -> Result<Response, Problem> {
    let order = Order::of(&app, &buyer, &id).await?;
    let mut tickets = Vec::with_capacity(order.seats.len());
    for seat in &order.seats {
        tickets.push(Ticket {
            seat_id: seat.seat_id.clone(),
            section: seat.section.clone(),
            row: seat.row_name.clone(),
            code: order.code(&app, seat).await?,
            admitted_at: seat
                .admitted_at
                .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            door: seat.door.clone(),
        });
    }
    let tickets = Tickets {
        booking_id: order.booking.booking_id.clone(),
        event_id: order.booking.event_id.clone(),
        tickets,
    };
    Ok((
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Json(tickets),
    )
        .into_response())
}

/// Print a booking's tickets: a PDF with a page for each seat.
#[utoipa::path(
    get,
    path = "/bookings/{bookingId}/tickets.pdf",
    tag = "tickets",
    security((), ("access_token" = [])),
    params(("bookingId" = String, Path, description = "The booking's id")),
    responses(
        (status = 200, description = "The document", body = Vec<u8>, content_type = "application/pdf"),
        (status = 401, description = "The access token isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such booking of this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It is not confirmed, or was given back (`refused`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn document(State(app): State<App>, buyer: Buyer, PathId(id): PathId) -> Result<Response, Problem> {
    print(&app, &Order::of(&app, &buyer, &id).await?).await
}

/// Print a booking's tickets for its mail: for workers of e-mail, who show a permit instead of a buyer's token.
#[utoipa::path(
    get,
    path = "/internal/bookings/{bookingId}/tickets.pdf",
    tag = "tickets",
    params(
        ("bookingId" = String, Path, description = "The booking's id"),
        ("Authorization" = String, Header, description = "`Permit `, and the permit for this booking, by the secret that gateways and workers share"),
    ),
    responses(
        (status = 200, description = "The document", body = Vec<u8>, content_type = "application/pdf"),
        (status = 404, description = "There is no such booking, or the permit isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It is not confirmed, or was given back (`refused`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn mailed(State(app): State<App>, PathId(id): PathId, headers: HeaderMap) -> Result<Response, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Permit "));
    let secret = app.options().internal_secret.as_ref();
    let is_known = match (secret, given, id.parse::<Uuid>()) {
        (Some(secret), Some(given), Ok(booking)) => tickets::is_permit(secret.expose(), booking, given),
        _ => false,
    };
    if !is_known {
        return Err(no_booking());
    }
    let saga = any_booking(&app, &id).await?.ok_or_else(no_booking)?;
    print(&app, &Order::in_saga(&app, &saga).await?).await
}

async fn print(app: &App, order: &Order) -> Result<Response, Problem> {
    let event = events::get(app.pool(), &order.booking.event_id)
        .await?
        .ok_or_else(|| Problem::not_found("the booking's event is gone"))?;
    let number = order.booking.confirmation_number.clone().unwrap_or_default();
    let mut pages = Vec::with_capacity(order.seats.len());
    for seat in &order.seats {
        let price = Cents::new(seat.price_cents).map_or_else(String::new, |cents| cents.to_string());
        pages.push(Page {
            event: event.name.clone(),
            venue: format!("{}, {}", event.venue, event.city),
            date: event.starts_at.to_text(),
            section: seat.section.clone(),
            row: seat.row_name.clone(),
            seat: seat.seat_id.clone(),
            price: format!("{price} {}", event.currency.to_uppercase()),
            number: number.clone(),
            code: order.code(app, seat).await?,
        });
    }
    let drawn = app.draw(move || pdf::render(&pages)).await;
    let document = drawn.map_err(|error| {
        tracing::error!(booking = order.booking.booking_id, %error, "tickets can't be drawn");
        Problem::new(Kind::Internal, "the tickets can't be drawn")
    })?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/pdf")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_static("inline; filename=\"tickets.pdf\""),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, document).into_response())
}

/// The public keys of tickets, for scanners that work without a network: a JSON Web Key Set.
#[utoipa::path(
    get,
    path = "/tickets/keys",
    tag = "tickets",
    responses(
        (status = 200, description = "The keys", body = Object),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn keys(State(app): State<App>) -> Result<Response, Problem> {
    let keys = app.ticket_keys().get(app.pool()).await?;
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"))];
    Ok((headers, Json(keys.public())).into_response())
}

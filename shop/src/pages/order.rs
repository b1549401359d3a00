//! An order: how it stands, what to do, its tickets, and giving it back.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{Method, header};
use axum::response::IntoResponse as _;
use chrono::DateTime;
use icalendar::{Component as _, EventLike as _};
use serde_json::json;

use super::fields::Form;
use super::{Frame, Headline, Page, event_of, go, html, named, passed_on, svg};
use crate::api::{Ask, Failure};
use crate::limits::{LOOK_AGAIN_SECONDS, SEATS_PER_BOOKING_MAX};
use crate::routes::Shop;
use crate::text::{event_path, order_path, segment};
use crate::trouble::Trouble;
use crate::types::{Booking, BookingStatus, Ticket, Tickets};
use crate::visitor::Visitor;
use crate::words::{self, Told};

#[derive(Template)]
#[template(path = "order.html")]
struct OrderView {
    frame: Frame,
    head: Headline,
    told: Told,
    look_again: u32,
    path: String,
    seats: Vec<String>,
    total: String,
    number: String,
    left: Option<Left>,
    may_cancel: bool,
    may_extend: bool,
    tickets: Vec<TicketView>,
    checkout: String,
}

/// How long the seats are held.
struct Left {
    seconds: i64,
    text: String,
}

struct TicketView {
    place: String,
    seat_id: String,
    qr: String,
    admitted: bool,
}

async fn booking_of(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Booking, Trouble> {
    let hidden = || Trouble::NotFound("order");
    if !visitor.may_ask(id) {
        return Err(hidden());
    }
    let ask = Ask::get(format!("/bookings/{}", segment(id)));
    let booking: Booking = shop.api.ask(&visitor.caller, ask).await.map_err(named("order"))?;
    if booking.guest && !visitor.knows(id) {
        return Err(hidden());
    }
    Ok(booking)
}

/// Those of a confirmed order; none while there are none.
async fn tickets_of(shop: &Shop, visitor: &Visitor, id: &str) -> Result<Vec<Ticket>, Trouble> {
    let ask = Ask::get(format!("/bookings/{}/tickets", segment(id)));
    match shop.api.ask::<Tickets>(&visitor.caller, ask).await {
        Ok(tickets) => Ok(tickets.tickets),
        Err(failure) if failure.is("refused") => Ok(Vec::new()),
        Err(failure) => Err(named("order")(failure)),
    }
}

/// Shows it.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    let booking = booking_of(&shop, &visitor, &id).await?;
    let event = event_of(&shop, &visitor, &booking.event_id).await?;
    let tickets = match booking.status {
        BookingStatus::Confirmed => tickets_of(&shop, &visitor, &id).await?,
        _ => Vec::new(),
    };
    let path = order_path(&booking.booking_id);
    let ticket = |(place, ticket): (usize, &Ticket)| TicketView {
        place: format!(
            "{} · Row {} · Seat {}",
            ticket.section,
            ticket.row,
            crate::text::seat_label(&ticket.seat_id)
        ),
        seat_id: ticket.seat_id.clone(),
        qr: format!("{path}/qr/{place}"),
        admitted: ticket.admitted_at.is_some(),
    };
    html(&OrderView {
        frame: Frame::new(&visitor, "orders"),
        head: Headline::of(&event),
        told: words::of_event(words::tell(&booking, &shop.options.payments), &booking, &event),
        look_again: LOOK_AGAIN_SECONDS,
        total: booking.total_amount.told(&event.currency),
        number: booking.confirmation_number.clone().unwrap_or_default(),
        left: left(&booking),
        may_cancel: booking.links.cancel.is_some(),
        may_extend: booking.links.extend.is_some(),
        tickets: tickets.iter().enumerate().map(ticket).collect(),
        checkout: format!("{}/checkout", event_path(&booking.event_id)),
        seats: booking.seat_ids,
        path,
    })
}

/// By the server's clock alone: the buyer's may be wrong.
fn left(booking: &Booking) -> Option<Left> {
    let read = |text: &Option<String>| DateTime::parse_from_rfc3339(text.as_deref()?).ok();
    let left = read(&booking.hold_expires_at)? - read(&booking.server_time)?;
    let seconds = left.num_seconds().max(0);
    Some(Left {
        seconds,
        text: format!("{}:{:02}", seconds / 60, seconds % 60),
    })
}

/// Its tickets as a document.
pub async fn document(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Page {
    booking_of(&shop, &visitor, &id).await?;
    let ask = Ask::get(format!("/bookings/{}/tickets.pdf", segment(&id)));
    let answer = shop.api.open(&visitor.caller, ask).await.map_err(named("order"))?;
    Ok(passed_on(answer))
}

/// The event as a calendar's file.
pub async fn calendar(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Page {
    let booking = booking_of(&shop, &visitor, &id).await?;
    let event = event_of(&shop, &visitor, &booking.event_id).await?;
    let Ok(begins) = DateTime::parse_from_rfc3339(&event.date) else {
        return Err(Trouble::NotFound("date of this event"));
    };
    let number = booking.confirmation_number.as_deref().unwrap_or_default();
    // How long it takes nobody has said: it has a beginning alone.
    let entry = icalendar::Event::with_uid(&format!("{}@sagaline", booking.booking_id))
        .summary(&event.name)
        .location(&format!("{}, {}", event.venue, event.city))
        .description(&format!(
            "Seats: {}. Order number: {number}.",
            booking.seat_ids.join(", ")
        ))
        .starts(begins.to_utc())
        .done();
    let file = icalendar::Calendar::new().push(entry).done().to_string();
    let headers = [
        (header::CONTENT_TYPE, "text/calendar; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"event.ics\""),
    ];
    Ok((headers, file).into_response())
}

/// The code of one of its tickets, as doors scan it.
pub async fn qr(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path((id, place)): Path<(String, usize)>,
) -> Page {
    booking_of(&shop, &visitor, &id).await?;
    let tickets = tickets_of(&shop, &visitor, &id).await?;
    let ticket = tickets.get(place).ok_or(Trouble::NotFound("ticket"))?;
    let qr = tickets::Qr::of(&ticket.code).ok_or_else(|| {
        tracing::error!(booking = id, "a ticket's code does not fit a QR code");
        Trouble::Internal
    })?;
    Ok(svg(qr.svg()))
}

/// Ends it before it is confirmed. Who comes too late sees on its page how it stands.
pub async fn cancel(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    deed(&shop, &visitor, &id, "cancel").await
}

/// Five more minutes.
pub async fn extend(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    deed(&shop, &visitor, &id, "extend").await
}

async fn deed(shop: &Shop, visitor: &Visitor, id: &str, deed: &str) -> Page {
    booking_of(shop, visitor, id).await?;
    let ask = Ask::of(Method::POST, format!("/bookings/{}/{deed}", segment(id)));
    match shop.api.tell(&visitor.caller, ask).await {
        Ok(()) => Ok(go(&order_path(id))),
        Err(failure) if failure.is("refused") => Ok(go(&order_path(id))),
        Err(failure) => Err(named("order")(failure)),
    }
}

/// Gives tickets back.
pub async fn refund(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Page {
    booking_of(&shop, &visitor, &id).await?;
    let seats = fields.all("seat", SEATS_PER_BOOKING_MAX);
    if seats.is_empty() {
        return Err(Trouble::Invalid("choose the tickets that you give back".to_owned()));
    }
    let ask = Ask::post(
        format!("/bookings/{}/refund", segment(&id)),
        &json!({ "seatIds": seats }),
    );
    match shop.api.tell(&visitor.caller, ask).await {
        Ok(()) => Ok(go(&order_path(&id))),
        Err(Failure::Refused(refusal)) if refusal.code() == "refused" => Err(Trouble::Refused(format!(
            "These tickets can't be given back: {}",
            refusal.detail
        ))),
        Err(failure) => Err(named("order")(failure)),
    }
}

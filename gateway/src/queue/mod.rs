//! The waiting room in front of an event: off, unless the event has one.
//!
//! Buyers come before the opening or after it and get one place each, however often and in how many tabs they ask. At the
//! opening lots decide among those who came before; whoever comes later stands behind them. Every gateway then lets
//! in as many as it can take on, as measured at the gate of its bookings ([`crate::bookings::Admission`]), by
//! moving one number forward: places up to it may book. A second number follows it: places up to that one had their
//! time. As many more are let in as of those have not booked. So what waiting costs the database doesn't depend on how many
//! wait.

pub mod rooms;
pub mod routes;
mod token;

pub use rooms::Rooms;

use axum::http::HeaderMap;

use crate::app::App;
use crate::bookings::request::BookingRequest;
use crate::problem::{Kind, Problem};

/// The header with a buyer's place.
const QUEUE_TOKEN: &str = "queue-token";

/// Refuses a wish for an event with a waiting room of somebody who wasn't let in; else gives their place, if the event has one.
/// `key` is the idempotency key: what was begun with it in time is answered again after the turn.
pub async fn require_turn(
    app: &App,
    wish: &BookingRequest,
    headers: &HeaderMap,
    key: Option<&str>,
) -> Result<Option<i64>, Problem> {
    let Some(line) = app.rooms().of(app.pool(), &wish.event_id).await? else {
        return Ok(None);
    };
    let token = headers.get(QUEUE_TOKEN).and_then(|value| value.to_str().ok());
    let room = &line.room;
    let place = token.map(|token| token::verify(&room.secret, &wish.event_id, &wish.user_id, token));
    let detail = match place {
        Some(Ok(Some(place))) if room.admits(place) => return Ok(Some(place)),
        Some(Ok(Some(place))) if room.is_over(place) => {
            // Only who had a turn makes the engine look, so a crowd can't.
            if let Some(key) = key
                && app.key_lookups().is_used(app.engine(), key).await?
            {
                return Ok(None);
            }
            "this buyer's turn is over, and others have it now; POST /events/{eventId}/queue gives a new place"
        }
        Some(Ok(_)) => {
            "it is not this buyer's turn yet; /events/{eventId}/queue/live tells when it is, and gives the token to book with"
        }
        Some(Err(())) => {
            "the Queue-Token is not this buyer's for this event; POST /events/{eventId}/queue gives the right one"
        }
        None => {
            "this event has a waiting room: POST /events/{eventId}/queue for a place, then book with the Queue-Token"
        }
    };
    metrics::counter!("sagaline_gateway_queue_refused_total").increment(1);
    Err(Problem::new(Kind::NotAdmitted, detail))
}

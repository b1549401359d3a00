//! `/bookings/{bookingId}/refund`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::SecondsFormat;
use orchestrator::client::{SagaDetail, StartRequest, Until};
use serde_json::{Value, json};
use uuid::Uuid;
use workflows::state::Status;
use workflows::tickets::refund::BUYER;

use super::REFUND_KEYS;
use super::request::RefundRequest;
use super::store::{self, Terms};
use super::view::Refund;
use crate::app::App;
use crate::bookings::routes::{any_booking, idempotency_key, no_booking};
use crate::bookings::view::BookingStatus;
use crate::events::organiser::organises;
use crate::http::extract::PathId;
use crate::http::text::echo;
use crate::http::{body, context, prefer};
use crate::limits::{BODY_BYTES_MAX, REFUND_WAIT};
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};
use crate::tickets;
use crate::users::identify::Buyer;

/// Give back tickets of a confirmed booking, all or some of its seats, and get the money for them.
///
/// By the buyer until some hours before the event begins (48 unless the event says otherwise); by the event's organiser at any time. The answer
/// comes once the seats are given back; the money follows by itself. Giving back what was given back before is refused.
#[utoipa::path(
    post,
    path = "/bookings/{bookingId}/refund",
    tag = "bookings",
    security((), ("access_token" = [])),
    params(
        ("bookingId" = String, Path, description = "The booking's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "A new key for each refund; the same for repetitions"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`, at most 30; left out: 5"),
    ),
    request_body(content = Option<RefundRequest>, content_type = "application/json"),
    responses(
        (status = 202, description = "The seats are given back (`refunding`, `refunded`) or about to be (`returning`)", body = Refund),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "The access token isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such booking of this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "The booking isn't confirmed, these seats were given back before, or it is too late for that",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "A seat that the booking never had, or the key was used for another refund", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn refund(
    State(app): State<App>,
    buyer: Buyer,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Refund>), Problem> {
    let wait = prefer::wait(&headers).unwrap_or(REFUND_WAIT);
    let key = idempotency_key(&headers)?;
    let bytes = body::read(&headers, body, BODY_BYTES_MAX).await?;
    if !bytes.is_empty() {
        body::require_json(&headers)?;
    }
    let wish = RefundRequest::parse(&bytes)?;
    let booking = any_booking(&app, &id).await?.ok_or_else(no_booking)?;
    let by = allowed(&app, &buyer, &booking).await?;
    check_seats(&app, &wish, &booking, key.is_some()).await?;
    if by == BUYER {
        refuse_used(&app, &wish, &booking).await?;
    }

    // The booking's id keeps one booking's keys apart from another's.
    let key = key.unwrap_or_else(|| Uuid::now_v7().to_string());
    let request = StartRequest {
        workflow: app.options().refund_workflow.clone(),
        input: saga_input(&booking, &wish.seat_ids, by),
        idempotency_key: Some(format!("{REFUND_KEYS}{}/by/{key}", booking.id)),
        traceparent: context::current().map(|context| context.traceparent()),
        ..StartRequest::default()
    };
    let started = app.engine().start(request).await?.saga;
    let saga = app.engine().wait(started.id, Until::Decided, wait).await?;
    let saga = saga.unwrap_or(started);
    match saga.view.status {
        Status::Rejected | Status::Cancelled | Status::Compensating | Status::Compensated => Err(rejected(&saga)),
        Status::Running | Status::Waiting | Status::Completed | Status::Failed | Status::Paused => {
            Ok((StatusCode::ACCEPTED, Json(Refund::of_saga(&saga))))
        }
    }
}

/// Who gives back, if they may: the buyer within the event's policy, or its organiser. To everybody else there is no such booking.
async fn allowed(app: &App, buyer: &Buyer, booking: &SagaDetail) -> Result<&'static str, Problem> {
    let terms = store::terms(app.pool(), event_of(booking))
        .await?
        .ok_or_else(no_booking)?;
    let is_organiser = organises(app, buyer, event_of(booking)).await?;
    let is_buyer = booking.view.input["userId"]
        .as_str()
        .is_some_and(|user| buyer.owns(user));
    if !is_organiser && !is_buyer {
        return Err(no_booking());
    }
    match BookingStatus::of(&booking.view) {
        BookingStatus::Confirmed => {}
        BookingStatus::Initiated | BookingStatus::Reserved | BookingStatus::Paying => {
            return Err(refused("it isn't confirmed yet; POST its `links.cancel` instead"));
        }
        BookingStatus::Cancelled | BookingStatus::Rejected | BookingStatus::Expired => {
            return Err(refused("it has ended: nothing was paid, or that was given back"));
        }
    }
    if is_organiser {
        return Ok("ORGANISER");
    }
    within_policy(&terms)?;
    Ok(BUYER)
}

fn within_policy(terms: &Terms) -> Result<(), Problem> {
    // It is refunded in any case; or nobody knows yet when it will be.
    if terms.status == "cancelled" || terms.status == "postponed" || !terms.is_over {
        return Ok(());
    }
    let Some(hours) = terms.refund_hours else {
        return Err(refused("tickets of this event can't be given back"));
    };
    let until = terms.starts_at - chrono::Duration::hours(i64::from(hours));
    let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    Err(refused(&format!(
        "tickets of this event could be given back until {until}"
    )))
}

/// Who has been let in by a ticket doesn't give it back. The saga looks again, under the seats' locks.
async fn refuse_used(app: &App, wish: &RefundRequest, booking: &SagaDetail) -> Result<(), Problem> {
    let had = booking.view.input["seatIds"].as_array();
    let all = had.into_iter().flatten().filter_map(Value::as_str);
    let wanted: Vec<&str> = all
        .filter(|seat| wish.seat_ids.is_empty() || wish.seat_ids.iter().any(|wanted| wanted == seat))
        .collect();
    let used = tickets::admitted_of(app.pool(), event_of(booking), booking.id.0, &wanted).await?;
    match used.is_empty() {
        true => Ok(()),
        false => Err(refused(&format!("tickets were used at the door: {}", used.join(", ")))),
    }
}

/// Refuses what can't succeed. Under a key it may be a repetition, which the engine answers.
async fn check_seats(app: &App, wish: &RefundRequest, booking: &SagaDetail, may_repeat: bool) -> Result<(), Problem> {
    let had = booking.view.input["seatIds"].as_array();
    let had: Vec<&str> = had.into_iter().flatten().filter_map(Value::as_str).collect();
    let never = wish.seat_ids.iter().enumerate();
    let errors: Vec<_> = never
        .filter(|(_, seat)| !had.contains(&seat.as_str()))
        .map(|(index, seat)| {
            let message = format!("is no seat of this booking: {}", echo(seat));
            FieldError::new(format!("/seatIds/{index}"), message)
        })
        .collect();
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    if may_repeat {
        return Ok(());
    }
    let given = store::of_booking(app.pool(), event_of(booking), booking.id.0).await?;
    let again: Vec<&str> = given
        .iter()
        .flat_map(|given| &given.seat_ids)
        .filter(|seat| wish.seat_ids.contains(seat))
        .map(String::as_str)
        .collect();
    if !again.is_empty() {
        return Err(refused(&format!(
            "these seats were given back before: {}",
            again.join(", ")
        )));
    }
    if given.iter().any(|given| given.seats_left == 0) {
        return Err(refused("all of its seats were given back before"));
    }
    Ok(())
}

/// The input of a refund's saga.
pub fn saga_input(booking: &SagaDetail, seat_ids: &[String], reason: &str) -> Value {
    let input = &booking.view.input;
    let mut refund = json!({
        "bookingId": booking.id, "eventId": input["eventId"], "userId": input["userId"], "seatIds": seat_ids,
        "currency": input["currency"], "reason": reason, "email": input["email"],
    });
    if input["language"].is_string() {
        refund["language"] = input["language"].clone();
    }
    if input["event"].is_object() {
        refund["event"] = input["event"].clone();
    }
    refund
}

fn event_of(booking: &SagaDetail) -> &str {
    booking.view.input["eventId"].as_str().unwrap_or_default()
}

fn rejected(saga: &SagaDetail) -> Problem {
    let error = saga.view.error.as_ref().map(|error| error.message.as_str());
    refused(error.unwrap_or("its seats could not be given back"))
}

fn refused(why: &str) -> Problem {
    Problem::new(Kind::Refused, format!("the booking can't be refunded: {why}"))
}

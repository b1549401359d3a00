//! `/events/{eventId}/check-ins`: people are let in, once each.

use std::collections::HashMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::passes::DoorPass;
use super::store::{self, Scan, Seen};
use crate::app::App;
use crate::http::extract::PathId;
use crate::http::{body, text};
use crate::limits::{
    BODY_BYTES_MAX, DOOR_CLOCK_AHEAD_MAX, DOOR_OFFLINE_MAX, DOOR_TEXT_CHARS_MAX, SCANS_BYTES_MAX, SCANS_MAX,
};
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};

/// Tickets that were shown at a door.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scans {
    /// In the order in which they were shown.
    #[schema(min_items = 1, max_items = 500)]
    scans: Vec<NewScan>,
}

/// A ticket that was shown at a door.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewScan {
    /// What its QR code says.
    code: String,
    /// Chosen by the device for this scan: sending it again changes nothing, and is answered alike.
    scan_id: Uuid,
    /// When the device let somebody in by the signature alone, having no network; left out: nobody was yet.
    #[serde(default)]
    admitted_at: Option<DateTime<Utc>>,
}

/// What the door shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Let them in: nobody was before.
    Admitted,
    /// Somebody was let in by this ticket before.
    AlreadyAdmitted,
    /// The ticket was given back, or its seat moved to somebody else.
    Void,
    /// A ticket of ours, for something else.
    OtherEvent,
    /// No ticket of ours: changed, or made up.
    Forged,
}

/// What became of a scan.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckIn {
    /// The scan.
    scan_id: Uuid,
    /// What to do.
    verdict: Verdict,
    /// For people.
    message: String,
    /// The seat, where the ticket is one of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    seat_id: Option<String>,
    /// Its section.
    #[serde(skip_serializing_if = "Option::is_none")]
    section: Option<String>,
    /// Its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    /// When somebody was let in: now, or before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    admitted_at: Option<String>,
    /// At which door.
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<String>,
}

/// What became of all scans.
#[derive(Serialize, ToSchema)]
pub struct CheckIns {
    /// One for each scan, in their order.
    results: Vec<CheckIn>,
}

/// A check-in that was a mistake.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undo {
    /// What the ticket's QR code says.
    code: String,
    /// Why.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// How far the doors are.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The event's name.
    name: String,
    /// Seats that are sold.
    sold: i64,
    /// People who were let in.
    admitted: i64,
}

/// Check tickets at a door, and let in who has one that nobody has used.
///
/// Of two doors that are shown the same ticket at the same moment, one lets in.
#[utoipa::path(
    post,
    path = "/events/{eventId}/check-ins",
    tag = "doors",
    security(("door_pass" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = Scans,
    responses(
        (status = 200, description = "What to do, for each scan", body = CheckIns),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "No pass that is good now for this event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "A scan is not valid: nobody was let in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available: let in by the signature, and send it later", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn check_in(
    State(app): State<App>,
    PathId(event_id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CheckIns>, Problem> {
    let pass = DoorPass::of(&app, &event_id, &headers).await?;
    let Scans { scans } = body::typed(&headers, body, SCANS_BYTES_MAX).await?;
    let now = Utc::now();
    check(&scans, now)?;
    let keys = app.ticket_keys().get(app.pool()).await?;

    // Those that are for this event go to the database, together.
    let mut ours = Vec::new();
    let mut results: Vec<Option<CheckIn>> = Vec::with_capacity(scans.len());
    for scan in scans {
        let verdict = match keys.verify(&scan.code) {
            Err(error) => Some(plain(scan.scan_id, Verdict::Forged, error.to_string())),
            Ok(ticket) if ticket.event_id != event_id => {
                let message = format!("this ticket is for another event: {}", text::echo(&ticket.event_id));
                Some(plain(scan.scan_id, Verdict::OtherEvent, message))
            }
            Ok(ticket) => {
                ours.push(Scan {
                    ticket,
                    booking_id: Uuid::nil(),
                    scan_id: scan.scan_id,
                    admitted_at: scan.admitted_at.unwrap_or(now),
                });
                None
            }
        };
        results.push(verdict);
    }
    if !ours.is_empty() {
        find_bookings(&app, &event_id, &mut ours).await?;
        store::admit(app.pool(), &event_id, &pass.door, &ours).await?;
        let seen = store::seen(app.pool(), &event_id, &ours).await?;
        let mut judged = ours.iter().zip(&seen).map(|(scan, seen)| judge(scan, seen));
        for result in results.iter_mut().filter(|result| result.is_none()) {
            *result = judged.next();
        }
    }
    let results: Vec<CheckIn> = results.into_iter().flatten().collect();
    for result in &results {
        let verdict = match result.verdict {
            Verdict::Admitted => "admitted",
            Verdict::AlreadyAdmitted => "already_admitted",
            Verdict::Void => "void",
            Verdict::OtherEvent => "other_event",
            Verdict::Forged => "forged",
        };
        metrics::counter!("sagaline_gateway_check_ins_total", "verdict" => verdict).increment(1);
    }
    Ok(Json(CheckIns { results }))
}

/// Whose the tickets are: that of the booking which has the seat, if its ticket looks like this one.
async fn find_bookings(app: &App, event_id: &str, scans: &mut [Scan]) -> Result<(), Problem> {
    let seats: Vec<&str> = scans.iter().map(|scan| scan.ticket.seat_id.as_str()).collect();
    let owners: HashMap<String, Uuid> = store::owners(app.pool(), event_id, &seats).await?.into_iter().collect();
    for scan in scans {
        let seat_id = &scan.ticket.seat_id;
        let owner = owners.get(seat_id).copied();
        let is_theirs = |booking: &Uuid| tickets::holder(*booking, event_id, seat_id) == scan.ticket.holder;
        scan.booking_id = owner.filter(is_theirs).unwrap_or_default();
    }
    Ok(())
}

/// What the database says of a scan, once everybody was let in who may be.
fn judge(scan: &Scan, seen: &Seen) -> CheckIn {
    let (verdict, message) = match (&seen.door, seen.scan_id) {
        _ if !seen.sold => (
            Verdict::Void,
            "this ticket was given back, or its seat is somebody else's now".to_owned(),
        ),
        (Some(_), Some(id)) if id == scan.scan_id => (Verdict::Admitted, "let them in".to_owned()),
        (Some(door), _) => (
            Verdict::AlreadyAdmitted,
            format!("this ticket was used before, at {}", text::echo(door)),
        ),
        // Somebody took the check-in back at this moment.
        _ => (Verdict::Void, "scan it again".to_owned()),
    };
    CheckIn {
        scan_id: scan.scan_id,
        verdict,
        message,
        seat_id: Some(scan.ticket.seat_id.clone()),
        section: seen.section.clone(),
        row: seen.row_name.clone(),
        admitted_at: seen
            .admitted_at
            .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
        door: seen.door.clone(),
    }
}

fn plain(scan_id: Uuid, verdict: Verdict, message: String) -> CheckIn {
    CheckIn {
        scan_id,
        verdict,
        message,
        seat_id: None,
        section: None,
        row: None,
        admitted_at: None,
        door: None,
    }
}

fn check(scans: &[NewScan], now: DateTime<Utc>) -> Result<(), Problem> {
    if !(1..=SCANS_MAX).contains(&scans.len()) {
        let message = format!("must have 1 to {SCANS_MAX} scans, not {}", scans.len());
        return Err(Problem::invalid(vec![FieldError::new("/scans", message)]));
    }
    let range = (now - DOOR_OFFLINE_MAX)..(now + DOOR_CLOCK_AHEAD_MAX);
    let wrong = |(index, scan): (usize, &NewScan)| {
        let at = scan.admitted_at.filter(|at| !range.contains(at))?;
        let message = format!("must be within the last 48 hours, not {at}: is the device's clock right?");
        Some(FieldError::new(format!("/scans/{index}/admittedAt"), message))
    };
    let errors: Vec<FieldError> = scans.iter().enumerate().filter_map(wrong).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Problem::invalid(errors)),
    }
}

/// Take a check-in back.
#[utoipa::path(
    post,
    path = "/events/{eventId}/check-ins/undo",
    tag = "doors",
    security(("door_pass" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = Undo,
    responses(
        (status = 200, description = "Taken back: the ticket is good again", body = Object),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "No pass that is good now for this event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Nobody was let in by this ticket (`refused`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "No ticket of this event's, or no reason", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn undo(
    State(app): State<App>,
    PathId(event_id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<serde_json::Value>, Problem> {
    let pass = DoorPass::of(&app, &event_id, &headers).await?;
    let wish: Undo = body::typed(&headers, body, BODY_BYTES_MAX).await?;
    let invalid = |pointer: &str, message: String| Problem::invalid(vec![FieldError::new(pointer, message)]);
    text::check(&wish.reason, DOOR_TEXT_CHARS_MAX).map_err(|message| invalid("/reason", message))?;
    let keys = app.ticket_keys().get(app.pool()).await?;
    let ticket = keys
        .verify(&wish.code)
        .map_err(|error| invalid("/code", error.to_string()))?;
    if ticket.event_id != event_id {
        return Err(invalid("/code", "is a ticket for another event".to_owned()));
    }
    let bookings = store::admitted_to(app.pool(), &event_id, &ticket.seat_id).await?;
    let booking = bookings
        .into_iter()
        .find(|booking| tickets::holder(*booking, &event_id, &ticket.seat_id) == ticket.holder)
        .unwrap_or_default();
    match store::undo(app.pool(), &ticket, booking, &pass.door, &wish.reason).await? {
        Some(at) => {
            tracing::info!(
                event = event_id,
                seat = ticket.seat_id,
                door = pass.door,
                "a check-in is taken back"
            );
            let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            Ok(Json(serde_json::json!({"seatId": ticket.seat_id, "wasAdmittedAt": at})))
        }
        None => Err(Problem::new(Kind::Refused, "nobody was let in by this ticket")),
    }
}

/// How many seats are sold, and how many people were let in.
#[utoipa::path(
    get,
    path = "/events/{eventId}/check-ins",
    tag = "doors",
    security(("door_pass" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    responses(
        (status = 200, description = "How far the doors are", body = Progress),
        (status = 401, description = "No pass that is good now for this event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn progress(
    State(app): State<App>,
    PathId(event_id): PathId,
    headers: HeaderMap,
) -> Result<Json<Progress>, Problem> {
    DoorPass::of(&app, &event_id, &headers).await?;
    let (name, sold, admitted) = store::progress(app.pool(), &event_id).await?;
    Ok(Json(Progress { name, sold, admitted }))
}

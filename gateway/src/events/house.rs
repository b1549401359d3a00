//! `/organiser/events/{eventId}/house-seats`: seats that the organiser keeps, and lets go later.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::organiser::Organiser;
use super::routes::no_event;
use super::store::events::Row;
use super::store::{changes, events, house};
use crate::app::App;
use crate::http::body;
use crate::http::extract::PathId;
use crate::http::text;
use crate::limits::{EVENT_BYTES_MAX, HOUSE_SEATS_MAX, ID_CHARS_MAX};
use crate::problem::{FieldError, Problem, ProblemDetails};

use crate::availability::Refusal;

/// Seats in one fact: some ten kilobytes.
const SEATS_PER_FACT: usize = 500;

/// Which seats: named, or those of a section.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HouseRequest {
    /// These seats, at most 5,000.
    #[serde(default)]
    #[schema(example = json!(["Floor-A-1", "Floor-A-2"]))]
    seat_ids: Vec<String>,
    /// Or those of this section,
    #[serde(default)]
    section: Option<String>,
    /// or of these rows of it.
    #[serde(default)]
    rows: Option<Vec<String>>,
}

/// What has become of them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HouseSeats {
    /// The seats that changed hands by this request.
    seat_ids: Vec<String>,
}

/// Keep seats for the house.
///
/// All of them or none: somebody may have one. Seats that the house has already stay so. Buyers see them as `held`.
#[utoipa::path(
    post,
    path = "/organiser/events/{eventId}/house-seats",
    tag = "organisers",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = HouseRequest,
    responses(
        (status = 200, description = "The house has them", body = HouseSeats),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Somebody has some of them (`seats-unavailable`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn keep(
    State(app): State<App>,
    organiser: Organiser,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HouseSeats>, Problem> {
    let request: HouseRequest = body::typed(&headers, body, EVENT_BYTES_MAX).await?;
    let mut transaction = app.pool().begin().await?;
    let Chosen { wanted, seats, .. } = request.lock(&mut transaction, &organiser, &id).await?;
    let of = |statuses: &[&str]| {
        let seats = seats.iter().filter(|seat| statuses.contains(&seat.status.as_str()));
        seats.map(|seat| seat.seat_id.clone()).collect::<Vec<_>>()
    };
    let taken = of(&["held", "sold"]);
    let free = of(&["available"]);
    if !taken.is_empty() {
        return Err(Problem::seats_unavailable(Refusal {
            requested: wanted,
            unavailable: taken,
            available: free.into_iter().take(crate::limits::SEATS_OFFERED_MAX).collect(),
        }));
    }
    house::set(&mut transaction, &id, &free, "house").await?;
    transaction.commit().await?;
    Ok(Json(HouseSeats { seat_ids: free }))
}

/// Let seats of the house go.
///
/// They can be had from now on, and `seats.released` is published. Those that the house doesn't have are left alone.
#[utoipa::path(
    post,
    path = "/organiser/events/{eventId}/house-seats/release",
    tag = "organisers",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = HouseRequest,
    responses(
        (status = 200, description = "They can be had", body = HouseSeats),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn release(
    State(app): State<App>,
    organiser: Organiser,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HouseSeats>, Problem> {
    let request: HouseRequest = body::typed(&headers, body, EVENT_BYTES_MAX).await?;
    let mut transaction = app.pool().begin().await?;
    let Chosen { event, seats, .. } = request.lock(&mut transaction, &organiser, &id).await?;
    let house: Vec<String> = seats
        .into_iter()
        .filter(|seat| seat.status == "house")
        .map(|seat| seat.seat_id)
        .collect();
    if !house.is_empty() {
        house::set(&mut transaction, &id, &house, "available").await?;
        let facts: Vec<_> = house
            .chunks(SEATS_PER_FACT)
            .map(|seats| json!({"version": event.version, "seatIds": seats}))
            .collect();
        changes::insert(&mut *transaction, "seats_released", &id, &facts).await?;
    }
    transaction.commit().await?;
    app.wake_event_changes();
    Ok(Json(HouseSeats { seat_ids: house }))
}

/// What a request means.
struct Chosen {
    event: Row,
    /// The names of the seats, as they were asked for.
    wanted: Vec<String>,
    /// The seats, locked.
    seats: Vec<house::Seat>,
}

impl HouseRequest {
    /// The event and the seats, locked until the transaction ends.
    async fn lock(
        &self,
        connection: &mut sqlx::PgConnection,
        organiser: &Organiser,
        id: &str,
    ) -> Result<Chosen, Problem> {
        let (event, wanted) = self.seats(&mut *connection, organiser, id).await?;
        let seats = house::lock_seats(&mut *connection, id, &wanted).await?;
        self.refuse_unknown(&wanted, &seats)?;
        Ok(Chosen { event, wanted, seats })
    }

    /// The event, which the organisation must have, and the names of the seats.
    async fn seats(
        &self,
        connection: &mut sqlx::PgConnection,
        organiser: &Organiser,
        id: &str,
    ) -> Result<(Row, Vec<String>), Problem> {
        self.check()?;
        // Locked, so that it isn't published or changed meanwhile; before the seats, as publishing does.
        let event = events::lock(&mut *connection, organiser.organisation, id).await?;
        let event = event.ok_or_else(no_event)?;
        let Some(section) = &self.section else {
            return Ok((event, self.seat_ids.clone()));
        };
        let limit = HOUSE_SEATS_MAX as i64 + 1;
        let seats = house::seats_of(&mut *connection, id, section, self.rows.as_deref(), limit).await?;
        let problem = match seats.len() {
            0 => "names no seat of this event, which has its seats once it is published",
            count if count > HOUSE_SEATS_MAX => "has more than 5000 seats: name some of its rows",
            _ => return Ok((event, seats)),
        };
        Err(Problem::invalid(vec![FieldError::new("/section", problem)]))
    }

    fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        if self.section.is_some() != self.seat_ids.is_empty() {
            errors.push(FieldError::new("", "must have either seatIds or a section"));
        }
        if self.rows.is_some() && self.section.is_none() {
            errors.push(FieldError::new("/rows", "comes with a section"));
        }
        if self.seat_ids.len() > HOUSE_SEATS_MAX {
            let message = format!("must have at most {HOUSE_SEATS_MAX} seats, not {}", self.seat_ids.len());
            errors.push(FieldError::new("/seatIds", message));
        }
        let rows = self
            .rows
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, row)| (format!("/rows/{index}"), row));
        let seats = self
            .seat_ids
            .iter()
            .enumerate()
            .map(|(index, seat)| (format!("/seatIds/{index}"), seat));
        let section = self.section.iter().map(|section| ("/section".to_owned(), section));
        for (pointer, text) in rows.chain(seats).chain(section) {
            if let Err(message) = text::check(text, ID_CHARS_MAX) {
                errors.push(FieldError::new(pointer, message));
            }
        }
        let mut seen = std::collections::HashSet::new();
        for (index, seat) in self.seat_ids.iter().enumerate() {
            if !seen.insert(seat) {
                let message = format!("repeats the seat {}", text::echo(seat));
                errors.push(FieldError::new(format!("/seatIds/{index}"), message));
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(errors))
        }
    }

    fn refuse_unknown(&self, wanted: &[String], found: &[house::Seat]) -> Result<(), Problem> {
        let found: std::collections::HashSet<&str> = found.iter().map(|seat| seat.seat_id.as_str()).collect();
        let unknown = wanted
            .iter()
            .enumerate()
            .filter(|(_, seat)| !found.contains(seat.as_str()));
        let errors: Vec<FieldError> = unknown
            .map(|(index, seat)| {
                let message = format!("names no seat of this event: there is no {}", text::echo(seat));
                FieldError::new(format!("/seatIds/{index}"), message)
            })
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(errors))
        }
    }
}

//! What buyers ask before they book: the best seats that can be had, and what seats cost together.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::best::{self, Row, Rule, Seat};
use super::pricing::Breakdown;
use super::routes::no_event;
use crate::app::App;
use crate::availability::SeatMap;
use crate::http::body;
use crate::http::extract::PathId;
use crate::http::text::{self, echo};
use crate::limits::{BODY_BYTES_MAX, ID_CHARS_MAX, SEATS_PER_BOOKING_MAX};
use crate::money::Cents;
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};
use crate::store::events::{self as store, SeatStatus};

/// What is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BestRequest {
    /// How many seats.
    #[schema(minimum = 1, maximum = 10, example = 2)]
    count: usize,
    /// In this section; left out, anywhere.
    #[serde(default)]
    section: Option<String>,
    /// None dearer than this, without fees.
    #[serde(default)]
    #[schema(value_type = Option<f64>, multiple_of = 0.01)]
    max_price: Option<Cents>,
    /// Places for wheelchairs, for who comes along, and without steps. Without this, the first two are left to those who need them.
    #[serde(default)]
    accessible: bool,
}

/// The best seats that could be had a moment ago.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BestSeats {
    /// For `POST /bookings`.
    seat_ids: Vec<String>,
    /// The same seats.
    seats: Vec<OfferedSeat>,
    /// What they cost; its `total` is the booking's `totalAmount`.
    breakdown: Breakdown,
    /// The rules that had to be given up to find them, in this order; empty: they are as good as can be.
    relaxed: Vec<Rule>,
}

/// A seat that can be had.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferedSeat {
    /// Its id.
    seat_id: String,
    /// Its section.
    section: String,
    /// Its row.
    row: String,
    /// Its number.
    number: i32,
    /// What it costs by itself.
    #[schema(value_type = f64, multiple_of = 0.01)]
    price: Cents,
}

/// Find the best seats.
///
/// Next to each other in one row, leaving no single seat behind, as near to the stage as can be; where that is not possible rules are
/// given up one after the other, and named in `relaxed`. Nothing is held: somebody else may be faster.
#[utoipa::path(
    post,
    path = "/events/{eventId}/best-available",
    tag = "events",
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = BestRequest,
    responses(
        (status = 200, description = "Some seats", body = BestSeats),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "There are not so many of them (`seats-unavailable`), or the event is not on sale (`refused`)", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn best_available(
    State(app): State<App>,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BestSeats>, Problem> {
    let wish: BestRequest = body::typed(&headers, body, BODY_BYTES_MAX).await?;
    let event = store::get(app.pool(), &id).await?.ok_or_else(no_event)?;
    let order_max = event.seats_per_order_max.and_then(|max| usize::try_from(max).ok());
    let max = order_max.unwrap_or(SEATS_PER_BOOKING_MAX).min(SEATS_PER_BOOKING_MAX);
    if !(1..=max).contains(&wish.count) {
        let message = format!("must be 1 to {max}, not {}", wish.count);
        return Err(Problem::invalid(vec![FieldError::new("/count", message)]));
    }
    if event.status != "on_sale" {
        let detail = format!("the event is not on sale: it is {}", event.status);
        return Err(Problem::new(Kind::Refused, detail));
    }
    let map = app.availability().read(app.pool(), &id).await?.ok_or_else(no_event)?;
    let taken = app
        .availability()
        .known(&id)
        .map(|view| view.spoken_for())
        .unwrap_or_default();
    let rows = rows(&map, &wish, |place| taken.contains(&place));
    let Some(found) = best::best(&rows, wish.count) else {
        let detail = "there are not so many seats of this kind at the moment; some may come back while others don't pay for theirs";
        return Err(Problem::new(Kind::SeatsUnavailable, detail));
    };
    let seat = |place: &usize| {
        let (seat, _) = map.at(*place);
        OfferedSeat {
            seat_id: seat.id.clone(),
            section: seat.section.clone(),
            row: seat.row.clone(),
            number: seat.number,
            price: seat.price,
        }
    };
    let seats: Vec<OfferedSeat> = found.places.iter().map(seat).collect();
    let breakdown = event
        .pricing
        .breakdown(seats.iter().map(|seat| seat.price))
        .ok_or_else(too_dear)?;
    Ok(Json(BestSeats {
        seat_ids: seats.iter().map(|seat| seat.seat_id.clone()).collect(),
        seats,
        breakdown,
        relaxed: found.relaxed,
    }))
}

/// Seats whose price is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuoteRequest {
    /// The seats, each once.
    #[schema(max_items = 10, min_items = 1, example = json!(["A15", "A16"]))]
    seat_ids: Vec<String>,
}

/// Ask what seats cost together.
///
/// Item by item, with fees and taxes. `total` is the `totalAmount` of `POST /bookings`.
#[utoipa::path(
    post,
    path = "/events/{eventId}/quote",
    tag = "events",
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = QuoteRequest,
    responses(
        (status = 200, description = "What they cost", body = Breakdown),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn quote(
    State(app): State<App>,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Breakdown>, Problem> {
    let wish: QuoteRequest = body::typed(&headers, body, BODY_BYTES_MAX).await?;
    let mut errors = Vec::new();
    if !(1..=SEATS_PER_BOOKING_MAX).contains(&wish.seat_ids.len()) {
        let message = format!(
            "must have 1 to {SEATS_PER_BOOKING_MAX} seats, not {}",
            wish.seat_ids.len()
        );
        return Err(Problem::invalid(vec![FieldError::new("/seatIds", message)]));
    }
    for (index, seat) in wish.seat_ids.iter().enumerate() {
        let pointer = format!("/seatIds/{index}");
        if let Err(message) = text::check(seat, ID_CHARS_MAX) {
            errors.push(FieldError::new(pointer, message));
        } else if wish.seat_ids[..index].contains(seat) {
            errors.push(FieldError::new(pointer, format!("repeats the seat {}", echo(seat))));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    // Prices of published events don't change, so what was seen a moment ago will do.
    let event = store::get(app.pool(), &id).await?.ok_or_else(no_event)?;
    let map = app.availability().read(app.pool(), &id).await?.ok_or_else(no_event)?;
    let mut prices = Vec::with_capacity(wish.seat_ids.len());
    for (index, seat) in wish.seat_ids.iter().enumerate() {
        match map.place(seat) {
            Some(place) => prices.push(map.at(place).0.price),
            None => {
                let message = format!("names no seat of this event: there is no {}", echo(seat));
                errors.push(FieldError::new(format!("/seatIds/{index}"), message));
            }
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    Ok(Json(event.pricing.breakdown(prices).ok_or_else(too_dear)?))
}

fn too_dear() -> Problem {
    tracing::error!("seats cost more than fits 64 bits of cents");
    Problem::new(
        Kind::Internal,
        "the price can't be told because of a defect of ours; it has been recorded",
    )
}

/// The rows that are looked at, with how far each seat is from the stage: by the venue's coordinates, or, where not all seats have some,
/// as if sections lay behind each other, dear ones first, their rows behind each other, and the stage in front of their middle.
fn rows<'a>(map: &'a SeatMap, wish: &BestRequest, taken: impl Fn(usize) -> bool) -> Vec<Row<'a>> {
    let places: Vec<usize> = (0..map.len()).collect();
    let of_a_row = |left: &usize, right: &usize| {
        let ((left, _), (right, _)) = (map.at(*left), map.at(*right));
        left.section == right.section && left.row == right.row
    };
    let has_coordinates = places.iter().all(|place| map.at(*place).0.at.is_some());
    let (stage_x, stage_y) = map.stage();
    let ranks = if has_coordinates {
        Vec::new()
    } else {
        ranks(map, &places, of_a_row)
    };
    let mut rows = Vec::new();
    for (index, row) in places.chunk_by(of_a_row).enumerate() {
        let section = map.at(row[0]).0.section.as_str();
        if wish.section.as_deref().is_some_and(|wanted| wanted != section) {
            continue;
        }
        let middle = (row.len() as f64 - 1.0) / 2.0;
        let seat = |(at, place): (usize, &usize)| {
            let (seat, status) = map.at(*place);
            let distance = match (seat.at, ranks.get(index)) {
                (Some((x, y)), None) => f64::from(x - stage_x).hypot(f64::from(y - stage_y)),
                (_, rank) => rank.copied().unwrap_or_default() + (at as f64 - middle).abs() / SEATS_AS_DEEP_AS_A_ROW,
            };
            let is_kept = seat.marks.wheelchair || seat.marks.companion;
            let suits = if wish.accessible {
                is_kept || seat.marks.step_free
            } else {
                !is_kept
            };
            Seat {
                place: *place,
                number: seat.number,
                free: status == SeatStatus::Available && !taken(*place),
                fits: suits && wish.max_price.is_none_or(|max| seat.price <= max),
                distance,
            }
        };
        rows.push(Row {
            section,
            seats: row.iter().enumerate().map(seat).collect(),
        });
    }
    rows
}

/// How many seats off the middle are as bad as a row further back, where nothing better is known.
const SEATS_AS_DEEP_AS_A_ROW: f64 = 8.0;
/// How many rows a section counts for: none is as deep.
const SECTION_ROWS: f64 = 1_000.0;

/// How far back each row is.
fn ranks(map: &SeatMap, places: &[usize], of_a_row: impl Fn(&usize, &usize) -> bool) -> Vec<f64> {
    let mut sections: Vec<(std::cmp::Reverse<Cents>, String)> = map
        .sections()
        .into_iter()
        .map(|section| (std::cmp::Reverse(section.price_max), section.section))
        .collect();
    sections.sort();
    // Sections of the same price are equally far: none of them need be in front.
    let mut section_rank = std::collections::HashMap::new();
    let (mut rank, mut before) = (0.0, None);
    for (price, section) in sections {
        if before.is_some_and(|before| before != price) {
            rank += 1.0;
        }
        before = Some(price);
        section_rank.insert(section, rank);
    }
    let rows: Vec<(&str, &str)> = places
        .chunk_by(of_a_row)
        .map(|row| {
            let (seat, _) = map.at(row[0]);
            (seat.section.as_str(), seat.row.as_str())
        })
        .collect();
    let mut by_section: std::collections::HashMap<&str, Vec<&str>> = std::collections::HashMap::new();
    for (section, row) in &rows {
        by_section.entry(section).or_default().push(row);
    }
    for rows in by_section.values_mut() {
        // 2 before 10, Z before AA.
        rows.sort_by_key(|row| (row.chars().count(), *row));
    }
    let row_rank = |section: &str, row: &str| {
        by_section[section]
            .iter()
            .position(|other| *other == row)
            .unwrap_or_default()
    };
    rows.iter()
        .map(|(section, row)| section_rank[*section] * SECTION_ROWS + row_rank(section, row) as f64)
        .collect()
}

//! `GET /events…`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::availability::{SeatFilter, SectionSummary};
use crate::http::extract::{Parameters, PathId};
use crate::http::text::{self, path_segment};
use crate::limits::{EVENTS_PAGE_DEFAULT, EVENTS_PAGE_MAX};
use crate::money::Cents;
use crate::problem::{Problem, ProblemDetails};
use crate::store::events::{self as store, SeatStatus};

/// Which moment a list of seats shows, as the ids of live changes count moments.
const SEATS_VERSION: HeaderName = HeaderName::from_static("seats-version");

/// An event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Its id.
    #[schema(example = "taylor_swift_nyc_2024")]
    event_id: String,
    /// Its name.
    name: String,
    /// Where it is.
    venue: String,
    /// The city.
    city: String,
    /// When it begins, by the venue's clock.
    #[schema(format = "date-time")]
    date: String,
    /// The venue's time zone, by its IANA name.
    #[schema(example = "America/New_York")]
    time_zone: &'static str,
    /// ISO 4217, lower case.
    #[schema(example = "usd")]
    currency: String,
    /// `on_sale`, `closed` or `cancelled`.
    status: String,
    /// Seats that each buyer may have, held and sold together; left out: as many as they like.
    #[serde(skip_serializing_if = "Option::is_none")]
    seats_per_buyer_max: Option<i32>,
    /// Whatever else is known of it.
    #[schema(value_type = Object)]
    attributes: Value,
    /// Where to go from here.
    links: EventLinks,
}

/// Where to go from an event.
#[derive(Serialize, ToSchema)]
pub struct EventLinks {
    /// The event itself.
    #[serde(rename = "self")]
    this: String,
    /// Its seats.
    seats: String,
}

/// An event with its sections.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventDetail {
    #[serde(flatten)]
    event: Event,
    /// Its sections, with what is to be had in each.
    sections: Vec<SectionSummary>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    /// The events, those that begin soonest first.
    events: Vec<Event>,
    /// The path of the next page; left out: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The seats of an event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeatList {
    /// The event.
    event_id: String,
    /// Its seats, by section, row and number.
    seats: Vec<SeatEntry>,
}

/// A seat.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeatEntry {
    /// Unique within the event.
    #[schema(example = "A15")]
    seat_id: String,
    /// The section's name.
    section: String,
    /// The row's name.
    row: String,
    /// What it costs, with two decimals.
    #[schema(value_type = f64, multiple_of = 0.01, example = json!(350.00))]
    price: Cents,
    /// Whether it can be had.
    status: SeatStatus,
}

impl From<store::Event> for Event {
    fn from(event: store::Event) -> Event {
        let this = format!("/events/{}", path_segment(&event.id));
        Event {
            links: EventLinks {
                seats: format!("{this}/seats"),
                this,
            },
            event_id: event.id,
            name: event.name,
            venue: event.venue,
            city: event.city,
            date: event.starts_at.to_rfc3339(),
            time_zone: event.starts_at.zone(),
            currency: event.currency,
            status: event.status,
            seats_per_buyer_max: event.seats_per_buyer_max,
            attributes: event.attributes,
        }
    }
}

/// Which page of events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Those after the event of this id, as `next` gives it.
    after: Option<String>,
    /// How many, at most 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// List the events.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(ListParameters),
    responses(
        (status = 200, description = "Events, those that begin soonest first", body = EventPage),
        (status = 400, description = "A parameter is not known or can't be read",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<EventPage>, Problem> {
    let limit = parameters.limit.unwrap_or(EVENTS_PAGE_DEFAULT);
    if !(1..=EVENTS_PAGE_MAX).contains(&limit) {
        return Err(Problem::malformed(
            "?limit",
            format!("must be 1 to {EVENTS_PAGE_MAX}, not {limit}"),
        ));
    }
    if let Some(after) = &parameters.after {
        text::check(after, crate::limits::ID_CHARS_MAX).map_err(|message| Problem::malformed("?after", message))?;
    }
    // One more than asked for shows whether there is a next page.
    let mut events = store::list(app.pool(), parameters.after.as_deref(), limit + 1).await?;
    let has_more = events.len() > limit as usize;
    events.truncate(limit as usize);
    let next = events.last().filter(|_| has_more);
    let next = next.map(|last| format!("/events?after={}&limit={limit}", path_segment(&last.id)));
    Ok(Json(EventPage {
        events: events.into_iter().map(Event::from).collect(),
        next,
    }))
}

/// Show an event with its sections.
#[utoipa::path(
    get,
    path = "/events/{eventId}",
    tag = "events",
    params(("eventId" = String, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event", body = EventDetail),
        (status = 404, description = "There is no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<App>, PathId(id): PathId) -> Result<Json<EventDetail>, Problem> {
    let event = store::get(app.pool(), &id).await?.ok_or_else(no_event)?;
    let map = app.availability().read(app.pool(), &id).await?.ok_or_else(no_event)?;
    Ok(Json(EventDetail {
        event: event.into(),
        sections: map.sections(),
    }))
}

/// Which seats.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeatParameters {
    /// Those of this section.
    section: Option<String>,
    /// Those in this state: `available`, `held` or `sold`.
    status: Option<SeatStatus>,
}

/// List the seats of an event.
///
/// As they were at most two seconds ago. With an `If-None-Match` of an earlier answer's `ETag`, 304 when nothing has changed.
#[utoipa::path(
    get,
    path = "/events/{eventId}/seats",
    tag = "events",
    params(
        ("eventId" = String, Path, description = "The event's id"),
        SeatParameters,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The seats, by section, row and number", body = SeatList,
         headers(("ETag" = String, description = "Changes when an answer changes"),
                 ("Seats-Version" = String, description = "Where to begin listening: `?after=` of `/events/{eventId}/seats/live`"))),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "A parameter is not known or can't be read",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn seats(
    State(app): State<App>,
    PathId(id): PathId,
    Parameters(parameters): Parameters<SeatParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let map = app.availability().read(app.pool(), &id).await?.ok_or_else(no_event)?;
    let rendered = map.render(&SeatFilter {
        section: parameters.section,
        status: parameters.status,
    });
    let etag = HeaderValue::from_str(&rendered.etag).expect("a tag is hexadecimal");
    // `no-cache`: keep it, but ask each time.
    let mut response_headers = HeaderMap::from_iter([
        (header::ETAG, etag),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (SEATS_VERSION, HeaderValue::from(map.version())),
    ]);
    if is_known(&headers, &rendered.etag) {
        return Ok((StatusCode::NOT_MODIFIED, response_headers).into_response());
    }
    response_headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((response_headers, rendered.body).into_response())
}

/// Whether the client has the answer with this tag already (weak comparison, RFC 9110).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

pub(super) fn no_event() -> Problem {
    Problem::not_found("there is no such event; GET /events lists them")
}

//! `GET /events…`.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::pricing::{Fee, Tax};
use crate::app::App;
use crate::availability::{SeatFilter, SectionSummary};
use crate::http::extract::{Parameters, PathId};
use crate::http::page;
use crate::http::rendered::Rendered;
use crate::http::text::{self, path_segment};
use crate::limits::{EVENTS_PAGE_DEFAULT, EVENTS_PAGE_MAX, NAME_CHARS_MAX, SEARCH_WORDS_MAX};
use crate::money::Cents;
use crate::problem::{Problem, ProblemDetails};
use crate::store::events::{self as store, SeatStatus};
use crate::users::accounts::time;

/// Which moment a list of seats shows, as the ids of live changes count moments.
pub const SEATS_VERSION: HeaderName = HeaderName::from_static("seats-version");

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
    /// `upcoming`, `on_sale`, `closed`, `postponed` or `cancelled`.
    status: String,
    /// Who is on stage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    performers: Vec<String>,
    /// From when on it is sold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    sale_starts_at: Option<String>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    sale_ends_at: Option<String>,
    /// When it was to begin, if it was postponed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    postponed_from: Option<String>,
    /// What is added to the seats' prices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fees: Vec<Fee>,
    /// Taxes on both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    taxes: Vec<Tax>,
    /// Seats of one booking, at most; left out: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    seats_per_order_max: Option<i32>,
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
    /// Where it is, in a unit of the venue's choice; left out: the venue doesn't say.
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<f32>,
    /// See above.
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<f32>,
    /// `wheelchair`, `companion`, `step_free`, `restricted_view`; left out: nothing is to be known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<String>,
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
            performers: event.performers,
            sale_starts_at: event.sale_starts_at.map(time),
            sale_ends_at: event.sale_ends_at.map(time),
            postponed_from: event.postponed_from.map(time),
            fees: event.pricing.fees,
            taxes: event.pricing.taxes,
            seats_per_order_max: event.seats_per_order_max,
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
    /// Words, or their beginnings, that are all in the event's name, performers, venue or city.
    text: Option<String>,
    /// In this city, in any case of letters.
    city: Option<String>,
    /// Beginning then or later: a date (its beginning in UTC) or an instant (RFC 3339).
    from: Option<String>,
    /// Beginning before then.
    to: Option<String>,
}

impl ListParameters {
    fn search(&self) -> Result<store::Search, Problem> {
        for (name, text) in [("?after", &self.after), ("?city", &self.city), ("?text", &self.text)] {
            if let Some(text) = text {
                text::check(text, NAME_CHARS_MAX).map_err(|message| Problem::malformed(name, message))?;
            }
        }
        Ok(store::Search {
            words: self.text.as_deref().map(words).transpose()?,
            city: self.city.clone(),
            from: self.from.as_deref().map(|text| moment("?from", text)).transpose()?,
            to: self.to.as_deref().map(|text| moment("?to", text)).transpose()?,
            after: self.after.clone(),
        })
    }

    /// The path of the page after this event, of the same search.
    fn next(&self, last: &str, limit: u32) -> String {
        let mut next = format!("/events?after={}&limit={limit}", path_segment(last));
        let others = [
            ("text", &self.text),
            ("city", &self.city),
            ("from", &self.from),
            ("to", &self.to),
        ];
        for (name, value) in others {
            if let Some(value) = value {
                next.push_str(&format!("&{name}={}", path_segment(value)));
            }
        }
        next
    }
}

/// The query of a text search: each word, or a longer one that begins with it. What is no letter or digit parts words, so nothing of
/// Postgres' syntax can be said.
fn words(text: &str) -> Result<String, Problem> {
    let words: Vec<String> = text
        .split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| format!("'{word}':*"))
        .collect();
    match words.len() {
        0 => Err(Problem::malformed("?text", "must have a word of letters or digits")),
        count if count > SEARCH_WORDS_MAX => Err(Problem::malformed(
            "?text",
            format!("must have at most {SEARCH_WORDS_MAX} words"),
        )),
        _ => Ok(words.join(" & ")),
    }
}

pub fn moment(name: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    let instant = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).ok();
    let date = || {
        text.parse::<NaiveDate>()
            .ok()
            .map(|date| date.and_time(NaiveTime::MIN).and_utc())
    };
    // What Postgres has no room for is nobody's event.
    let at = instant.or_else(date).filter(|at| (1..=9999).contains(&at.year()));
    at.ok_or_else(|| {
        let message = "must be a date such as 2027-06-12, or an instant such as 2027-06-12T19:00:00Z";
        Problem::malformed(name, message)
    })
}

/// List events, or search for some.
///
/// With an `If-None-Match` of an earlier answer's `ETag`, 304 when nothing has changed.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(
        ListParameters,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer"),
    ),
    responses(
        (status = 200, description = "Events, those that begin soonest first", body = EventPage,
         headers(("ETag" = String, description = "Changes when an answer changes"))),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "A parameter is not known or can't be read",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    Parameters(parameters): Parameters<ListParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = parameters.limit.unwrap_or(EVENTS_PAGE_DEFAULT);
    if !(1..=EVENTS_PAGE_MAX).contains(&limit) {
        return Err(Problem::malformed(
            "?limit",
            format!("must be 1 to {EVENTS_PAGE_MAX}, not {limit}"),
        ));
    }
    let search = parameters.search()?;
    // One more than asked for shows whether there is a next page.
    let events = store::list(app.pool(), &search, limit + 1).await?;
    let (events, has_more) = page::cut(events, limit);
    let next = events.last().filter(|_| has_more);
    let next = next.map(|last| parameters.next(&last.id, limit));
    let page = EventPage {
        events: events.into_iter().map(Event::from).collect(),
        next,
    };
    Ok(Rendered::json(&page).answer(&headers, "application/json"))
}

/// Show an event with its sections.
///
/// With an `If-None-Match` of an earlier answer's `ETag`, 304 when nothing has changed.
#[utoipa::path(
    get,
    path = "/events/{eventId}",
    tag = "events",
    params(
        ("eventId" = String, Path, description = "The event's id"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The event", body = EventDetail,
         headers(("ETag" = String, description = "Changes when an answer changes"))),
        (status = 304, description = "Nothing has changed"),
        (status = 404, description = "There is no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<App>, PathId(id): PathId, headers: HeaderMap) -> Result<Response, Problem> {
    let event = store::get(app.pool(), &id).await?.ok_or_else(no_event)?;
    let map = app.availability().read(app.pool(), &id).await?.ok_or_else(no_event)?;
    let event = EventDetail {
        event: event.into(),
        sections: map.sections(),
    };
    Ok(Rendered::json(&event).answer(&headers, "application/json"))
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
    let mut response = rendered.answer(&headers, "application/json");
    response
        .headers_mut()
        .insert(SEATS_VERSION, HeaderValue::from(map.version()));
    Ok(response)
}

/// The answer where there is no such event, or none that somebody may know of.
pub fn no_event() -> Problem {
    Problem::not_found("there is no such event; GET /events lists them")
}

//! `/organiser/venues`: where events take place, and their seats.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::import::{self, Layout, SeatsRequest};
use super::organiser::Organiser;
use super::store::venues as store;
use crate::app::App;
use crate::http::extract::{Parameters, PathId};
use crate::http::page;
use crate::http::{body, text};
use crate::limits::{
    BODY_BYTES_MAX, NAME_CHARS_MAX, SEAT_COORDINATE_MAX, VENUE_BYTES_MAX, VENUE_IMPORT_RETRY, VENUES_PAGE_MAX,
};
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};

/// A venue to be made. Unknown fields are refused.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VenueRequest {
    /// Its name.
    #[schema(max_length = 200, example = "Madison Square Garden")]
    name: String,
    /// The city.
    #[schema(max_length = 200, example = "New York")]
    city: String,
    /// Its time zone, by its IANA name.
    #[schema(example = "America/New_York")]
    time_zone: String,
    /// Where the stage is, in the seats' coordinates; left out, at their origin.
    #[serde(default)]
    stage: Stage,
}

/// Where the stage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// As the seats' `x`.
    pub x: f32,
    /// As the seats' `y`.
    pub y: f32,
}

/// A venue.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Venue {
    /// Its id.
    venue_id: Uuid,
    /// Its name.
    name: String,
    /// The city.
    city: String,
    /// Its time zone.
    time_zone: String,
    /// Where the stage is.
    stage: Stage,
    /// How many seats it has.
    seats: i32,
}

impl From<store::Venue> for Venue {
    fn from(venue: store::Venue) -> Venue {
        Venue {
            venue_id: venue.id,
            name: venue.name,
            city: venue.city,
            time_zone: venue.time_zone,
            stage: Stage {
                x: venue.stage_x,
                y: venue.stage_y,
            },
            seats: venue.seats,
        }
    }
}

/// A page of venues.
#[derive(Serialize, ToSchema)]
pub struct VenuePage {
    /// The organisation's venues, those made first first.
    venues: Vec<Venue>,
    /// The path of the next page; left out: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl VenueRequest {
    fn check(self) -> Result<store::Venue, Problem> {
        let mut errors = Vec::new();
        for (pointer, value) in [("/name", &self.name), ("/city", &self.city)] {
            if let Err(message) = text::check(value, NAME_CHARS_MAX) {
                errors.push(FieldError::new(pointer, message));
            }
        }
        errors.extend(wrong_time_zone(&self.time_zone));
        for (pointer, value) in [("/stage/x", self.stage.x), ("/stage/y", self.stage.y)] {
            if !value.is_finite() || value.abs() > SEAT_COORDINATE_MAX {
                errors.push(FieldError::new(
                    pointer,
                    format!("must be within ±{SEAT_COORDINATE_MAX}"),
                ));
            }
        }
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        Ok(store::Venue {
            id: Uuid::now_v7(),
            name: self.name,
            city: self.city,
            time_zone: self.time_zone,
            stage_x: self.stage.x,
            stage_y: self.stage.y,
            seats: 0,
        })
    }
}

/// What is wrong with the name of a time zone, if anything.
pub fn wrong_time_zone(name: &str) -> Option<FieldError> {
    let message = || {
        format!(
            "must be the IANA name of a time zone such as America/New_York, not {}",
            text::echo(name)
        )
    };
    name.parse::<chrono_tz::Tz>()
        .is_err()
        .then(|| FieldError::new("/timeZone", message()))
}

/// Make a venue.
///
/// It belongs to the organiser's organisation. Its seats come by `PUT /organiser/venues/{venueId}/seats`.
#[utoipa::path(
    post,
    path = "/organiser/venues",
    tag = "organisers",
    security(("access_token" = [])),
    request_body = VenueRequest,
    responses(
        (status = 201, description = "Made", body = Venue, headers(("Location" = String, description = "The venue"))),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(app): State<App>,
    organiser: Organiser,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request: VenueRequest = body::typed(&headers, body, BODY_BYTES_MAX).await?;
    let venue = request.check()?;
    store::insert(app.pool(), organiser.organisation, &venue).await?;
    let location =
        HeaderValue::from_str(&format!("/organiser/venues/{}", venue.id)).expect("a path of hexadecimal digits");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(Venue::from(venue)),
    )
        .into_response())
}

/// Which page of venues.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VenueParameters {
    /// Those after the venue of this id, as `next` gives it.
    after: Option<Uuid>,
}

/// List the organisation's venues.
#[utoipa::path(
    get,
    path = "/organiser/venues",
    tag = "organisers",
    security(("access_token" = [])),
    params(VenueParameters),
    responses(
        (status = 200, description = "The venues", body = VenuePage),
        (status = 400, description = "A parameter is not known or can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    organiser: Organiser,
    Parameters(parameters): Parameters<VenueParameters>,
) -> Result<Json<VenuePage>, Problem> {
    let limit = i64::from(VENUES_PAGE_MAX);
    let venues = store::list(app.pool(), organiser.organisation, parameters.after, limit + 1).await?;
    let (venues, has_more) = page::cut(venues, limit);
    let next = venues.last().filter(|_| has_more);
    Ok(Json(VenuePage {
        next: next.map(|last| format!("/organiser/venues?after={}", last.id)),
        venues: venues.into_iter().map(Venue::from).collect(),
    }))
}

/// Show a venue.
#[utoipa::path(
    get,
    path = "/organiser/venues/{venueId}",
    tag = "organisers",
    security(("access_token" = [])),
    params(("venueId" = String, Path, description = "The venue's id")),
    responses(
        (status = 200, description = "The venue", body = Venue),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such venue", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<App>, organiser: Organiser, PathId(id): PathId) -> Result<Json<Venue>, Problem> {
    let venue = store::get(app.pool(), organiser.organisation, venue_id(&id)?).await?;
    Ok(Json(venue.ok_or_else(no_venue)?.into()))
}

/// Give a venue its seats, in place of those that it has.
///
/// As CSV with a header line (`section,row,number`, and if wanted `seat_id,x,y,marks`), or as JSON. Events that have been
/// published keep the seats that the venue had then.
#[utoipa::path(
    put,
    path = "/organiser/venues/{venueId}/seats",
    tag = "organisers",
    security(("access_token" = [])),
    params(("venueId" = String, Path, description = "The venue's id")),
    request_body(content(
        (SeatsRequest = "application/json"),
        (String = "text/csv", example = "section,row,number,x,y,marks\nFloor,A,1,-2.5,4,wheelchair\nFloor,A,2,-2,4,"),
    )),
    responses(
        (status = 200, description = "The venue with its seats", body = Venue),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such venue", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body has more than 16 MiB", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "It is neither CSV nor JSON", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named with its row", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many imports at once", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn put_seats(
    State(app): State<App>,
    organiser: Organiser,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Venue>, Problem> {
    let id = venue_id(&id)?;
    // Asked for before the body is read: it is the bodies that take room.
    let Ok(_room) = app.venue_imports().try_acquire() else {
        let detail = "as many imports as this server takes are being worked on; try again shortly";
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(VENUE_IMPORT_RETRY));
    };
    let bytes = body::read(&headers, body, VENUE_BYTES_MAX).await?;
    let is_csv = is_csv(&headers);
    if !is_csv {
        body::require_json(&headers)?;
    }
    let read = move || -> Result<Layout, Problem> {
        if is_csv {
            import::from_csv(&bytes)
        } else {
            import::from_json(body::parse_typed::<SeatsRequest>(&bytes)?)
        }
    };
    // Some seconds of work at the most, which others need not wait for.
    let layout = tokio::task::spawn_blocking(read).await.map_err(|error| {
        tracing::error!(%error, "an import of seats has failed");
        Problem::new(
            Kind::Internal,
            "the import failed because of a defect of ours; it has been recorded",
        )
    })??;
    let venue = store::replace_seats(app.pool(), organiser.organisation, id, &layout).await?;
    Ok(Json(venue.ok_or_else(no_venue)?.into()))
}

fn is_csv(headers: &HeaderMap) -> bool {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("text/csv")
}

fn venue_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| no_venue())
}

/// Somebody else's venue is as good as none.
pub fn no_venue() -> Problem {
    Problem::not_found("your organisation has no such venue; GET /organiser/venues lists them")
}

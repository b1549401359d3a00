//! `/organiser/events`: organisers make events, change them, and decide when they are sold.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::draft::{self, Decision, DecisionRequest, EventRequest, Sale};
use super::organiser::Organiser;
use super::pricing::Pricing;
use super::routes::no_event;
use super::store::changes;
use super::store::events::{self as store, Row};
use super::store::venues;
use crate::app::App;
use crate::http::body;
use crate::http::extract::{Parameters, PathId};
use crate::http::page;
use crate::http::text::{self, path_segment};
use crate::limits::{BODY_BYTES_MAX, EVENT_BYTES_MAX, EVENTS_PAGE_DEFAULT, ID_CHARS_MAX};
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};
use crate::users::accounts::time;

/// An event as its organisers see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedEvent {
    /// Its id.
    event_id: String,
    /// What its organiser has decided.
    status: Decision,
    /// Counts changes.
    version: i64,
    /// Its name.
    name: String,
    /// Its venue.
    #[serde(skip_serializing_if = "Option::is_none")]
    venue_id: Option<Uuid>,
    /// The venue's name.
    venue: String,
    /// The city.
    city: String,
    /// Who is on stage.
    performers: Vec<String>,
    /// Whatever else is to be known of it.
    #[schema(value_type = Object)]
    attributes: Value,
    /// When it begins.
    #[schema(format = "date-time")]
    starts_at: String,
    /// When it was to begin, if it was postponed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    postponed_from: Option<String>,
    /// Its time zone.
    time_zone: String,
    /// ISO 4217, lower case.
    currency: String,
    /// When it is sold.
    sale: Sale,
    /// Seats of one booking, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    seats_per_order_max: Option<i32>,
    /// Seats that each buyer may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    seats_per_buyer_max: Option<i32>,
    /// What seats cost, and what is added.
    pricing: Pricing,
    /// Where buyers see it, once it is published.
    #[schema(example = "/events/evt_1")]
    public: String,
}

impl TryFrom<Row> for ManagedEvent {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<ManagedEvent, sqlx::Error> {
        Ok(ManagedEvent {
            status: Decision::of(&row.status)?,
            pricing: pricing(&row)?,
            public: format!("/events/{}", path_segment(&row.id)),
            event_id: row.id,
            version: row.version,
            name: row.name,
            venue_id: row.venue_id,
            venue: row.venue,
            city: row.city,
            performers: row.performers,
            attributes: row.attributes,
            starts_at: time(row.starts_at),
            postponed_from: row.postponed_from.map(time),
            time_zone: row.time_zone,
            currency: row.currency,
            sale: Sale {
                starts_at: row.sale_starts_at,
                ends_at: row.sale_ends_at,
            },
            seats_per_order_max: row.seats_per_order_max,
            seats_per_buyer_max: row.seats_per_buyer_max,
        })
    }
}

/// A page of an organisation's events.
#[derive(Serialize, ToSchema)]
pub struct ManagedPage {
    /// The events, those made first first.
    events: Vec<ManagedEvent>,
    /// The path of the next page; left out: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Make an event.
///
/// It is a draft: nobody sees it until `POST /organiser/events/{eventId}/status` publishes it, and everything about it can be
/// changed.
#[utoipa::path(
    post,
    path = "/organiser/events",
    tag = "organisers",
    security(("access_token" = [])),
    request_body = EventRequest,
    responses(
        (status = 201, description = "Made", body = ManagedEvent, headers(("Location" = String, description = "The event"))),
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
    let request: EventRequest = body::typed(&headers, body, EVENT_BYTES_MAX).await?;
    let id = format!("evt_{}", Uuid::now_v7().simple());
    let mut transaction = app.pool().begin().await?;
    let row = row_of(&mut transaction, &organiser, &request, id).await?;
    store::insert(&mut *transaction, organiser.organisation, &row).await?;
    tell(&mut transaction, &organiser, &row, "created").await?;
    transaction.commit().await?;
    app.wake_event_changes();
    let location = HeaderValue::from_str(&path_of(&row.id)).expect("a path of letters and digits");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(ManagedEvent::try_from(row)?),
    )
        .into_response())
}

/// Change an event: all of it.
///
/// Of a published one, the venue, the currency and the prices stay as they are, and so does its date, unless it is postponed.
#[utoipa::path(
    put,
    path = "/organiser/events/{eventId}",
    tag = "organisers",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = EventRequest,
    responses(
        (status = 200, description = "The event as it is now", body = ManagedEvent),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It is cancelled, or somebody has changed it since `version`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(app): State<App>,
    organiser: Organiser,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ManagedEvent>, Problem> {
    let request: EventRequest = body::typed(&headers, body, EVENT_BYTES_MAX).await?;
    let mut transaction = app.pool().begin().await?;
    let before = store::lock(&mut transaction, organiser.organisation, &id)
        .await?
        .ok_or_else(no_event)?;
    let decision = Decision::of(&before.status)?;
    if decision == Decision::Cancelled {
        return Err(Problem::new(
            Kind::Refused,
            "the event is cancelled; nothing about it changes any more",
        ));
    }
    if request.version.is_some_and(|version| version != before.version) {
        let detail = format!(
            "somebody has changed the event since; it has version {} now: look at it again",
            before.version
        );
        return Err(Problem::new(Kind::Refused, detail));
    }
    let mut after = row_of(&mut transaction, &organiser, &request, id).await?;
    if decision != Decision::Draft {
        let errors = draft::frozen(&before, &after);
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        // Where it is stays as it was said to those who bought.
        after.venue = before.venue;
        after.city = before.city;
    }
    after.status = before.status;
    after.postponed_from = before.postponed_from;
    after.version = before.version + 1;
    store::update(&mut *transaction, &after).await?;
    tell(&mut transaction, &organiser, &after, "updated").await?;
    transaction.commit().await?;
    app.wake_event_changes();
    Ok(Json(after.try_into()?))
}

/// Publish, postpone or close an event; or drop a draft.
///
/// Publishing a draft makes its seats, from the venue's and the tiers. A postponed event is published again with its new date;
/// until then it is shown, and not sold. What was published is called off by `POST /events/{eventId}/cancel`.
#[utoipa::path(
    post,
    path = "/organiser/events/{eventId}/status",
    tag = "organisers",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = DecisionRequest,
    responses(
        (status = 200, description = "The event as it is now", body = ManagedEvent),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It can't become that from what it is", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "Something is missing that a published event needs: each mistake is named", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn decide(
    State(app): State<App>,
    organiser: Organiser,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ManagedEvent>, Problem> {
    let wish: DecisionRequest = body::typed(&headers, body, BODY_BYTES_MAX).await?;
    let mut transaction = app.pool().begin().await?;
    let mut row = store::lock(&mut transaction, organiser.organisation, &id)
        .await?
        .ok_or_else(no_event)?;
    let was_draft = Decision::of(&row.status)? == Decision::Draft;
    draft::decide(&mut row, wish)?;
    if row.starts_at <= row.read_at && (wish.status == Decision::Published || wish.starts_at.is_some()) {
        let message = "is past: an event is published, or postponed to a date, that is to come";
        return Err(Problem::invalid(vec![FieldError::new("/startsAt", message)]));
    }
    if was_draft && wish.status == Decision::Published {
        make_seats(&mut transaction, &organiser, &row).await?;
    }
    row.version += 1;
    store::update(&mut *transaction, &row).await?;
    tell(&mut transaction, &organiser, &row, "updated").await?;
    transaction.commit().await?;
    app.wake_event_changes();
    Ok(Json(row.try_into()?))
}

/// Which page of an organisation's events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ManagedParameters {
    /// Those after the event of this id, as `next` gives it.
    after: Option<String>,
}

/// List the organisation's events, drafts included.
#[utoipa::path(
    get,
    path = "/organiser/events",
    tag = "organisers",
    security(("access_token" = [])),
    params(ManagedParameters),
    responses(
        (status = 200, description = "The events", body = ManagedPage),
        (status = 400, description = "A parameter is not known or can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    organiser: Organiser,
    Parameters(parameters): Parameters<ManagedParameters>,
) -> Result<Json<ManagedPage>, Problem> {
    if let Some(after) = &parameters.after {
        text::check(after, ID_CHARS_MAX).map_err(|message| Problem::malformed("?after", message))?;
    }
    let limit = i64::from(EVENTS_PAGE_DEFAULT);
    let after = parameters.after.as_deref();
    let rows = store::list(app.pool(), organiser.organisation, after, limit + 1).await?;
    let (rows, has_more) = page::cut(rows, limit);
    let next = rows.last().filter(|_| has_more);
    Ok(Json(ManagedPage {
        next: next.map(|last| format!("/organiser/events?after={}", path_segment(&last.id))),
        events: rows.into_iter().map(ManagedEvent::try_from).collect::<Result<_, _>>()?,
    }))
}

/// Show one of the organisation's events.
#[utoipa::path(
    get,
    path = "/organiser/events/{eventId}",
    tag = "organisers",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event", body = ManagedEvent),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    organiser: Organiser,
    PathId(id): PathId,
) -> Result<Json<ManagedEvent>, Problem> {
    let row = store::get(app.pool(), organiser.organisation, &id).await?;
    Ok(Json(row.ok_or_else(no_event)?.try_into()?))
}

/// The row that a request means, at one of the organisation's venues.
async fn row_of(
    connection: &mut PgConnection,
    organiser: &Organiser,
    request: &EventRequest,
    id: String,
) -> Result<Row, Problem> {
    let venue = venues::get(&mut *connection, organiser.organisation, request.venue_id).await?;
    let Some(venue) = venue else {
        let message = "names no venue of your organisation; GET /organiser/venues lists them";
        // The rest may be wrong too.
        let mut errors = vec![FieldError::new("/venueId", message)];
        if let Err(problem) = request.row(id, ("", "", "UTC")) {
            errors.extend(problem.errors().iter().cloned());
        }
        return Err(Problem::invalid(errors));
    };
    request.row(id, (&venue.name, &venue.city, &venue.time_zone))
}

/// Makes the seats of an event that is about to be published.
async fn make_seats(connection: &mut PgConnection, organiser: &Organiser, row: &Row) -> Result<(), Problem> {
    let venue_id = row.venue_id.unwrap_or_default();
    let venue = venues::get(&mut *connection, organiser.organisation, venue_id).await?;
    let layout = venues::seats(&mut *connection, venue_id).await?;
    let Some(venue) = venue.filter(|_| !layout.is_empty()) else {
        let message = "has no seats yet: PUT /organiser/venues/{venueId}/seats gives it some";
        return Err(Problem::invalid(vec![FieldError::new("/venueId", message)]));
    };
    let prices = pricing(row)?.price(&layout).map_err(Problem::invalid)?;
    store::insert_seats(&mut *connection, &row.id, &layout, &prices).await?;
    store::set_stage(&mut *connection, &row.id, venue.stage_x, venue.stage_y).await?;
    Ok(())
}

/// Writes down what is to be published about an event.
async fn tell(connection: &mut PgConnection, organiser: &Organiser, row: &Row, kind: &str) -> Result<(), Problem> {
    let at = |at: DateTime<Utc>| time(at);
    let data = json!({
        "organisationId": organiser.organisation,
        "version": row.version,
        "name": row.name,
        "startsAt": at(row.starts_at),
        "status": Decision::of(&row.status)?.word(),
    });
    Ok(changes::insert(&mut *connection, kind, &row.id, &[data]).await?)
}

fn pricing(row: &Row) -> Result<Pricing, sqlx::Error> {
    crate::store::events::pricing(&row.pricing)
}

fn path_of(id: &str) -> String {
    format!("/organiser/events/{}", path_segment(id))
}

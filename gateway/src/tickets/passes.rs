//! Passes: what a door's device shows to be allowed to check tickets of one event.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use super::store;
use crate::app::App;
use crate::events::organiser::Organiser;
use crate::events::routes::no_event;
use crate::http::body;
use crate::http::extract::PathId;
use crate::http::text;
use crate::limits::{BODY_BYTES_MAX, DOOR_TEXT_CHARS_MAX, PASS_HOURS_DEFAULT, PASS_HOURS_MAX};
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};
use crate::users::random;

/// Begins every pass, so that one that lies about somewhere is known for what it is.
const PREFIX: &str = "door_";

/// The door that a request comes from.
pub struct DoorPass {
    /// Its name.
    pub door: String,
}

impl DoorPass {
    /// By the request's `Authorization` header.
    pub async fn of(app: &App, event_id: &str, headers: &HeaderMap) -> Result<DoorPass, Problem> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| token.trim().strip_prefix(PREFIX))
            .filter(|token| random::is_token(token))
            .ok_or_else(no_pass)?;
        let door = store::door(app.pool(), event_id, &random::digest(token)).await?;
        door.map(|door| DoorPass { door }).ok_or_else(no_pass)
    }
}

/// A door of an event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PassRequest {
    /// Its name, for whoever is told where a ticket was used before.
    #[schema(min_length = 1, max_length = 200, example = "North")]
    door: String,
    /// How many hours the pass is good; left out, 12.
    #[serde(default = "hours_default")]
    #[schema(minimum = 1, maximum = 168)]
    hours: i32,
}

fn hours_default() -> i32 {
    PASS_HOURS_DEFAULT
}

/// A pass for a door's devices.
#[derive(Serialize, ToSchema)]
pub struct MadePass {
    /// The door.
    door: String,
    /// How many hours it is good from now on.
    hours: i32,
    /// The pass, told this once: `Authorization: Bearer …` of `POST /events/{eventId}/check-ins`.
    #[schema(example = "door_…")]
    pass: String,
}

/// Make a pass for a door.
///
/// With it the door's devices check tickets of this event, and of no other.
#[utoipa::path(
    post,
    path = "/organiser/events/{eventId}/door-passes",
    tag = "organisers",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = PassRequest,
    responses(
        (status = 201, description = "Made", body = MadePass),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Not an organiser", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The organisation has no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn make(
    State(app): State<App>,
    organiser: Organiser,
    PathId(event_id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<MadePass>), Problem> {
    let PassRequest { door, hours } = body::typed(&headers, body, BODY_BYTES_MAX).await?;
    let mut errors = Vec::new();
    if let Err(message) = text::check(&door, DOOR_TEXT_CHARS_MAX) {
        errors.push(FieldError::new("/door", message));
    }
    if !(1..=PASS_HOURS_MAX).contains(&hours) {
        errors.push(FieldError::new(
            "/hours",
            format!("must be 1 to {PASS_HOURS_MAX}, not {hours}"),
        ));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    if !organiser.has(&app, &event_id).await? {
        return Err(no_event());
    }
    let pass = new_pass(app.pool(), &event_id, &door, hours)
        .await?
        .ok_or_else(no_event)?;
    tracing::info!(event = event_id, door, hours, organisation = %organiser.organisation, "a door pass is made");
    Ok((StatusCode::CREATED, Json(MadePass { door, hours, pass })))
}

fn no_pass() -> Problem {
    let detail = "this wants `Authorization: Bearer <door pass>` with a pass for this event that is good now; its organiser makes one by \
                  POST /organiser/events/{eventId}/door-passes, operators by `sagaline door-pass`";
    Problem::new(Kind::NoToken, detail)
}

/// Makes a pass for a door of an event, and says it, this once; none: there is no such event.
///
/// # Errors
/// If the database can't be reached.
///
/// # Panics
/// If `hours` is not 1 to [`PASS_HOURS_MAX`].
pub async fn new_pass(pool: &PgPool, event_id: &str, door: &str, hours: i32) -> Result<Option<String>, sqlx::Error> {
    assert!(
        (1..=PASS_HOURS_MAX).contains(&hours),
        "a pass is good for 1 to {PASS_HOURS_MAX} hours"
    );
    let token = random::token();
    let added = store::add_pass(pool, event_id, &random::digest(&token), door, hours).await?;
    Ok(added.then(|| format!("{PREFIX}{token}")))
}

//! `/events/{id}/queue…`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::{IntoParams, ToSchema};

use super::rooms::Line;
use super::token;
use crate::app::App;
use crate::availability::frames::KEEP_ALIVE;
use crate::bookings::request::user_id;
use crate::http::extract::{Parameters, PathId};
use crate::http::{body, text};
use crate::limits::{BODY_BYTES_MAX, ID_CHARS_MAX, SEAT_KEEP_ALIVE, SEAT_LISTENERS_RETRY};
use crate::problem::{Kind, Problem, ProblemDetails};
use crate::users::identify::Buyer;

/// Who wants a place.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueRequest {
    /// The buyer, as in the booking: with an access token it is the token's user, whatever is said here.
    #[schema(max_length = 100, min_length = 1, required = false, example = "user_42")]
    pub user_id: String,
}

/// A place in the line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueuePlace {
    /// The signed place: to follow it, and once it is the buyer's turn to book with it.
    pub token: String,
    /// When the line begins to move.
    #[schema(format = "date-time")]
    pub opens_at: String,
    /// How many are before this buyer; left out until places are given, at the opening.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<i64>,
    /// About how long that takes; left out while it isn't known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
    /// Whether it is the buyer's turn.
    pub admitted: bool,
    /// Until when the turn lasts at least; left out before it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub book_before: Option<String>,
    /// Whether the turn came and went: ask for a new place.
    pub over: bool,
}

impl QueuePlace {
    fn of(line: &Line, user_id: &str, place: Option<i64>) -> QueuePlace {
        let room = &line.room;
        let over = place.is_some_and(|place| room.is_over(place));
        let admitted = place.is_some_and(|place| room.admits(place));
        let waiting = place.filter(|_| !over);
        let ahead = waiting.map(|place| (place - room.admitted - 1).max(0));
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        QueuePlace {
            token: token::sign(&room.secret, &room.event_id, user_id, place),
            opens_at: time(room.opens_at),
            ahead,
            // Rounded up; a pace that isn't known yet promises nothing.
            wait_seconds: ahead.filter(|_| line.places_per_s > 0.0 || admitted).map(|ahead| {
                if admitted {
                    0
                } else {
                    ((ahead + 1) as f64 / line.places_per_s).ceil() as u64
                }
            }),
            admitted,
            book_before: waiting.and_then(|place| room.turn_end(place)).map(time),
            over,
        }
    }
}

/// Stand in line for an event.
///
/// A buyer has one place, however often this is asked. It is drawn by lot for those who come before the opening;
/// those who come later stand behind them. Whoever let their turn pass gets a new place, behind all others.
#[utoipa::path(
    post,
    path = "/events/{eventId}/queue",
    tag = "events",
    security((), ("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = QueueRequest,
    responses(
        (status = 200, description = "The buyer's place", body = QueuePlace),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "The access token isn't good; or there is none, and this shop takes no anonymous bookings", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The event has no waiting room: book without", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The request is not valid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn join(
    State(app): State<App>,
    buyer: Buyer,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<QueuePlace>, Problem> {
    let bytes = body::read(&headers, body, BODY_BYTES_MAX).await?;
    body::require_json(&headers)?;
    let user_id = user_of(&bytes, &buyer, app.options().anonymous_bookings)?;
    app.rooms().of(app.pool(), &id).await?.ok_or_else(no_room)?;
    let place = app.rooms().join(app.pool(), (id.clone(), user_id.clone())).await?;
    let line = app.rooms().of(app.pool(), &id).await?.ok_or_else(no_room)?;
    Ok(Json(QueuePlace::of(&line, &user_id, place)))
}

fn user_of(bytes: &[u8], buyer: &Buyer, anonymous: bool) -> Result<String, Problem> {
    let mut members = body::parse_object(bytes)?;
    let mut errors = Vec::new();
    let user_id = user_id(&mut members, buyer, anonymous, &mut errors)?;
    members.finish(&["userId"], &mut errors);
    user_id
        .filter(|_| errors.is_empty())
        .ok_or_else(|| Problem::invalid(errors))
}

/// Whose place.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct FollowParameters {
    /// The buyer.
    user_id: String,
    /// The token of their place.
    token: String,
}

/// Follow one's place in the line.
///
/// Server-sent events: `place` whenever it changes, and `admitted` at the end (or `over`), each with the place as
/// `POST /events/{eventId}/queue` gives it; book with the last token.
#[utoipa::path(
    get,
    path = "/events/{eventId}/queue/live",
    tag = "events",
    params(("eventId" = String, Path, description = "The event's id"), FollowParameters),
    responses(
        (status = 200, description = "The place as it changes, until it is the buyer's turn", body = String, content_type = "text/event-stream"),
        (status = 400, description = "A parameter is not known or can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "The token is not this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "The event has no waiting room: book without", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many follow already", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn live(
    State(app): State<App>,
    PathId(id): PathId,
    Parameters(parameters): Parameters<FollowParameters>,
) -> Result<Response, Problem> {
    let FollowParameters { user_id, token } = parameters;
    text::check(&user_id, ID_CHARS_MAX).map_err(|message| Problem::malformed("?userId", message))?;
    let line = app.rooms().of(app.pool(), &id).await?.ok_or_else(no_room)?;
    let place = token::verify(&line.room.secret, &id, &user_id, &token).map_err(|()| {
        let detail = "the token is not this buyer's for this event; POST /events/{eventId}/queue gives the right one";
        Problem::new(Kind::NotAdmitted, detail)
    })?;
    let Some(room) = app.availability().seat_listener() else {
        let detail = "as many as this server can take follow already; try again shortly, the place is kept";
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(SEAT_LISTENERS_RETRY));
    };
    let follower = Follower {
        ticks: app.rooms().ticks(),
        draining: app.draining(),
        app,
        event_id: id,
        user_id,
        place,
        shown: Value::Null,
        said_at: Instant::now(),
        is_done: false,
        _room: room,
    };
    let frames = stream::unfold(follower, Follower::next);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((
        headers,
        Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>)),
    )
        .into_response())
}

/// Somebody who follows their place.
struct Follower {
    app: App,
    ticks: watch::Receiver<()>,
    draining: tokio_util::sync::CancellationToken,
    event_id: String,
    user_id: String,
    place: Option<i64>,
    /// What they were told last.
    shown: Value,
    said_at: Instant,
    is_done: bool,
    _room: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(mut self) -> Option<(Bytes, Follower)> {
        while !self.is_done {
            let frame = self.look().await;
            if let Some(frame) = frame.or_else(|| self.is_silent_for(SEAT_KEEP_ALIVE).then_some(KEEP_ALIVE)) {
                self.said_at = Instant::now();
                return Some((frame, self));
            }
            tokio::select! {
                tick = self.ticks.changed() => tick.ok()?,
                () = self.draining.cancelled() => return None,
            }
        }
        None
    }

    fn is_silent_for(&self, time: Duration) -> bool {
        self.said_at.elapsed() >= time
    }

    /// What is new; nothing while the rooms can't be seen.
    async fn look(&mut self) -> Option<Bytes> {
        let line: Arc<Line> = match self.app.rooms().of(self.app.pool(), &self.event_id).await {
            Ok(Some(line)) => line,
            // The room was taken away: nobody needs a place any more.
            Ok(None) => {
                self.is_done = true;
                return Some(frame("admitted", &json!({"admitted": true})));
            }
            Err(_) => return None,
        };
        let is_over = self.place.is_some_and(|place| line.room.is_over(place));
        // Over, unless another tab has asked for a new place.
        if is_over || self.place.is_none() && line.room.is_open {
            let buyer = (self.event_id.clone(), self.user_id.clone());
            self.place = self.app.rooms().place(self.app.pool(), buyer).await.ok()?;
        }
        let place = QueuePlace::of(&line, &self.user_id, self.place);
        self.is_done = place.admitted || place.over;
        let name = match &place {
            place if place.admitted => "admitted",
            place if place.over => "over",
            _ => "place",
        };
        let place = serde_json::to_value(&place).expect("a place is plain data");
        if place == self.shown {
            return None;
        }
        self.shown = place;
        Some(frame(name, &self.shown))
    }
}

fn frame(event: &str, data: &Value) -> Bytes {
    format!("event: {event}\ndata: {data}\n\n").into()
}

fn no_room() -> Problem {
    Problem::not_found("this event has no waiting room, or there is no such event; where there is none, book without")
}

//! `GET /events/{id}/seats/live`: seat changes as server-sent events.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use std::sync::{Arc, Weak};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::routes::no_event;
use crate::app::App;
use crate::availability::{Listening, View, frames};
use crate::http::extract::{Parameters, PathId};
use crate::limits::SEAT_LISTENERS_RETRY;
use crate::problem::{Kind, Problem, ProblemDetails};

/// What an `EventSource` sends when it comes back.
const LAST_EVENT_ID: &str = "last-event-id";

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LiveParameters {
    /// The `Seats-Version` of a list of seats: what has changed since then comes first.
    after: Option<String>,
}

/// Follow an event's seats.
///
/// Server-sent events. `seats` names the seats that have become `available`, `held` or `sold`, and how many can be
/// had; `position` comes first when nothing said from where on; `reload` says that some changes are not known any
/// more: get the list again. An event's id is a version of the list: `EventSource` sends the last one when it comes back.
#[utoipa::path(
    get,
    path = "/events/{eventId}/seats/live",
    tag = "events",
    params(
        ("eventId" = String, Path, description = "The event's id"),
        LiveParameters,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event's id: what has changed since then comes first"),
    ),
    responses(
        (status = 200, description = "Changes, several times a second while there are any, until one of us hangs up",
         body = String, content_type = "text/event-stream"),
        (status = 400, description = "A parameter is not known or can't be read",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too many listen already",
         body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn seats(
    State(app): State<App>,
    PathId(id): PathId,
    Parameters(parameters): Parameters<LiveParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(room) = app.availability().seat_listener() else {
        metrics::counter!("sagaline_gateway_seat_listeners_refused_total").increment(1);
        let detail =
            "as many as this server can take follow seats already; ask for the list of seats instead, or try again";
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(SEAT_LISTENERS_RETRY));
    };
    app.availability().read(app.pool(), &id).await?.ok_or_else(no_event)?;
    let view = app.availability().known(&id);
    let known_version = headers
        .get(LAST_EVENT_ID)
        .map(|value| value.to_str().unwrap_or_default().to_owned());
    let after = known_version.or(parameters.after);
    let after = after.map(|version| version.parse().map_err(|_| ()));
    let listening = view.as_ref().and_then(|view| Some((view, view.listen(after)?)));
    // It is not shared: as many events as fit are being looked at in this moment.
    let Some((view, listening)) = listening else {
        let detail = "more events than this server can follow are being looked at; try again shortly";
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(SEAT_LISTENERS_RETRY));
    };
    let frames = frames_of(Arc::downgrade(view), listening, Room::new(room));
    let frames = frames.take_until(app.draining().cancelled_owned());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Nginx would gather frames.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((
        headers,
        Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>)),
    )
        .into_response())
}

/// A listener's place, counted while it is taken.
struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Room {
    fn new(permit: OwnedSemaphorePermit) -> Room {
        metrics::gauge!("sagaline_gateway_seat_listeners").increment(1.0);
        Room { _permit: permit }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        metrics::gauge!("sagaline_gateway_seat_listeners").decrement(1.0);
    }
}

/// The frames for one listener. Who reads too slowly loses some and is told so: nothing piles up for anybody.
fn frames_of(view: Weak<View>, listening: Listening, room: Room) -> impl Stream<Item = Bytes> {
    let first = stream::iter(listening.first);
    let then = stream::unfold((view, listening.then, room), |(view, mut receiver, room)| async move {
        let frame = match receiver.recv().await {
            Ok(frame) => frame,
            // The event is not shown any more.
            Err(RecvError::Closed) => return None,
            Err(RecvError::Lagged(_)) => {
                metrics::counter!("sagaline_gateway_seat_listeners_lagged_total").increment(1);
                receiver = receiver.resubscribe();
                frames::reload(view.upgrade()?.latest()?.version())
            }
        };
        Some((frame, (view, receiver, room)))
    });
    first.chain(then)
}

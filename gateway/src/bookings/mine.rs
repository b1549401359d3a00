//! `GET /bookings`: one's own.

use axum::Json;
use axum::extract::State;
use orchestrator::client::{ClientError, ListFilter, SagaSummary};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use workflows::state::Status;

use super::request::USER_TAG;
use crate::app::App;
use crate::http::extract::Parameters;
use crate::http::text;
use crate::limits::{BOOKINGS_PAGE, CURSOR_CHARS_MAX};
use crate::problem::{Problem, ProblemDetails};
use crate::users::identify::LoggedIn;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MineParameters {
    /// From an earlier page's `next`.
    cursor: Option<String>,
}

/// One's bookings.
#[derive(Serialize, ToSchema)]
pub struct BookingPage {
    /// The bookings, at most 20, the newest first.
    bookings: Vec<BookingSummary>,
    /// The cursor of the next page; left out: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A booking in a list; `GET /bookings/{bookingId}` says more.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BookingSummary {
    /// Its id.
    #[schema(format = "uuid")]
    booking_id: String,
    /// The event.
    event_id: String,
    /// How far it is.
    standing: Standing,
    /// When it was made.
    #[schema(format = "date-time")]
    created_at: String,
}

/// How far a booking is, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is not decided yet.
    UnderWay,
    /// It was confirmed. What it has given back since, it says itself.
    Confirmed,
    /// It was cancelled or rejected, or has expired.
    Ended,
}

impl Standing {
    fn of(status: Status) -> Standing {
        match status {
            Status::Completed => Standing::Confirmed,
            Status::Rejected | Status::Cancelled | Status::Compensating | Status::Compensated => Standing::Ended,
            Status::Running | Status::Waiting | Status::Failed | Status::Paused => Standing::UnderWay,
        }
    }
}

/// List one's bookings.
///
/// Those that were made with an access token of the same user.
#[utoipa::path(
    get,
    path = "/bookings",
    tag = "bookings",
    security(("access_token" = [])),
    params(MineParameters),
    responses(
        (status = 200, description = "The bookings, the newest first", body = BookingPage),
        (status = 400, description = "A parameter is not known or can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "Not logged in", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    LoggedIn(bearer): LoggedIn,
    Parameters(parameters): Parameters<MineParameters>,
) -> Result<Json<BookingPage>, Problem> {
    if let Some(cursor) = &parameters.cursor {
        text::check(cursor, CURSOR_CHARS_MAX).map_err(|message| Problem::malformed("?cursor", message))?;
    }
    let filter = ListFilter {
        workflow: Some(app.options().workflow.clone()),
        tag: Some((USER_TAG.to_owned(), bearer.user.to_string())),
        cursor: parameters.cursor,
        limit: Some(BOOKINGS_PAGE),
        ..ListFilter::default()
    };
    let page = app.engine().list(filter).await.map_err(|error| match error {
        ClientError::Invalid { .. } => Problem::malformed("?cursor", "is not the `next` of an earlier page"),
        error => error.into(),
    })?;
    Ok(Json(BookingPage {
        bookings: page.items.into_iter().filter_map(summary).collect(),
        next: page.next,
    }))
}

/// None: it is about no event, so somebody started it by hand.
fn summary(saga: SagaSummary) -> Option<BookingSummary> {
    Some(BookingSummary {
        booking_id: saga.id.to_string(),
        event_id: saga.business_key?,
        standing: Standing::of(saga.status),
        created_at: saga.created_at.to_rfc3339(),
    })
}

//! `/events/{id}/cancel` and `/events/{id}/cancellation`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::SecondsFormat;
use orchestrator::client::{ClientError, StartRequest, Until};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use workflows::state::Status;

use super::store;
use super::store::cancellations::{self, Standing};
use crate::app::App;
use crate::events::organiser::organises;
use crate::http::extract::PathId;
use crate::http::{body, context, prefer};
use crate::limits::{BODY_BYTES_MAX, CANCELLATION_REASON_CHARS_MAX, REFUND_WAIT};
use crate::money::Cents;
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};
use crate::users::identify::{Buyer, no_token};

/// How the keys begin under which events' cancellations are started: an event is called off once.
pub const CANCELLATION_KEYS: &str = "event-cancellation/";

/// The body of `POST /events/{id}/cancel`. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CancellationRequest {
    /// Why, for operators and followers of `event.updated`.
    #[schema(max_length = 200, min_length = 1, example = "the singer is ill")]
    pub reason: String,
}

/// How far the bookings of an event that was called off are.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancellation {
    /// The event.
    pub event_id: String,
    /// The saga that sees to it.
    #[schema(format = "uuid")]
    pub cancellation_id: String,
    /// Whether all of it is done.
    pub status: CancellationStatus,
    /// Why the event was called off.
    pub reason: String,
    /// When.
    #[schema(format = "date-time")]
    pub began_at: String,
    /// When the last booking was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub finished_at: Option<String>,
    /// The bookings that had seats.
    pub bookings: CancelledBookings,
    /// What went back so far, with two decimals.
    #[schema(value_type = f64, multiple_of = 0.01, example = json!(35000.00))]
    pub refunded_amount: Cents,
}

/// Whether an event's bookings are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancellationStatus {
    /// Bookings are being cancelled and refunded.
    Settling,
    /// None has seats, and all money went back.
    Finished,
}

/// Bookings of an event that was called off, by where they are.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelledBookings {
    /// All.
    pub total: i64,
    /// Refunded.
    pub refunded: i64,
    /// They were in flight and have ended.
    pub cancelled: i64,
    /// Taken up, and not done.
    pub under_way: i64,
    /// Not taken up yet.
    pub waiting: i64,
}

/// Call an event off.
///
/// By its organiser. No seat is sold any more, bookings in flight are cancelled, confirmed ones refunded, and their buyers are told.
/// Calling it off again changes nothing.
#[utoipa::path(
    post,
    path = "/events/{eventId}/cancel",
    tag = "events",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    request_body = CancellationRequest,
    responses(
        (status = 202, description = "It is called off; its bookings follow", body = Cancellation),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "There is no access token, or it isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Somebody else organises it", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such event", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "There is no reason", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available; send it again", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    State(app): State<App>,
    buyer: Buyer,
    PathId(event): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Cancellation>), Problem> {
    let bytes = body::read(&headers, body, BODY_BYTES_MAX).await?;
    body::require_json(&headers)?;
    let wish = parse(&bytes)?;
    require_organiser(&app, &buyer, &event).await?;
    let request = StartRequest {
        workflow: app.options().cancellation_workflow.clone(),
        input: json!({"eventId": event, "reason": wish.reason}),
        idempotency_key: Some(format!("{CANCELLATION_KEYS}{event}")),
        traceparent: context::current().map(|context| context.traceparent()),
        ..StartRequest::default()
    };
    match app.engine().start(request).await {
        Ok(started) => {
            let wait = prefer::wait(&headers).unwrap_or(REFUND_WAIT);
            let saga = app.engine().wait(started.saga.id, Until::Decided, wait).await?;
            let status = saga.map(|saga| saga.view.status);
            // Somebody else called it off: an operator, by the engine's API. What that one does is shown all the same.
            if status.is_some_and(|status| status == Status::Rejected) {
                tracing::info!(event, "the event was called off before");
            }
        }
        // It was called off before, for another reason.
        Err(ClientError::KeyReused { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let standing = cancellations::read(app.pool(), &event).await?;
    let standing =
        standing.ok_or_else(|| Problem::unavailable("the event is being called off; look again in a moment"))?;
    Ok((StatusCode::ACCEPTED, Json(show(standing))))
}

/// How far an event's cancellation is.
#[utoipa::path(
    get,
    path = "/events/{eventId}/cancellation",
    tag = "events",
    security(("access_token" = [])),
    params(("eventId" = String, Path, description = "The event's id")),
    responses(
        (status = 200, description = "How far it is", body = Cancellation),
        (status = 401, description = "There is no access token, or it isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "Somebody else organises it", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such event, or it was not called off", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn progress(
    State(app): State<App>,
    buyer: Buyer,
    PathId(event): PathId,
) -> Result<Json<Cancellation>, Problem> {
    require_organiser(&app, &buyer, &event).await?;
    let standing = cancellations::read(app.pool(), &event).await?;
    let standing = standing.ok_or_else(|| Problem::not_found("this event was not called off"))?;
    Ok(Json(show(standing)))
}

fn parse(bytes: &[u8]) -> Result<CancellationRequest, Problem> {
    let mut members = body::parse_object(bytes)?;
    let mut errors = Vec::new();
    let reason = match members.take("reason", &mut errors) {
        Some(raw) => body::text_at(&raw, "/reason", CANCELLATION_REASON_CHARS_MAX, &mut errors),
        None => {
            errors.push(FieldError::new("/reason", "is required"));
            None
        }
    };
    members.finish(&["reason"], &mut errors);
    match reason {
        Some(reason) if errors.is_empty() => Ok(CancellationRequest { reason }),
        _ => Err(Problem::invalid(errors)),
    }
}

async fn require_organiser(app: &App, buyer: &Buyer, event: &str) -> Result<(), Problem> {
    if buyer.0.is_none() {
        return Err(no_token());
    }
    let terms = store::terms(app.pool(), event).await?;
    if terms.is_none_or(|terms| terms.status == "draft") {
        return Err(Problem::not_found("there is no such event"));
    }
    if organises(app, buyer, event).await? {
        Ok(())
    } else {
        Err(Problem::new(Kind::Forbidden, "this is for the event's organiser"))
    }
}

fn show(standing: Standing) -> Cancellation {
    let text = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let done = standing.refunded + standing.cancelled;
    Cancellation {
        event_id: standing.event_id,
        cancellation_id: standing.cancellation_id.to_string(),
        status: match standing.finished_at {
            Some(_) => CancellationStatus::Finished,
            None => CancellationStatus::Settling,
        },
        reason: standing.reason,
        began_at: text(standing.began_at),
        finished_at: standing.finished_at.map(text),
        bookings: CancelledBookings {
            total: standing.total,
            refunded: standing.refunded,
            cancelled: standing.cancelled,
            under_way: standing.total - done - standing.waiting,
            waiting: standing.waiting,
        },
        refunded_amount: Cents::new(standing.refunded_cents).unwrap_or_default(),
    }
}

//! `POST /webhooks/stripe`: check the signature, keep the event, answer; what it leads to comes later.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Concern, concern, signature};
use crate::app::App;
use crate::http::{body, text};
use crate::limits::{ID_CHARS_MAX, WEBHOOK_BYTES_MAX, WEBHOOKS_KEPT_MAX};
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};
use crate::store::inbox::{self, Incoming};
use crate::together::Together;

/// The header with the signature.
const SIGNATURE: &str = "stripe-signature";

/// Events that tell a booking what it has just done itself, and has had answered.
const OUR_OWN_DOING: [&str; 2] = ["payment_intent.created", "refund.created"];

/// What is read of an event; the rest may be whatever it likes.
#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    data: Value,
}

/// Take an event of the payment provider.
///
/// Answered once it is kept for good; the booking that its metadata names is told in the background. Repetitions are
/// recognised by the event's id. The state that the body claims is not believed, but asked for again.
#[utoipa::path(
    post,
    path = "/webhooks/stripe",
    tag = "webhooks",
    params(("Stripe-Signature" = String, Header, description = "`t=<seconds>,v1=<hex>`")),
    request_body(content = Object, content_type = "application/json", description = "An event as Stripe sends it"),
    responses(
        (status = 200, description = "The event is kept"),
        (status = 400, description = "The signature is missing, wrong or older than five minutes, or the body is no event",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The event can't be kept at the moment: send it again",
         body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn stripe(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    let bytes = body::read(&headers, body, WEBHOOK_BYTES_MAX).await?;
    let outcome = accept(&app, &headers, &bytes).await;
    let label = match &outcome {
        Ok(true) => "new",
        Ok(false) => "repeated",
        Err(problem) if problem.kind() == Kind::BadSignature => "bad_signature",
        Err(_) => "failed",
    };
    metrics::counter!("sagaline_gateway_webhooks_total", "outcome" => label).increment(1);
    outcome.map(|_| StatusCode::OK)
}

/// Events that come at the same time are kept together.
#[derive(Default)]
pub struct Arrivals(Together<Incoming, bool>);

impl Arrivals {
    /// Keeps an event; false: it was there already.
    async fn keep(&self, pool: &PgPool, event: &Incoming) -> Result<bool, sqlx::Error> {
        let keep = async |events: Vec<Incoming>| {
            let kept = inbox::keep(pool, &events).await?;
            let is_new = |event: &Incoming| kept.get(&event.event_id).copied().unwrap_or(false);
            Ok::<_, sqlx::Error>(
                events
                    .into_iter()
                    .map(|event| (event.clone(), is_new(&event)))
                    .collect(),
            )
        };
        let is_new = self.0.ask(event.clone(), WEBHOOKS_KEPT_MAX, keep).await?;
        Ok(is_new.unwrap_or(false))
    }
}

/// Whether the event is new.
async fn accept(app: &App, headers: &HeaderMap, bytes: &[u8]) -> Result<bool, Problem> {
    let options = app.options();
    let Some(secret) = &options.webhook_secret else {
        tracing::error!("a webhook came, but no webhook secret is set");
        return Err(Problem::unavailable(
            "webhooks are not set up here: no signing secret is set",
        ));
    };
    let header = headers.get(SIGNATURE).map(|value| value.to_str().unwrap_or_default());
    let now = Utc::now().timestamp();
    signature::verify(header, bytes, secret.expose(), now, options.webhook_tolerance).map_err(|error| {
        tracing::warn!(%error, "a webhook's signature is not accepted");
        Problem::new(Kind::BadSignature, error.to_string())
    })?;
    let event = parse(bytes)?;
    let is_new = app.arrivals().keep(app.pool(), &event).await?;
    if is_new && event.is_news {
        app.wake_inbox();
    }
    tracing::info!(event = event.event_id, kind = event.kind, saga = ?event.booking_id, is_new, "webhook kept");
    Ok(is_new)
}

fn parse(bytes: &[u8]) -> Result<Incoming, Problem> {
    let event: Event = serde_json::from_slice(bytes)
        .map_err(|error| Problem::malformed("", format!("the body is not an event: {error}")))?;
    for (pointer, value) in [("/id", &event.id), ("/type", &event.kind)] {
        text::check(value, ID_CHARS_MAX).map_err(|message| {
            let error = FieldError::new(pointer, message);
            Problem::malformed(error.pointer, error.message)
        })?;
    }
    let object = event.data.get("object").unwrap_or(&Value::Null);
    let booking_id = object.pointer("/metadata/bookingId").and_then(Value::as_str);
    let object_id = object
        .get("id")
        .and_then(Value::as_str)
        .filter(|id| text::is_possible_id(id));
    let booking_id = booking_id.and_then(|id| Uuid::parse_str(id).ok());
    let status = object.get("status").and_then(Value::as_str);
    Ok(Incoming {
        is_news: match concern(&event.kind, status) {
            // Of a refund that changes nothing but its failure is news.
            Concern::Booking => {
                booking_id.is_some()
                    && !OUR_OWN_DOING.contains(&event.kind.as_str())
                    && concern(&event.kind, None) == Concern::Booking
            }
            Concern::Dispute | Concern::FailedRefund => object_id.is_some(),
        },
        booking_id,
        object_id: object_id.map(str::to_owned),
        created_at: event.created.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        event_id: event.id,
        kind: event.kind,
    })
}

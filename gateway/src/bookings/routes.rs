//! `/bookings`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use orchestrator::client::{ClientError, SagaDetail, StartRequest, Started, Until};
use workflows::event::{Command, CommandEvent, Signal};
use workflows::ids::SagaId;
use workflows::tickets::booking::EXTEND_SIGNAL;

use super::admission::Sign;
use super::request::BookingRequest;
use super::view::{Booking, BookingStatus, is_extended, path_of};
use crate::app::App;
use crate::availability::Claim;
use crate::http::extract::PathId;
use crate::http::language::Language;
use crate::http::{body, context, prefer, text};
use crate::limits::{BODY_BYTES_MAX, BOOKINGS_RETRY_S, HISTORY_MAX, IDEMPOTENCY_KEY_CHARS_MAX, NEXT_ACTION_AFTER};
use crate::problem::{FieldError, Kind, Problem, ProblemDetails};
use crate::store::events::{self, Quote};
use crate::users::identify::Buyer;
use crate::{queue, refunds};

/// The header with the client's key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Says that an answer repeats an earlier one.
const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// Says which preferences were heeded (RFC 7240).
const PREFERENCE_APPLIED: &str = "preference-applied";

/// Book seats.
///
/// All of the seats are booked or none. The answer comes as soon as the wish is stored for good; with
/// `Prefer: wait=<seconds>` once the booking is decided, or when that time is up. With an `Idempotency-Key`, repeating
/// the request gives the same booking and the same answer.
#[utoipa::path(
    post,
    path = "/bookings",
    tag = "bookings",
    security((), ("access_token" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "A new key for each booking, at most 200 characters; the same for repetitions"),
        ("Queue-Token" = Option<String>, Header, description = "Where the event has a waiting room: the token of the buyer's place, once it is their turn"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`, at most 30: answer with the outcome"),
        ("Accept-Language" = Option<String>, Header, description = "The language of messages about this booking, where `language` says nothing"),
    ),
    request_body = BookingRequest,
    responses(
        (status = 202, description = "Accepted and stored", body = Booking,
         headers(("Location" = String, description = "The booking"))),
        (status = 200, description = "Decided within the time asked for", body = Booking,
         headers(("Location" = String, description = "The booking"), ("Preference-Applied" = String, description = "The wait that was granted"))),
        (status = 400, description = "The body can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 401, description = "The access token isn't good; or there is none, and this shop takes no anonymous bookings",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 403, description = "The event has a waiting room, and it is not this buyer's turn",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Seats are known to be taken (`seats-unavailable`: others are named), the buyer would have too many (`seat-limit`), or the first request with this key is still being worked on",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body has more than 64 KiB", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 415, description = "The body is not declared as JSON", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The wish is not valid, or the key was used with another one: each mistake is named",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available, or too much is waiting; repeat it with the same key",
         body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn create(State(app): State<App>, buyer: Buyer, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let wait = prefer::wait(&headers);
    let key = idempotency_key(&headers)?.map(|key| buyer.scoped(key)).transpose()?;
    // The size before the type: whoever sends 10 MB of anything is told so.
    let bytes = body::read(&headers, body, BODY_BYTES_MAX).await?;
    body::require_json(&headers)?;
    let accepted = Language::accepted(&headers);
    let wish = BookingRequest::parse(&bytes, &buyer, app.options().anonymous_bookings, accepted)?;
    let in_use = key
        .as_deref()
        .map(|key| app.keys().begin(key, wish.hash()))
        .transpose()?;

    let place = queue::require_turn(&app, &wish, &headers, key.as_deref()).await?;
    refuse_taken(&app, &wish, key.as_deref()).await?;
    let claim = app.availability().claim(&wish.event_id, &wish.seat_ids).await;
    if claim.as_ref().is_some_and(Claim::waited) {
        refuse_taken(&app, &wish, key.as_deref()).await?;
    }
    let began = Instant::now();
    let started = begin(&app, &wish, key).await?;
    if let Some(claim) = claim {
        claim.begun();
    }
    if let Some(place) = place {
        app.rooms().note_used(&wish.event_id, &wish.user_id, place);
    }
    let booking = match wait {
        Some(wait) => decided(&app, started.saga, wait.saturating_sub(began.elapsed())).await?,
        None => Booking::accepted(&started.saga).ok_or_else(not_a_booking)?,
    };
    drop(in_use);
    remember(&app, &booking);
    metrics::counter!("sagaline_gateway_bookings_total", "replayed" => if started.replayed { "yes" } else { "no" })
        .increment(1);
    Ok(created(&booking, wait, started.replayed))
}

/// Refuses at once a wish for seats that somebody is known to have; the saga would do the same, only at more cost. The
/// refusal isn't kept under the key: the same request may find the seats free again later.
async fn refuse_taken(app: &App, wish: &BookingRequest, key: Option<&str>) -> Result<(), Problem> {
    let Some(refusal) = app.availability().refusal(&wish.event_id, &wish.seat_ids) else {
        return Ok(());
    };
    if let Some(key) = key {
        match app.key_lookups().is_used(app.engine(), key).await {
            Ok(false) => (),
            // It may be this very booking that has the seats. And if the engine can't say, it is asked to start it.
            Ok(true) | Err(_) => return Ok(()),
        }
    }
    metrics::counter!("sagaline_gateway_bookings_refused_total").increment(1);
    Err(Problem::seats_unavailable(refusal))
}

/// Refuses a wish for more seats than the buyer may have, as it was a moment ago; whoever holds the seats has the last word.
async fn refuse_too_many(
    app: &App,
    wish: &BookingRequest,
    quote: Option<&Quote>,
    key: Option<&str>,
) -> Result<(), Problem> {
    let Some((max, has)) = quote.and_then(|quote| quote.limit) else {
        return Ok(());
    };
    let wanted = wish.seat_ids.len();
    if i64::try_from(wanted).is_ok_and(|wanted| has + wanted <= max) {
        return Ok(());
    }
    if let Some(key) = key {
        match app.key_lookups().is_used(app.engine(), key).await {
            Ok(false) => (),
            // Among what the buyer has may be this very booking.
            Ok(true) | Err(_) => return Ok(()),
        }
    }
    metrics::counter!("sagaline_gateway_bookings_refused_total").increment(1);
    let detail = format!("the event allows each buyer {max} seats; this one has {has} and wants {wanted} more");
    Err(Problem::new(Kind::SeatLimit, detail))
}

/// Has a booking begun, if there is room for one more. The outcome is waited for afterwards, when the room is free again:
/// waiting costs little, and would say nothing about how busy the engine is.
async fn begin(app: &App, wish: &BookingRequest, key: Option<String>) -> Result<Started, Problem> {
    let Some(admitted) = app.admission().admit().await else {
        metrics::counter!("sagaline_gateway_bookings_shed_total").increment(1);
        let after = Duration::from_secs(rand::random_range(BOOKINGS_RETRY_S));
        let detail = "more bookings are being made than can be taken; try again shortly, with the same Idempotency-Key";
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(after));
    };
    let request = start_request(app, wish, key).await?;
    let started = app.engine().start(request).await;
    admitted.end(match &started {
        Ok(_) => Sign::Begun,
        Err(ClientError::Overloaded { .. }) => Sign::Overloaded,
        Err(_) => Sign::None,
    });
    Ok(started?)
}

/// Keeps in mind what a booking shows of its seats.
fn remember(app: &App, booking: &Booking) {
    match booking.status {
        BookingStatus::Reserved | BookingStatus::Paying | BookingStatus::Confirmed => {
            app.availability().learn(&booking.event_id, &booking.seat_ids);
        }
        BookingStatus::Initiated | BookingStatus::Cancelled | BookingStatus::Rejected | BookingStatus::Expired => (),
    }
}

fn created(booking: &Booking, wait: Option<Duration>, replayed: bool) -> Response {
    let status = if wait.is_some() && booking.status.is_decided() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let mut headers = HeaderMap::new();
    let location = HeaderValue::from_str(&path_of(&booking.booking_id)).expect("a path of hexadecimal digits");
    headers.insert(header::LOCATION, location);
    if let Some(wait) = wait {
        let applied = HeaderValue::from_str(&prefer::applied(wait)).expect("a word and a number");
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    (status, headers, Json(booking)).into_response()
}

/// The saga that a wish starts, once it fits the event and its seats.
async fn start_request(
    app: &App,
    wish: &BookingRequest,
    idempotency_key: Option<String>,
) -> Result<StartRequest, Problem> {
    let options = app.options();
    let Some(payment_method) = wish.payment_method.as_ref().or(options.payment_method_default.as_ref()) else {
        return Err(Problem::invalid(vec![FieldError::new("/paymentMethod", "is required")]));
    };
    let quote = events::quote(app.pool(), &wish.event_id, &wish.user_id, &wish.seat_ids).await?;
    wish.check(quote.as_ref())?;
    refuse_too_many(app, wish, quote.as_ref(), idempotency_key.as_deref()).await?;
    // From the first wish on; only events that exist get here.
    app.availability().watch(&wish.event_id);
    let quote = quote.expect("a wish that was checked has an event");
    Ok(StartRequest {
        workflow: options.workflow.clone(),
        version: None,
        input: wish.saga_input(&quote, payment_method),
        idempotency_key,
        tags: wish.saga_tags(),
        traceparent: context::current().map(|context| context.traceparent()),
        wait: None,
    })
}

/// The booking once it is decided, or when the time is up. A confirmed buyer does not wait for a mail server.
async fn decided(app: &App, saga: SagaDetail, wait: Duration) -> Result<Booking, Problem> {
    if saga.is_settled() || BookingStatus::of(&saga.view).is_decided() || wait.is_zero() {
        let booking = with_history(app, &saga).await?;
        return with_money(app, booking, &saga).await;
    }
    let first = wait.min(NEXT_ACTION_AFTER);
    let now = app.engine().wait(saga.id, Until::Decided, first).await?;
    let saga = now.ok_or_else(no_booking)?;
    let booking = with_history(app, &saga).await?;
    if booking.status.is_decided() {
        return Ok(booking);
    }
    // Somebody who has to authenticate must not wait for themselves.
    let booking = with_money(app, booking, &saga).await?;
    if booking.next_action.is_some() || wait <= first {
        return Ok(booking);
    }
    let now = app.engine().wait(saga.id, Until::Decided, wait - first).await?;
    let saga = now.ok_or_else(no_booking)?;
    let booking = with_history(app, &saga).await?;
    with_money(app, booking, &saga).await
}

/// Show a booking with its history.
#[utoipa::path(
    get,
    path = "/bookings/{bookingId}",
    tag = "bookings",
    security((), ("access_token" = [])),
    params(("bookingId" = String, Path, description = "The booking's id")),
    responses(
        (status = 200, description = "The booking", body = Booking),
        (status = 401, description = "The access token isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such booking of this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(State(app): State<App>, buyer: Buyer, PathId(id): PathId) -> Result<Json<Booking>, Problem> {
    let saga = find(&app, &buyer, &id).await?;
    let booking = with_history(&app, &saga).await?;
    Ok(Json(with_money(&app, booking, &saga).await?))
}

/// With what else its owner may know: what is to be done for the payment, or what was given back.
pub async fn with_money(app: &App, booking: Booking, saga: &SagaDetail) -> Result<Booking, Problem> {
    Ok(match booking.status {
        BookingStatus::Paying => {
            let next_action = refunds::next_action(app.pool(), saga.id.0).await?;
            Booking { next_action, ..booking }
        }
        BookingStatus::Confirmed => {
            let given = refunds::of_booking(app.pool(), &booking.event_id, saga.id.0).await?;
            booking.with_refunds(&given)
        }
        BookingStatus::Initiated
        | BookingStatus::Reserved
        | BookingStatus::Cancelled
        | BookingStatus::Rejected
        | BookingStatus::Expired => booking,
    })
}

/// Cancel a booking that is not confirmed yet.
///
/// Its seats are released, a payment under way is stopped or refunded. Cancelling a cancelled booking changes nothing.
#[utoipa::path(
    post,
    path = "/bookings/{bookingId}/cancel",
    tag = "bookings",
    security((), ("access_token" = [])),
    params(("bookingId" = String, Path, description = "The booking's id")),
    responses(
        (status = 202, description = "It is being cancelled", body = Booking),
        (status = 200, description = "It is cancelled", body = Booking),
        (status = 401, description = "The access token isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such booking of this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It is confirmed, rejected or expired", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(State(app): State<App>, buyer: Buyer, PathId(id): PathId) -> Result<Response, Problem> {
    let saga = find(&app, &buyer, &id).await?;
    let command = CommandEvent {
        command: Command::Cancel {},
        by: "buyer".to_owned(),
        reason: "the buyer cancelled the booking".to_owned(),
    };
    let saga = match app.engine().command(saga.id, command).await {
        Ok(saga) => saga,
        Err(ClientError::Refused { .. }) => {
            let saga = app.engine().get(saga.id).await?.ok_or_else(no_booking)?;
            match BookingStatus::of(&saga.view) {
                BookingStatus::Cancelled => saga,
                status => return Err(too_late(status)),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let status = if saga.view.status.is_final() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(with_history(&app, &saga).await?)).into_response())
}

/// Ask for more time to pay.
///
/// Once for each booking, while its seats are held: `holdExpiresAt` is later from then on. Asking again changes nothing.
#[utoipa::path(
    post,
    path = "/bookings/{bookingId}/extend",
    tag = "bookings",
    security((), ("access_token" = [])),
    params(("bookingId" = String, Path, description = "The booking's id")),
    responses(
        (status = 200, description = "The booking with the time that it has now", body = Booking),
        (status = 401, description = "The access token isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such booking of this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "Its seats are not held (any more), or this shop gives nobody more time", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn extend(State(app): State<App>, buyer: Buyer, PathId(id): PathId) -> Result<Json<Booking>, Problem> {
    let saga = find(&app, &buyer, &id).await?;
    let refused = |status| {
        let why = match status {
            BookingStatus::Initiated => "its seats are not held yet",
            BookingStatus::Reserved | BookingStatus::Paying => {
                "its time is up just now, or this shop gives nobody more"
            }
            BookingStatus::Confirmed | BookingStatus::Cancelled | BookingStatus::Rejected | BookingStatus::Expired => {
                "its seats are not held any more"
            }
        };
        Problem::new(Kind::Refused, format!("there is no more time for the booking: {why}"))
    };
    let status = BookingStatus::of(&saga.view);
    if !matches!(status, BookingStatus::Reserved | BookingStatus::Paying) {
        return Err(refused(status));
    }
    if is_extended(&saga.view) {
        return Ok(Json(with_history(&app, &saga).await?));
    }
    // Always under the same id: however often it is asked for, it comes once.
    let signal = Signal {
        id: EXTEND_SIGNAL.to_owned(),
        name: EXTEND_SIGNAL.to_owned(),
        payload: serde_json::Value::Null,
    };
    match app.engine().signal(saga.id, signal).await {
        Ok(_) => (),
        Err(ClientError::Refused { .. }) => return Err(refused(status)),
        Err(error) => return Err(error.into()),
    }
    let saga = app.engine().get(saga.id).await?.ok_or_else(no_booking)?;
    if !is_extended(&saga.view) {
        return Err(refused(BookingStatus::of(&saga.view)));
    }
    Ok(Json(with_history(&app, &saga).await?))
}

/// Cancel a booking that is not confirmed yet: the same as `POST /bookings/{bookingId}/cancel`.
#[utoipa::path(
    delete,
    path = "/bookings/{bookingId}",
    tag = "bookings",
    security((), ("access_token" = [])),
    params(("bookingId" = String, Path, description = "The booking's id")),
    responses(
        (status = 202, description = "It is being cancelled", body = Booking),
        (status = 200, description = "It is cancelled", body = Booking),
        (status = 401, description = "The access token isn't good", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such booking of this buyer's", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "It is confirmed, rejected or expired", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn delete(state: State<App>, buyer: Buyer, id: PathId) -> Result<Response, Problem> {
    cancel(state, buyer, id).await
}

fn too_late(status: BookingStatus) -> Problem {
    let why = match status {
        BookingStatus::Confirmed => "it is confirmed: the seats are paid and sold",
        BookingStatus::Rejected => "it was rejected: its seats were not to be had",
        BookingStatus::Expired => "it has expired: it was not paid in time",
        BookingStatus::Cancelled => "it is cancelled already",
        BookingStatus::Initiated | BookingStatus::Reserved | BookingStatus::Paying => {
            "it is just being completed; look at it again in a moment"
        }
    };
    Problem::new(Kind::Refused, format!("the booking can't be cancelled: {why}"))
}

/// The saga of a booking that this buyer may see; somebody else's is as good as none.
pub async fn find(app: &App, buyer: &Buyer, id: &str) -> Result<SagaDetail, Problem> {
    any_booking(app, id)
        .await?
        .filter(|saga| saga.view.input["userId"].as_str().is_none_or(|user| buyer.owns(user)))
        .ok_or_else(no_booking)
}

/// The saga of a booking, whoever's it is.
pub async fn any_booking(app: &App, id: &str) -> Result<Option<SagaDetail>, Problem> {
    let id: SagaId = id.parse().map_err(|_| no_booking())?;
    let saga = app.engine().get(id).await?;
    // The engine runs other workflows too; theirs are no bookings.
    Ok(saga.filter(|saga| saga.workflow == app.options().workflow))
}

async fn with_history(app: &App, saga: &SagaDetail) -> Result<Booking, Problem> {
    let journal = app.engine().journal(saga.id, 0, HISTORY_MAX).await?;
    Booking::current(saga, &journal).ok_or_else(not_a_booking)
}

/// The key, if there is one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = |message: &str| Problem::malformed("@Idempotency-Key", message);
    if values.next().is_some() {
        return Err(invalid("must be given only once"));
    }
    let key = value.to_str().map_err(|_| invalid("must be plain ASCII"))?;
    text::check(key, IDEMPOTENCY_KEY_CHARS_MAX).map_err(|message| invalid(&message))?;
    Ok(Some(key.to_owned()))
}

/// The answer where there is none, or somebody else's.
pub fn no_booking() -> Problem {
    Problem::not_found("there is no such booking")
}

/// A saga of our workflow whose input isn't one that we made: somebody started it by hand.
fn not_a_booking() -> Problem {
    tracing::error!("a saga of the booking workflow has an input that is no booking's");
    Problem::new(
        Kind::Internal,
        "this booking was not made by the shop and can't be shown here",
    )
}

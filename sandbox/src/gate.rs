//! What every request that changes something passes: the idempotency key, the latency, and its fate.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::chaos::{Fate, Range};
use crate::error::Refusal;
use crate::form::Form;
use crate::model::{Stored, StoredBody};
use crate::render;
use crate::server::Shared;
use crate::store::{Done, Key, Store};

/// How long a request that is never answered is held before its connection is cut; longer than any client waits.
const NEVER: Duration = Duration::from_secs(600);
/// As at Stripe.
const KEY_CHARS_MAX: usize = 255;

/// Marks a response in whose place the connection is to be cut.
#[derive(Clone, Copy)]
pub(crate) struct CutConnection;

/// Runs `operation` as a client sees Stripe run it: at most once per idempotency key, after a while, and with an answer
/// that may be lost. It goes on when the client has hung up.
pub(crate) async fn mutate<F>(shared: Shared, route: String, headers: &HeaderMap, form: Form, operation: F) -> Response
where
    F: FnOnce(&mut Store, &Form, i64) -> Result<Done, Refusal> + Send + 'static,
{
    let key = match idempotency_key(headers) {
        Ok(key) => key,
        Err(refusal) => return refuse(&refusal),
    };
    let admitted = admit(&shared, key.as_deref(), form.fingerprint(&route));
    let Admitted { fate, before, after } = match admitted {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    // A task of its own, so that a client that gives up does not stop what Stripe would finish.
    let work = tokio::spawn(async move {
        tokio::time::sleep(before).await;
        let waits = before + after;
        let (fate, status, body) = perform(&shared, key.as_deref(), form.fingerprint(&route), fate, |store, now| {
            let mut done = operation(store, &form, now)?;
            store.waits(&mut done, waits);
            Ok(done)
        });
        shared.after_change();
        tokio::time::sleep(after).await;
        match fate {
            Fate::NeverAnswered => {
                tokio::time::sleep(NEVER).await;
                cut()
            }
            Fate::Cut => cut(),
            Fate::Answered | Fate::RateLimited | Fate::ErrorInstead | Fate::ErrorAfterwards => {
                answer(status, &body, false)
            }
        }
    });
    work.await.unwrap_or_else(|_| refuse(&Refusal::internal()))
}

/// Waits as long as the latency switch says; for requests that only read.
pub(crate) async fn read_latency(shared: &Shared) {
    let latency = {
        let mut store = shared.store();
        let range = store.chaos.switches.latency_ms;
        store.chaos.within(range)
    };
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

pub(crate) fn refuse(refusal: &Refusal) -> Response {
    json(refusal.status, refusal.to_json().to_string())
}

pub(crate) fn json(status: u16, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        status,
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        body,
    )
        .into_response()
}

struct Admitted {
    fate: Fate,
    before: Duration,
    after: Duration,
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        let message = format!("Idempotency keys must have 1 to {KEY_CHARS_MAX} characters.");
        return Err(Refusal::new(400, "invalid_request_error", None, message));
    }
    Ok(Some(key.to_owned()))
}

/// Decides what is to become of a request; an error is the whole answer.
fn admit(shared: &Shared, key: Option<&str>, fingerprint: u64) -> Result<Admitted, Box<Response>> {
    let mut store = shared.store();
    let fate = store.chaos.fate();
    if fate == Fate::RateLimited {
        return Err(Box::new(refuse(&Refusal::rate_limited())));
    }
    if let Some(key) = key {
        match store.key(key, now()) {
            None => store.take_key(key, fingerprint),
            Some(Key::InFlight(first)) if *first == fingerprint => {
                return Err(Box::new(refuse(&Refusal::key_in_use(key))));
            }
            Some(Key::Stored(stored)) if stored.fingerprint == fingerprint => {
                return Err(Box::new(answer(stored.status, &stored.body, true)));
            }
            Some(Key::InFlight(_) | Key::Stored(_)) => return Err(Box::new(refuse(&Refusal::key_mismatch(key)))),
        }
    }
    let latency = store.chaos.switches.latency_ms;
    let whole = store.chaos.within(latency);
    let before = store
        .chaos
        .within(Range(0, u64::try_from(whole.as_millis()).unwrap_or(0)));
    Ok(Admitted {
        fate,
        before,
        after: whole.saturating_sub(before),
    })
}

/// Does the work and stores the answer, in one go.
fn perform(
    shared: &Shared,
    key: Option<&str>,
    fingerprint: u64,
    fate: Fate,
    operation: impl FnOnce(&mut Store, i64) -> Result<Done, Refusal>,
) -> (Fate, u16, StoredBody) {
    let now = now();
    let mut store = shared.store();
    store.attribute_events_to(key);
    let outcome = match fate {
        Fate::ErrorInstead => Err(Refusal::internal()),
        Fate::Answered | Fate::RateLimited | Fate::ErrorAfterwards | Fate::NeverAnswered | Fate::Cut => {
            operation(&mut store, now)
        }
    };
    let fate = match &outcome {
        Ok(Done { fate: Some(own), .. }) => *own,
        Ok(Done { fate: None, .. }) | Err(_) => fate,
    };
    let outcome = if fate == Fate::ErrorAfterwards {
        Err(Refusal::internal())
    } else {
        outcome
    };
    let stored = match &outcome {
        Ok(_) => true,
        Err(refusal) => is_stored(refusal),
    };
    let (status, body) = match outcome {
        Ok(done) => (200, done.body),
        Err(refusal) => (refusal.status, StoredBody::Json(refusal.to_json().to_string().into())),
    };
    if let Some(key) = key {
        if stored {
            store.store_answer(
                key,
                Stored {
                    fingerprint,
                    at: now,
                    status,
                    body: body.clone(),
                },
            );
        } else {
            store.release_key(key);
        }
    }
    store.commit();
    (fate, status, body)
}

/// Stripe stores what an endpoint answers once it has begun to work, a 500 included; not what was refused before that:
/// bad parameters, rate limits, conflicts.
fn is_stored(refusal: &Refusal) -> bool {
    match refusal.status {
        402 | 500 => true,
        400 => matches!(
            refusal.code,
            Some("payment_intent_unexpected_state" | "charge_already_refunded")
        ),
        _ => false,
    }
}

fn answer(status: u16, body: &StoredBody, replayed: bool) -> Response {
    let text = match body {
        StoredBody::Intent(intent) => render::intent(intent).to_string(),
        StoredBody::Json(text) => text.to_string(),
    };
    let mut response = json(status, text);
    if replayed {
        response
            .headers_mut()
            .insert("idempotent-replayed", header::HeaderValue::from_static("true"));
    }
    response
}

fn cut() -> Response {
    let mut response = StatusCode::BAD_GATEWAY.into_response();
    response.extensions_mut().insert(CutConnection);
    response
}

pub(crate) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}

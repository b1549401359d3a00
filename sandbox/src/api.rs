//! The HTTP endpoints: Stripe's under `/v1`, the sandbox's own under `/_sandbox`.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::Refusal;
use crate::form::Form;
use crate::gate::{self, refuse};
use crate::model::{Intent, StoredBody};
use crate::server::Shared;
use crate::store::{Done, NewIntent, Store};
use crate::{BODY_BYTES_MAX, disputes, ledger, render};

/// Objects on a page: Stripe's limits.
const PAGE_DEFAULT: i64 = 10;
const PAGE_MAX: i64 = 100;
/// The smallest amount Stripe takes in US dollars; taken for every currency here.
const AMOUNT_MIN: i64 = 50;
/// The largest amount Stripe takes.
const AMOUNT_MAX: i64 = 99_999_999;
/// Stripe's limits on metadata.
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_CHARS_MAX: usize = 40;
const METADATA_VALUE_CHARS_MAX: usize = 500;

const CREATE_PARAMETERS: &[&str] = &[
    "amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "currency",
    "description",
    "error_on_requires_action",
    "expand",
    "metadata",
    "off_session",
    "payment_method",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "statement_descriptor_suffix",
];

pub(crate) fn router(shared: Shared) -> Router {
    let stripe = Router::new()
        .route("/payment_intents", post(create_intent).get(list_intents))
        .route("/payment_intents/search", get(search_intents))
        .route("/payment_intents/{id}", get(retrieve_intent))
        .route("/payment_intents/{id}/confirm", post(confirm_intent))
        .route("/payment_intents/{id}/cancel", post(cancel_intent))
        .route("/refunds", post(create_refund).get(list_refunds))
        .route("/refunds/{id}", get(retrieve_refund))
        .route("/disputes/{id}", get(disputes::retrieve))
        .route("/events", get(list_events))
        .route("/events/{id}", get(retrieve_event))
        .layer(middleware::from_fn_with_state(shared.clone(), authenticate))
        .fallback(unknown_url);
    let sandbox = Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/config", get(read_config).post(change_config))
        .route("/ledger", get(read_ledger))
        .route("/payment_intents/{id}/complete", post(complete_intent))
        .route("/payment_intents/{id}/authenticate", get(authentication_page))
        .route("/refunds/{id}/fail", post(disputes::fail_refund))
        .route("/disputes/{id}/decide", post(disputes::decide))
        .route("/webhooks", get(read_deliveries))
        .route("/events/{id}/resend", post(resend_event));
    Router::new()
        .nest("/v1", stripe)
        .nest("/_sandbox", sandbox)
        .fallback(unknown_url)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared)
}

async fn authenticate(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some(key) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
        return refuse(&Refusal::unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth.",
        ));
    };
    let known = match shared.api_key() {
        Some(expected) => key == expected,
        None => key.starts_with("sk_test_") || key.starts_with("rk_test_"),
    };
    if !known {
        return refuse(&Refusal::unauthorized(
            "Invalid API Key provided. The sandbox takes keys that begin with sk_test_.",
        ));
    }
    next.run(request).await
}

async fn unknown_url(request: Request) -> Response {
    let message = format!(
        "Unrecognized request URL ({}: {}).",
        request.method(),
        request.uri().path()
    );
    refuse(&Refusal::new(404, "invalid_request_error", None, message))
}

async fn create_intent(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let form = match Form::parse(&body) {
        Ok(form) => form,
        Err(refusal) => return refuse(&refusal),
    };
    gate::mutate(
        shared,
        "POST /v1/payment_intents".into(),
        &headers,
        form,
        |store, form, now| {
            let new = new_intent(form)?;
            store.create(new, form.flag("confirm")?, now)
        },
    )
    .await
}

fn new_intent(form: &Form) -> Result<NewIntent, Refusal> {
    form.only(CREATE_PARAMETERS)?;
    let amount = form.integer("amount")?.ok_or_else(|| Refusal::missing("amount"))?;
    if amount < AMOUNT_MIN {
        return Err(Refusal::invalid(
            "amount_too_small",
            "amount",
            "Amount must be at least $0.50 usd",
        ));
    }
    if amount > AMOUNT_MAX {
        return Err(Refusal::invalid(
            "amount_too_large",
            "amount",
            "Amount must be no more than $999,999.99",
        ));
    }
    let currency = form.required("currency")?.to_ascii_lowercase();
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(Refusal::invalid(
            "parameter_invalid",
            "currency",
            format!("Invalid currency: {currency}"),
        ));
    }
    if let Some(method) = form.text("capture_method").filter(|method| *method == "manual") {
        return Err(Refusal::invalid(
            "parameter_invalid",
            "capture_method",
            format!("The sandbox does not do {method} capture"),
        ));
    }
    let types = form.list("payment_method_types");
    if !types.is_empty() && types.iter().all(|kind| kind != "card") {
        return Err(Refusal::invalid(
            "parameter_invalid",
            "payment_method_types",
            "The sandbox takes cards only",
        ));
    }
    Ok(NewIntent {
        amount,
        currency,
        payment_method: form.text("payment_method").map(str::to_owned),
        metadata: metadata(form)?,
        description: form.text("description").map(str::to_owned),
        receipt_email: form.text("receipt_email").map(str::to_owned),
        automatic_methods: form.text("automatic_payment_methods[enabled]") == Some("true"),
    })
}

fn metadata(form: &Form) -> Result<BTreeMap<String, String>, Refusal> {
    let metadata = form.map("metadata");
    let too_long = |(key, value): (&String, &String)| {
        key.chars().count() > METADATA_KEY_CHARS_MAX || value.chars().count() > METADATA_VALUE_CHARS_MAX
    };
    if metadata.len() > METADATA_KEYS_MAX || metadata.iter().any(too_long) {
        return Err(Refusal::invalid(
            "parameter_invalid",
            "metadata",
            "Metadata can have 50 keys of 40 characters with values of 500",
        ));
    }
    Ok(metadata)
}

async fn confirm_intent(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = match Form::parse(&body) {
        Ok(form) => form,
        Err(refusal) => return refuse(&refusal),
    };
    gate::mutate(
        shared,
        format!("POST /v1/payment_intents/{id}/confirm"),
        &headers,
        form,
        move |store, form, now| {
            form.only(&[
                "error_on_requires_action",
                "expand",
                "off_session",
                "payment_method",
                "receipt_email",
                "return_url",
            ])?;
            store.confirm(&id, form.text("payment_method"), now)
        },
    )
    .await
}

async fn cancel_intent(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = match Form::parse(&body) {
        Ok(form) => form,
        Err(refusal) => return refuse(&refusal),
    };
    gate::mutate(
        shared,
        format!("POST /v1/payment_intents/{id}/cancel"),
        &headers,
        form,
        move |store, form, now| {
            form.only(&["cancellation_reason", "expand"])?;
            let reason = form.text("cancellation_reason");
            const REASONS: [&str; 4] = ["duplicate", "fraudulent", "requested_by_customer", "abandoned"];
            if reason.is_some_and(|reason| !REASONS.contains(&reason)) {
                return Err(Refusal::invalid(
                    "parameter_invalid",
                    "cancellation_reason",
                    "Invalid cancellation_reason",
                ));
            }
            store.cancel(&id, reason, now)
        },
    )
    .await
}

async fn create_refund(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let form = match Form::parse(&body) {
        Ok(form) => form,
        Err(refusal) => return refuse(&refusal),
    };
    gate::mutate(shared, "POST /v1/refunds".into(), &headers, form, |store, form, now| {
        form.only(&["amount", "expand", "metadata", "payment_intent", "reason"])?;
        let intent = form.required("payment_intent")?.to_owned();
        let reason = form.text("reason").map(str::to_owned);
        if reason
            .as_deref()
            .is_some_and(|reason| !["duplicate", "fraudulent", "requested_by_customer"].contains(&reason))
        {
            return Err(Refusal::invalid("parameter_invalid", "reason", "Invalid reason"));
        }
        let refund = store.create_refund(&intent, form.integer("amount")?, reason, metadata(form)?, now)?;
        Ok(Done {
            body: StoredBody::Json(refund.to_string().into()),
            fate: None,
        })
    })
    .await
}

async fn retrieve_intent(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    gate::read_latency(&shared).await;
    match shared.store().intent(&id) {
        Some(intent) => gate::json(200, render::intent(intent).to_string()),
        None => refuse(&Refusal::no_such(404, "payment_intent", "intent", &id)),
    }
}

async fn retrieve_refund(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    gate::read_latency(&shared).await;
    match shared.store().refund(&id) {
        Some(refund) => gate::json(200, render::refund(refund).to_string()),
        None => refuse(&Refusal::no_such(404, "refund", "id", &id)),
    }
}

async fn retrieve_event(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    match shared.store().events.iter().find(|event| event.id == id) {
        Some(event) => gate::json(200, event.render().to_string()),
        None => refuse(&Refusal::no_such(404, "event", "id", &id)),
    }
}

async fn list_intents(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    gate::read_latency(&shared).await;
    let page = || -> Result<Value, Refusal> {
        let form = Form::parse(query.unwrap_or_default().as_bytes())?;
        form.only(&["created", "customer", "expand", "limit", "starting_after"])?;
        let store = shared.store();
        let end = match form.text("starting_after") {
            Some(id) => store
                .position(id)
                .ok_or_else(|| Refusal::no_such(400, "payment_intent", "starting_after", id))?,
            None => store.intents.len(),
        };
        let wanted = created_filter(&form)?;
        let matching = store.intents[..end]
            .iter()
            .rev()
            .filter(|intent| wanted(intent.fixed.created));
        let (data, has_more) = page(matching, limit(&form)?, render::intent);
        Ok(render::list("/v1/payment_intents", data, has_more))
    };
    respond(page())
}

async fn list_refunds(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    gate::read_latency(&shared).await;
    let page = || -> Result<Value, Refusal> {
        let form = Form::parse(query.unwrap_or_default().as_bytes())?;
        form.only(&["created", "expand", "limit", "payment_intent", "starting_after"])?;
        let store = shared.store();
        let end = match form.text("starting_after") {
            Some(id) => store
                .refund_position(id)
                .ok_or_else(|| Refusal::no_such(400, "refund", "starting_after", id))?,
            None => store.refunds.len(),
        };
        let wanted = created_filter(&form)?;
        let positions: Vec<usize> = match form.text("payment_intent") {
            Some(intent) => store
                .refunds_of(intent)
                .iter()
                .copied()
                .filter(|at| *at < end)
                .collect(),
            None => (0..end).collect(),
        };
        let matching = positions
            .iter()
            .rev()
            .map(|at| &store.refunds[*at])
            .filter(|refund| wanted(refund.created));
        let (data, has_more) = page(matching, limit(&form)?, render::refund);
        Ok(render::list("/v1/refunds", data, has_more))
    };
    respond(page())
}

async fn list_events(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let page = || -> Result<Value, Refusal> {
        let form = Form::parse(query.unwrap_or_default().as_bytes())?;
        form.only(&["created", "limit", "starting_after", "type"])?;
        let store = shared.store();
        let wanted = created_filter(&form)?;
        let kind = form.text("type");
        let after = form.text("starting_after");
        let newest_first = store.events.iter().rev();
        let rest: Vec<_> = match after {
            Some(id) => newest_first.skip_while(|event| event.id != id).skip(1).collect(),
            None => newest_first.collect(),
        };
        let matching = rest
            .into_iter()
            .filter(|event| wanted(event.created) && kind.is_none_or(|kind| kind == event.kind));
        let (data, has_more) = page(matching, limit(&form)?, |event| event.render());
        Ok(render::list("/v1/events", data, has_more))
    };
    respond(page())
}

async fn search_intents(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    gate::read_latency(&shared).await;
    let page = || -> Result<Value, Refusal> {
        let form = Form::parse(query.unwrap_or_default().as_bytes())?;
        form.only(&["expand", "limit", "page", "query"])?;
        let terms = search_terms(form.required("query")?)?;
        let skip = form
            .integer("page")?
            .map_or(0, |page| usize::try_from(page).unwrap_or(0));
        let store = shared.store();
        let matching = store
            .intents
            .iter()
            .rev()
            .filter(|intent| terms.iter().all(|term| term.holds(intent)));
        let (data, has_more) = page(matching.skip(skip), limit(&form)?, render::intent);
        let next = has_more.then(|| (skip + data.len()).to_string());
        Ok(render::search("/v1/payment_intents/search", data, next))
    };
    respond(page())
}

/// One clause of a search: `metadata['key']:'value'` or `status:'value'`.
struct Term {
    metadata_key: Option<String>,
    value: String,
}

impl Term {
    fn holds(&self, intent: &Intent) -> bool {
        match &self.metadata_key {
            Some(key) => intent.fixed.metadata.get(key) == Some(&self.value),
            None => intent.standing.status.as_str() == self.value,
        }
    }
}

fn search_terms(query: &str) -> Result<Vec<Term>, Refusal> {
    let bad = || {
        let message = "The sandbox searches for metadata['key']:'value' and status:'value', joined by AND";
        Refusal::invalid("parameter_invalid", "query", message)
    };
    let unquote = |text: &str| {
        let inner = text.strip_prefix(['\'', '"'])?.strip_suffix(['\'', '"'])?;
        Some(inner.replace("\\'", "'").replace("\\\"", "\""))
    };
    let term = |clause: &str| {
        let (field, value) = clause.trim().split_once("]:").map_or_else(
            || {
                clause
                    .trim()
                    .split_once(':')
                    .map(|(field, value)| (field.to_owned(), value))
            },
            |(field, value)| Some((format!("{field}]"), value)),
        )?;
        let metadata_key = match field.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']')) {
            Some(key) => Some(unquote(key)?),
            None if field == "status" => None,
            None => return None,
        };
        Some(Term {
            metadata_key,
            value: unquote(value.trim())?,
        })
    };
    query
        .split(" AND ")
        .map(|clause| term(clause).ok_or_else(bad))
        .collect()
}

fn limit(form: &Form) -> Result<usize, Refusal> {
    let limit = form.integer("limit")?.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Refusal::invalid(
            "parameter_invalid_integer",
            "limit",
            format!("limit must be 1 to {PAGE_MAX}"),
        ));
    }
    Ok(usize::try_from(limit).unwrap_or(1))
}

fn created_filter(form: &Form) -> Result<impl Fn(i64) -> bool, Refusal> {
    let exactly = form.integer("created")?;
    let (gt, gte) = (form.integer("created[gt]")?, form.integer("created[gte]")?);
    let (lt, lte) = (form.integer("created[lt]")?, form.integer("created[lte]")?);
    Ok(move |created: i64| {
        exactly.is_none_or(|bound| created == bound)
            && gt.is_none_or(|bound| created > bound)
            && gte.is_none_or(|bound| created >= bound)
            && lt.is_none_or(|bound| created < bound)
            && lte.is_none_or(|bound| created <= bound)
    })
}

fn page<T>(mut matching: impl Iterator<Item = T>, limit: usize, render: impl Fn(T) -> Value) -> (Vec<Value>, bool) {
    let data = matching.by_ref().take(limit).map(render).collect();
    (data, matching.next().is_some())
}

fn respond(page: Result<Value, Refusal>) -> Response {
    match page {
        Ok(value) => gate::json(200, value.to_string()),
        Err(refusal) => refuse(&refusal),
    }
}

async fn read_config(State(shared): State<Shared>) -> Response {
    Json(shared.store().chaos.switches.clone()).into_response()
}

async fn change_config(State(shared): State<Shared>, Json(changes): Json<Value>) -> Response {
    let mut store = shared.store();
    match store.chaos.change(&changes) {
        Ok(()) => Json(store.chaos.switches.clone()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error.to_string() }))).into_response(),
    }
}

#[derive(Deserialize)]
struct LedgerPage {
    after: Option<String>,
    limit: Option<usize>,
}

async fn read_ledger(State(shared): State<Shared>, Query(page): Query<LedgerPage>) -> Response {
    let ledger = ledger::ledger(&shared.store(), page.after.as_deref(), page.limit);
    Json(ledger).into_response()
}

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    fail: bool,
}

/// What the buyer's bank would show: a page with two buttons, which complete the payment or fail its authentication.
async fn authentication_page(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let store = shared.store();
    // Only ids of our own making get into the page.
    let Some(intent) = store.intent(&id) else {
        return refuse(&Refusal::no_such(404, "payment_intent", "intent", &id));
    };
    let status = intent.standing.status.as_str();
    let amount = format!("{} minor units of {}", intent.fixed.amount, intent.fixed.currency);
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sandbox: is it you?</title>\
         <body style=\"font-family: sans-serif; max-width: 30em; margin: 3em auto\">\
         <h1>Is it you who pays?</h1><p>Payment {id}: {amount}. It is <b>{status}</b>.</p>\
         <form method=\"post\" action=\"complete\"><button>Yes, it is me</button></form>\
         <form method=\"post\" action=\"complete?fail=true\"><button>No</button></form></body></html>",
        id = intent.fixed.id
    );
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// The buyer authenticates (or, with `?fail=true`, does not), or the bank is done. A browser is told so by a page.
async fn complete_intent(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(how): Query<Completion>,
    headers: HeaderMap,
) -> Response {
    match complete(&shared, &id, !how.fail) {
        Ok(_) if is_browser(&headers) => Html(DONE_PAGE).into_response(),
        Ok(intent) => gate::json(200, intent.to_string()),
        Err(refusal) => refuse(&refusal),
    }
}

fn is_browser(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

const DONE_PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sandbox: thank you</title>\
     <body style=\"font-family: sans-serif; max-width: 30em; margin: 3em auto\">\
     <h1>Thank you</h1><p>The shop is told. You can close this page and go back to it.</p></body></html>";

/// Also what the timer of a payment that is `processing` calls.
pub(crate) fn complete(shared: &Shared, id: &str, authenticated: bool) -> Result<Value, Refusal> {
    let answer = {
        let mut store: std::sync::MutexGuard<'_, Store> = shared.store();
        store.attribute_events_to(None);
        let done = store.complete(id, authenticated, gate::now())?;
        store.commit();
        match done.body {
            StoredBody::Intent(intent) => render::intent(&intent),
            StoredBody::Json(text) => Value::from(text.as_ref()),
        }
    };
    shared.after_change();
    Ok(answer)
}

async fn read_deliveries(State(shared): State<Shared>) -> Response {
    Json(shared.deliveries()).into_response()
}

/// Sends an event's webhook once more, as Stripe's dashboard can.
async fn resend_event(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let event = shared.store().events.iter().find(|event| event.id == id).cloned();
    match event {
        Some(event) => {
            shared.store().outbox.push(event);
            shared.after_change();
            StatusCode::ACCEPTED.into_response()
        }
        None => refuse(&Refusal::no_such(404, "event", "id", &id)),
    }
}

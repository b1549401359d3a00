//! Firebase Cloud Messaging's HTTP v1 API, Google's OAuth 2.0 token endpoint for service accounts, and a machine's metadata server.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

use super::{Shared, header, is_declared, lock};

/// How tokens of devices begin that are gone.
pub const GONE: &str = "gone";
/// What FCM's tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// What a message may have (<https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>).
const MESSAGE_FIELDS: [&str; 8] = [
    "token",
    "notification",
    "data",
    "android",
    "apns",
    "webpush",
    "fcmOptions",
    "fcm_options",
];
/// Seconds that an assertion may be good for.
const ASSERTION_SECONDS_MAX: i64 = 3_600;

pub(super) async fn grant(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    let is_jwt = field("grant_type") == Some("urn:ietf:params:oauth:grant-type:jwt-bearer");
    match field("assertion")
        .filter(|_| is_jwt)
        .map(|assertion| check(&shared, assertion))
    {
        Some(Ok(())) => Json(token(&shared)).into_response(),
        Some(Err(problem)) => {
            let body = json!({"error": "invalid_grant", "error_description": problem});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
        None => (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "unsupported_grant_type"})),
        )
            .into_response(),
    }
}

pub(super) async fn metadata(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if header(&headers, "metadata-flavor") == "Google" {
        Json(token(&shared)).into_response()
    } else {
        StatusCode::FORBIDDEN.into_response()
    }
}

fn token(shared: &Shared) -> Value {
    let token = format!("ya29.{:032x}", rand::random::<u128>());
    lock(&shared.tokens).push(token.clone());
    json!({"access_token": token, "expires_in": 3_599, "token_type": "Bearer"})
}

/// What is wrong with an assertion.
fn check(shared: &Shared, assertion: &str) -> Result<(), &'static str> {
    let key = shared.options.service_account_key.as_ref().ok_or("no such account")?;
    let (signed, signature) = assertion.rsplit_once('.').ok_or("not a JWT")?;
    let (head, claims) = signed.split_once('.').ok_or("not a JWT")?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not a JWT");
    let json = |part: &str| serde_json::from_slice::<Value>(&decode(part)?).map_err(|_| "not a JWT");
    let (head, claims) = (json(head)?, json(claims)?);
    if head["alg"] != "RS256" {
        return Err("not signed with RS256");
    }
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(signed.as_bytes(), &decode(signature)?)
        .map_err(|_| "Invalid JWT Signature.")?;
    let times = (claims["iat"].as_i64(), claims["exp"].as_i64());
    let (Some(from), Some(until)) = times else {
        return Err("no iat or no exp");
    };
    let now = chrono::Utc::now().timestamp();
    if until < now || from > now + 60 || until - from > ASSERTION_SECONDS_MAX {
        return Err("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.");
    }
    if claims["aud"] != format!("{}/token", shared.url) || claims["scope"] != SCOPE || !claims["iss"].is_string() {
        return Err("wrong iss, aud or scope");
    }
    Ok(())
}

pub(super) async fn send(
    State(shared): State<Arc<Shared>>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(fault) = shared.fault() {
        return fault;
    }
    let bearer = header(&headers, "authorization")
        .strip_prefix("Bearer ")
        .unwrap_or_default();
    if !lock(&shared.tokens).iter().any(|token| token == bearer) {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "UNAUTHENTICATED",
            None,
            "Request had invalid authentication credentials.",
        );
    }
    if project != shared.options.project {
        return refuse(
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            None,
            "Requested entity was not found.",
        );
    }
    let invalid = |message: &str| {
        refuse(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            Some("INVALID_ARGUMENT"),
            message,
        )
    };
    let Ok(source) = serde_json::from_slice::<Value>(&body) else {
        return invalid("Invalid JSON payload received.");
    };
    let Some(message) = source["message"]
        .as_object()
        .filter(|_| is_declared(&headers, "application/json"))
    else {
        return invalid("Recipient of the message is not set.");
    };
    if let Some(unknown) = message.keys().find(|name| !MESSAGE_FIELDS.contains(&name.as_str())) {
        return invalid(&format!("Unknown name \"{unknown}\" at 'message': Cannot find field."));
    }
    let data = message.get("data").and_then(Value::as_object);
    if data.is_some_and(|data| data.values().any(|value| !value.is_string())) {
        return invalid("Invalid value at 'message.data': values must be strings.");
    }
    match message.get("token").and_then(Value::as_str) {
        None | Some("") => invalid("Recipient of the message is not set."),
        Some(token) if token.starts_with(GONE) => {
            let message = "Requested entity was not found.";
            refuse(StatusCode::NOT_FOUND, "NOT_FOUND", Some("UNREGISTERED"), message)
        }
        Some(token) => {
            let shown = &source["message"]["notification"];
            let text = format!(
                "{}: {}",
                shown["title"].as_str().unwrap_or_default(),
                shown["body"].as_str().unwrap_or_default()
            );
            let number = shared.take("push", token, &text, source.clone());
            Json(json!({"name": format!("projects/{project}/messages/{number}")})).into_response()
        }
    }
}

fn refuse(status: StatusCode, name: &str, code: Option<&str>, message: &str) -> Response {
    let details: Vec<Value> = code
        .map(|code| json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}))
        .into_iter()
        .collect();
    let error = json!({"code": status.as_u16(), "message": message, "status": name, "details": details});
    (status, Json(json!({"error": error}))).into_response()
}

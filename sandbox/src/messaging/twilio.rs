//! Twilio's Messages resource. Its magic numbers are honoured as far as they make sense here
//! (<https://www.twilio.com/docs/iam/test-credentials#magic-input>).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::callbacks::Told;
use super::{Shared, header, is_declared};

/// Characters of a message, at most: what is longer is error 21617.
const BODY_CHARS_MAX: usize = 1_600;
/// Not a number.
pub const INVALID_NUMBER: &str = "+15005550001";
/// Its owner has answered STOP.
pub const OPTED_OUT: &str = "+15005550004";

/// It takes messages, and none arrives: where there are callbacks, they say *undelivered*. A number of our own; Twilio's magic ones have none
/// for this.
pub const UNREACHABLE: &str = "+15005550030";

pub(super) async fn send(
    State(shared): State<Arc<Shared>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(fault) = shared.fault() {
        return fault;
    }
    let options = &shared.options;
    let basic = STANDARD.encode(format!("{}:{}", options.account_sid, options.auth_token));
    if account != options.account_sid || header(&headers, "authorization") != format!("Basic {basic}") {
        return refuse(StatusCode::UNAUTHORIZED, 20_003, "Authenticate");
    }
    if !is_declared(&headers, "application/x-www-form-urlencoded") {
        return refuse(StatusCode::BAD_REQUEST, 21_604, "A 'To' phone number is required.");
    }
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let (to, text) = (field("To"), field("Body"));
    let sender = [field("From"), field("MessagingServiceSid")].concat();
    let bad = |code, message| refuse(StatusCode::BAD_REQUEST, code, message);
    match to {
        "" => return bad(21_604, "A 'To' phone number is required."),
        OPTED_OUT => return bad(21_610, "Attempt to send to unsubscribed recipient"),
        to if to == INVALID_NUMBER || !is_number(to) => {
            return bad(21_211, "The 'To' number is not a valid phone number.");
        }
        _ => (),
    }
    if sender.is_empty() {
        return bad(21_603, "A 'From' phone number is required.");
    }
    if text.is_empty() {
        return bad(21_602, "Message body is required.");
    }
    if text.chars().count() > BODY_CHARS_MAX {
        return bad(
            21_617,
            "The concatenated message body exceeds the 1600 character limit.",
        );
    }
    let callback = field("StatusCallback");
    if !callback.is_empty() && !callback.starts_with("http") {
        return bad(21_609, "The StatusCallback URL is not a valid URL.");
    }
    let number = shared.take("sms", to, text, json!(form));
    let sid = format!("SM{number:032x}");
    if let Some(callbacks) = shared.callbacks.as_ref().filter(|_| callback.starts_with("http://")) {
        callbacks.begin(Told {
            url: callback.to_owned(),
            sid: sid.clone(),
            account: account.clone(),
            from: sender.clone(),
            to: to.to_owned(),
            arrives: to != UNREACHABLE,
        });
    }
    let answer = json!({
        "sid": sid, "account_sid": account, "to": to, "from": sender, "body": text,
        "status": "queued", "direction": "outbound-api", "error_code": null, "error_message": null,
    });
    (StatusCode::CREATED, Json(answer)).into_response()
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn refuse(status: StatusCode, code: u32, message: &str) -> Response {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    let body = json!({"code": code, "message": message, "more_info": more, "status": status.as_u16()});
    (status, Json(body)).into_response()
}

//! What providers say of messages later: Twilio's status callbacks, and deliveries and bounces of e-mails in a form of our own.
//!
//! Repetitions change nothing, nor does the order in which they come: a message that has arrived is not merely sent again, and one that came back
//! has not arrived.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use ring::hmac;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::store::messages;
use crate::app::App;
use crate::http::body;
use crate::http::extract::PathId;
use crate::http::text;
use crate::limits::{BODY_BYTES_MAX, PROVIDER_ID_CHARS_MAX};
use crate::options::Secret;
use crate::problem::{Kind, Problem, ProblemDetails};
use crate::webhooks::signature;

/// Where Twilio's signature is (<https://www.twilio.com/docs/usage/security#validating-requests>).
const TWILIO_SIGNATURE: &str = "x-twilio-signature";
/// Where the signature of a mail service's word is: as Stripe makes them, `t=<seconds>,v1=<hex>`.
const MAIL_SIGNATURE: &str = "sagaline-signature";
/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 200;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Receipt {
    /// The provider has it.
    Taken,
    Delivered,
    /// It came back.
    Failed(String),
    /// Nothing that we keep.
    Other,
}

/// A mail service's word on one e-mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailReceipt {
    /// The e-mail's Message-ID, with or without its brackets.
    #[schema(example = "<0198c0ff-ee00-7000-8000-000000000001@sagaline.example>")]
    pub message_id: String,
    /// What became of it.
    pub status: MailStatus,
    /// Why it bounced.
    #[serde(default)]
    #[schema(example = "550 5.1.1 no such user")]
    pub reason: String,
}

/// What became of an e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailStatus {
    /// The recipient's server took it.
    Delivered,
    /// It came back, even if it had been taken.
    Bounced,
}

/// Take Twilio's word on an SMS.
///
/// The path's last part is the message's id: we give Twilio this address with each message.
#[utoipa::path(
    post,
    path = "/webhooks/twilio/{notificationId}",
    tag = "webhooks",
    params(
        ("notificationId" = String, Path, description = "The message's id"),
        ("X-Twilio-Signature" = String, Header, description = "HMAC-SHA-1 of the URL and the form, in base64"),
    ),
    request_body(content = Object, content_type = "application/x-www-form-urlencoded", description = "A status callback as Twilio sends it"),
    responses(
        (status = 204, description = "It is kept, or says nothing new"),
        (status = 400, description = "The signature is missing or wrong, or the form lacks something",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "It can't be kept at the moment: send it again",
         body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn twilio(
    State(app): State<App>,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let bytes = body::read(&headers, body, BODY_BYTES_MAX).await?;
    let secret = set_up(app.options().twilio_auth_token.as_ref(), "Twilio's token")?;
    let mut form: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
    let url = format!("{}/webhooks/twilio/{id}", app.options().shop_url);
    let given = headers.get(TWILIO_SIGNATURE).and_then(|value| value.to_str().ok());
    if !fits(secret, &url, &mut form, given.unwrap_or_default()) {
        let message = "the X-Twilio-Signature header is missing, or does not fit the URL and the form";
        return Err(Problem::new(Kind::BadSignature, message));
    }
    let message: Uuid = id.parse().map_err(|_| Problem::not_found("there is no such message"))?;
    let field = |name: &str| {
        form.iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    let (Some(sid), Some(status)) = (field("MessageSid"), field("MessageStatus")) else {
        return Err(Problem::malformed(
            "",
            "the form must have MessageSid and MessageStatus",
        ));
    };
    let receipt = match status {
        "queued" | "accepted" | "sending" | "sent" => Receipt::Taken,
        "delivered" | "read" => Receipt::Delivered,
        "undelivered" | "failed" => Receipt::Failed(format!("{status}: {}", field("ErrorCode").unwrap_or("no code"))),
        _ => Receipt::Other,
    };
    keep(&app, message, "sms", sid, receipt).await
}

/// Take a mail service's word on an e-mail.
#[utoipa::path(
    post,
    path = "/webhooks/mail",
    tag = "webhooks",
    params(("Sagaline-Signature" = String, Header, description = "`t=<seconds>,v1=<hex>`: HMAC-SHA-256 of `<seconds>.<body>`")),
    request_body = MailReceipt,
    responses(
        (status = 204, description = "It is kept, or says nothing new"),
        (status = 400, description = "The signature is missing, wrong or older than five minutes, or the body can't be read",
         body = ProblemDetails, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "It is not valid", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "It can't be kept at the moment: send it again",
         body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn mail(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    let bytes = body::read(&headers, body, BODY_BYTES_MAX).await?;
    let secret = set_up(app.options().mail_webhook_secret.as_ref(), "the mail service's secret")?;
    let header = headers
        .get(MAIL_SIGNATURE)
        .map(|value| value.to_str().unwrap_or_default());
    let tolerance = app.options().webhook_tolerance;
    signature::verify(header, &bytes, secret.expose(), Utc::now().timestamp(), tolerance)
        .map_err(|error| Problem::new(Kind::BadSignature, error.to_string()))?;
    let receipt: MailReceipt = body::parse_typed(&bytes)?;
    let name = receipt.message_id.trim_matches(['<', '>']);
    // Mails about accounts have other names, and are not followed.
    let Some(message) = name.split_once('@').and_then(|(id, _)| id.parse::<Uuid>().ok()) else {
        return Ok(StatusCode::NO_CONTENT);
    };
    let word = match receipt.status {
        MailStatus::Delivered => Receipt::Delivered,
        MailStatus::Bounced => Receipt::Failed(format!("bounced: {}", receipt.reason)),
    };
    keep(&app, message, "email", &format!("<{name}>"), word).await
}

fn set_up<'a>(secret: Option<&'a Secret>, what: &str) -> Result<&'a Secret, Problem> {
    secret.ok_or_else(|| Problem::unavailable(format!("these webhooks are not set up here: {what} is not set")))
}

async fn keep(
    app: &App,
    message: Uuid,
    channel: &str,
    provider_id: &str,
    receipt: Receipt,
) -> Result<StatusCode, Problem> {
    text::check(provider_id, PROVIDER_ID_CHARS_MAX)
        .map_err(|message| Problem::malformed("", format!("the provider's name for the message {message}")))?;
    let is_news = match receipt {
        Receipt::Taken => {
            messages::taken(app.pool(), message, channel, provider_id).await?;
            false
        }
        Receipt::Delivered => messages::delivered(app.pool(), message, channel, provider_id).await?,
        Receipt::Failed(reason) => {
            let reason: String = reason
                .chars()
                .filter(|char| !char.is_control())
                .take(REASON_CHARS_MAX)
                .collect();
            messages::failed(app.pool(), message, channel, provider_id, &reason).await?
        }
        Receipt::Other => false,
    };
    let outcome = if is_news { "news" } else { "known" };
    metrics::counter!("sagaline_gateway_receipts_total", "outcome" => outcome).increment(1);
    Ok(StatusCode::NO_CONTENT)
}

/// Whether Twilio signed this: the URL, and the form's fields by their names, each followed by its value.
fn fits(secret: &Secret, url: &str, form: &mut [(String, String)], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    form.sort();
    let signed = form
        .iter()
        .fold(url.to_owned(), |signed, (name, value)| signed + name + value);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
    hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Twilio's documentation.
    #[test]
    fn twilios_own_example_fits_and_no_other_does() {
        let secret = Secret::new("12345");
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        let form = || -> Vec<(String, String)> {
            [
                ("CallSid", "CA1234567890ABCDE"),
                ("Caller", "+14158675310"),
                ("Digits", "1234"),
                ("From", "+14158675310"),
                ("To", "+18005551212"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
        };
        let signature = "L/OH5YylLD5NRKLltdqwSvS0BnU=";
        assert!(fits(&secret, url, &mut form(), signature));
        let mut reversed = form();
        reversed.reverse();
        assert!(fits(&secret, url, &mut reversed, signature));
        let mut altered = form();
        altered[2].1 = "1235".to_owned();
        assert!(!fits(&secret, url, &mut altered, signature));
        assert!(!fits(&secret, "https://example.com/", &mut form(), signature));
        for wrong in ["", "x", "L/OH5YylLD5NRKLltdqwSvS0BnU"] {
            assert!(!fits(&secret, url, &mut form(), wrong), "{wrong}");
        }
    }
}

//! SMS by Twilio's Messages resource (<https://www.twilio.com/docs/messaging/api/message-resource>).
//!
//! Twilio takes no idempotency key: what keeps a message from going out twice is our own record. It knows nothing of a message whose answer was
//! lost, so that one goes out again: rather twice than not at all.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use serde::Deserialize;

use super::provider::{
    Api, NO_RECIPIENT, Outgoing, PROVIDER_UNAVAILABLE, Provider, ProviderConfigError, REJECTED, UNREGISTERED, base_url,
    plain_words, refused, secret_header, unreadable,
};
use crate::https::Answer;
use crate::typed::Failure;

const WHO: &str = "Twilio";
/// No number that a message can be sent to (<https://www.twilio.com/docs/api/errors>).
const NO_NUMBER: [i64; 5] = [21_211, 21_214, 21_217, 21_401, 21_614];
/// The recipient has answered STOP.
const OPTED_OUT: i64 = 21_610;
/// Our own number, service or callback is not what Twilio wants: a matter of settings.
const OUR_MISTAKE: [i64; 7] = [21_212, 21_603, 21_606, 21_609, 21_659, 21_660, 21_701];
/// Too many messages wait to be sent from our number.
const QUEUE_FULL: i64 = 21_611;

/// Where and as whom to send.
pub struct TwilioConfig {
    /// `https://api.twilio.com`, or another one in tests.
    pub base_url: String,
    /// `AC…`
    pub account_sid: String,
    /// Its token. A secret.
    pub auth_token: String,
    /// Our number, in international form, or the id of a messaging service, `MG…`.
    pub from: String,
    /// Where Twilio says what became of messages; the message's id is added as a last part.
    pub callback_url: String,
}

/// Sends SMS.
pub struct Twilio {
    api: Api,
    url: String,
    authorization: HeaderValue,
    from: String,
    callback_url: String,
}

impl Twilio {
    /// As configured.
    ///
    /// # Errors
    /// If the URL or the credentials can't be used.
    pub fn new(config: &TwilioConfig) -> Result<Twilio, ProviderConfigError> {
        let base = base_url(&config.base_url)?;
        let basic = STANDARD.encode(format!("{}:{}", config.account_sid, config.auth_token));
        Ok(Twilio {
            api: Api::new()?,
            url: format!("{base}/2010-04-01/Accounts/{}/Messages.json", config.account_sid),
            authorization: secret_header(format!("Basic {basic}"), WHO)?,
            from: config.from.clone(),
            callback_url: config.callback_url.clone(),
        })
    }
}

/// A message as Twilio describes it.
#[derive(Deserialize)]
struct Message {
    sid: String,
    status: String,
    error_code: Option<i64>,
    error_message: Option<String>,
}

/// A refusal as Twilio describes it.
#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

#[async_trait]
impl Provider for Twilio {
    async fn send(&self, message: &Outgoing) -> Result<String, Failure> {
        let sender = if self.from.starts_with("MG") {
            "MessagingServiceSid"
        } else {
            "From"
        };
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("To", &message.recipient)
            .append_pair(sender, &self.from)
            .append_pair("Body", &message.content.short)
            .append_pair("StatusCallback", &format!("{}/{}", self.callback_url, message.id))
            .finish();
        let form = "application/x-www-form-urlencoded";
        let answer = self
            .api
            .post(WHO, &self.url, Some(&self.authorization), form, body.into_bytes())
            .await?;
        read(&answer)
    }
}

fn read(answer: &Answer) -> Result<String, Failure> {
    if !(200..300).contains(&answer.status) {
        return Err(match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(refusal) => classify(answer.status, &refusal),
            Err(_) => refused(WHO, answer.status, "", &plain_words(answer)),
        });
    }
    let message: Message = serde_json::from_slice(&answer.body).map_err(|_| unreadable(WHO, answer))?;
    match message.status.as_str() {
        "failed" | "undelivered" | "canceled" => {
            let code = message.error_code.unwrap_or_default();
            let words = message.error_message.unwrap_or_default();
            Err(Failure::permanent(
                REJECTED,
                format!("{WHO} says {} {code}: {words}", message.status),
            ))
        }
        _ => Ok(message.sid),
    }
}

fn classify(status: u16, refusal: &Refusal) -> Failure {
    let words = || format!("{WHO} says {}: {}", refusal.code, refusal.message);
    match refusal.code {
        code if NO_NUMBER.contains(&code) => Failure::permanent(NO_RECIPIENT, words()),
        OPTED_OUT => Failure::permanent(UNREGISTERED, words()),
        QUEUE_FULL => Failure::retryable(super::provider::RATE_LIMITED, words()),
        code if OUR_MISTAKE.contains(&code) => Failure::retryable(PROVIDER_UNAVAILABLE, words()),
        code => refused(WHO, status, &code.to_string(), &refusal.message),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn outcome(status: u16, body: &str) -> String {
        let answer = Answer {
            status,
            body: body.to_owned().into(),
        };
        match read(&answer) {
            Ok(sid) => sid,
            Err(Failure::Failed { code, retryable, .. }) => format!("{code} {retryable}"),
            Err(Failure::Unknown { .. }) => "unknown".to_owned(),
            Err(Failure::Pending { .. }) => "pending".to_owned(),
        }
    }

    #[test]
    fn every_answer_of_twilio_is_told_apart() {
        let refusal = |code: i64| format!(r#"{{"code": {code}, "message": "m", "more_info": "u", "status": 400}}"#);
        for (status, body, expected) in [
            (
                201,
                r#"{"sid": "SM1", "status": "queued", "error_code": null}"#.to_owned(),
                "SM1",
            ),
            (
                201,
                r#"{"sid": "SM1", "status": "failed", "error_code": 30007}"#.to_owned(),
                "rejected false",
            ),
            (200, "<html>".to_owned(), "unknown"),
            (200, String::new(), "unknown"),
            (400, refusal(21_211), "no_recipient false"),
            (400, refusal(21_610), "unregistered false"),
            (400, refusal(21_606), "provider_unavailable true"),
            (400, refusal(21_611), "rate_limited true"),
            (400, refusal(21_617), "rejected false"),
            (401, refusal(20_003), "provider_unavailable true"),
            (429, refusal(20_429), "rate_limited true"),
            (500, "oops".to_owned(), "unknown"),
            (503, "busy".to_owned(), "provider_unavailable true"),
        ] {
            assert_eq!(outcome(status, &body), expected, "{status} {body}");
        }
    }
}

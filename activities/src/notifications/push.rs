//! Push messages by Firebase Cloud Messaging's HTTP v1 API (<https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send>).
//!
//! FCM takes no idempotency key either, but lets a message replace an earlier one on the device: ours carry their row's id as that tag, so that one
//! which went out twice is shown once.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::google::{GoogleCredentials, Tokens};
use super::provider::{
    Api, Outgoing, PROVIDER_UNAVAILABLE, Provider, ProviderConfigError, RATE_LIMITED, REJECTED, UNREGISTERED, base_url,
    plain_words, refused, unreadable,
};
use crate::https::Answer;
use crate::typed::Failure;

const WHO: &str = "FCM";

/// Where and as whom to send.
pub struct FcmConfig {
    /// `https://fcm.googleapis.com`, or another one in tests.
    pub base_url: String,
    /// The Firebase project's id.
    pub project: String,
    /// Who we are.
    pub credentials: GoogleCredentials,
}

/// Sends push messages.
pub struct Fcm {
    api: Api,
    url: String,
    tokens: Tokens,
}

impl Fcm {
    /// As configured.
    ///
    /// # Errors
    /// If a URL or the credentials can't be used.
    pub fn new(config: &FcmConfig) -> Result<Fcm, ProviderConfigError> {
        let api = Api::new()?;
        let base = base_url(&config.base_url)?;
        Ok(Fcm {
            url: format!("{base}/v1/projects/{}/messages:send", config.project),
            tokens: Tokens::new(api.clone(), &config.credentials)?,
            api,
        })
    }
}

/// A message that was taken.
#[derive(Deserialize)]
struct Taken {
    name: String,
}

/// A refusal, as all of Google's APIs make them.
#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<RefusalDetail>,
}

#[derive(Deserialize)]
struct RefusalDetail {
    #[serde(rename = "errorCode")]
    error_code: Option<String>,
}

#[async_trait]
impl Provider for Fcm {
    async fn send(&self, message: &Outgoing) -> Result<String, Failure> {
        let authorization = self.tokens.header().await?;
        let body = body(message).to_string().into_bytes();
        let json = "application/json";
        let answer = self.api.post(WHO, &self.url, Some(&authorization), json, body).await?;
        if answer.status == 401 {
            self.tokens.forget().await;
        }
        read(&answer)
    }
}

fn body(message: &Outgoing) -> Value {
    let tag = message.id.to_string();
    json!({"message": {
        "token": message.recipient,
        "notification": {"title": message.content.subject, "body": message.content.short},
        "data": {
            "kind": message.kind,
            "bookingId": message.booking_id.map(|id| id.to_string()).unwrap_or_default(),
        },
        "android": {"notification": {"tag": tag}},
        "apns": {"headers": {"apns-collapse-id": tag}},
        "webpush": {"notification": {"tag": tag}},
    }})
}

fn read(answer: &Answer) -> Result<String, Failure> {
    if (200..300).contains(&answer.status) {
        let taken: Result<Taken, _> = serde_json::from_slice(&answer.body);
        return taken.map(|taken| taken.name).map_err(|_| unreadable(WHO, answer));
    }
    let Ok(Refusal { error }) = serde_json::from_slice::<Refusal>(&answer.body) else {
        return Err(refused(WHO, answer.status, "", &plain_words(answer)));
    };
    let code = error.details.iter().find_map(|detail| detail.error_code.as_deref());
    let code = code.unwrap_or(&error.status);
    let words = || format!("{WHO} says {code}: {}", error.message);
    Err(match code {
        "UNREGISTERED" => Failure::permanent(UNREGISTERED, words()),
        // A token of another project's: this device will never take our messages.
        "SENDER_ID_MISMATCH" => Failure::permanent(UNREGISTERED, words()),
        "INVALID_ARGUMENT" => Failure::permanent(REJECTED, words()),
        "QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED" => Failure::retryable(RATE_LIMITED, words()),
        // INTERNAL: Google's documentation says to try again, and a repetition replaces the first one on the device.
        "UNAVAILABLE" | "INTERNAL" | "THIRD_PARTY_AUTH_ERROR" => Failure::retryable(PROVIDER_UNAVAILABLE, words()),
        code => refused(WHO, answer.status, code, &error.message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> String {
        let body = body.to_owned().into();
        match read(&Answer { status, body }) {
            Ok(name) => name,
            Err(Failure::Failed { code, retryable, .. }) => format!("{code} {retryable}"),
            Err(Failure::Unknown { .. } | Failure::Pending { .. }) => "unknown".to_owned(),
        }
    }

    #[test]
    fn every_answer_of_fcm_is_told_apart() {
        let refusal = |status: &str, code: Option<&str>| {
            let details = code.map(
                |code| json!([{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]),
            );
            json!({"error": {"code": 1, "message": "m", "status": status, "details": details.unwrap_or(json!([]))}})
                .to_string()
        };
        for (status, body, expected) in [
            (
                200,
                r#"{"name": "projects/p/messages/1"}"#.to_owned(),
                "projects/p/messages/1",
            ),
            (200, "null".to_owned(), "unknown"),
            (404, refusal("NOT_FOUND", Some("UNREGISTERED")), "unregistered false"),
            (
                403,
                refusal("PERMISSION_DENIED", Some("SENDER_ID_MISMATCH")),
                "unregistered false",
            ),
            (
                400,
                refusal("INVALID_ARGUMENT", Some("INVALID_ARGUMENT")),
                "rejected false",
            ),
            (
                429,
                refusal("RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")),
                "rate_limited true",
            ),
            (
                503,
                refusal("UNAVAILABLE", Some("UNAVAILABLE")),
                "provider_unavailable true",
            ),
            (500, refusal("INTERNAL", None), "provider_unavailable true"),
            (401, refusal("UNAUTHENTICATED", None), "provider_unavailable true"),
            (404, refusal("NOT_FOUND", None), "provider_unavailable true"),
            (502, "<html>bad gateway</html>".to_owned(), "unknown"),
        ] {
            assert_eq!(outcome(status, &body), expected, "{status} {body}");
        }
    }
}

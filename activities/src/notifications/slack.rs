//! Slack, for operations: an incoming webhook (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>).

use async_trait::async_trait;
use serde_json::json;

use super::provider::{
    Api, Outgoing, PROVIDER_UNAVAILABLE, Provider, ProviderConfigError, base_url, plain_words, refused, unreadable,
};
use crate::https::Answer;
use crate::typed::Failure;

const WHO: &str = "Slack";
/// The webhook or its channel is gone: a matter of settings.
const GONE: [&str; 6] = [
    "no_service",
    "no_team",
    "no_active_hooks",
    "invalid_token",
    "channel_not_found",
    "channel_is_archived",
];

/// Posts to the channel of one webhook.
pub struct Slack {
    api: Api,
    webhook_url: String,
}

impl Slack {
    /// With the webhook's URL, which is a secret.
    ///
    /// # Errors
    /// If it is no URL.
    pub fn new(webhook_url: &str) -> Result<Slack, ProviderConfigError> {
        let webhook_url = base_url(webhook_url).map_err(|_| ProviderConfigError::Credentials(WHO))?;
        Ok(Slack {
            api: Api::new()?,
            webhook_url,
        })
    }
}

#[async_trait]
impl Provider for Slack {
    async fn send(&self, message: &Outgoing) -> Result<String, Failure> {
        let body = json!({ "text": escaped(&message.content.short) });
        let json = "application/json";
        let answer = self
            .api
            .post(WHO, &self.webhook_url, None, json, body.to_string().into_bytes())
            .await?;
        read(&answer)?;
        // A webhook gives its messages no names.
        Ok(message.id.to_string())
    }
}

fn read(answer: &Answer) -> Result<(), Failure> {
    let words = plain_words(answer);
    match (answer.status, words.trim()) {
        (200..=299, "ok") => Ok(()),
        (200..=299, _) => Err(unreadable(WHO, answer)),
        (status, code) if GONE.contains(&code) => Err(Failure::retryable(
            PROVIDER_UNAVAILABLE,
            format!("{WHO} answered with {status}: {code}"),
        )),
        (status, code) => Err(refused(WHO, status, code, "")),
    }
}

/// The three characters that Slack reads as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_slack_is_told_apart() {
        let outcome = |status, body: &'static str| {
            let answer = Answer {
                status,
                body: body.into(),
            };
            match read(&answer) {
                Ok(()) => "taken".to_owned(),
                Err(Failure::Failed { code, retryable, .. }) => format!("{code} {retryable}"),
                Err(Failure::Unknown { .. } | Failure::Pending { .. }) => "unknown".to_owned(),
            }
        };
        for (status, body, expected) in [
            (200, "ok", "taken"),
            (200, "<html>", "unknown"),
            (400, "invalid_payload", "rejected false"),
            (404, "no_service", "provider_unavailable true"),
            (410, "channel_is_archived", "provider_unavailable true"),
            (429, "", "rate_limited true"),
            (500, "rollup_error", "unknown"),
        ] {
            assert_eq!(outcome(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_name_mentions_nobody() {
        assert_eq!(escaped("<!channel> & co"), "&lt;!channel&gt; &amp; co");
    }
}

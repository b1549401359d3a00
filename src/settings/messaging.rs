//! What buyers and operations are reached by, beside plain e-mail.

use std::collections::BTreeSet;

use activities::notifications::Channel;
use sandbox::messaging::Messaging as Providers;

use super::source::Sources;
use super::{Secret, http_url};

/// Our number at the sandbox's Twilio, one of Twilio's own magic ones.
const SANDBOX_NUMBER: &str = "+15005550006";

/// The settings, as they are; complete for the channels that are set up.
#[derive(Clone, Debug, PartialEq)]
pub struct Messaging {
    /// What is set up.
    pub channels: BTreeSet<Channel>,
    /// What the mail service signs its webhooks with.
    pub mail_webhook_secret: Option<Secret>,
    /// Our account at Twilio.
    pub twilio_account: Option<String>,
    /// Its token.
    pub twilio_token: Option<Secret>,
    /// Our number, or messaging service.
    pub twilio_from: Option<String>,
    /// Where Twilio's API is.
    pub twilio_url: String,
    /// The Firebase project.
    pub fcm_project: Option<String>,
    /// A file, or the metadata server's URL.
    pub fcm_credentials: String,
    /// Where Firebase Cloud Messaging's API is.
    pub fcm_url: String,
    /// The webhook of the operations' channel.
    pub slack_webhook: Option<Secret>,
}

impl Messaging {
    /// Reads them; a channel whose provider isn't set up is a problem of the worker that serves it.
    pub(super) fn read(sources: &mut Sources) -> Messaging {
        let plain = |text: &str| Ok(text.to_owned());
        let secret = |text: &str| Ok(Secret::new(text));
        Messaging {
            channels: sources.required("notifications.channels", channels),
            mail_webhook_secret: sources.optional("smtp.webhook_secret", secret),
            twilio_account: sources.optional("sms.account", account),
            twilio_token: sources.optional("sms.token", secret),
            twilio_from: sources.optional("sms.from", plain),
            twilio_url: sources.required("sms.base_url", http_url),
            fcm_project: sources.optional("push.project", plain),
            fcm_credentials: sources.required("push.credentials", plain),
            fcm_url: sources.required("push.base_url", http_url),
            slack_webhook: sources.optional("slack.webhook_url", |text| http_url(text).and_then(|url| secret(&url))),
        }
    }

    /// Everything goes to the sandbox's providers.
    pub fn sandboxed(&mut self, providers: &Providers) {
        let options = providers.options();
        *self = Messaging {
            channels: Channel::ALL.into_iter().collect(),
            mail_webhook_secret: self.mail_webhook_secret.take(),
            twilio_account: Some(options.account_sid.clone()),
            twilio_token: Some(Secret::new(&options.auth_token)),
            twilio_from: Some(SANDBOX_NUMBER.to_owned()),
            twilio_url: providers.url(),
            fcm_project: Some(options.project.clone()),
            fcm_credentials: providers.url(),
            fcm_url: providers.url(),
            slack_webhook: Some(Secret::new(&providers.slack_url())),
        };
    }

    /// What a worker needs, as variables.
    pub(super) fn for_workers(&self) -> Vec<(String, String)> {
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
        let all = [
            ("SAGALINE_NOTIFICATION_CHANNELS", self.shown("notifications.channels")),
            ("TWILIO_ACCOUNT_SID", self.twilio_account.clone()),
            ("TWILIO_AUTH_TOKEN", secret(&self.twilio_token)),
            ("TWILIO_FROM", self.twilio_from.clone()),
            ("TWILIO_BASE_URL", Some(self.twilio_url.clone())),
            ("FCM_PROJECT", self.fcm_project.clone()),
            ("FCM_CREDENTIALS", Some(self.fcm_credentials.clone())),
            ("FCM_BASE_URL", Some(self.fcm_url.clone())),
            ("SLACK_WEBHOOK_URL", secret(&self.slack_webhook)),
        ];
        let set = all
            .into_iter()
            .filter_map(|(variable, value)| Some((variable.to_owned(), value?)));
        set.collect()
    }

    /// Whether a setting is one of these.
    pub(super) fn has(key: &str) -> bool {
        let (part, _) = key.split_once('.').unwrap_or((key, ""));
        matches!(part, "notifications" | "sms" | "push" | "slack") || key == "smtp.webhook_secret"
    }

    /// A setting's value for people.
    pub(super) fn shown(&self, key: &str) -> Option<String> {
        match key {
            "notifications.channels" => {
                let names: Vec<&str> = self.channels.iter().map(|channel| channel.as_str()).collect();
                Some(names.join(","))
            }
            "smtp.webhook_secret" => self.mail_webhook_secret.as_ref().map(Secret::to_string),
            "sms.account" => self.twilio_account.clone(),
            "sms.token" => self.twilio_token.as_ref().map(Secret::to_string),
            "sms.from" => self.twilio_from.clone(),
            "sms.base_url" => Some(self.twilio_url.clone()),
            "push.project" => self.fcm_project.clone(),
            "push.credentials" => Some(self.fcm_credentials.clone()),
            "push.base_url" => Some(self.fcm_url.clone()),
            "slack.webhook_url" => self.slack_webhook.as_ref().map(Secret::to_string),
            _ => None,
        }
    }

    /// Whether a setting that some command can't do without isn't there.
    pub(super) fn lacks(&self, key: &str) -> bool {
        Messaging::has(key) && self.shown(key).is_none()
    }
}

fn channels(text: &str) -> Result<BTreeSet<Channel>, String> {
    let channel = |name: &str| {
        let problem = || format!("there is no channel {name:?}; there are email, sms, push and slack");
        Channel::parse(name).ok_or_else(problem)
    };
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(channel)
        .collect()
}

/// It becomes a part of URLs.
fn account(text: &str) -> Result<String, String> {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err("it must be letters and digits, AC…".to_owned())
    }
}

//! The providers of messages, as set.

use std::sync::Arc;

use activities::notifications::push::{Fcm, FcmConfig};
use activities::notifications::slack::Slack;
use activities::notifications::sms::{Twilio, TwilioConfig};
use activities::notifications::{self, Channel, GoogleCredentials, MailConfig, Mailer, Provider, TicketPrinter};
use activities::{Registry, accounts};
use anyhow::Context;
use sqlx::PgPool;

use crate::settings::{Secret, Settings};

/// Which settings the activities of a queue need.
pub fn needs(queue: &str) -> &'static [&'static str] {
    match queue {
        "notifications" | "email" => &["smtp.url"],
        "sms" => &["sms.account", "sms.token", "sms.from"],
        "push" => &["push.project"],
        "slack" => &["slack.webhook_url"],
        _ => &[],
    }
}

/// Registers the activities of a queue of messages.
pub fn register(registry: &mut Registry, settings: &Settings, pool: &PgPool, queue: &str) -> anyhow::Result<()> {
    let texts = "the texts of messages are not in order";
    let Some(channel) = Channel::parse(queue) else {
        let channels = settings.messaging.channels.clone();
        notifications::register(registry, pool.clone(), channels).context(texts)?;
        let shop_url = settings.shop_url.clone();
        return accounts::register(registry, pool.clone(), mailer(settings)?, shop_url).context(texts);
    };
    let provider: Arc<dyn Provider> = match channel {
        Channel::Email => Arc::new(mailer(settings)?),
        Channel::Sms => Arc::new(twilio(settings)?),
        Channel::Push => Arc::new(fcm(settings)?),
        Channel::Slack => {
            let url = revealed(settings.messaging.slack_webhook.as_ref(), "SLACK_WEBHOOK_URL")?;
            Arc::new(Slack::new(&url).context("setting up Slack's client")?)
        }
    };
    let printer = match channel {
        Channel::Email => printer(settings)?,
        Channel::Sms | Channel::Push | Channel::Slack => None,
    };
    notifications::register_channel(registry, pool.clone(), channel, provider, printer).context(texts)
}

/// What prints tickets for mails; none, where nobody has said how to ask for them.
fn printer(settings: &Settings) -> anyhow::Result<Option<TicketPrinter>> {
    let printer = settings
        .internal_secret
        .as_ref()
        .map(|secret| TicketPrinter::new(&settings.shop_gateway_url, secret.reveal()));
    printer.transpose().context("setting up what prints tickets")
}

fn mailer(settings: &Settings) -> anyhow::Result<Mailer> {
    let config = MailConfig {
        url: revealed(settings.smtp_url.as_ref(), "SMTP_URL")?,
        from: settings.mail_from.clone(),
    };
    Mailer::new(&config).context("setting up the mail client")
}

fn twilio(settings: &Settings) -> anyhow::Result<Twilio> {
    let set = &settings.messaging;
    let config = TwilioConfig {
        base_url: set.twilio_url.clone(),
        account_sid: set.twilio_account.clone().context("TWILIO_ACCOUNT_SID is not set")?,
        auth_token: revealed(set.twilio_token.as_ref(), "TWILIO_AUTH_TOKEN")?,
        from: set.twilio_from.clone().context("TWILIO_FROM is not set")?,
        callback_url: format!("{}/webhooks/twilio", settings.shop_url),
    };
    Twilio::new(&config).context("setting up Twilio's client")
}

fn fcm(settings: &Settings) -> anyhow::Result<Fcm> {
    let set = &settings.messaging;
    let credentials = if set.fcm_credentials.starts_with("http") {
        GoogleCredentials::Metadata(set.fcm_credentials.clone())
    } else {
        let file = &set.fcm_credentials;
        let json = std::fs::read_to_string(file).with_context(|| format!("reading the service account in {file}"))?;
        GoogleCredentials::ServiceAccount(json)
    };
    let config = FcmConfig {
        base_url: set.fcm_url.clone(),
        project: set.fcm_project.clone().context("FCM_PROJECT is not set")?,
        credentials,
    };
    Fcm::new(&config).context("setting up Firebase Cloud Messaging's client")
}

fn revealed(secret: Option<&Secret>, variable: &str) -> anyhow::Result<String> {
    let secret = secret.with_context(|| format!("{variable} is not set"))?;
    Ok(secret.reveal().to_owned())
}

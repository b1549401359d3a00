//! Messages to buyers, and to operations: by e-mail, SMS, push and Slack.
//!
//! [`request`] writes down what is to be sent, one row a message; [`deliver`] sends one, by a [`Provider`]. What a message says, and in which
//! language, is [`content`]'s and [`words`]'. The rest is one provider each.

pub mod content;
pub mod email;
pub mod printer;
pub mod provider;
pub mod push;
pub mod request;
pub mod sink;
pub mod slack;
pub mod sms;
pub mod words;

mod deliver;
mod google;
mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

pub use content::ContentError;
pub use email::{MailConfig, MailConfigError, Mailer};
pub use google::GoogleCredentials;
pub use printer::TicketPrinter;
pub use provider::{Provider, ProviderConfigError};
pub use sink::SmtpSink;
pub(crate) use store::sent::Sending;

use crate::activity::Registry;
use crate::typed::{Failure, TypedBatch};

/// The queue of what waits for no provider of ours: wishes for messages, and mails about accounts.
pub const QUEUE: &str = workflows::tickets::notification::QUEUE;

/// What a message goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// To an address.
    Email,
    /// To a telephone's number.
    Sms,
    /// To a device.
    Push,
    /// To operations.
    Slack,
}

impl Channel {
    /// All of them.
    pub const ALL: [Channel; 4] = [Channel::Email, Channel::Sms, Channel::Push, Channel::Slack];

    /// Its name, and its queue's.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Sms => "sms",
            Channel::Push => "push",
            Channel::Slack => "slack",
        }
    }

    /// The channel of this name.
    pub fn parse(name: &str) -> Option<Channel> {
        Channel::ALL.into_iter().find(|channel| channel.as_str() == name)
    }

    fn activity(self) -> &'static str {
        match self {
            Channel::Email => "notifications.email",
            Channel::Sms => "notifications.sms",
            Channel::Push => "notifications.push",
            Channel::Slack => "notifications.slack",
        }
    }
}

/// Registers `notifications.request`, for the channels that are set up.
///
/// # Errors
/// If a message's texts are not there, or name what is not given to them.
pub fn register(registry: &mut Registry, pool: PgPool, channels: BTreeSet<Channel>) -> Result<(), ContentError> {
    content::check()?;
    let activity = request::Request::new(pool, channels);
    registry.batch(QUEUE, Arc::new(TypedBatch(activity)));
    Ok(())
}

/// Registers what sends by one channel, on the queue of its name; with a printer, confirmations have their tickets with them.
///
/// # Errors
/// If a message's texts are not there, or name what is not given to them.
pub fn register_channel(
    registry: &mut Registry,
    pool: PgPool,
    channel: Channel,
    provider: Arc<dyn Provider>,
    printer: Option<TicketPrinter>,
) -> Result<(), ContentError> {
    content::check()?;
    let activity = deliver::Deliver::new(channel, pool, provider, printer);
    registry.single(channel.as_str(), Arc::new(activity));
    Ok(())
}

pub(crate) fn unanswered(error: &sqlx::Error) -> Failure {
    Failure::Unknown {
        message: format!("the notifications' database did not answer: {error}"),
    }
}

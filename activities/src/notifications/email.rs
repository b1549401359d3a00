//! `notifications.email`: one message to one buyer.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::transport::smtp::{Error as SmtpError, PoolConfig};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

use super::message::{compose, message_id};
use super::store::{self, About, Claimed, Sending};
use crate::activity::TaskContext;
use crate::typed::{Failure, INTERNAL, TypedActivity};

/// There is no address, or it is none. Permanent.
pub const NO_RECIPIENT: &str = "no_recipient";
/// The mail server refused the message for good (5xx). Permanent.
pub const SMTP_REJECTED: &str = "smtp_rejected";
/// The mail server can't be reached or asks to come again (4xx). Retryable.
pub const SMTP_UNAVAILABLE: &str = "smtp_unavailable";

/// How long each step of a conversation with the mail server may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nobody else sends: longer than a whole conversation, which has about eight steps.
const LEASE: Duration = Duration::from_secs(60);
/// Connections to the mail server, at most, and how long an idle one is kept.
const CONNECTIONS_MAX: u32 = 8;
const CONNECTION_IDLE: Duration = Duration::from_secs(30);

/// Where and as whom to send.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// `smtp://host:port` (add `?tls=required` for STARTTLS) or `smtps://user:password@host`.
    pub url: String,
    /// The sender, as `Name <address>`.
    pub from: String,
}

/// What is wrong with a [`MailConfig`].
#[derive(Debug, Error)]
pub enum MailConfigError {
    /// Its URL. Not repeated here, for it may have a password in it.
    #[error("the mail server's URL is not like smtp://host:port or smtps://user:password@host: {0}")]
    Url(SmtpError),
    /// Its sender.
    #[error("the mail's sender {from:?} is not like \"Name <address>\": {problem}")]
    From {
        /// What was given.
        from: String,
        /// What is wrong with it.
        problem: lettre::address::AddressError,
    },
}

/// A way to send: a sender and a pool of connections. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Connects when the first message is sent, not now.
    pub fn new(config: &MailConfig) -> Result<Self, MailConfigError> {
        let from = config.from.parse::<Mailbox>();
        let from = from.map_err(|problem| MailConfigError::From {
            from: config.from.clone(),
            problem,
        })?;
        let pool = PoolConfig::new()
            .max_size(CONNECTIONS_MAX)
            .idle_timeout(CONNECTION_IDLE);
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.url).map_err(MailConfigError::Url)?;
        let transport = transport.timeout(Some(STEP_TIMEOUT)).pool_config(pool).build();
        Ok(Mailer { transport, from })
    }

    /// The sender.
    pub(crate) fn from(&self) -> &Mailbox {
        &self.from
    }

    /// The id of the message that is sent under this key.
    pub(crate) fn message_id(&self, key: &str) -> String {
        message_id(key, &self.from)
    }
}

/// What `notifications.email` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailInput {
    /// What it is about.
    pub booking_id: Uuid,
    /// The buyer's address.
    pub to: Option<String>,
    /// What to say.
    pub template: TemplateName,
    /// The facts.
    pub data: TemplateData,
}

/// What to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemplateName {
    /// The tickets are yours.
    BookingConfirmed,
    /// The booking has ended, or some of its seats were given back; their money comes back.
    BookingCancelled,
    /// The event was called off.
    EventCancelled,
}

impl TemplateName {
    fn as_str(self) -> &'static str {
        match self {
            TemplateName::BookingConfirmed => "booking_confirmed",
            TemplateName::BookingCancelled => "booking_cancelled",
            TemplateName::EventCancelled => "event_cancelled",
        }
    }
}

/// The facts that a template shows.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateData {
    /// The event's name.
    pub event: String,
    /// Where.
    pub venue: String,
    /// When: RFC 3339, or any text.
    pub date: String,
    /// The seats' ids.
    pub seats: Vec<String>,
    /// The price, in minor units.
    pub total_cents: i64,
    /// ISO 4217.
    pub currency: String,
    /// Given with `booking_confirmed`.
    pub confirmation_number: Option<String>,
}

/// What `notifications.email` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The message's Message-ID.
    pub message_id: String,
    /// The recipient's address.
    pub to: String,
}

/// `notifications.email`.
pub struct Email {
    pool: PgPool,
    mailer: Mailer,
}

impl Email {
    /// With this database and this mail server.
    pub fn new(pool: PgPool, mailer: Mailer) -> Self {
        Email { pool, mailer }
    }
}

#[async_trait]
impl TypedActivity for Email {
    type Input = EmailInput;
    type Output = Sent;
    const NAME: &'static str = "notifications.email";
    const CODES: &'static [&'static str] = &[NO_RECIPIENT, SMTP_REJECTED, SMTP_UNAVAILABLE];

    async fn run(&self, context: &TaskContext, input: EmailInput) -> Result<Sent, Failure> {
        let to = recipient(&input)?;
        if input.template == TemplateName::BookingConfirmed && input.data.confirmation_number.is_none() {
            return Err(Failure::invalid_input(
                "/data/confirmationNumber",
                "needed to confirm a booking",
            ));
        }
        let message_id = message_id(&context.key, &self.mailer.from);
        let sent = Sent {
            message_id: message_id.clone(),
            to: to.to_string(),
        };
        let message = compose(&input, &self.mailer.from, Mailbox::new(None, to), &message_id)
            .map_err(|error| Failure::permanent(INTERNAL, error.to_string()))?;

        let sending = Sending {
            key: &context.key,
            about: About::Booking(input.booking_id),
            recipient: &sent.to,
            template: input.template.as_str(),
            message_id: &message_id,
        };
        if claim(&self.pool, &sending).await? {
            hand_over(&self.pool, &self.mailer, &context.key, message).await?;
        }
        Ok(sent)
    }
}

/// Whether the message is ours to send, while a lease lasts; if not, it went out before.
pub(crate) async fn claim(pool: &PgPool, sending: &Sending<'_>) -> Result<bool, Failure> {
    let claimed = store::claim(pool, sending, LEASE).await;
    match claimed.map_err(|error| unanswered(&error))? {
        Claimed::Ours => Ok(true),
        Claimed::Sent => Ok(false),
        Claimed::Theirs => Err(Failure::Unknown {
            message: "another attempt at this message is under way".to_owned(),
        }),
    }
}

/// Hands over a message that is ours to send. In a task of its own: if nobody waits for it any more, the conversation still comes to its
/// end and is written down.
pub(crate) async fn hand_over(pool: &PgPool, mailer: &Mailer, key: &str, message: Message) -> Result<(), Failure> {
    let send = send(pool.clone(), mailer.clone(), key.to_owned(), message);
    tokio::spawn(send).await.unwrap_or_else(|error| {
        Err(Failure::Unknown {
            message: format!("sending broke off: {error}"),
        })
    })
}

/// Leaves a message that was ours to the next attempt.
pub(crate) async fn give_up(pool: &PgPool, key: &str) {
    if let Err(error) = store::give_up_lease(pool, key).await {
        tracing::warn!(%key, %error, "the lease of an unsent message stays until it ends");
    }
}

fn recipient(input: &EmailInput) -> Result<Address, Failure> {
    let to = input.to.as_deref().map(str::trim).filter(|to| !to.is_empty());
    address(to.ok_or_else(|| Failure::permanent(NO_RECIPIENT, "the booking has no e-mail address"))?)
}

/// An address to write to.
pub(crate) fn address(to: &str) -> Result<Address, Failure> {
    to.parse()
        .map_err(|error| Failure::permanent(NO_RECIPIENT, format!("{to:?} is not an e-mail address: {error}")))
}

/// Hands the message over and writes down what came of it.
async fn send(pool: PgPool, mailer: Mailer, key: String, message: Message) -> Result<(), Failure> {
    match mailer.transport.send(message).await {
        Ok(_) => {
            metrics::counter!("sagaline_emails_total", "outcome" => "sent").increment(1);
            // If this fails the message is out all the same, and may go out again: see the module's documentation.
            store::mark_sent(&pool, &key).await.map_err(|error| unanswered(&error))
        }
        Err(error) => {
            metrics::counter!("sagaline_emails_total", "outcome" => "failed").increment(1);
            give_up(&pool, &key).await;
            Err(classify(&error))
        }
    }
}

/// What a failed conversation means.
fn classify(error: &SmtpError) -> Failure {
    let message = with_sources(error);
    match error.status().map(|code| code.to_string()) {
        // The server does not know us, or wants another way in: a matter of settings, not of this message.
        Some(code) if ["530", "534", "535", "538"].contains(&code.as_str()) => {
            Failure::retryable(SMTP_UNAVAILABLE, message)
        }
        Some(_) if error.is_permanent() => Failure::permanent(SMTP_REJECTED, message),
        Some(_) => Failure::retryable(SMTP_UNAVAILABLE, message),
        None if error.is_client() => Failure::permanent(SMTP_REJECTED, message),
        None if error.is_tls() || never_connected(error) => Failure::retryable(SMTP_UNAVAILABLE, message),
        None => Failure::Unknown { message },
    }
}

fn never_connected(error: &SmtpError) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound};
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let kinds = [
                AddrNotAvailable,
                ConnectionRefused,
                HostUnreachable,
                NetworkUnreachable,
                NotFound,
            ];
            return kinds.contains(&error.kind());
        }
        source = cause.source();
    }
    false
}

fn with_sources(error: &SmtpError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

pub(crate) fn unanswered(error: &sqlx::Error) -> Failure {
    Failure::Unknown {
        message: format!("the notifications' database did not answer: {error}"),
    }
}

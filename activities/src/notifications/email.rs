//! E-mail over SMTP: the provider of one channel, and what sends the mails about accounts.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart};
use lettre::transport::smtp::{Error as SmtpError, PoolConfig};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use thiserror::Error;

use super::provider::{NO_RECIPIENT, Outgoing, PROVIDER_UNAVAILABLE, Provider, REJECTED};
use super::store::sent::{self, Claimed, Sending};
use super::unanswered;
use crate::typed::Failure;

/// How long connecting to the mail server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole conversation with it may take: shorter than the lease, and than the attempt. Past it nobody knows whether it took the message.
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(45);
/// How long nobody else sends: longer than a whole conversation.
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
        let transport = transport.timeout(Some(CONNECT_TIMEOUT)).pool_config(pool).build();
        Ok(Mailer { transport, from })
    }

    /// The sender.
    pub(crate) fn from(&self) -> &Mailbox {
        &self.from
    }

    /// The id of the message that is sent under this key: the same for every attempt at one effect, so that a repeat is recognised as one.
    pub(crate) fn message_id(&self, key: &str) -> String {
        let digest = Sha256::digest(key.as_bytes());
        format!("<{}@{}>", hex::encode(&digest[..16]), self.from.email.domain())
    }
}

#[async_trait]
impl Provider for Mailer {
    async fn send(&self, outgoing: &Outgoing) -> Result<String, Failure> {
        let to = address(&outgoing.recipient)?;
        // The row's id is in it: a bounce is known by it.
        let message_id = format!("<{}@{}>", outgoing.id, self.from.email.domain());
        let content = &outgoing.content;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(content.subject.clone())
            .message_id(Some(message_id.clone()))
            .multipart(body(outgoing))
            .map_err(|error| Failure::permanent(REJECTED, format!("it does not make a message: {error}")))?;
        self.hand(message).await?;
        Ok(message_id)
    }
}

/// Its words, twice; and its tickets, if it has any.
fn body(outgoing: &Outgoing) -> MultiPart {
    let content = &outgoing.content;
    let words = MultiPart::alternative_plain_html(content.text.clone(), content.html.clone());
    let (Some(tickets), Ok(pdf)) = (&outgoing.tickets, ContentType::parse("application/pdf")) else {
        return words;
    };
    let attachment = Attachment::new("tickets.pdf".to_owned()).body(tickets.to_vec(), pdf);
    MultiPart::mixed().multipart(words).singlepart(attachment)
}

/// What sending a mail about an account gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The message's Message-ID.
    pub message_id: String,
    /// The recipient's address.
    pub to: String,
}

/// Whether the message is ours to send, while a lease lasts; if not, it went out before.
pub(crate) async fn claim(pool: &PgPool, sending: &Sending<'_>) -> Result<bool, Failure> {
    let claimed = sent::claim(pool, sending, LEASE).await;
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
    if let Err(error) = sent::give_up_lease(pool, key).await {
        tracing::warn!(%key, %error, "the lease of an unsent message stays until it ends");
    }
}

/// An address to write to.
pub(crate) fn address(to: &str) -> Result<Address, Failure> {
    to.parse()
        .map_err(|error| Failure::permanent(NO_RECIPIENT, format!("{to:?} is not an e-mail address: {error}")))
}

impl Mailer {
    async fn hand(&self, message: Message) -> Result<(), Failure> {
        match tokio::time::timeout(CONVERSATION_TIMEOUT, self.transport.send(message)).await {
            Ok(taken) => taken.map(drop).map_err(|error| classify(&error)),
            Err(_) => Err(Failure::Unknown {
                message: "the mail server did not answer in time".to_owned(),
            }),
        }
    }
}

/// Hands the message over and writes down what came of it.
async fn send(pool: PgPool, mailer: Mailer, key: String, message: Message) -> Result<(), Failure> {
    let handed_over = mailer.hand(message).await;
    let outcome = if handed_over.is_ok() { "sent" } else { "failed" };
    metrics::counter!("sagaline_emails_total", "outcome" => outcome).increment(1);
    match handed_over {
        // If this fails the message is out all the same, and may go out again, with the same Message-ID.
        Ok(()) => sent::mark_sent(&pool, &key).await.map_err(|error| unanswered(&error)),
        Err(failure) => {
            give_up(&pool, &key).await;
            Err(failure)
        }
    }
}

/// What a failed conversation means.
fn classify(error: &SmtpError) -> Failure {
    let message = with_sources(error);
    match error.status().map(|code| code.to_string()) {
        // The server does not know us, or wants another way in: a matter of settings, not of this message.
        Some(code) if ["530", "534", "535", "538"].contains(&code.as_str()) => {
            Failure::retryable(PROVIDER_UNAVAILABLE, message)
        }
        Some(_) if error.is_permanent() => Failure::permanent(REJECTED, message),
        Some(_) => Failure::retryable(PROVIDER_UNAVAILABLE, message),
        None if error.is_client() => Failure::permanent(REJECTED, message),
        None if error.is_tls() || never_connected(error) => Failure::retryable(PROVIDER_UNAVAILABLE, message),
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

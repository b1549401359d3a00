//! `notifications.email`, `.sms`, `.push` and `.slack`: hand one message to its provider.
//!
//! **What "sent once" means here.** A message's row is claimed for a lease before its provider is asked, and says *sent* after. A repeated task finds
//! that and sends nothing. What remains is the providers' own gap: if the connection is cut, or this process dies, after the message was handed
//! over and before that is written down, nobody knows, and the message is sent again; an e-mail then has the same Message-ID and a push message the
//! same tag, by which they are recognised as one. So: at least once, and more than once only after such a cut.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;
use workflows::protocol::Outcome;

use super::TicketPrinter;
use super::content::{self, Kind, MessageData};
use super::provider::{
    NO_MESSAGE, NO_RECIPIENT, Outgoing, PROVIDER_UNAVAILABLE, Provider, RATE_LIMITED, REJECTED, UNREGISTERED,
};
use super::store::messages::{self, Attempt, Claimed, Row};
use super::words::Language;
use super::{Channel, unanswered};
use crate::activity::{Activity, Schemas, TaskContext};
use crate::typed::{self, Failure, INTERNAL};

/// How long nobody else sends: longer than a whole conversation with any provider.
const LEASE: Duration = Duration::from_secs(60);
/// What has tickets: [`Kind::BookingConfirmed`].
const KIND_WITH_TICKETS: &str = "booking_confirmed";
/// Attempts at a message that wait for its tickets: some two minutes, with the step's backoff. They can be had from the shop too.
const PRINT_ATTEMPTS_MAX: i32 = 8;
/// Characters of what was wrong that are kept.
const PROBLEM_CHARS_MAX: usize = 500;
const CODES: [&str; 6] = [
    NO_RECIPIENT,
    REJECTED,
    UNREGISTERED,
    NO_MESSAGE,
    PROVIDER_UNAVAILABLE,
    RATE_LIMITED,
];

/// What a delivery needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliverInput {
    /// The message's row, which has the rest.
    pub notification_id: Uuid,
}

/// What a delivery gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// The provider's name for the message.
    pub message_id: String,
}

/// Delivers by one channel.
#[derive(Clone)]
pub(super) struct Deliver {
    channel: Channel,
    pool: PgPool,
    provider: Arc<dyn Provider>,
    printer: Option<TicketPrinter>,
}

impl Deliver {
    pub(super) fn new(
        channel: Channel,
        pool: PgPool,
        provider: Arc<dyn Provider>,
        printer: Option<TicketPrinter>,
    ) -> Self {
        Deliver {
            channel,
            pool,
            provider,
            printer,
        }
    }

    async fn deliver(&self, id: Uuid) -> Result<Delivered, Failure> {
        let claimed = messages::claim(&self.pool, id, self.channel.as_str(), LEASE).await;
        match claimed.map_err(|error| unanswered(&error))? {
            Claimed::Ours(row) => {
                let this = self.clone();
                // In a task of its own: if nobody waits for it any more, the conversation still comes to its end and is written down.
                let sending = tokio::spawn(async move { this.send(row).await });
                sending.await.unwrap_or_else(|error| {
                    Err(Failure::Unknown {
                        message: format!("sending broke off: {error}"),
                    })
                })
            }
            Claimed::Sent(message_id) => Ok(Delivered { message_id }),
            Claimed::Failed(problem) => Err(Failure::permanent(REJECTED, problem)),
            Claimed::Theirs => Err(Failure::Unknown {
                message: "another attempt at this message is under way".to_owned(),
            }),
            Claimed::Missing => Err(Failure::permanent(NO_MESSAGE, "there is no such message")),
        }
    }

    async fn send(&self, row: Row) -> Result<Delivered, Failure> {
        let recipient = row.recipient.clone();
        let attempt = Attempt {
            id: row.id,
            number: row.attempts,
        };
        let id = row.id;
        let handed_over = match self.prepare(row).await {
            Ok(message) => self.provider.send(&message).await,
            Err(failure) => Err(failure),
        };
        let outcome = if handed_over.is_ok() { "sent" } else { "failed" };
        metrics::counter!("sagaline_notifications_total", "channel" => self.channel.as_str(), "outcome" => outcome)
            .increment(1);
        match handed_over {
            Ok(message_id) => {
                // If this fails the message is out all the same, and may go out again: see the module's documentation.
                let marked = messages::mark_sent(&self.pool, id, &message_id).await;
                marked.map_err(|error| unanswered(&error))?;
                Ok(Delivered { message_id })
            }
            Err(failure) => {
                if let Err(error) = self.note(attempt, &recipient, &failure).await {
                    tracing::warn!(message = %id, %error, "the lease of an unsent message stays until it ends");
                }
                Err(failure)
            }
        }
    }

    /// The message, with its tickets if it is to have them and they can be had. A gateway that is away is waited for, for a while.
    async fn prepare(&self, row: Row) -> Result<Outgoing, Failure> {
        let attempt = row.attempts;
        let message = outgoing(row)?;
        let (Some(printer), Some(booking), KIND_WITH_TICKETS) = (&self.printer, message.booking_id, message.kind)
        else {
            return Ok(message);
        };
        let tickets = match printer.print(booking).await {
            Ok(tickets) => tickets,
            Err(problem) if attempt < PRINT_ATTEMPTS_MAX => {
                let message = format!("the tickets can't be attached yet: {problem}");
                return Err(Failure::retryable(PROVIDER_UNAVAILABLE, message));
            }
            Err(problem) => {
                tracing::warn!(message = %message.id, %booking, problem, "a mail goes out without its tickets");
                None
            }
        };
        let outcome = if tickets.is_some() { "attached" } else { "missing" };
        metrics::counter!("sagaline_tickets_attached_total", "outcome" => outcome).increment(1);
        Ok(Outgoing { tickets, ..message })
    }

    /// Writes down why it was not sent, and ends the lease so that the next attempt need not wait for its end.
    async fn note(&self, attempt: Attempt, recipient: &str, failure: &Failure) -> Result<(), sqlx::Error> {
        let (code, words, is_over) = match failure {
            Failure::Failed {
                code,
                message,
                retryable,
                ..
            } => (*code, message.as_str(), !retryable && *code != INTERNAL),
            Failure::Unknown { message } => ("unknown", message.as_str(), false),
            Failure::Pending { .. } => ("pending", "", false),
        };
        let problem: String = format!("{code}: {words}").chars().take(PROBLEM_CHARS_MAX).collect();
        if code == UNREGISTERED && self.channel == Channel::Push {
            messages::remove_device(&self.pool, recipient).await?;
        }
        if is_over {
            messages::mark_failed(&self.pool, attempt, &problem).await
        } else {
            messages::give_up_lease(&self.pool, attempt, &problem).await
        }
    }
}

#[async_trait]
impl Activity for Deliver {
    fn name(&self) -> &'static str {
        self.channel.activity()
    }

    fn schemas(&self) -> Schemas {
        typed::schemas::<DeliverInput, Delivered>(&CODES)
    }

    async fn run(&self, _context: &TaskContext, input: Value) -> Outcome {
        let input = typed::decode::<DeliverInput>(input);
        let delivered = match input {
            Ok(input) => self.deliver(input.notification_id).await,
            Err(failure) => Err(failure),
        };
        typed::encode(delivered)
    }
}

fn outgoing(row: Row) -> Result<Outgoing, Failure> {
    let unreadable = |what: &str| Failure::permanent(INTERNAL, format!("the message's {what} is not known here"));
    let kind = Kind::parse(&row.kind).ok_or_else(|| unreadable("kind"))?;
    let language = Language::parse(&row.language).ok_or_else(|| unreadable("language"))?;
    let data: MessageData = serde_json::from_value(row.data)
        .map_err(|error| Failure::permanent(INTERNAL, format!("the message's data can't be read: {error}")))?;
    let content = content::render(kind, language, row.booking_id.unwrap_or_default(), &data)
        .map_err(|error| Failure::permanent(INTERNAL, error.to_string()))?;
    Ok(Outgoing {
        id: row.id,
        booking_id: row.booking_id,
        kind: kind.as_str(),
        recipient: row.recipient,
        content,
        tickets: None,
    })
}

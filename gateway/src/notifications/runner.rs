//! Tells the engine of messages that are to be sent, and of their receipts: each becomes a small saga, a hundred by one request, under keys that
//! make a repetition harmless. While the engine is away messages wait.

use orchestrator::client::{ClientError, StartRequest};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use workflows::tickets::notification;

use super::store::messages::{self, Due};
use crate::app::App;
use crate::background::{Chore, Next, Seldom, clear_away};
use crate::limits::{
    NOTIFICATIONS_BATCH_MAX, NOTIFICATIONS_LEASE, NOTIFICATIONS_PURGE_EVERY, NOTIFICATIONS_PURGE_MAX,
    NOTIFICATIONS_RETENTION,
};
use crate::users::UserId;

/// How the keys begin under which messages' sagas are started, and their receipts'.
pub const NOTIFICATION_KEYS: &str = "notification/";
/// See above.
pub const RECEIPT_KEYS: &str = "notification-receipt/";

/// What the engine is to be told of messages. And what is old is forgotten.
pub struct Messages {
    purge: Seldom,
}

impl Default for Messages {
    fn default() -> Self {
        Messages {
            purge: Seldom::every(NOTIFICATIONS_PURGE_EVERY),
        }
    }
}

impl Chore for Messages {
    const NAME: &'static str = "telling of messages";

    /// Tells of one batch. What the engine does not take comes again when its lease ends.
    async fn work(&self, app: &App) -> Result<Next, sqlx::Error> {
        let due = messages::claim(app.pool(), NOTIFICATIONS_BATCH_MAX, NOTIFICATIONS_LEASE).await?;
        let pause = Next::Pause(app.options().inbox_poll_interval);
        if due.is_empty() {
            return Ok(Next::Idle(app.options().inbox_poll_interval));
        }
        let started = match app.engine().start_bulk(due.iter().map(request).collect()).await {
            Ok(started) => started,
            Err(error) => {
                metrics::counter!("sagaline_gateway_notifications_failed_total").increment(due.len() as u64);
                tracing::debug!(messages = due.len(), %error, "messages have to wait for the engine");
                return Ok(pause);
            }
        };
        let mut told = Vec::with_capacity(due.len());
        for (message, started) in due.iter().zip(started) {
            match started {
                // Told before, though the answer was lost.
                Ok(_) | Err(ClientError::KeyReused { .. }) => told.push((message.id, message.tell_at)),
                Err(error) => {
                    metrics::counter!("sagaline_gateway_notifications_failed_total").increment(1);
                    tracing::warn!(message = %message.id, %error, "a message has to wait for its saga");
                }
            }
        }
        messages::told(app.pool(), &told).await?;
        // A full batch means that more is likely waiting.
        let is_full = i64::try_from(due.len()) == Ok(NOTIFICATIONS_BATCH_MAX);
        Ok(if is_full { Next::AtOnce } else { pause })
    }

    async fn rest(&mut self, app: &App, shutdown: &CancellationToken) {
        if self.purge.is_due() {
            let purge = || messages::purge(app.pool(), NOTIFICATIONS_RETENTION, NOTIFICATIONS_PURGE_MAX);
            clear_away(
                "messages, and mails about accounts",
                NOTIFICATIONS_PURGE_MAX,
                shutdown,
                purge,
            )
            .await;
        }
    }
}

fn request(message: &Due) -> StartRequest {
    let (workflow, key) = if message.is_receipt {
        (
            notification::RECEIPT,
            format!("{RECEIPT_KEYS}{}/{}", message.id, message.status),
        )
    } else {
        (notification::NAME, format!("{NOTIFICATION_KEYS}{}", message.id))
    };
    StartRequest {
        workflow: workflow.to_owned(),
        input: input(message),
        idempotency_key: Some(key),
        ..StartRequest::default()
    }
}

fn input(message: &Due) -> Value {
    let mut input = Map::from_iter([
        ("notificationId".to_owned(), json!(message.id)),
        ("channel".to_owned(), json!(message.channel)),
        ("kind".to_owned(), json!(message.kind)),
    ]);
    let mut add = |name: &str, value: Option<Value>| input.extend(value.map(|value| (name.to_owned(), value)));
    add("bookingId", message.booking_id.map(|id| json!(id)));
    add("userId", message.account_id.map(|id| json!(UserId(id).to_string())));
    // A device's token is a key to it, and no address: it is in no saga.
    let is_address = matches!(message.channel.as_str(), "email" | "sms");
    add("to", is_address.then(|| json!(message.recipient)));
    if message.is_receipt {
        add("status", Some(json!(message.status)));
        add("reason", message.problem.as_ref().map(|problem| json!(problem)));
    }
    Value::Object(input)
}

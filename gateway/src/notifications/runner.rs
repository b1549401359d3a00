//! Tells the engine of messages that are to be sent, and of their receipts: each becomes a small saga, a hundred by one request, under keys that
//! make a repetition harmless. Any number of gateways run this side by side. While the engine is away messages wait.

use orchestrator::client::{ClientError, StartRequest};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use workflows::tickets::notification;

use super::store::messages::{self, Due};
use crate::app::App;
use crate::limits::{NOTIFICATIONS_BATCH_MAX, NOTIFICATIONS_LEASE};
use crate::users::UserId;

/// How the keys begin under which messages' sagas are started, and their receipts'.
pub const NOTIFICATION_KEYS: &str = "notification/";
/// See above.
pub const RECEIPT_KEYS: &str = "notification-receipt/";

/// Tells until told to stop.
pub async fn run(app: App, shutdown: CancellationToken) {
    // Said once per outage, not once per second.
    let mut is_failing = false;
    while !shutdown.is_cancelled() {
        let told = tell_due(&app).await;
        if let (Err(error), false) = (&told, is_failing) {
            tracing::warn!(%error, "the engine can't be told of messages; will try again");
        }
        is_failing = told.is_err();
        // A full batch means that more is likely waiting.
        if told.is_ok_and(|count| count as i64 == NOTIFICATIONS_BATCH_MAX) {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = tokio::time::sleep(app.options().inbox_poll_interval) => (),
        }
    }
}

/// Why a batch was not told.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Engine(#[from] ClientError),
}

/// Tells of one batch, and says how many messages that were. What the engine does not take comes again when its lease ends.
async fn tell_due(app: &App) -> Result<usize, TellError> {
    let due = messages::claim(app.pool(), NOTIFICATIONS_BATCH_MAX, NOTIFICATIONS_LEASE).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let started = app.engine().start_bulk(due.iter().map(request).collect()).await?;
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
    Ok(due.len())
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

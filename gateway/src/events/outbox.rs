//! Tells the engine what happened to events: each change becomes a small saga, which publishes it.

use std::time::Duration;

use orchestrator::client::StartRequest;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::store::changes::{self, Due};
use crate::app::App;
use crate::background::{Chore, Next};
use crate::outbox::{self, Outbox};
use crate::store::outbox::Table;

/// How the keys begin under which events' sagas are started.
pub const EVENT_CHANGE_KEYS: &str = "event-change/";

/// The events' outbox.
pub struct EventChanges;

impl Outbox for EventChanges {
    type Due = Due;
    const TABLE: Table = changes::TABLE;
    const FAILED: &'static str = "sagaline_gateway_event_changes_failed_total";

    async fn claim(&self, pool: &PgPool, limit: i64, lease: Duration) -> Result<Vec<Due>, sqlx::Error> {
        changes::claim(pool, limit, lease).await
    }

    fn tried(due: &Due) -> (Uuid, i32) {
        (due.id, due.attempts)
    }

    fn request(&self, app: &App, change: &Due) -> Option<StartRequest> {
        Some(StartRequest {
            workflow: app.options().event_workflow.clone(),
            input: input(change),
            idempotency_key: Some(format!("{EVENT_CHANGE_KEYS}{}", change.id)),
            ..StartRequest::default()
        })
    }
}

impl Chore for EventChanges {
    const NAME: &'static str = "telling what happened to events";

    async fn work(&self, app: &App) -> Result<Next, sqlx::Error> {
        outbox::tell_due(self, app).await
    }

    async fn woken(&self, app: &App) {
        app.event_changes_woken().await;
    }
}

fn input(change: &Due) -> Value {
    let mut input = json!({"kind": change.kind, "eventId": change.event_id});
    let members = input.as_object_mut().expect("it was just made one");
    members.extend(change.data.as_object().cloned().unwrap_or_default());
    input
}

//! Tells the engine what happened to accounts: each becomes a small saga, which publishes it and sends the mail, if there is one. And clears
//! away sessions and links that are over.

use std::time::Duration;

use axum::http::HeaderMap;
use orchestrator::client::StartRequest;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::UserId;
use super::store::events::{self, Due};
use super::store::{links, sessions};
use crate::app::App;
use crate::background::{Chore, Next, Seldom, clear_away};
use crate::http::language::Language;
use crate::limits::{USERS_PURGE_EVERY, USERS_PURGE_MAX};
use crate::outbox::{self, Outbox};
use crate::store::outbox::Table;

/// Somebody wants another address for their account: the event's data have it.
pub const EMAIL_CHANGE: &str = "email_change";
/// An account has another address: the event's data have the one that it had.
pub const EMAIL_CHANGED: &str = "email_changed";
/// How the keys begin under which accounts' sagas are started.
pub const ACCOUNT_EVENT_KEYS: &str = "account-event/";

/// The accounts' outbox.
pub struct AccountEvents {
    purge: Seldom,
}

impl Default for AccountEvents {
    fn default() -> Self {
        AccountEvents {
            purge: Seldom::every(USERS_PURGE_EVERY),
        }
    }
}

impl Outbox for AccountEvents {
    type Due = Due;
    const TABLE: Table = events::TABLE;
    const FAILED: &'static str = "sagaline_gateway_account_events_failed_total";

    async fn claim(&self, pool: &PgPool, limit: i64, lease: Duration) -> Result<Vec<Due>, sqlx::Error> {
        events::claim(pool, limit, lease).await
    }

    fn tried(due: &Due) -> (Uuid, i32) {
        (due.id, due.attempts)
    }

    fn request(&self, app: &App, event: &Due) -> Option<StartRequest> {
        Some(StartRequest {
            workflow: app.options().account_workflow.clone(),
            input: input(event)?,
            idempotency_key: Some(format!("{ACCOUNT_EVENT_KEYS}{}", event.id)),
            ..StartRequest::default()
        })
    }
}

impl Chore for AccountEvents {
    const NAME: &'static str = "telling what happened to accounts";

    async fn work(&self, app: &App) -> Result<Next, sqlx::Error> {
        outbox::tell_due(self, app).await
    }

    async fn rest(&mut self, app: &App, shutdown: &CancellationToken) {
        if self.purge.is_due() {
            clear_away("sessions, and links", USERS_PURGE_MAX, shutdown, || purge(app)).await;
        }
    }

    async fn woken(&self, app: &App) {
        app.account_events_woken().await;
    }
}

/// The saga's input; none: the event is nobody's.
fn input(event: &Due) -> Option<Value> {
    let user = UserId(event.account_id?);
    let mut input = json!({"kind": event.kind, "userId": user.to_string()});
    let members = input.as_object_mut().expect("it was just made one");
    match event.kind.as_str() {
        // Those that need no mail carry nobody's address.
        "login" | "logout" => members.extend(event.data.as_object().cloned().unwrap_or_default()),
        kind => {
            // What is about another address than the account's goes there.
            let other = event
                .data
                .get("email")
                .filter(|_| kind == EMAIL_CHANGE || kind == EMAIL_CHANGED);
            members.insert("email".to_owned(), other.cloned().unwrap_or_else(|| json!(event.email)));
            if let Some(language) = event.data.get("language") {
                members.insert("language".to_owned(), language.clone());
            }
        }
    }
    Some(input)
}

/// What an event's data say of the language that a request asks for: the mail about it is written in that, unless its reader has said
/// otherwise. English is what holds where nothing is said.
pub fn asked_in(headers: &HeaderMap) -> Value {
    match Language::accepted(headers).filter(|language| *language != Language::En) {
        Some(language) => json!({ "language": language }),
        None => json!({}),
    }
}

async fn purge(app: &App) -> Result<(u64, u64), sqlx::Error> {
    let sessions = sessions::purge(app.pool(), USERS_PURGE_MAX).await?;
    Ok((sessions, links::purge(app.pool(), USERS_PURGE_MAX).await?))
}

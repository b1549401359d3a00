//! Messages to buyers: `notifications.email`, over SMTP.
//!
//! **What "sent once" means here.** Which messages went out is written down by idempotency key, before the conversation with the
//! mail server (`sending`, with a lease) and after it (`sent`). A repeated task finds `sent` and sends nothing. What
//! remains is SMTP's own gap: if the connection is cut, or this process dies, after the message was handed over and before that is
//! written down, nobody knows, and the message is sent again. It then carries the same Message-ID, by which mail
//! systems recognise repeats. So: at least once, and more than once only after such a cut.

pub mod email;
pub mod sink;

pub(crate) mod message;
mod store;

use std::sync::Arc;

use sqlx::PgPool;

pub use email::{MailConfig, MailConfigError, Mailer};
pub use sink::SmtpSink;
pub(crate) use store::{About, Sending};

use crate::activity::Registry;
use crate::typed::Typed;

/// The queue of the notification activities.
pub const QUEUE: &str = "notifications";

/// Registers `notifications.email`.
pub fn register(registry: &mut Registry, pool: PgPool, mailer: Mailer) {
    registry.single(QUEUE, Arc::new(Typed(email::Email::new(pool, mailer))));
}

//! The engine: a thin shell that applies [`workflows::advance`] to whole batches of events, keeps sagas in Postgres
//! and talks to workers over Kafka.
//!
//! [`Engine`] is the cheap handle to all of it.

pub mod api;
pub mod client;
pub mod options;
pub mod schedules;
pub mod store;
pub mod text;

mod backlog;
mod batcher;
mod cache;
mod clock;
mod counts;
mod definition_cache;
mod engine;
mod error;
mod gates;
mod housekeeping;
mod inbound;
mod messages;
mod outbox;
mod plan;
mod presence;
mod requests;
mod results;
mod timers;
mod topics;
mod waiters;

pub use clock::DatabaseClock;
pub use counts::Worth;
pub use definition_cache::{DefinitionCache, Deployed};
pub use engine::Engine;
pub use error::EngineError;
pub use options::EngineOptions;
pub use requests::{Applied, Awaited, NewSaga, SignalReceipt, StartedSaga};

/// Brings the database's schema up to date. Any number of processes may do so at once.
pub async fn migrate(pool: &sqlx::PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    sqlx::migrate!("../migrations").run(pool).await
}

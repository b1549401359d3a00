//! All of the engine's SQL: one function per query, named for its effect.

pub mod batch;
pub mod counts;
pub mod definitions;
pub mod instances;
pub mod journal;
pub mod outbox;
pub mod queues;
pub mod reads;
pub mod retention;
pub mod signals;
pub mod timers;
pub mod workers;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// SQLSTATE raised by `saga.require_current`.
const STALE: &str = "SG001";

/// What a failed statement means for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Somebody else moved a saga, or took a key, first: read again and decide again.
    Stale,
    /// The connection, or a passing state of the server: the same again later.
    Transient,
    /// The data itself: the same again would fail again.
    Data,
}

/// What a database error means.
pub fn classify(error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. } => Failure::Data,
            _ => Failure::Transient,
        };
    };
    let code = database.code().unwrap_or_default();
    match code.as_ref() {
        // Unique and exclusion violations, serialization failure, deadlock.
        STALE | "23505" | "40001" | "40P01" => Failure::Stale,
        // Data exceptions, other integrity violations, program limits, malformed text.
        code if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Failure::Data,
        _ => Failure::Transient,
    }
}

/// Connections for the hot path, with plans forced to go through indexes: tables that were never analysed would
/// otherwise be given sequential scans, in plans that stay cached.
pub fn engine_pool(callers: &PgPool, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        // A ping on each acquire would be a third round trip; a broken connection shows when it is used.
        .test_before_acquire(false)
        .acquire_timeout(std::time::Duration::from_secs(5))
        .connect_lazy_with(engine_session(callers.connect_options().as_ref().clone()))
}

/// Settings of each of its connections.
pub fn engine_session(options: PgConnectOptions) -> PgConnectOptions {
    primary::index_plans(options)
        .application_name("sagaline-engine")
        .statement_cache_capacity(64)
        .options([
            ("plan_cache_mode", "force_generic_plan"),
            // Answered means durable, whatever the server's default is.
            ("synchronous_commit", "on"),
            ("statement_timeout", "30s"),
        ])
}

/// Microseconds since the epoch on the database's clock.
pub async fn clock_micros(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
        .fetch_one(pool)
        .await
}

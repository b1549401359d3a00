//! Reaching Postgres: wait for it with a clear message rather than crash-loop.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use transport::KafkaConfig;
use transport::reconnect::retry_until_connected;

use crate::settings::{Secret, Settings};

/// How long taking a connection out of a pool may last before the caller is told that Postgres is not there.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// The leave that was asked for while something was waited for at start.
#[derive(Debug, thiserror::Error)]
#[error("stopped before it had started")]
pub struct Stopped;

/// A pool, once Postgres answers.
pub async fn database(url: &Secret, connections: u32, stop: &CancellationToken) -> anyhow::Result<PgPool> {
    let options = options(url)?;
    let connect = || pool(connections).connect_with(options.clone());
    let what = format!("Postgres at {url}");
    tokio::select! {
        pool = retry_until_connected(&what, connect) => Ok(pool),
        () = stop.cancelled() => Err(Stopped.into()),
    }
}

/// A pool that connects when it is first used.
pub fn lazy_database(url: &Secret, connections: u32) -> anyhow::Result<PgPool> {
    Ok(pool(connections).connect_lazy_with(options(url)?))
}

fn options(url: &Secret) -> anyhow::Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url.reveal());
    Ok(options
        .with_context(|| format!("reading the database's URL {url}"))?
        .application_name("sagaline"))
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_LIMIT)
        // A ping before each use would double the statements; a broken connection shows itself soon enough.
        .test_before_acquire(false)
}

/// Brings the schema up to date, trying again while Postgres is away.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    orchestrator::migrate(pool)
        .await
        .context("bringing the database's schema up to date")
}

/// How a process called `client` reaches Kafka.
pub fn kafka(settings: &Settings, client: &str) -> anyhow::Result<KafkaConfig> {
    let brokers = settings.brokers.clone().context("KAFKA_BROKERS is not set")?;
    let mut config = KafkaConfig::new(brokers, client);
    config.partitions = settings.partitions;
    config.replication = settings.replication;
    Ok(config)
}

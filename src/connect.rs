//! Reaching Postgres: wait for it with a clear message rather than crash-loop.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use primary::{Follower, Servers};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
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

/// Connections to Postgres, and what finds its primary.
pub struct Database {
    /// The connections.
    pub pool: PgPool,
    servers: Servers,
}

impl Database {
    /// Keeps the pool, and others that were made from it, on the primary until they are closed, where several servers are named.
    pub fn follow_primary(&self, others: impl IntoIterator<Item = PgPool>) {
        let follower = Follower::new(self.servers.clone());
        follower.take_along(self.pool.clone());
        others.into_iter().for_each(|pool| follower.take_along(pool));
        tokio::spawn(async move { follower.run().await });
    }
}

/// A pool, once Postgres answers: the server that takes writes, if several are named.
pub async fn database(url: &Secret, connections: u32, stop: &CancellationToken) -> anyhow::Result<Database> {
    let servers = servers(url)?;
    let connect = || async {
        let primary = servers.primary().await?;
        anyhow::Ok(pool(connections).connect_with(primary).await?)
    };
    let what = format!("Postgres at {url}");
    let pool = tokio::select! {
        pool = retry_until_connected(&what, connect) => pool,
        () = stop.cancelled() => return Err(Stopped.into()),
    };
    Ok(Database { pool, servers })
}

/// A pool that connects when it is first used: to the first server until the primary is known.
pub fn lazy_database(url: &Secret, connections: u32) -> anyhow::Result<Database> {
    let servers = servers(url)?;
    let pool = pool(connections).connect_lazy_with(servers.first().clone());
    Ok(Database { pool, servers })
}

fn servers(url: &Secret) -> anyhow::Result<Servers> {
    let servers = Servers::from_str(url.reveal());
    Ok(servers
        .with_context(|| format!("reading the database's URL {url}"))?
        .map(|options| primary::index_plans(options).application_name("sagaline")))
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

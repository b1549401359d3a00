//! `sagaline analytics`: counts the domain events, as a process of its own.

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::settings::{Flags, Secret, Settings};
use crate::{cli, connect, shutdown};

/// Connections to the store: one writes, one clears away, and two are to spare.
const CONNECTIONS: u32 = 4;

/// The flags as settings.
pub fn flags(args: &cli::Analytics) -> Flags {
    let mut flags = args.database.flags();
    flags.extend(args.kafka.flags());
    flags
}

/// Runs until told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url", "kafka.brokers"])?;
    let stop = shutdown::on_signal()?;
    count(&settings, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Connections of a gateway for reports: few, so that whoever asks for many waits, and no sale does.
const READERS: u32 = 2;

/// Connections for reports, made when they are first used.
pub fn reader(settings: &Settings) -> anyhow::Result<PgPool> {
    let database = connect::lazy_database(url(settings)?, READERS)?;
    database.follow_primary([]);
    Ok(database.pool)
}

/// The store's database: its own, or that of all others.
fn url(settings: &Settings) -> anyhow::Result<&Secret> {
    let own = settings.analytics_database.as_ref();
    own.or(settings.database.as_ref()).context("DATABASE_URL is not set")
}

/// Counts until told to stop, over connections of its own: a sale never waits for them. A database of its own is given the schema first.
pub async fn count(settings: &Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let url = url(settings)?;
    let database = match connect::database(url, CONNECTIONS, &stop).await {
        Err(error) if error.is::<connect::Stopped>() => return Ok(()),
        database => database?,
    };
    if settings.analytics_database.is_some() {
        connect::migrate(&database.pool).await?;
    }
    database.follow_primary([]);
    let kafka = connect::kafka(settings, "sagaline-analytics")?;
    tracing::info!(database = %url, "facts are counted");
    analytics::consumer::run(database.pool.clone(), kafka, stop).await;
    database.pool.close().await;
    Ok(())
}

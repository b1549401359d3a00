//! `sagaline analytics`: counts the domain events, as a process of its own.

use ::analytics::store::{Address, ClickHouse, Store};
use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::settings::{Flags, Secret, Settings};
use crate::{cli, connect, shutdown, telemetry};

/// Connections to the store: one writes, one clears away, and two are to spare.
const CONNECTIONS: u32 = 4;

/// The flags as settings.
pub fn flags(args: &cli::Analytics) -> Flags {
    let mut flags = args.database.flags();
    flags.extend(args.kafka.flags());
    flags
}

/// Runs until told to stop.
pub async fn run(args: cli::Analytics, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["kafka.brokers"])?;
    if settings.analytics.is_none() {
        settings.require(&["database.url"])?;
    }
    let stop = shutdown::on_signal()?;
    let health = Health::new(&["store"], stop.clone());
    health.watch_kafka(&connect::kafka(&settings, "sagaline-health")?);
    if let Some(port) = args.ops_port {
        telemetry::serve_on(port, health.clone()).await?;
    }
    count(&settings, &health, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Connections for reports: few, so that whoever asks for many waits, and no sale does.
const READERS: u32 = 2;

/// The store for reports, reached when it is first used.
pub fn reader(settings: &Settings) -> anyhow::Result<Store> {
    let url = match place(settings)? {
        Place::ClickHouse(address) => return Ok(ClickHouse::new(address).into()),
        Place::Postgres { url, .. } => url,
    };
    let database = connect::lazy_database(url, READERS)?;
    database.follow_primary([]);
    Ok(database.pool.into())
}

/// Where the store is.
enum Place<'a> {
    ClickHouse(Address),
    Postgres {
        url: &'a Secret,
        /// No other part has its schema.
        is_alone: bool,
    },
}

/// A place of its own, or the database of all others.
fn place(settings: &Settings) -> anyhow::Result<Place<'_>> {
    match &settings.analytics {
        Some(url) if url.reveal().starts_with("clickhouse") => {
            // It was read when the settings were.
            let address = url.reveal().parse();
            Ok(Place::ClickHouse(address.map_err(anyhow::Error::msg)?))
        }
        Some(url) => Ok(Place::Postgres { url, is_alone: true }),
        None => Ok(Place::Postgres {
            url: settings.database.as_ref().context("DATABASE_URL is not set")?,
            is_alone: false,
        }),
    }
}

/// Counts until told to stop, over connections of its own: a sale never waits for them. A database of its own is given the schema first.
pub async fn count(settings: &Settings, health: &Health, stop: CancellationToken) -> anyhow::Result<()> {
    let kafka = connect::kafka(settings, "sagaline-analytics")?;
    let (url, is_alone) = match place(settings)? {
        Place::Postgres { url, is_alone } => (url, is_alone),
        Place::ClickHouse(address) => {
            tracing::info!(store = %address, "facts are counted");
            let store = Store::from(ClickHouse::new(address));
            health.watch_store(&store);
            ::analytics::consumer::run(store, kafka, stop).await;
            return Ok(());
        }
    };
    let database = match connect::database(url, CONNECTIONS, &stop).await {
        Err(error) if error.is::<connect::Stopped>() => return Ok(()),
        database => database?,
    };
    if is_alone {
        connect::migrate(&database.pool).await?;
    }
    database.follow_primary([]);
    tracing::info!(database = %url, "facts are counted");
    let store = Store::from(database.pool.clone());
    health.watch_store(&store);
    ::analytics::consumer::run(store, kafka, stop).await;
    database.pool.close().await;
    Ok(())
}

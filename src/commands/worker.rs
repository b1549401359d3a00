//! `sagaline worker`: activities for one or more queues, as a process of its own.

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workers::{Readiness, Worker, WorkerOptions};

use crate::health::Health;
use crate::settings::{Flags, Settings};
use crate::{cli, connect, platform, shutdown, telemetry};

/// The flags as settings.
pub fn flags(args: &cli::Worker) -> Flags {
    let mut flags = args.database.flags();
    flags.extend(args.kafka.flags());
    flags
}

/// Runs until told to stop.
pub async fn run(args: cli::Worker, settings: Settings) -> anyhow::Result<()> {
    settings.require(&platform::needs(&args.queues)?)?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let stop = shutdown::on_signal()?;
    if args.with_parent {
        shutdown::with_input(stop.clone());
    }
    let readiness = Readiness::default();
    let health = Health::new(&["database", "queues"], stop.clone());
    health.watch_queues(&readiness);
    watch_others(&health, &settings, &args.queues)?;
    if let Some(port) = args.ops_port {
        telemetry::serve_on(port, health.clone()).await?;
    }
    let database = connect::database(url, settings.database_connections, &stop).await?;
    database.follow_primary([]);
    health.watch_database(&database.pool);
    work(
        &settings,
        database.pool,
        &args.queues,
        args.concurrency,
        readiness,
        stop,
    )
    .await?;
    tracing::info!("stopped");
    Ok(())
}

/// What the activities of these queues need besides: without it their work waits.
fn watch_others(health: &Health, settings: &Settings, queues: &[String]) -> anyhow::Result<()> {
    health.watch_kafka(&connect::kafka(settings, "sagaline-health")?);
    let has = |queue: &str| queues.iter().any(|known| known == queue);
    if (has("payments") || has("refunds"))
        && let Some(address) = platform::payments_address(settings)
    {
        health.watch_address("payments", address);
    }
    if (has("email") || has("notifications"))
        && let Some(address) = platform::mail_address(settings)
    {
        health.watch_address("mail", address);
    }
    Ok(())
}

/// Works on the queues until told to stop.
pub async fn work(
    settings: &Settings,
    pool: PgPool,
    queues: &[String],
    concurrency: u32,
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let registry = platform::activities(settings, &pool, queues)?;
    let mut options = WorkerOptions::new(connect::kafka(settings, "sagaline-worker")?, queues.to_vec());
    options.concurrency = concurrency as usize;
    options.drain_timeout = settings.drain;
    options.readiness = readiness;
    let summary = Worker::run(options, registry, stop).await?;
    tracing::info!(?summary, "the worker has left");
    Ok(())
}

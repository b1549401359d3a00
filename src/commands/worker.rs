//! `sagaline worker`: activities for one or more queues, as a process of its own.

use std::net::Ipv4Addr;

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workers::{Readiness, Worker, WorkerOptions};

use crate::entrance::bind;
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
    if let Some(port) = args.ops_port {
        let render = telemetry::install()?;
        let listener = bind((Ipv4Addr::UNSPECIFIED, port).into()).await?;
        tracing::info!(address = %listener.local_addr()?, "metrics and health are served");
        let ready = readiness.clone();
        // Served until the process ends: it is asked how the draining goes.
        tokio::spawn(telemetry::serve(listener, render, move || ready.is_ready()));
    }
    let database = connect::database(url, settings.database_connections, &stop).await?;
    database.follow_primary([]);
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

//! `sagaline operations`: watches the platform, as a process of its own.

use std::sync::Arc;

use ::operations::gather::{Askers, Sources};
use ::operations::kubernetes::Kubernetes;
use ::operations::processes::{Processes, Program};
use ::operations::scaler::Scaler as _;
use ::operations::{setting, store, watch};
use activities::Registry;
use anyhow::Context;
use orchestrator::client::{EngineClient, HttpClient};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workers::{Worker, WorkerOptions};
use workflows::tickets::alert;

use super::analytics;
use crate::cli::{self, set};
use crate::health::Health;
use crate::settings::{Flags, Scaler, Settings};
use crate::{connect, shutdown, telemetry};

/// Connections: one judges, one carries out, and two are to spare.
const CONNECTIONS: u32 = 4;
/// Decisions that are carried out at once.
const CONCURRENCY: usize = 4;

/// What workers log that are children of this process, unless told otherwise: what goes wrong.
const CHILDREN_LOG: &str = "warn,rdkafka=error,librdkafka=error";

/// The flags as settings.
pub fn flags(args: &cli::Operations) -> Flags {
    let mut flags = args.database.flags();
    flags.extend(args.kafka.flags());
    flags.extend(set("engine.url", args.engine_url.as_ref()));
    flags
}

/// Runs until told to stop.
pub async fn run(args: cli::Operations, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url", "kafka.brokers"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let stop = shutdown::on_signal()?;
    let health = Health::new(&["database"], stop.clone());
    health.watch_kafka(&connect::kafka(&settings, "sagaline-health")?);
    health.watch_store(&analytics::reader(&settings)?);
    if let Some(port) = args.ops_port {
        telemetry::serve_on(port, health.clone()).await?;
    }
    let database = match connect::database(url, CONNECTIONS, &stop).await {
        Err(error) if error.is::<connect::Stopped>() => return Ok(()),
        database => database?,
    };
    database.follow_primary([]);
    health.watch_database(&database.pool);
    let engine = Arc::new(HttpClient::new(&settings.engine_url)?);
    tracing::info!(alerts = %settings.operations.alerts, targets = %settings.operations.targets, "the platform is watched");
    watch(&settings, database.pool, engine, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Watches until told to stop; and carries out what is decided, if something is set that starts and stops workers.
pub async fn watch(
    settings: &Settings,
    pool: PgPool,
    engine: Arc<dyn EngineClient>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let kafka = connect::kafka(settings, "sagaline-operations")?;
    let sources = Sources {
        engine: pool.clone(),
        analytics: analytics::reader(settings)?,
        group_prefix: WorkerOptions::new(kafka.clone(), Vec::new()).group_prefix,
        kafka,
        askers: Askers::default(),
    };
    let watching = watch::run(settings.operations.plan(), pool.clone(), sources, engine, stop.clone());
    match settings.operations.scaler {
        None | Some(Scaler::Off) => watching.await,
        Some(Scaler::Kubernetes) => {
            let namespace = settings.operations.namespace.as_deref();
            let scaler = Kubernetes::new(namespace).await.context("finding Kubernetes' API")?;
            let working = carry_out(settings, pool, Arc::new(scaler), stop);
            tokio::join!(watching, working).1?;
        }
        Some(Scaler::Processes) => {
            let scaler = Arc::new(Processes::start(program(settings)?));
            // Those of the last run ended with it.
            for (target, wanted) in store::wanted(&pool)
                .await
                .context("reading how many workers are wanted")?
            {
                let allowed = settings
                    .operations
                    .targets
                    .0
                    .iter()
                    .find(|allowed| allowed.name == target);
                if let Some(allowed) = allowed {
                    scaler.set(&target, wanted.replicas.min(allowed.max)).await?;
                }
            }
            let working = carry_out(settings, pool, scaler.clone(), stop);
            let worked = tokio::join!(watching, working).1;
            scaler.stop().await;
            worked?;
        }
    }
    Ok(())
}

/// Works on the queue of decisions.
async fn carry_out(
    settings: &Settings,
    pool: PgPool,
    scaler: Arc<dyn ::operations::scaler::Scaler>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut registry = Registry::new();
    setting::register(&mut registry, pool, settings.operations.targets.clone(), scaler);
    let kafka = connect::kafka(settings, "sagaline-operations")?;
    let mut options = WorkerOptions::new(kafka, vec![alert::QUEUE.to_owned()]);
    options.concurrency = CONCURRENCY;
    options.drain_timeout = settings.drain;
    Worker::run(options, registry, stop).await?;
    Ok(())
}

/// This very program, as a worker.
fn program(settings: &Settings) -> anyhow::Result<Program> {
    let mut variables = settings.for_workers();
    if std::env::var_os("SAGALINE_LOG").is_none() {
        variables.push(("SAGALINE_LOG".to_owned(), CHILDREN_LOG.to_owned()));
    }
    Ok(Program {
        path: std::env::current_exe().context("finding our own program")?,
        arguments: ["worker", "--with-parent", "--queues"].map(str::to_owned).to_vec(),
        variables,
    })
}

//! What a run stands on: a database, a broker, orchestrators and workers; ours ones are taken down when it is dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use localpg::LocalPostgres;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use transport::InProcessBroker;
use transport::apache::ApacheKafka;
use uuid::Uuid;
use workflows::protocol::{RESULTS_TOPIC, tasks_topic};
use workflows::tickets::reference;

use orchestrator::client::{EngineClient as _, HttpClient};

use super::limit::{self, Limit};
use super::processes::{Process, free_address};
use super::{Broker, SagaArgs};

/// Where our own servers keep their data: a disk, even where /tmp is memory, for fsync shall cost what it costs.
const SCRATCH_ROOT: &str = "/var/tmp";
/// Partitions of every topic, the platform's default.
const PARTITIONS: u32 = 10;
/// Where an orchestrator says that it can work.
const READY_PATH: &str = "/health/ready";
/// The benchmark's own connections: preparing and checking, nothing on the hot path.
const CONNECTIONS_MAX: u32 = 2;

/// Connections of the bare loop: as many as the engine writes batches at the same time.
const LIMIT_LANES: u32 = 2;

/// Batches, and how many sagas were in them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batches {
    count: f64,
    sagas: f64,
}

impl Batches {
    /// Those since.
    pub fn since(self, before: &Batches) -> Batches {
        Batches {
            count: self.count - before.count,
            sagas: self.sagas - before.sagas,
        }
    }

    /// Sagas in one, on average.
    pub fn mean(self) -> f64 {
        self.sagas / self.count.max(1.0)
    }
}

/// A metric without labels, of a Prometheus page.
fn metric(page: &str, name: &str) -> f64 {
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_default()
}

/// Everything that runs. Fields are dropped in this order: what uses something before what is used.
pub struct Stage {
    /// The orchestrators' processes.
    pub orchestrators: Vec<Process>,
    /// The workers' processes.
    pub workers: Vec<Process>,
    /// Where the orchestrators listen.
    pub targets: Vec<SocketAddr>,
    /// The database, for preparing and checking.
    pub pool: PgPool,
    broker: RunningBroker,
    postgres: Option<LocalPostgres>,
    _scratch: Scratch,
}

enum RunningBroker {
    External,
    Apache(ApacheKafka),
    InProcess { _broker: InProcessBroker },
}

impl Stage {
    /// Starts what isn't given, applies the migrations, and starts the processes.
    pub async fn set(args: &SagaArgs, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Stage> {
        let scratch = Scratch::new(args.keep.as_deref())?;
        let (postgres, database_url) = database(args.database_url.as_deref(), &scratch, say).await?;
        let (broker, brokers) = broker(args, &scratch, say).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect(&database_url)
            .await
            .context("connecting to the database")?;
        orchestrator::migrate(&pool).await.context("applying the migrations")?;

        say("starting orchestrators and workers");
        let variables = [
            ("DATABASE_URL", database_url.as_str()),
            ("KAFKA_BROKERS", brokers.as_str()),
            ("SAGALINE_LOG", "warn,rdkafka=error,librdkafka=error"),
        ];
        let mut stage = Stage {
            orchestrators: Vec::new(),
            workers: Vec::new(),
            targets: Vec::new(),
            pool,
            broker,
            postgres,
            _scratch: scratch,
        };
        stage.start_processes(args, &variables).await?;
        Ok(stage)
    }

    async fn start_processes(&mut self, args: &SagaArgs, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let logs = self._scratch.path.clone();
        for number in 1..=args.orchestrators {
            let address = free_address()?;
            let listen = address.to_string();
            let arguments = ["orchestrator", "--no-migrate", "--listen", &listen];
            let process = Process::start(&logs, &format!("orchestrator-{number}"), &arguments, variables)?;
            self.orchestrators.push(process);
            self.targets.push(address);
        }
        for number in 1..=args.workers {
            let arguments = ["worker", "--queues", "reference"];
            self.workers.push(Process::start(
                &logs,
                &format!("worker-{number}"),
                &arguments,
                variables,
            )?);
        }
        for (process, address) in self.orchestrators.iter_mut().zip(&self.targets) {
            process.wait_ready(*address, READY_PATH).await?;
        }
        let client = HttpClient::new(&format!("http://{}", self.targets[0]))?;
        client
            .deploy(reference::definition())
            .await
            .context("deploying the workflow")?;
        Ok(())
    }

    /// What the broker is, for the report.
    pub fn broker_name(&self) -> &'static str {
        match self.broker {
            RunningBroker::External => "external",
            RunningBroker::Apache(_) => "apache-kafka",
            RunningBroker::InProcess { .. } => "in-process",
        }
    }

    /// The process ids to account CPU time by; Postgres and the broker only where they are ours.
    pub fn groups(&self) -> Vec<(&'static str, Vec<u32>)> {
        let mut groups = vec![
            ("orchestrator", self.orchestrators.iter().map(Process::pid).collect()),
            ("worker", self.workers.iter().map(Process::pid).collect()),
        ];
        if let Some(pid) = self.postgres.as_ref().and_then(LocalPostgres::pid) {
            groups.push(("postgres", vec![pid]));
        }
        if let RunningBroker::Apache(kafka) = &self.broker {
            groups.extend(kafka.pid().map(|pid| ("broker", vec![pid.cast_unsigned()])));
        }
        groups
    }

    /// Batches that the orchestrators have carried out.
    pub async fn batches(&self) -> anyhow::Result<Batches> {
        let mut batches = Batches::default();
        for target in &self.targets {
            let metrics = reqwest::get(format!("http://{target}/metrics")).await?.text().await?;
            batches.count += metric(&metrics, "sagaline_batch_sagas_count");
            batches.sagas += metric(&metrics, "sagaline_batch_sagas_sum");
        }
        Ok(batches)
    }

    /// The same rows by a bare loop, in a database of its own on the same server; the processes are stopped for it.
    pub async fn limit(mut self, sagas: u64, batch: u64) -> anyhow::Result<Limit> {
        self.orchestrators.clear();
        self.workers.clear();
        let database = "bench_limit";
        sqlx::query("drop database if exists bench_limit")
            .execute(&self.pool)
            .await?;
        sqlx::query("create database bench_limit").execute(&self.pool).await?;
        let options = PgConnectOptions::clone(&self.pool.connect_options()).database(database);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect_with(options)
            .await?;
        orchestrator::migrate(&pool).await.context("applying the migrations")?;
        let pids: Vec<u32> = self
            .postgres
            .as_ref()
            .and_then(LocalPostgres::pid)
            .into_iter()
            .collect();
        let limit = limit::measure(&pool, &pids, sagas, batch, LIMIT_LANES).await;
        pool.close().await;
        sqlx::query("drop database bench_limit").execute(&self.pool).await?;
        limit
    }

    /// The ends of the processes' logs, for a run that failed.
    pub fn log_tails(&self) -> String {
        let tails = self.orchestrators.iter().chain(&self.workers).map(Process::log_tail);
        tails
            .filter(|tail| !tail.is_empty())
            .collect::<Vec<_>>()
            .join("\n---\n")
    }
}

/// The database of this URL, or a Postgres of our own in `scratch`.
pub async fn database(
    given: Option<&str>,
    scratch: &Scratch,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<(Option<LocalPostgres>, String)> {
    if let Some(url) = given {
        return Ok((None, url.to_owned()));
    }
    say("starting Postgres");
    let mut options = localpg::Options::new(scratch.path.join("postgres"))
        .with_setting("max_wal_size", "4GB")
        .with_setting("min_wal_size", "4GB")
        .with_setting("shared_buffers", "256MB");
    options.progress = Arc::new(|line| tracing::debug!(line, "Postgres"));
    let postgres = LocalPostgres::start(options)
        .await
        .context("starting a Postgres of our own")?;
    let pool = PgPool::connect(&postgres.url("postgres")).await?;
    sqlx::query("create database bench").execute(&pool).await?;
    pool.close().await;
    let url = postgres.url("bench");
    Ok((Some(postgres), url))
}

async fn broker(
    args: &SagaArgs,
    scratch: &Scratch,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<(RunningBroker, String)> {
    if let Some(brokers) = &args.brokers {
        return Ok((RunningBroker::External, brokers.clone()));
    }
    let apache = match args.broker {
        Broker::Auto => transport::apache::available().is_ok(),
        Broker::Apache => true,
        Broker::InProcess => false,
    };
    if !apache {
        say("starting the in-process broker");
        let broker = InProcessBroker::start(PARTITIONS)?;
        // A message that came before its topic would make it, with a number of partitions of the broker's own.
        broker.create_topics(&[tasks_topic(reference::QUEUE), RESULTS_TOPIC.to_owned()])?;
        let brokers = broker.brokers();
        return Ok((RunningBroker::InProcess { _broker: broker }, brokers));
    }
    say("starting Apache Kafka");
    let (data, port) = (scratch.path.join("kafka"), free_address()?.port());
    let kafka = ApacheKafka::start(&data, port)
        .await
        .context("starting an Apache Kafka of our own")?;
    let brokers = kafka.brokers();
    Ok((RunningBroker::Apache(kafka), brokers))
}

/// A directory that goes with us, unless it is to be kept.
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// In `keep`, or in a place of its own.
    pub fn new(keep: Option<&Path>) -> anyhow::Result<Scratch> {
        let path = match keep {
            Some(path) => std::path::absolute(path)?,
            None => Path::new(SCRATCH_ROOT).join(format!("sagaline-bench-{}", Uuid::now_v7().simple())),
        };
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Scratch {
            path,
            keep: keep.is_some(),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

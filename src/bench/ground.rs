//! What every benchmark stands on: a database and a broker, ours unless they are given; ours are taken down when it is
//! dropped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use localpg::LocalPostgres;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use transport::InProcessBroker;
use transport::apache::{ApacheKafka, Compiler};
use uuid::Uuid;

use super::processes::free_address;

/// Where our own servers keep their data: a disk, even where /tmp is memory, for fsync shall cost what it costs.
const SCRATCH_ROOT: &str = "/var/tmp";
/// Partitions of every topic, the platform's default.
const PARTITIONS: u32 = 10;
/// The benchmark's own connections: preparing, watching and checking, nothing on the hot path.
const CONNECTIONS_MAX: u32 = 2;

/// Which database and which broker.
#[derive(Clone, Debug, Args)]
pub struct GroundArgs {
    /// A database to use; left out, a Postgres server of our own.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Kafka brokers to use; left out, a broker of our own.
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Which broker of our own.
    #[arg(long, value_enum, default_value_t = Broker::Auto, conflicts_with = "brokers")]
    pub broker: Broker,
    /// Keep the processes' logs and our own servers' data in this directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub keep: Option<PathBuf>,
}

/// A broker of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Broker {
    /// Apache Kafka where Java and Maven are installed, else the in-process broker.
    Auto,
    /// Apache Kafka (needs Java, and Maven the first time).
    Apache,
    /// librdkafka's broker, in this process.
    InProcess,
}

/// Database and broker, running. Fields are dropped in this order: what uses something before what is used.
pub struct Ground {
    /// The database, for preparing, watching and checking.
    pub pool: PgPool,
    /// The database's address.
    pub database_url: String,
    /// The broker's address.
    pub brokers: String,
    broker: RunningBroker,
    broker_data: PathBuf,
    postgres: Option<LocalPostgres>,
    scratch: Scratch,
}

enum RunningBroker {
    External,
    Apache(ApacheKafka),
    InProcess { _broker: InProcessBroker },
}

/// The broker's folder in the scratch directory.
const BROKER_DATA: &str = "kafka";

impl Ground {
    /// Starts what isn't given and applies the migrations. `topics` are those that the processes will use.
    pub async fn prepare(
        args: &GroundArgs,
        compiler: Compiler,
        topics: &[String],
        say: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Ground> {
        let scratch = Scratch::new(args.keep.as_deref())?;
        let (postgres, database_url) = database(args.database_url.as_deref(), &scratch, say).await?;
        let (broker, brokers) = broker(args, compiler, topics, &scratch, say).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect(&database_url)
            .await
            .context("connecting to the database")?;
        orchestrator::migrate(&pool).await.context("applying the migrations")?;
        Ok(Ground {
            pool,
            database_url,
            brokers,
            broker,
            broker_data: scratch.path.join(BROKER_DATA),
            postgres,
            scratch,
        })
    }

    /// Postgres' process, if it is ours.
    pub fn postgres_pids(&self) -> Vec<u32> {
        self.postgres
            .as_ref()
            .and_then(LocalPostgres::pid)
            .into_iter()
            .collect()
    }

    /// Where processes write their logs.
    pub fn logs(&self) -> &Path {
        &self.scratch.path
    }

    /// Where the broker keeps its log, if it is ours and keeps one.
    pub fn broker_log(&self) -> Option<&Path> {
        match &self.broker {
            RunningBroker::Apache(_) => Some(&self.broker_data),
            RunningBroker::External | RunningBroker::InProcess { .. } => None,
        }
    }

    /// What the broker is, for the report.
    pub fn broker_name(&self) -> &'static str {
        match self.broker {
            RunningBroker::External => "external",
            RunningBroker::Apache(_) => "apache-kafka",
            RunningBroker::InProcess { .. } => "in-process",
        }
    }

    /// The process ids of Postgres and the broker to account CPU time by, only where they are ours.
    pub fn groups(&self) -> Vec<(&'static str, Vec<u32>)> {
        let mut groups = Vec::new();
        if let Some(pid) = self.postgres.as_ref().and_then(LocalPostgres::pid) {
            groups.push(("postgres", vec![pid]));
        }
        if let RunningBroker::Apache(kafka) = &self.broker {
            groups.extend(kafka.pid().map(|pid| ("broker", vec![pid.cast_unsigned()])));
        }
        groups
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
    args: &GroundArgs,
    compiler: Compiler,
    topics: &[String],
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
        broker.create_topics(topics)?;
        let brokers = broker.brokers();
        return Ok((RunningBroker::InProcess { _broker: broker }, brokers));
    }
    say("starting Apache Kafka");
    let (data, port) = (scratch.path.join(BROKER_DATA), free_address()?.port());
    let kafka = ApacheKafka::start_compiled(&data, port, compiler)
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

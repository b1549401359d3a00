//! What `bench saga` runs on: a database, a broker, orchestrators and workers; ours are taken down when it is dropped.

use std::net::SocketAddr;

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use workflows::protocol::{RESULTS_TOPIC, tasks_topic};
use workflows::tickets::reference;

use orchestrator::client::{EngineClient as _, HttpClient};
use transport::apache::Compiler;

use super::SagaArgs;
use super::ground::Ground;
use super::limit::{self, Limit};
use super::processes::{LOG_LEVEL, Process, READY_PATH, free_address, log_tails};

/// Connections of the bare loop: as many as the engine writes batches at the same time.
const LIMIT_LANES: u32 = 2;
/// Up to so many sagas in flight it is the broker's answer that is waited for, not its throughput.
const FEW_IN_FLIGHT: u32 = 16;

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
    /// Database and broker.
    pub ground: Ground,
}

impl Stage {
    /// Starts what isn't given, applies the migrations, and starts the processes.
    pub async fn set(args: &SagaArgs, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Stage> {
        let topics = [tasks_topic(reference::QUEUE), RESULTS_TOPIC.to_owned()];
        let compiler = if args.concurrency <= FEW_IN_FLIGHT {
            Compiler::Optimising
        } else {
            Compiler::Quick
        };
        let ground = Ground::prepare(&args.ground, compiler, &topics, say).await?;
        say("starting orchestrators and workers");
        let mut stage = Stage {
            orchestrators: Vec::new(),
            workers: Vec::new(),
            targets: Vec::new(),
            ground,
        };
        stage.start_processes(args).await?;
        Ok(stage)
    }

    async fn start_processes(&mut self, args: &SagaArgs) -> anyhow::Result<()> {
        let (logs, ground) = (self.ground.logs(), &self.ground);
        let variables = [
            ("DATABASE_URL", ground.database_url.as_str()),
            ("KAFKA_BROKERS", ground.brokers.as_str()),
            ("SAGALINE_LOG", LOG_LEVEL),
        ];
        for number in 1..=args.orchestrators {
            let address = free_address()?;
            let listen = address.to_string();
            let arguments = ["orchestrator", "--no-migrate", "--listen", &listen];
            let process = Process::start(logs, &format!("orchestrator-{number}"), &arguments, &variables)?;
            self.orchestrators.push(process);
            self.targets.push(address);
        }
        for number in 1..=args.workers {
            let arguments = ["worker", "--queues", "reference"];
            let process = Process::start(logs, &format!("worker-{number}"), &arguments, &variables)?;
            self.workers.push(process);
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

    /// The process ids to account CPU time by; Postgres and the broker only where they are ours.
    pub fn groups(&self) -> Vec<(&'static str, Vec<u32>)> {
        let mut groups = vec![
            ("orchestrator", self.orchestrators.iter().map(Process::pid).collect()),
            ("worker", self.workers.iter().map(Process::pid).collect()),
        ];
        groups.extend(self.ground.groups());
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
        let ours = &self.ground.pool;
        sqlx::query("drop database if exists bench_limit").execute(ours).await?;
        sqlx::query("create database bench_limit").execute(ours).await?;
        let options = PgConnectOptions::clone(&ours.connect_options()).database("bench_limit");
        let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await?;
        orchestrator::migrate(&pool).await.context("applying the migrations")?;
        let limit = limit::measure(&pool, &self.ground.postgres_pids(), sagas, batch, LIMIT_LANES).await;
        pool.close().await;
        sqlx::query("drop database bench_limit").execute(ours).await?;
        limit
    }

    /// The ends of the processes' logs, for a run that failed.
    pub fn log_tails(&self) -> String {
        log_tails(self.orchestrators.iter().chain(&self.workers))
    }
}

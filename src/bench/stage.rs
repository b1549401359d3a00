//! What `bench saga` runs on: a database, a broker, orchestrators and workers; ours are taken down when it is dropped.

use std::net::SocketAddr;

use anyhow::Context as _;
use workflows::protocol::{RESULTS_TOPIC, tasks_topic};
use workflows::tickets::reference;

use orchestrator::client::{EngineClient as _, HttpClient};

use super::SagaArgs;
use super::ground::Ground;
use super::processes::{LOG_LEVEL, Process, READY_PATH, free_address, log_tails};

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
        let ground = Ground::prepare(&args.ground, &topics, say).await?;
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

    /// The ends of the processes' logs, for a run that failed.
    pub fn log_tails(&self) -> String {
        log_tails(self.orchestrators.iter().chain(&self.workers))
    }
}

//! What the rush runs on: every process of the platform, a payment provider, a mail server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use activities::notifications::SmtpSink;
use anyhow::{Context as _, ensure};
use operations::scale::Targets;
use serde_json::json;
use transport::apache::Compiler;

use super::RushArgs;
use super::caller::Shop;
use super::listeners::Listeners;
use crate::bench::client::Connection;
use crate::bench::ground::Ground;
use crate::bench::processes::{LOG_LEVEL, Process, READY_PATH, free_address, log_tails};
use crate::platform::{SHOP_QUEUES, topics};

/// How long the engine waits for one attempt at a payment: more than the slowest takes, little enough that a payment which
/// is never answered is looked up within the hold.
pub const PAYMENT_ATTEMPT_MAX: Duration = Duration::from_secs(6);
/// Payments under way in one worker. At half a second each that is 2,000 a second; the default of 64 would be 128.
const PAYMENTS_AT_ONCE: &str = "1024";
/// Shortened, as the hold is: a buyer whose card is declined for the moment is asked again within the hold.
const PAYMENT_RETRY_INITIAL: &str = "500ms";
/// See above.
const PAYMENT_RETRY_CAP: &str = "4s";
/// How long a slow bank takes.
const PROCESSING_MS: u64 = 2_000;
/// Signs the sandbox's webhooks.
const WEBHOOK_SECRET: &str = "whsec_bench";
/// Mails that the mail server keeps; they are counted, and nobody reads them.
const MAILS_KEPT_MAX: usize = 16;
/// Where the sandbox says that it is there.
const SANDBOX_HEALTH_PATH: &str = "/_sandbox/health";

/// Everything that runs. Fields are dropped in this order: what uses something before what is used.
pub struct Platform {
    gateway: Process,
    orchestrators: Vec<Process>,
    /// Of each kind.
    workers: Vec<(&'static str, Vec<Process>)>,
    sandbox: Process,
    /// Where buyers go.
    gateway_address: SocketAddr,
    /// Where the orchestrators are.
    ops: Vec<SocketAddr>,
    variables: Vec<(&'static str, String)>,
    /// Where the payment provider is.
    pub sandbox_address: SocketAddr,
    /// The mail server.
    pub mails: SmtpSink,
    /// Database and broker.
    pub ground: Ground,
}

impl Platform {
    /// Starts what isn't given, applies the migrations, and starts the processes.
    pub async fn start(args: &RushArgs, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Platform> {
        let ground = Ground::prepare(&args.ground, Compiler::Quick, &topics(&Targets::default()), say).await?;
        let mails = SmtpSink::start((Ipv4Addr::LOCALHOST, 0).into(), MAILS_KEPT_MAX)
            .await
            .context("starting a mail server")?;
        say("starting gateway, orchestrators, workers and the payment provider");
        let [gateway_address, sandbox_address] = [free_address()?, free_address()?];
        let mut ops = Vec::new();
        for _ in 0..args.fleet.orchestrators {
            ops.push(free_address()?);
        }
        let variables = [
            ("DATABASE_URL", ground.database_url.clone()),
            ("KAFKA_BROKERS", ground.brokers.clone()),
            ("STRIPE_API_KEY", "sk_test_bench".to_owned()),
            ("STRIPE_BASE_URL", format!("http://{sandbox_address}")),
            ("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
            ("SMTP_URL", mails.url()),
            ("SAGALINE_ENGINE_URL", format!("http://{}", ops[0])),
            ("SAGALINE_BOOKING_HOLD", format!("{}ms", args.hold.as_millis())),
            ("SAGALINE_PAYMENT_RETRY_INITIAL", PAYMENT_RETRY_INITIAL.to_owned()),
            ("SAGALINE_PAYMENT_RETRY_CAP", PAYMENT_RETRY_CAP.to_owned()),
            (
                "SAGALINE_PAYMENT_ATTEMPT_TIMEOUT",
                format!("{}s", PAYMENT_ATTEMPT_MAX.as_secs()),
            ),
            // All buyers come from one address.
            ("SAGALINE_RATE_LIMITS", "off".to_owned()),
            ("SAGALINE_LOG", LOG_LEVEL.to_owned()),
        ];
        let start = |name: &str, arguments: &[&str]| start(&ground, &variables, name, arguments);

        let hook = format!("http://{gateway_address}/webhooks/stripe");
        let port = sandbox_address.port().to_string();
        let sandbox = start(
            "sandbox",
            &["sandbox", "stripe", "--port", &port, "--webhook-url", &hook],
        )?;
        let mut orchestrators = Vec::new();
        for (number, address) in (1..).zip(&ops) {
            let listen = address.to_string();
            orchestrators.push(start(&format!("orchestrator-{number}"), &orchestrator(&listen))?);
        }
        let mut workers = Vec::new();
        for queue in SHOP_QUEUES {
            let arguments = worker(queue);
            let replicas =
                (1..=args.fleet.workers).map(|number| start(&format!("worker-{queue}-{number}"), &arguments));
            workers.push((*queue, replicas.collect::<anyhow::Result<Vec<_>>>()?));
        }
        let gateway = start("gateway", &["gateway", "--listen", &gateway_address.to_string()])?;

        let mut platform = Platform {
            gateway,
            orchestrators,
            workers,
            sandbox,
            gateway_address,
            sandbox_address,
            mails,
            ops,
            variables: variables.into(),
            ground,
        };
        platform.wait_ready().await?;
        Ok(platform)
    }

    /// Kills gateway, orchestrators and the workers that give money back, as a power cut would, and starts others in their places.
    pub async fn kill_and_replace(&mut self) -> anyhow::Result<()> {
        let start = |name: &str, arguments: &[&str]| start(&self.ground, &self.variables, name, arguments);
        self.gateway.kill()?;
        self.gateway = start(
            "gateway-again",
            &["gateway", "--listen", &self.gateway_address.to_string()],
        )?;
        for (process, address) in self.orchestrators.iter_mut().zip(&self.ops) {
            process.kill()?;
            let listen = address.to_string();
            *process = start(&format!("{}-again", process.name()), &orchestrator(&listen))?;
        }
        let refunders = self.workers.iter_mut().filter(|(queue, _)| *queue == "refunds");
        for process in refunders.flat_map(|(_, workers)| workers) {
            process.kill()?;
            *process = start(&format!("{}-again", process.name()), &worker("refunds"))?;
        }
        self.wait_ready().await
    }

    /// Where the engine is.
    pub fn engine_address(&self) -> SocketAddr {
        self.ops[0]
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        self.sandbox
            .wait_ready(self.sandbox_address, SANDBOX_HEALTH_PATH)
            .await?;
        for (process, address) in self.orchestrators.iter_mut().zip(&self.ops) {
            process.wait_ready(*address, READY_PATH).await?;
        }
        self.gateway.wait_ready(self.gateway_address, READY_PATH).await
    }

    /// From now on payments take their time.
    pub async fn slow_payments(&self, args: &RushArgs) -> anyhow::Result<()> {
        // A payment is two calls, creation and confirmation, which have the span between them.
        let switches = json!({
            "latency_ms": [args.payment_ms.from / 2, args.payment_ms.to / 2],
            "processing_ms": PROCESSING_MS,
            "seed": args.seed,
        });
        let mut connection = Connection::open(self.sandbox_address).await?;
        let answer = connection.post("/_sandbox/config", &[], switches.to_string()).await?;
        ensure!(
            answer.status.is_success(),
            "the sandbox refuses its switches: {}",
            String::from_utf8_lossy(&answer.body)
        );
        Ok(())
    }

    /// Where buyers go.
    pub fn shop(&self, concurrency: u32, args: &RushArgs) -> Shop {
        Shop {
            gateway: self.gateway_address,
            concurrency,
            tries: args.tries,
            hold: args.hold,
        }
    }

    /// Opens connections that follow the event's seats.
    pub async fn listeners(&self, event: &str, wanted: u32) -> anyhow::Result<Listeners> {
        Listeners::open(self.gateway_address, self.gateway.pid(), event, wanted).await
    }

    /// Our own processes, each with its name.
    pub fn processes(&self) -> Vec<(&str, u32)> {
        self.all().map(|process| (process.name(), process.pid())).collect()
    }

    /// The process ids to account CPU time by; Postgres and the broker only where they are ours.
    pub fn groups(&self) -> Vec<(&'static str, Vec<u32>)> {
        let mut groups = vec![
            ("gateway", vec![self.gateway.pid()]),
            ("orchestrator", self.orchestrators.iter().map(Process::pid).collect()),
            ("sandbox", vec![self.sandbox.pid()]),
        ];
        for (queue, workers) in &self.workers {
            groups.push((queue, workers.iter().map(Process::pid).collect()));
        }
        groups.extend(self.ground.groups());
        groups
    }

    /// The ends of the processes' logs, for a run that failed.
    pub fn log_tails(&self) -> String {
        log_tails(self.all())
    }

    fn all(&self) -> impl Iterator<Item = &Process> {
        let workers = self.workers.iter().flat_map(|(_, workers)| workers);
        [&self.gateway, &self.sandbox]
            .into_iter()
            .chain(&self.orchestrators)
            .chain(workers)
    }
}

fn start(
    ground: &Ground,
    variables: &[(&'static str, String)],
    name: &str,
    arguments: &[&str],
) -> anyhow::Result<Process> {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Process::start(ground.logs(), name, arguments, &variables)
}

fn orchestrator(listen: &str) -> [&str; 5] {
    ["orchestrator", "--no-migrate", "--deploy-tickets", "--listen", listen]
}

fn worker(queue: &str) -> Vec<&str> {
    match queue {
        "payments" => vec!["worker", "--queues", queue, "--concurrency", PAYMENTS_AT_ONCE],
        _ => vec!["worker", "--queues", queue],
    }
}

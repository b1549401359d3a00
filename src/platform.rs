//! Putting the parts together: what the separate processes and `dev` have in common.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use activities::payments::{PaymentsConfig, register_payments, register_refunds};
use activities::seats::seed::EventSeed;
use activities::{Registry, events, reference, seats};
use anyhow::Context;
use operations::scale::Targets;
use orchestrator::api::{Ops, Readiness};
use orchestrator::client::{ClientError, EngineClient, Overlap, ScheduleSpec};
use orchestrator::{Engine, EngineOptions};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use transport::KafkaConfig;
use workflows::Compiled;
use workflows::definition::Definition;
use workflows::protocol::{RESULTS_TOPIC, poison_topic, tasks_topic};
use workflows::tickets::{
    account, alert, booking, cancellation, dispute, event, metrics, notification, reconciliation, refund, sweep,
};

use crate::messaging;
use crate::settings::{HOLD_EXTENSION_MAX, Problems, Settings};
use crate::telemetry::Render;

/// The queues of every ticket shop. Those of the channels that not every shop has are beside them: [`shop_queues`].
pub const SHOP_QUEUES: &[&str] = &["seats", "payments", "refunds", "notifications", "email"];
/// Every queue that this program has activities for: the shop's, and the benchmark's.
pub const QUEUES: &[&str] = &[
    "seats",
    "payments",
    "refunds",
    "notifications",
    "email",
    "sms",
    "push",
    "slack",
    "reference",
];
/// Where Stripe is.
const STRIPE_URL: &str = "https://api.stripe.com";
/// The schedule that frees seats which nobody has released.
const SWEEP_SCHEDULE: &str = "hold-sweep";
/// How long a hold must be over before the sweep takes its seats back: its own saga comes first, and that may have been given more
/// time, of which the hold's row doesn't know.
const SWEEP_GRACE_SECONDS: u64 = 120 + HOLD_EXTENSION_MAX.as_secs();

/// The schedule that compares our ledger with the payment provider's.
const RECONCILIATION_SCHEDULE: &str = "payment-reconciliation";
/// It looks at a day, and a bit of the day before, for a payment may take a while from its beginning to its end…
const RECONCILED_FROM_HOURS: u32 = 26;
/// …and not at what may be on its way.
const RECONCILED_UNTIL_HOURS: u32 = 1;
/// If no orchestrator runs at that time: later is better than a day without.
const RECONCILIATION_CATCH_UP: Duration = Duration::from_secs(12 * 60 * 60);

/// Looks at what is deployed before giving up, when replicas that start together get in each other's way.
const DEPLOY_ATTEMPTS_MAX: u32 = 5;

/// The engine with its HTTP API and schedules, running.
pub struct EngineParts {
    /// The engine.
    pub engine: Engine,
    /// The routes of its HTTP API.
    pub router: axum::Router,
    schedules: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl EngineParts {
    /// Starts an engine over a migrated database. From `stop` on it says that it is not ready.
    pub async fn start(
        settings: &Settings,
        pool: PgPool,
        kafka: KafkaConfig,
        render: Render,
        stop: CancellationToken,
    ) -> anyhow::Result<EngineParts> {
        let options = EngineOptions {
            worth: Some(worth),
            drain_timeout: settings.drain,
            ..EngineOptions::default()
        };
        let engine = Engine::start(options, pool, kafka)
            .await
            .context("starting the engine")?;
        let mut ops = Ops::new(engine.clone(), render);
        ops.ready = leaving_is_not_ready(ops.ready, stop.clone());
        let schedules_stop = CancellationToken::new();
        let schedules = tokio::spawn(orchestrator::schedules::run(engine.clone(), schedules_stop.clone()));
        Ok(EngineParts {
            engine,
            router: orchestrator::api::router(ops),
            schedules,
            stop: schedules_stop,
        })
    }

    /// Finishes what is under way.
    pub async fn shutdown(self) {
        self.stop.cancel();
        // Its end by panic would have been logged; there is nothing left to do for it.
        let _ = self.schedules.await;
        self.engine.shutdown().await;
    }
}

/// What a booking is worth, and for how many seats.
fn worth(workflow: &str, input: &serde_json::Value) -> (i64, i64) {
    if workflow != booking::NAME {
        return (0, 0);
    }
    let seats = input["seatIds"].as_array().map_or(0, Vec::len);
    (
        input["totalCents"].as_i64().unwrap_or_default(),
        i64::try_from(seats).unwrap_or_default(),
    )
}

/// How careful mission control is.
pub fn mission_options(settings: &Settings) -> dashboard::Options {
    dashboard::Options {
        second_person: settings.second_person,
        approval_items: settings.approval_items,
        links: settings.dashboard_links.clone().unwrap_or_default(),
        sign_on: settings.sign_on.options(),
    }
}

/// This replica's part in running campaigns.
pub struct Campaigns {
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Campaigns {
    /// Starts it.
    pub fn start(mission: &dashboard::Mission) -> Campaigns {
        let stop = CancellationToken::new();
        let task = tokio::spawn(dashboard::campaigns::run(mission.clone(), stop.clone()));
        Campaigns { task, stop }
    }

    /// Lets go of what it has in hand; others go on with it.
    pub async fn stop(self) {
        self.stop.cancel();
        // Its end by panic would have been logged; there is nothing left to do for it.
        let _ = self.task.await;
    }
}

fn leaving_is_not_ready(ready: Readiness, stop: CancellationToken) -> Readiness {
    Arc::new(move || {
        let (ready, stop) = (ready.clone(), stop.clone());
        Box::pin(async move {
            let mut standing = ready().await;
            if stop.is_cancelled() {
                (standing.ready, standing.draining) = (false, true);
            }
            standing
        })
    })
}

/// The queues of this ticket shop: messages go by what is set up.
pub fn shop_queues(settings: &Settings) -> Vec<String> {
    let channels = settings.messaging.channels.iter().map(|channel| channel.as_str());
    let all: BTreeSet<&str> = SHOP_QUEUES.iter().copied().chain(channels).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// The shop's workflows.
fn definitions(durations: &booking::Durations) -> [Definition; 14] {
    [
        booking::definition(durations),
        sweep::definition(),
        account::definition(),
        refund::definition(durations),
        cancellation::definition(durations),
        reconciliation::definition(),
        reconciliation::difference(),
        dispute::definition(),
        event::definition(),
        notification::definition(durations),
        notification::receipt(),
        alert::definition(durations),
        alert::scale_out(durations),
        metrics::definition(),
    ]
}

/// Every topic that the shop's workflows and the watch over its workers need, for brokers that are made for them.
pub fn topics(targets: &Targets) -> Vec<String> {
    let compiled = definitions(&booking::Durations::default())
        .map(|definition| Compiled::new(definition).expect("our own definitions are valid"));
    let mut topics: BTreeSet<String> = compiled.iter().flat_map(Compiled::topics).collect();
    for queue in compiled.iter().flat_map(Compiled::queues) {
        topics.extend([tasks_topic(&queue), poison_topic(&queue)]);
    }
    topics.extend([RESULTS_TOPIC.to_owned(), poison_topic("results")]);
    topics.extend(analytics::fact::TOPICS.map(str::to_owned));
    let watched = targets.0.iter();
    topics.extend(watched.map(|target| tasks_topic(target.queue())));
    topics.into_iter().collect()
}

/// Deploys the shop's workflows and the schedule of its safety net.
pub async fn deploy_tickets(client: &dyn EngineClient, settings: &Settings) -> anyhow::Result<()> {
    for definition in definitions(&durations(settings)) {
        let name = definition.name.clone();
        deploy(client, definition)
            .await
            .with_context(|| format!("deploying the workflow {name}"))?;
    }
    let schedule = |name: &str, cron: &str, workflow: &str, input, catch_up| ScheduleSpec {
        name: name.to_owned(),
        cron: cron.to_owned(),
        time_zone: "UTC".to_owned(),
        workflow: workflow.to_owned(),
        version: None,
        input,
        tags: Default::default(),
        overlap: Overlap::Skip,
        catch_up,
        paused: false,
    };
    let grace = json!({ "graceSeconds": SWEEP_GRACE_SECONDS });
    let hours = json!({ "fromHours": RECONCILED_FROM_HOURS, "untilHours": RECONCILED_UNTIL_HOURS });
    for spec in [
        schedule(SWEEP_SCHEDULE, "* * * * *", sweep::NAME, grace, Duration::from_secs(60)),
        schedule(
            RECONCILIATION_SCHEDULE,
            "15 4 * * *",
            reconciliation::NAME,
            hours,
            RECONCILIATION_CATCH_UP,
        ),
    ] {
        let name = spec.name.clone();
        match client.create_schedule(spec).await {
            Ok(_) | Err(ClientError::Conflict { .. }) => (),
            Err(error) => return Err(error).with_context(|| format!("creating the schedule {name}")),
        }
    }
    Ok(())
}

/// Deploys a definition, as the next version if an earlier one differs (other durations, another release).
async fn deploy(client: &dyn EngineClient, mut definition: Definition) -> Result<(), ClientError> {
    for _ in 0..DEPLOY_ATTEMPTS_MAX {
        if let Some(newest) = client.definition(&definition.name, None).await? {
            definition.version = newest.definition.version;
            if newest.definition == definition {
                return Ok(());
            }
            definition.version += 1;
        }
        match client.deploy(definition.clone()).await {
            // Another replica was a moment earlier: look again.
            Err(ClientError::Conflict { .. }) => (),
            outcome => return outcome.map(|_| ()),
        }
    }
    Err(ClientError::Conflict {
        message: "others keep deploying this workflow".to_owned(),
    })
}

fn durations(settings: &Settings) -> booking::Durations {
    booking::Durations {
        hold: settings.hold,
        hold_extension: settings.hold_extension,
        payment_retry: settings.payment_retry_initial,
        payment_retry_cap: settings.payment_retry_cap,
        payment_timeout: settings.payment_attempt_timeout,
        ..booking::Durations::default()
    }
}

/// Which settings the activities of these queues need; unknown queues are named with the known ones.
pub fn needs(queues: &[String]) -> Result<Vec<&'static str>, Problems> {
    let unknown: Vec<String> = queues
        .iter()
        .filter(|queue| !QUEUES.contains(&queue.as_str()))
        .map(|queue| format!("--queues: there is no queue {queue:?}; there are {}", QUEUES.join(", ")))
        .collect();
    if !unknown.is_empty() {
        return Err(Problems(unknown));
    }
    let mut needed = vec!["database.url", "kafka.brokers"];
    if queues.iter().any(|queue| queue == "payments" || queue == "refunds") {
        needed.push("stripe.api_key");
    }
    for queue in queues {
        needed.extend(messaging::needs(queue));
    }
    Ok(needed)
}

/// The activities of these queues.
pub fn activities(settings: &Settings, pool: &PgPool, queues: &[String]) -> anyhow::Result<Registry> {
    let mut registry = Registry::new();
    for queue in queues {
        match queue.as_str() {
            "seats" => seats::register(&mut registry, pool.clone()),
            "payments" => register_payments(&mut registry, payments_config(settings)?, pool.clone())
                .context("setting up Stripe's client")?,
            "refunds" => {
                register_refunds(&mut registry, payments_config(settings)?, pool.clone())
                    .context("setting up Stripe's client")?;
                events::register(&mut registry, pool.clone());
            }
            "notifications" | "email" | "sms" | "push" | "slack" => {
                messaging::register(&mut registry, settings, pool, queue)?;
            }
            "reference" => reference::register(&mut registry, pool.clone()),
            unknown => anyhow::bail!("there are no activities for the queue {unknown:?}"),
        }
    }
    Ok(registry)
}

fn payments_config(settings: &Settings) -> anyhow::Result<PaymentsConfig> {
    let key = settings.stripe_api_key.as_ref().context("STRIPE_API_KEY is not set")?;
    let base_url = settings
        .stripe_base_url
        .clone()
        .unwrap_or_else(|| STRIPE_URL.to_owned());
    Ok(PaymentsConfig::new(key.reveal(), base_url))
}

/// Where the payment provider is, as `host:port`.
pub fn payments_address(settings: &Settings) -> Option<String> {
    let url = settings.stripe_base_url.as_deref().unwrap_or(STRIPE_URL);
    let url = reqwest::Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Where the mail server is, as `host:port`.
pub fn mail_address(settings: &Settings) -> Option<String> {
    let url = reqwest::Url::parse(settings.smtp_url.as_ref()?.reveal()).ok()?;
    // As the mail client has them.
    let default = match url.scheme() {
        "smtps" => 465,
        _smtp if url.query().is_some_and(|query| query.contains("tls=")) => 587,
        _smtp => 25,
    };
    let port = url.port().unwrap_or(default);
    Some(format!("{}:{port}", url.host_str()?))
}

/// Loads the demo event, unless it is there.
pub async fn seed_demo(pool: &PgPool) -> anyhow::Result<()> {
    seats::seed::seed_demo_event(pool, &EventSeed::demo())
        .await
        .context("loading the demo event")?;
    Ok(())
}

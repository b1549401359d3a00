//! The platform's own parts: migrations and demo data, engine, workers, gateway.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use dashboard::{Mission, Role};
use orchestrator::client::LocalClient;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use workers::Readiness;

use super::report::Progress;
use crate::commands::gateway::{options as gateway_options, tell_actions};
use crate::commands::{analytics, operations, shop, worker};
use crate::connect;
use crate::entrance::Entrance;
use crate::health::Health;
use crate::platform::{Campaigns, EngineParts, deploy_tickets, mission_options, shop_queues};
use crate::settings::Settings;
use crate::telemetry::Render;

/// How long the engine may take until it says that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(50);
/// Activities at work at once, per queue.
const CONCURRENCY: u32 = 64;

/// Who the printed link logs in: without a password, so there is no other way in.
const DEV_USER: &str = "dev";

/// Who the demo organiser sells for.
const DEMO_ORGANISATION: &str = "Demo Concerts";

/// Where everything is served.
pub struct Listeners {
    /// The shop's API.
    pub gateway: TcpListener,
    /// The engine's API.
    pub ops: TcpListener,
    /// Mission control.
    pub dashboard: TcpListener,
}

/// The parts, running.
pub struct Services {
    pool: PgPool,
    engine: EngineParts,
    ops: Entrance,
    dashboard: Entrance,
    mission: Mission,
    campaigns: Campaigns,
    drain: Duration,
    leaving: CancellationToken,
    worker: Part,
    gateway: Part,
    analytics: Part,
    operations: Part,
}

/// A part that runs until its token is cancelled.
struct Part {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Services {
    /// Starts everything over what the settings name.
    pub async fn start(
        settings: &Settings,
        render: Render,
        listeners: Listeners,
        broker_forgets: bool,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> anyhow::Result<Services> {
        let url = settings.database.as_ref().context("no database")?;
        let database = connect::database(url, settings.database_connections, stop).await?;
        let pool = database.pool.clone();
        progress.say("bringing the database's schema up to date");
        connect::migrate(&pool).await?;
        progress.say("loading the demo event");
        crate::platform::seed_demo(&pool).await?;

        progress.say("starting the engine");
        let leaving = CancellationToken::new();
        let ops = Entrance::serve(listeners.ops);
        let dashboard_entrance = Entrance::serve(listeners.dashboard);
        let kafka = connect::kafka(settings, "sagaline-orchestrator")?;
        let engine = EngineParts::start(settings, pool.clone(), kafka, render, leaving.clone()).await?;
        let client = Arc::new(LocalClient::new(engine.engine.clone()));
        deploy_tickets(client.as_ref(), settings).await?;
        let watching = client.clone();
        ops.open(engine.router.clone());
        // Its one user has nobody to ask.
        let options = dashboard::Options {
            second_person: false,
            ..mission_options(settings)
        };
        let mission = Mission::with(engine.engine.clone(), options).reading(analytics::reader(settings)?);
        let campaigns = Campaigns::start(&mission);
        dashboard_entrance.open(dashboard::router(mission.clone()));
        let others = [engine.engine.hot_pool(), mission.pool()].map(PgPool::clone);
        database.follow_primary(others);

        progress.say("starting workers and gateway");
        let readiness = Readiness::default();
        let worker = Part::spawn(|stop| worker(settings.clone(), pool.clone(), readiness.clone(), stop));
        let acting = CancellationToken::new();
        let (actions, telling) = tell_actions(settings, acting.clone())?;
        let deps = gateway::Deps {
            pool: pool.clone(),
            engine: client,
            analytics: analytics::reader(settings)?,
            actions,
        };
        let options = gateway_options(settings);
        let site = shop::around(settings);
        let gateway = Part::spawn(|stop| async move {
            let served = gateway::serve_with(options, deps, listeners.gateway, stop, site).await;
            acting.cancel();
            telling.await?;
            Ok(served?)
        });
        let counted = settings.clone();
        let analytics = Part::spawn(|stop| async move {
            // Nobody asks after it here: the whole is ready or not.
            let health = Health::new(&["store"], stop.clone());
            analytics::count(&counted, &health, stop).await
        });
        let begun = CancellationToken::new();
        let may_watch = begun.clone();
        let (watched, watch_pool) = (settings.clone(), pool.clone());
        let operations = Part::spawn(|stop| async move {
            // Not before the sagas of the last run were taken up: one that it starts isn't one of those.
            let _ = stop.run_until_cancelled(may_watch.cancelled()).await;
            operations::watch(&watched, watch_pool, watching, stop).await
        });
        let services = Services {
            pool,
            engine,
            ops,
            dashboard: dashboard_entrance,
            mission,
            campaigns,
            drain: settings.drain,
            leaving,
            worker,
            gateway,
            analytics,
            operations,
        };
        services.wait_ready(&readiness).await?;
        if broker_forgets {
            let sagas = services
                .engine
                .engine
                .redispatch_all()
                .await
                .context("taking up sagas of the last run")?;
            if sagas > 0 {
                progress.note(&format!("open sagas that go on: {sagas}"));
            }
        }
        begun.cancel();
        Ok(services)
    }

    /// The path of a link that logs one in to mission control, once.
    pub async fn one_time_link(&self) -> anyhow::Result<String> {
        let link = dashboard::operators::one_time_link(&self.pool, DEV_USER, Role::Admin).await;
        link.context("making a link to mission control")
    }

    /// An access token of the demo buyer.
    pub async fn demo_token(&self, settings: &Settings) -> anyhow::Result<String> {
        let demo = gateway::demo_buyer(&self.pool, &gateway_options(settings)).await;
        let demo = demo.map_err(|error| anyhow!(error)).context("making the demo buyer")?;
        Ok(demo.token)
    }

    /// An access token of the demo organiser, who has an organisation of their own.
    pub async fn organiser_token(&self, settings: &Settings) -> anyhow::Result<String> {
        let make = async {
            let demo = gateway::demo_organiser(&self.pool, &gateway_options(settings)).await?;
            gateway::add_organiser(&self.pool, gateway::DEMO_ORGANISER, DEMO_ORGANISATION).await?;
            Ok::<_, String>(demo.token)
        };
        make.await
            .map_err(|error| anyhow!(error))
            .context("making the demo organiser")
    }

    async fn wait_ready(&self, worker: &Readiness) -> anyhow::Result<()> {
        let until = Instant::now() + READY_LIMIT;
        loop {
            let waiting_for = match self.engine.engine.ready().await {
                Ok(()) if worker.is_ready() => return Ok(()),
                Ok(()) => format!("the workers of {}", worker.waiting_for().join(", ")),
                Err(error) => format!("the engine: {error}"),
            };
            anyhow::ensure!(
                Instant::now() < until,
                "not ready after {} s: {waiting_for}",
                READY_LIMIT.as_secs()
            );
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Waits until a part ends by itself, which none should.
    pub async fn failed(&mut self) -> anyhow::Error {
        let (name, ended) = tokio::select! {
            ended = &mut self.worker.task => ("the worker", ended),
            ended = &mut self.gateway.task => ("the gateway", ended),
            ended = &mut self.analytics.task => ("the analytics", ended),
            ended = &mut self.operations.task => ("what watches the platform", ended),
        };
        match ended {
            Ok(Ok(())) => anyhow!("{name} has ended"),
            Ok(Err(error)) => error.context(format!("{name} has failed")),
            Err(error) => anyhow::Error::new(error).context(format!("{name} has failed")),
        }
    }

    /// Stops everything in the order in which work flows: nothing new comes in, what is under way is finished.
    pub async fn shutdown(self) {
        self.leaving.cancel();
        self.gateway.end().await;
        self.mission.leave();
        tokio::join!(self.ops.close(self.drain), self.dashboard.close(self.drain));
        self.campaigns.stop().await;
        self.operations.end().await;
        self.mission.close().await;
        self.worker.end().await;
        self.engine.shutdown().await;
        self.analytics.end().await;
        self.pool.close().await;
    }
}

impl Part {
    fn spawn<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Part {
        let stop = CancellationToken::new();
        Part {
            task: tokio::spawn(run(stop.clone())),
            stop,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        // One that ended by itself has been looked at already, and must not be polled again.
        if !self.task.is_finished() {
            match self.task.await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "a part ended with an error"),
                Err(error) => tracing::error!(%error, "a part ended with a panic"),
            }
        }
    }
}

async fn worker(settings: Settings, pool: PgPool, readiness: Readiness, stop: CancellationToken) -> anyhow::Result<()> {
    let queues = shop_queues(&settings);
    worker::work(&settings, pool, &queues, CONCURRENCY, readiness, stop).await
}

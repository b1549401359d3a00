//! `sagaline orchestrator`: the engine and its HTTP API, as a process of its own.

use anyhow::Context;
use dashboard::Mission;
use orchestrator::client::LocalClient;
use sqlx::PgPool;

use super::analytics;
use crate::cli::{self, set};
use crate::entrance::{Entrance, bind};
use crate::platform::{Campaigns, EngineParts, deploy_tickets, mission_options};
use crate::settings::{Flags, Settings};
use crate::{connect, shutdown, telemetry};

/// The flags as settings.
pub fn flags(args: &cli::Orchestrator) -> Flags {
    let mut flags = args.database.flags();
    flags.extend(args.kafka.flags());
    flags.extend(set("engine.listen", args.listen.as_ref()));
    flags.extend(set("dashboard.listen", args.dashboard_listen.as_ref()));
    flags
}

/// Runs until told to stop.
pub async fn run(args: cli::Orchestrator, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url", "kafka.brokers"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let stop = shutdown::on_signal()?;
    let render = telemetry::install()?;
    let listener = bind(settings.engine_listen).await?;
    tracing::info!(address = %listener.local_addr()?, database = %url, "the engine's HTTP API listens");
    let entrance = Entrance::serve(listener);
    let dashboard = match settings.dashboard_listen {
        Some(address) => {
            let listener = bind(address).await?;
            tracing::info!(address = %listener.local_addr()?, "mission control listens");
            Some(Entrance::serve(listener))
        }
        None => None,
    };

    let database = connect::database(url, settings.database_connections, &stop).await?;
    if !args.no_migrate {
        connect::migrate(&database.pool).await?;
    }
    let kafka = connect::kafka(&settings, "sagaline-orchestrator")?;
    let parts = EngineParts::start(&settings, database.pool.clone(), kafka, render, stop.clone()).await?;
    if args.deploy_tickets {
        deploy_tickets(&LocalClient::new(parts.engine.clone()), &settings).await?;
    }
    entrance.open(parts.router.clone());
    let mission =
        Mission::with(parts.engine.clone(), mission_options(&settings)).reading(analytics::reader(&settings)?);
    // Whether it serves pages or not: any replica may go on with a campaign.
    let campaigns = Campaigns::start(&mission);
    let others = [parts.engine.hot_pool(), mission.pool()].map(PgPool::clone);
    database.follow_primary(others);
    if let Some(dashboard) = &dashboard {
        dashboard.open(dashboard::router(mission.clone()));
    }
    tracing::info!("ready");

    stop.cancelled().await;
    let closing = async {
        if let Some(dashboard) = dashboard {
            mission.leave();
            dashboard.close(settings.drain).await;
        }
        campaigns.stop().await;
        mission.close().await;
    };
    tokio::join!(entrance.close(settings.drain), closing);
    parts.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

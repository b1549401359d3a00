//! `sagaline dev`: the whole platform in one process, on a machine with nothing prepared.
//!
//! What isn't given by settings is brought along: a private Postgres under the data directory, a Kafka broker in this
//! process, a Stripe sandbox, a mailbox. The data survives a restart, also after a kill: the broker then has forgotten
//! everything, so every live saga sends its unanswered tasks again.

mod backing;
mod mailbox;
mod place;
mod report;
mod services;

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::cli::{self, Global};
use crate::entrance::bind;
use crate::settings::{Secret, Settings};
use crate::{shutdown, telemetry};
use backing::Backing;
use place::Place;
use report::{Progress, Ready};
use services::{Listeners, Services};

/// Who is on this machine.
const LOOPBACK: &str = "127.0.0.0/8,::1";

/// Runs until told to stop.
pub async fn run(global: &Global, args: cli::Dev, settings: Settings) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let progress = Progress::begin();
    let started = tokio::select! {
        started = start(&args, &settings, &progress) => started?,
        // What had been started is dropped, which stops it.
        () = stop.cancelled() => return Ok(()),
    };
    progress.end();
    let Started {
        ready,
        mut services,
        backing,
    } = started;
    ready.print(global.output)?;
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        failed = services.failed() => Err(failed),
    };
    eprintln!("stopping: finishing what is under way");
    services.shutdown().await;
    backing.shutdown().await;
    eprintln!("stopped; the data stays in {}", args.data_dir.display());
    ended
}

struct Started {
    ready: Ready,
    services: Services,
    backing: Backing,
}

async fn start(args: &cli::Dev, settings: &Settings, progress: &Progress) -> anyhow::Result<Started> {
    // The ports first: if they are taken, nothing else need be started.
    let gateway_listener = bind(SocketAddr::new(args.listen, args.port)).await?;
    let ops_listener = bind(SocketAddr::new(args.listen, args.ops_port)).await?;
    let dashboard_listener = bind(SocketAddr::new(args.listen, args.dashboard_port)).await?;
    let gateway = format!("http://{}", gateway_listener.local_addr()?);
    let ops = format!("http://{}", ops_listener.local_addr()?);
    let dashboard = format!("http://{}", dashboard_listener.local_addr()?);
    let place = Place::open(&args.data_dir, args.fresh)?;
    let render = telemetry::install()?;

    let never = CancellationToken::new();
    let webhook_url = format!("{gateway}/webhooks/stripe");
    let (backing, mut settings) = Backing::start(&place, args.fresh, settings, &webhook_url, progress).await?;
    settings.shop_gateway_url = gateway.clone();
    settings
        .internal_secret
        .get_or_insert_with(|| Secret::new(&hex::encode(rand::random::<[u8; 32]>())));
    settings.operations.for_one_process();
    // Whoever is on this machine may say where they come from: `demo traffic` sends buyers from everywhere.
    if args.listen.is_loopback() && settings.trusted_proxies.is_none() {
        settings.trusted_proxies = Some(LOOPBACK.parse().map_err(anyhow::Error::msg)?);
    }
    // Links in its mails lead to this gateway, and the printed token is good at this one.
    settings.shop_url = gateway.clone();
    settings
        .token_secret
        .get_or_insert_with(|| Secret::new(&hex::encode(rand::random::<[u8; 32]>())));
    let mut ready = Ready {
        ready: true,
        shop: settings.shop_pages.then(|| format!("{gateway}/")),
        gateway,
        ops,
        dashboard,
        database: settings.database.as_ref().map(ToString::to_string).unwrap_or_default(),
        brokers: settings.brokers.clone().unwrap_or_default(),
        stripe: settings
            .stripe_base_url
            .clone()
            .unwrap_or_else(|| "https://api.stripe.com".to_owned()),
        mailbox: backing.mailbox(),
        messages: backing.messages(),
        demo_token: String::new(),
        organiser_token: String::new(),
    };
    let forgetful = backing.broker_forgets();
    let services = Services::start(
        &settings,
        render,
        Listeners {
            gateway: gateway_listener,
            ops: ops_listener,
            dashboard: dashboard_listener,
        },
        forgetful,
        progress,
        &never,
    )
    .await?;
    let link = services.one_time_link().await?;
    ready.demo_token = services.demo_token(&settings).await?;
    ready.organiser_token = services.organiser_token(&settings).await?;
    ready.dashboard = format!("{}{link}", ready.dashboard);
    Ok(Started {
        ready,
        services,
        backing,
    })
}

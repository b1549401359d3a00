//! `sagaline gateway`: the shop's public HTTP API, and the buyers' pages around it, as a process of its own.

use std::sync::Arc;

use ::analytics::actions::Recorder;
use ::analytics::store::Store;
use anyhow::Context;
use orchestrator::client::HttpClient;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{analytics, shop};
use crate::cli::{self, set};
use crate::entrance::bind;
use crate::settings::{Flags, Secret, Settings};
use crate::{connect, platform, shutdown};

/// The flags as settings.
pub fn flags(args: &cli::Gateway) -> Flags {
    let mut flags = args.database.flags();
    flags.extend(set("engine.url", args.engine_url.as_ref()));
    flags.extend(set("gateway.listen", args.listen.as_ref()));
    flags.extend(set("gateway.services", args.services.as_ref()));
    flags.extend(set("gateway.service_urls", args.service_urls.as_ref()));
    flags
}

/// Runs until told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let options = options(&settings);
    let stop = shutdown::on_signal()?;
    let (pool, analytics) = pools(&settings, &options)?;
    let engine = Arc::new(HttpClient::new(&settings.engine_url)?);
    if settings.token_secret.is_none() {
        tracing::warn!(
            "SAGALINE_TOKEN_SECRET is not set: access tokens end with this process, and no other gateway takes them"
        );
    }
    let listener = bind(settings.gateway_listen).await?;
    let here: Vec<&str> = options.services.iter().map(|service| service.name()).collect();
    tracing::info!(
        address = %listener.local_addr()?,
        engine = settings.engine_url,
        database = settings.database.as_ref().map(tracing::field::display),
        services = here.join(","),
        passed_on = %settings.service_urls,
        "the gateway listens"
    );
    let (actions, telling) = tell_actions(&settings, stop.clone())?;
    let deps = gateway::Deps {
        pool,
        engine,
        analytics,
        actions,
    };
    // The pages want all of the API.
    let whole = options.is_whole();
    let around = shop::around(&settings);
    let site = move |api: axum::Router| if whole { around(api) } else { api };
    gateway::serve_with(options, deps, listener, stop, site).await?;
    // What was taken down last is sent within a limit of its own.
    telling.await?;
    tracing::info!("stopped");
    Ok(())
}

/// Connections to the shop's database and to the analytics', made when they are first used: without them, it answers 503. A gateway that passes
/// everything on needs none.
fn pools(settings: &Settings, options: &gateway::Options) -> anyhow::Result<(PgPool, Store)> {
    if options.services.is_empty() {
        // Nobody asks it anything.
        let nowhere = PgPoolOptions::new().connect_lazy_with(PgConnectOptions::new_without_pgpass());
        return Ok((nowhere.clone(), nowhere.into()));
    }
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let database = connect::lazy_database(url, settings.database_connections)?;
    database.follow_primary([]);
    Ok((database.pool, analytics::reader(settings)?))
}

/// Who takes down what users do, and the task that tells it to Kafka: until `stop`, if the gateway knows Kafka, and it is wanted.
pub fn tell_actions(settings: &Settings, stop: CancellationToken) -> anyhow::Result<(Recorder, JoinHandle<()>)> {
    if settings.brokers.is_none() || !settings.user_actions {
        tracing::info!("what users do is told to nobody");
        return Ok((Recorder::off(), tokio::spawn(async {})));
    }
    let kafka = connect::kafka(settings, "sagaline-gateway")?;
    let (recorder, waiting) = Recorder::new();
    let telling = tokio::spawn(::analytics::actions::publish(waiting, kafka, stop));
    Ok((recorder, telling))
}

/// The gateway's options as set.
pub fn options(settings: &Settings) -> gateway::Options {
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| gateway::Secret::new(secret.reveal()));
    let here = settings.gateway_services.here(&settings.service_urls);
    gateway::Options {
        services: here.expect("settings that don't go together are refused when they are read"),
        service_urls: settings.service_urls.clone(),
        webhook_secret: secret(&settings.stripe_webhook_secret),
        twilio_auth_token: secret(&settings.messaging.twilio_token),
        mail_webhook_secret: secret(&settings.messaging.mail_webhook_secret),
        shop_url: settings.shop_url.clone(),
        token_secret: secret(&settings.token_secret),
        payments_address: platform::payments_address(settings),
        internal_secret: secret(&settings.internal_secret),
        trusted_proxies: settings.trusted_proxies.clone().unwrap_or_default(),
        rates: settings.rates,
        cors_origins: settings.cors_origins.clone().unwrap_or_default(),
        anonymous_bookings: settings.anonymous_bookings,
        drain_time_limit: settings.drain,
        ..gateway::Options::default()
    }
}

//! Metrics: one recorder for the process, rendered in Prometheus' text form.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use crate::entrance::bind;
use crate::health::Health;

/// Bucket bounds of every duration, in seconds: a millisecond to a minute.
const SECONDS_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// How often histograms are tidied, so that a process that nobody scrapes doesn't grow.
const UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// Renders the process's metrics.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Installs the process's recorder. Call once, within the runtime.
pub fn install() -> anyhow::Result<Render> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)
        .context("the metrics' buckets")?
        .install_recorder()
        .context("installing the metrics recorder")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(Arc::new(move || handle.render()))
}

/// Serves `/metrics`, `/health/live` and `/health/ready` on this port of all addresses, for a process that has no HTTP API of its own; until the
/// process ends, for it is asked how the draining goes.
pub async fn serve_on(port: u16, health: Health) -> anyhow::Result<()> {
    let render = install()?;
    let listener = bind((Ipv4Addr::UNSPECIFIED, port).into()).await?;
    tracing::info!(address = %listener.local_addr()?, "metrics and health are served");
    let ready = move || async move { health.standing().await };
    let router = Router::new()
        .route("/metrics", get(move || async move { render() }))
        .route("/health/live", get(|| async { StatusCode::OK }))
        .route("/health/ready", get(ready.clone()))
        .route("/health", get(ready));
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(())
}

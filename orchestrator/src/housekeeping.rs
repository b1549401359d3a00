//! Signs of life, and the removal of what is old.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::batcher::Shell;
use crate::options::KEEP_COUNTS;
use crate::store;

/// Signs of life in one lease: four may be lost.
const HEARTBEATS_PER_LEASE: u32 = 5;
/// Sagas deleted in one statement.
const DELETED_AT_ONCE: i64 = 1_000;
/// How long retention is one replica's before another may take it.
const RETENTION_LEASE_S: f64 = 600.0;

/// Says that this replica is alive, until `stop`.
pub(crate) async fn heartbeat(shell: Arc<Shell>, stop: CancellationToken) {
    let interval = shell.options.instance_lease / HEARTBEATS_PER_LEASE;
    while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        if let Err(error) = store::instances::heartbeat(&shell.pool, shell.instance).await {
            tracing::warn!(%error, "the sign of life could not be written; trying again");
        }
    }
}

/// Makes room: partitions ahead, old sagas, keys and signals away. At start and then at intervals, until `stop`.
pub(crate) async fn retention(shell: Arc<Shell>, stop: CancellationToken) {
    let mut wait = Duration::ZERO;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = shell.options.retention_interval;
        match stop.run_until_cancelled(retain_once(&shell)).await {
            Some(Ok(())) | None => {}
            Some(Err(error)) => tracing::warn!(%error, "retention failed; trying again in {wait:?}"),
        }
    }
}

async fn retain_once(shell: &Shell) -> Result<(), sqlx::Error> {
    let (pool, options) = (&shell.pool, &shell.options);
    if !store::instances::hold_lease(pool, "retention", shell.instance, RETENTION_LEASE_S).await? {
        return Ok(());
    }
    store::retention::create_journal_partitions(pool).await?;
    let keep_s = options.keep_ended.as_secs_f64();
    let mut sagas = 0;
    loop {
        let deleted = store::retention::delete_ended(pool, keep_s, DELETED_AT_ONCE).await?;
        sagas += deleted;
        if deleted < DELETED_AT_ONCE.unsigned_abs() {
            break;
        }
    }
    let keys = store::retention::delete_start_keys(pool, options.keep_start_keys.as_secs_f64()).await?;
    let signals = store::signals::expire_parked(pool, options.keep_parked_signals.as_secs_f64()).await?;
    let partitions = store::retention::drop_journal_partitions(pool, keep_s).await?;
    store::instances::forget_silent(pool).await?;
    store::workers::forget_silent(pool).await?;
    store::counts::forget(pool, KEEP_COUNTS.as_secs_f64()).await?;
    if signals > 0 {
        metrics::counter!("sagaline_parked_signals_expired_total").increment(signals);
        tracing::warn!(signals, "signals were dropped whose saga never began");
    }
    tracing::info!(sagas, keys, partitions, "retention has removed what is old");
    Ok(())
}

//! What happens when its time has come: timers, unanswered attempts, parked signals whose saga has begun.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use workflows::event::Event;
use workflows::ids::SagaId;

use crate::batcher::Shell;
use crate::inbound::{EventItem, Item, Source};
use crate::options::{ATTEMPT_SWEEP_MIN, ATTEMPTS_PER_SWEEP_MAX, TIMER_LEASE, TIMER_POLL_MAX, TIMERS_PER_CLAIM_MAX};
use crate::store;

/// A sweep may take this share of the time: one part in twenty.
const ATTEMPT_SWEEP_SHARE: u32 = 20;
/// How long the sweep is one replica's before another may take it.
const ATTEMPT_SWEEP_LEASE_S: f64 = 10.0;
/// How often who has the lease renews it: it still holds for two thirds of its time then.
const ATTEMPT_SWEEP_RENEWED: Duration = Duration::from_secs(3);
/// How often parked signals are looked at whose saga may have begun at the same instant.
const PARKED_POLL: Duration = Duration::from_secs(1);
/// Parked signals delivered at once.
const PARKED_PER_POLL_MAX: i64 = 500;

/// Fires due timers until `stop`.
pub(crate) async fn fire(shell: Arc<Shell>, inbound: mpsc::Sender<Item>, stop: CancellationToken) {
    let mut wait = Duration::ZERO;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = match fire_due(&shell, &inbound).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::debug!(%error, "due timers could not be claimed; trying again");
                TIMER_POLL_MAX
            }
        };
    }
}

/// Fires what is due; gives how long to wait before the next look.
async fn fire_due(shell: &Shell, inbound: &mpsc::Sender<Item>) -> Result<Duration, sqlx::Error> {
    let (lease_s, within_s) = (TIMER_LEASE.as_secs_f64(), TIMER_POLL_MAX.as_secs_f64());
    let claim = store::timers::claim_due(&shell.pool, lease_s, TIMERS_PER_CLAIM_MAX, within_s).await?;
    shell.clock.observe(claim.now);
    metrics::gauge!("sagaline_timers_due_lag_seconds").set(claim.lag_s);
    let full = claim.sagas.len() as i64 == TIMERS_PER_CLAIM_MAX;
    let none = claim.sagas.is_empty();
    for saga in claim.sagas {
        send(inbound, saga, Event::Tick {}, Source::Timer).await;
    }
    if full {
        return Ok(Duration::ZERO);
    }
    let next_s = if none {
        claim.next_s
    } else {
        store::timers::seconds_to_next(&shell.pool, within_s).await?
    };
    // A millisecond at least, for timers that are locked by a batch just now.
    Ok(Duration::from_secs_f64(next_s.clamp(0.001, within_s)))
}

/// Finds attempts that should have been answered, until `stop`. The rows are read one by one, for an index on their
/// deadlines would cost every transition; so only one replica does it, and takes its time.
pub(crate) async fn sweep_attempts(shell: Arc<Shell>, inbound: mpsc::Sender<Item>, stop: CancellationToken) {
    let mut wait = ATTEMPT_SWEEP_MIN;
    let mut renewed = None;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        let begun = Instant::now();
        match overdue(&shell, &mut renewed).await {
            Ok(sagas) => {
                for saga in sagas {
                    send(&inbound, saga, Event::Tick {}, Source::Attempt).await;
                }
            }
            Err(error) => tracing::debug!(%error, "unanswered attempts could not be looked for; trying again"),
        }
        wait = ATTEMPT_SWEEP_MIN.max(begun.elapsed() * ATTEMPT_SWEEP_SHARE);
    }
}

/// `renewed`: when this replica last took or renewed the lease. Two that swept at once would do no harm: what they find is told
/// to the same sagas, which only listen once.
async fn overdue(shell: &Shell, renewed: &mut Option<Instant>) -> Result<Vec<SagaId>, sqlx::Error> {
    if renewed.is_none_or(|at| at.elapsed() >= ATTEMPT_SWEEP_RENEWED) {
        let now = Instant::now();
        let ours = store::instances::hold_lease(&shell.pool, "attempts", shell.instance, ATTEMPT_SWEEP_LEASE_S).await?;
        *renewed = ours.then_some(now);
        if !ours {
            return Ok(Vec::new());
        }
    }
    store::timers::overdue_attempts(&shell.pool, ATTEMPTS_PER_SWEEP_MAX).await
}

/// Delivers signals that were parked while their saga began elsewhere, until `stop`.
pub(crate) async fn deliver_parked(shell: Arc<Shell>, inbound: mpsc::Sender<Item>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(PARKED_POLL))
        .await
        .is_some()
    {
        match store::signals::load_deliverable(&shell.pool, PARKED_PER_POLL_MAX).await {
            Ok(signals) => {
                for (saga, signal) in signals {
                    send(&inbound, saga, Event::Signal(signal), Source::Parked).await;
                }
            }
            Err(error) => tracing::debug!(%error, "parked signals could not be read; trying again"),
        }
    }
}

async fn send(inbound: &mpsc::Sender<Item>, saga: SagaId, event: Event, source: Source) {
    // The batcher closes the channel only when the engine stops; then nothing more is to be done.
    let _ = inbound
        .send(Item::Event(EventItem {
            saga,
            event,
            source,
            bytes: 64,
        }))
        .await;
}

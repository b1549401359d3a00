//! The metrics that rules are about, each asked where it is known. One that can't be told is left out, and changes nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use analytics::store::{Store, StoreError, Time};
use chrono::{TimeDelta, Utc};
use sqlx::PgPool;
use transport::{GroupAsker, KafkaConfig, TransportError};
use workflows::protocol::tasks_topic;

use crate::rules::Metric;
use crate::scale::Targets;
use crate::store;

/// How far back a user counts as active.
const ACTIVE_MINUTES: i64 = 5;
/// How far back payments are looked at.
const PAYMENTS_MINUTES: i64 = 10;
/// Fewer payments than this tell nothing of how many fail.
const PAYMENTS_MIN: i64 = 20;

/// Where metrics come from.
#[derive(Clone)]
pub struct Sources {
    /// The engine's tables.
    pub engine: PgPool,
    /// The store of the analytics.
    pub analytics: Store,
    /// How far workers are behind.
    pub kafka: KafkaConfig,
    /// What workers' consumer groups begin with.
    pub group_prefix: String,
    /// Who ask it.
    pub askers: Askers,
}

/// One who asks for each consumer group, made when first needed: making one costs more than its question.
#[derive(Clone, Default)]
pub struct Askers {
    known: Arc<Mutex<BTreeMap<String, GroupAsker>>>,
}

impl Askers {
    fn of(&self, kafka: &KafkaConfig, group: &str, topic: &str) -> Result<GroupAsker, TransportError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = known.get(group) {
            return Ok(asker.clone());
        }
        let asker = GroupAsker::new(kafka, group, topic)?;
        known.insert(group.to_owned(), asker.clone());
        Ok(asker)
    }
}

/// What was found.
pub type Sample = BTreeMap<Metric, f64>;

/// Looks at these metrics.
pub async fn gather(sources: &Sources, targets: &Targets, asked: &[Metric]) -> Sample {
    let mut sample = Sample::new();
    let mut note = |metric: Metric, found: Result<f64, String>| match found {
        Ok(value) => {
            metrics::gauge!("sagaline_operations_metric", "metric" => metric.as_str()).set(value);
            sample.insert(metric, value);
        }
        Err(error) => tracing::debug!(metric = metric.as_str(), error, "a metric can't be told"),
    };
    let wants = |metric: Metric| asked.contains(&metric);
    if wants(Metric::ActiveUsers) {
        note(
            Metric::ActiveUsers,
            active_users(&sources.analytics).await.map_err(words),
        );
    }
    if wants(Metric::PaymentFailureRate) {
        let rate = payment_failures(&sources.analytics).await;
        note(Metric::PaymentFailureRate, rate.map_err(words));
    }
    if wants(Metric::QueueLag) {
        note(Metric::QueueLag, queue_lag(sources, targets).await);
    }
    if wants(Metric::OutboxSeconds) {
        let waited = store::outbox_seconds(&sources.engine).await;
        note(Metric::OutboxSeconds, waited.map_err(words));
    }
    if wants(Metric::OldestStuckSeconds) {
        let stuck = store::oldest_stuck_seconds(&sources.engine).await;
        note(Metric::OldestStuckSeconds, stuck.map_err(words));
    }
    sample
}

fn words(error: impl Display) -> String {
    error.to_string()
}

/// The last minutes, up to now.
fn last(minutes: i64) -> Time {
    let now = Utc::now();
    Time {
        from: now - TimeDelta::minutes(minutes),
        to: now + TimeDelta::minutes(1),
    }
}

async fn active_users(analytics: &Store) -> Result<f64, StoreError> {
    Ok(analytics.active_users(last(ACTIVE_MINUTES)).await? as f64)
}

async fn payment_failures(analytics: &Store) -> Result<f64, StoreError> {
    let kinds = ["payment.completed", "payment.failed"];
    let [completed, failed] = analytics.kinds(last(PAYMENTS_MINUTES), kinds).await?;
    let all = completed + failed;
    Ok(if all < PAYMENTS_MIN {
        0.0
    } else {
        failed as f64 / all as f64
    })
}

async fn queue_lag(sources: &Sources, targets: &Targets) -> Result<f64, String> {
    let queues: Vec<&str> = targets.0.iter().map(|target| target.queue()).collect();
    let held = store::held_back(&sources.engine, &queues).await.map_err(words)?;
    let mut longest = 0;
    for target in &targets.0 {
        let (group, topic) = (
            format!("{}{}", sources.group_prefix, target.queue()),
            tasks_topic(target.queue()),
        );
        let asker = sources.askers.of(&sources.kafka, &group, &topic);
        let lag = match asker {
            Ok(asker) => asker.lag().await,
            Err(error) => Err(error),
        }
        .map_err(|error| error.to_string())?;
        // What its workers don't keep up with waits in Postgres.
        let lag = lag + held.get(target.queue()).copied().unwrap_or_default();
        metrics::gauge!("sagaline_operations_queue_lag", "queue" => target.queue().to_owned()).set(lag as f64);
        longest = longest.max(lag);
    }
    Ok(longest as f64)
}

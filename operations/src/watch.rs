//! The loop: look, judge, write down, tell the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use orchestrator::client::{ClientError, EngineClient, StartRequest};
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use transport::ensure_topics;
use transport::reconnect::retry_until_connected;
use uuid::Uuid;
use workflows::protocol::tasks_topic;
use workflows::tickets::alert;

use crate::gather::{Sample, Sources, gather};
use crate::rules::{Change, Metric, Rule, Rules, Standing, judge};
use crate::scale::{Targets, decide};
use crate::store::{self, Judged, Raised, Wishes};

/// Sagas that are started at once.
const TELL_MAX: i64 = 100;
/// How long alerts are kept.
const KEPT_DAYS: i64 = 90;

/// What is watched, and what is done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is out of the ordinary.
    pub rules: Rules,
    /// What can be scaled, and whose queues are looked at.
    pub targets: Targets,
    /// How long after a change fewer may be wanted again.
    pub cool_down: Duration,
    /// How often all is looked at.
    pub every: Duration,
    /// Something can start and stop workers.
    pub scales: bool,
}

/// Watches until `stop`.
pub async fn run(plan: Plan, pool: PgPool, sources: Sources, engine: Arc<dyn EngineClient>, stop: CancellationToken) {
    let topics: Vec<String> = plan
        .targets
        .0
        .iter()
        .map(|target| tasks_topic(target.queue()))
        .collect();
    // To ask about a topic that isn't there might make it, with partitions as the broker likes.
    let made = retry_until_connected("Kafka", || ensure_topics(&sources.kafka, &topics));
    if stop.run_until_cancelled(made).await.is_none() {
        return;
    }
    let mut asked: Vec<Metric> = plan.rules.0.iter().map(|rule| rule.metric).collect();
    asked.sort_unstable();
    asked.dedup();
    let mut ticks = tokio::time::interval(plan.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    let mut untold: Vec<Metric> = Vec::new();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let look = async {
            let sample = gather(&sources, &plan.targets, &asked).await;
            // Said once per outage.
            let missing: Vec<Metric> = asked
                .iter()
                .filter(|metric| !sample.contains_key(metric))
                .copied()
                .collect();
            for metric in missing.iter().filter(|metric| !untold.contains(metric)) {
                tracing::warn!(metric = metric.as_str(), "a metric can't be told; its rules rest");
            }
            untold = missing;
            look(&plan, &pool, &sample).await?;
            crate::metrics::wish(&pool, &sources, &plan.targets).await?;
            tell(&pool, engine.as_ref()).await
        };
        match stop.run_until_cancelled(look).await {
            None => return,
            Some(Ok(())) => failing = false,
            Some(Err(error)) if !std::mem::replace(&mut failing, true) => {
                tracing::warn!(%error, "the platform can't be watched; will try again");
            }
            Some(Err(_)) => {}
        }
    }
}

/// Judges all rules and decides how many workers are wanted, in one transaction; nothing, if another process is at it.
pub async fn look(plan: &Plan, pool: &PgPool, sample: &Sample) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let Some(now) = store::lock(&mut *transaction).await? else {
        return Ok(());
    };
    let known: Vec<String> = plan.rules.0.iter().map(|rule| rule.name.clone()).collect();
    let mut ended = store::forget_rules(&mut *transaction, &known).await?;
    let rows = store::rules(&mut *transaction).await?;
    let standings: HashMap<String, Standing> = rows.into_iter().map(|row| (row.name.clone(), row.standing())).collect();

    let (mut judged, mut raised, mut wishes) = (Judged::default(), Raised::default(), Wishes::default());
    let mut firing = Vec::new();
    for rule in &plan.rules.0 {
        let before = standings.get(&rule.name).copied().unwrap_or_default();
        let value = sample.get(&rule.metric).copied();
        let (standing, change) = judge(rule, before, value, now, Uuid::now_v7());
        judged.push(rule, standing, value);
        if standing.alert().is_some() {
            firing.push(rule);
        }
        let is_firing = if standing.alert().is_some() { 1.0 } else { 0.0 };
        metrics::gauge!("sagaline_alert", "alert" => rule.name.clone()).set(is_firing);
        let value = value.unwrap_or_default();
        match change {
            Some(Change::Raised(id)) => {
                tracing::warn!(alert = rule.name, value, "an alert is raised");
                raised.id.push(id);
                raised.name.push(rule.name.clone());
                raised.metric.push(rule.metric.as_str());
                raised.value.push(value);
                raised.threshold.push(rule.above);
                wishes.alert(rule, id, "raised", value, now);
            }
            Some(Change::Ended(id)) => {
                tracing::info!(alert = rule.name, value, "an alert has ended");
                ended.push(id);
                wishes.alert(rule, id, "ended", value, now);
            }
            None => {}
        }
    }
    store::judged(&mut *transaction, &judged, now).await?;
    if !raised.id.is_empty() {
        store::raise(&mut *transaction, &raised, now).await?;
    }
    if !ended.is_empty() {
        store::end(&mut *transaction, &ended, now).await?;
        store::forget_alerts(&mut *transaction, now - TimeDelta::days(KEPT_DAYS)).await?;
    }

    let changes = if plan.scales {
        let wanted = store::wanted(&mut *transaction).await?;
        decide(&plan.targets, &wanted, &firing, plan.cool_down, now)
    } else {
        Vec::new()
    };
    if !changes.is_empty() {
        let decision = store::want(&mut *transaction, &changes, now).await?;
        wishes.scale(decision, &changes, &firing);
    }
    if !wishes.id.is_empty() {
        store::wish(&mut *transaction, &wishes).await?;
    }
    transaction.commit().await?;
    for (target, replicas) in changes {
        tracing::info!(target, replicas, "another number of workers is wanted");
        metrics::gauge!("sagaline_wanted_replicas", "target" => target).set(f64::from(replicas));
    }
    Ok(())
}

impl Wishes {
    fn alert(&mut self, rule: &Rule, id: Uuid, state: &str, value: f64, now: DateTime<Utc>) {
        let threshold = if state == "raised" { rule.above } else { rule.below };
        self.id.push(Uuid::now_v7());
        self.workflow.push(alert::NAME);
        self.input.push(json!({
            "alertId": id, "alert": rule.name, "state": state, "metric": rule.metric.as_str(), "value": value,
            "threshold": threshold, "at": now,
        }));
    }

    fn scale(&mut self, decision: i64, changes: &[(String, u32)], firing: &[&Rule]) {
        let target = |(name, replicas): &(String, u32)| json!({ "name": name, "replicas": replicas });
        let words = |(name, replicas): &(String, u32)| format!("{name}: {replicas}");
        let alerts: Vec<&str> = firing.iter().map(|rule| rule.name.as_str()).collect();
        self.id.push(Uuid::now_v7());
        self.workflow.push(alert::SCALE_OUT);
        self.input.push(json!({
            "decision": decision, "targets": changes.iter().map(target).collect::<Vec<_>>(), "alerts": alerts,
            "workers": changes.iter().map(words).collect::<Vec<_>>().join(", "),
        }));
    }
}

/// Starts the sagas that are to be started. Their keys are their rows' ids: to start one again is to find it.
pub async fn tell(pool: &PgPool, engine: &dyn EngineClient) -> Result<(), sqlx::Error> {
    let wishes = store::wishes(pool, TELL_MAX).await?;
    if wishes.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = wishes.iter().map(|(id, ..)| *id).collect();
    let request = |(id, workflow, input): (Uuid, String, serde_json::Value)| StartRequest {
        workflow,
        version: None,
        input,
        idempotency_key: Some(format!("{}{id}", alert::KEYS)),
        tags: Default::default(),
        traceparent: None,
        wait: None,
    };
    match engine.start_bulk(wishes.into_iter().map(request).collect()).await {
        Ok(answers) => {
            let told: Vec<Uuid> = ids
                .into_iter()
                .zip(answers)
                .filter_map(|(id, answer)| told(id, answer.err()))
                .collect();
            store::told(pool, &told).await
        }
        Err(error) => {
            tracing::warn!(%error, "alerts have to wait to be told to the engine");
            Ok(())
        }
    }
}

fn told(id: Uuid, error: Option<ClientError>) -> Option<Uuid> {
    match error {
        None | Some(ClientError::KeyReused { .. }) => Some(id),
        Some(error) => {
            tracing::warn!(%id, %error, "the engine does not take an alert yet");
            None
        }
    }
}

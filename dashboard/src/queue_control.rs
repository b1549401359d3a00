//! Queues as operators see and steer them: what waits, who works, what was said; for the page and the API.

use std::collections::{BTreeMap, BTreeSet};

use orchestrator::store::queues as store;
use orchestrator::store::workers::{self, Worker};
use serde::Serialize;
use serde_json::json;
use workflows::ids::Timestamp;

use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::deeds;
use crate::error::PageError;
use crate::limits::{COUNT_MAX, PAGE_WORKERS, QUEUE_RATE_MAX, WORKER_SILENT};
use crate::store::audit;

/// A queue.
#[derive(Clone, Debug, Default, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "QueueStanding")]
pub struct Standing {
    /// Its name.
    pub queue: String,
    /// Workflows with a step there.
    pub workflows: Vec<String>,
    /// Nothing is sent to it.
    pub paused: bool,
    /// Tasks a second that are sent to it, at most.
    pub rate: Option<f64>,
    /// Who said so; none: nobody has ever said anything.
    pub changed_by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub changed_at: Option<String>,
    /// Tasks that wait until they are let through, [`COUNT_MAX`] at most.
    pub waiting: i64,
    /// Since when the first of them waits.
    pub waiting_since: Option<String>,
    /// Kafka messages that its workers have not finished; none: not known.
    pub lag: Option<u64>,
    /// Members of its consumer group, as far as the broker tells.
    pub members: Option<Vec<String>>,
    /// Workers that say that they work on it, or else members of its group; none: nobody tells.
    pub workers: Option<usize>,
    /// Tasks that they have in hand.
    pub in_flight: u64,
    /// Work waits, and nobody is there to do it.
    pub deserted: bool,
}

/// All queues that a workflow names, or of which something was said.
pub async fn list(mission: &Mission) -> Result<Vec<Standing>, PageError> {
    let mut found: BTreeMap<String, Standing> = BTreeMap::new();
    for definition in mission.engine.definitions().all().await? {
        for queue in definition.compiled.queues() {
            let standing = found.entry(queue).or_default();
            if !standing.workflows.iter().any(|known| known == definition.name()) {
                standing.workflows.push(definition.name().to_owned());
            }
        }
    }
    for said in store::all(&mission.pool).await? {
        let standing = found.entry(said.queue).or_default();
        standing.paused = said.paused;
        standing.rate = said.rate;
        standing.changed_by = Some(said.changed_by);
        standing.reason = Some(said.reason);
        standing.changed_at = Some(Timestamp::from(said.changed_at).to_rfc3339());
    }
    for (queue, waiting, since) in store::waiting(&mission.pool, COUNT_MAX).await? {
        let standing = found.entry(queue).or_default();
        standing.waiting = waiting;
        standing.waiting_since = since.map(|since| Timestamp::from(since).to_rfc3339());
    }
    for worker in alive(mission).await? {
        for at in &worker.queues.0 {
            if let Some(standing) = found.get_mut(&at.queue) {
                *standing.workers.get_or_insert_default() += 1;
                standing.in_flight += at.in_flight;
            }
        }
    }
    let asked = mission.queues.get(&mission.engine);
    for (name, standing) in &mut found {
        standing.queue.clone_from(name);
        if let Some(queue) = asked.get(name) {
            standing.lag = queue.standing.lag;
            standing.deserted = queue.is_deserted();
            let member = |member: &transport::GroupMember| format!("{} at {}", member.client, member.host);
            standing.workers = standing.workers.or(queue.standing.members.as_ref().map(Vec::len));
            standing.members = queue
                .standing
                .members
                .as_ref()
                .map(|members| members.iter().map(member).collect());
        }
    }
    Ok(found.into_values().collect())
}

/// Workers that were heard of a moment ago.
pub async fn alive(mission: &Mission) -> Result<Vec<Worker>, PageError> {
    Ok(workers::alive(&mission.pool, WORKER_SILENT.as_secs_f64(), PAGE_WORKERS).await?)
}

/// What an operator says of a queue; none: that stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Change {
    /// Pause it, or resume it.
    pub paused: Option<bool>,
    /// Let so many tasks a second through; within it none: as many as there are.
    pub rate: Option<Option<f64>>,
}

/// Says it.
pub async fn change(
    mission: &Mission,
    operator: &Operator,
    queue: &str,
    change: Change,
    reason: &str,
) -> Result<(), PageError> {
    operator.must_be(Role::Operator)?;
    let reason = deeds::reason(reason)?;
    if change == Change::default() {
        return Err(PageError::Invalid("say what is to change: `paused`, `rate`".to_owned()));
    }
    if let Some(Some(rate)) = change.rate
        && !(rate.is_finite() && rate > 0.0 && rate <= QUEUE_RATE_MAX)
    {
        return Err(PageError::Invalid(format!(
            "a rate is more than 0 and at most {QUEUE_RATE_MAX} tasks a second; to stop a queue, pause it"
        )));
    }
    let known: BTreeSet<String> = list(mission).await?.into_iter().map(|known| known.queue).collect();
    if !known.contains(queue) {
        return Err(PageError::NotFound(format!("the queue {queue}")));
    }
    let action = match change {
        Change { paused: Some(true), .. } => "pause queue",
        Change {
            paused: Some(false), ..
        } => "resume queue",
        Change { paused: None, .. } => "limit queue",
    };
    // The deed and its row of the trail are one transaction.
    let mut transaction = mission.pool.begin().await?;
    let was = store::lock(&mut *transaction, queue).await?;
    let was = was.map_or((false, None), |was| (was.paused, was.rate));
    let is = (change.paused.unwrap_or(was.0), change.rate.unwrap_or(was.1));
    store::set(
        &mut *transaction,
        queue,
        change.paused,
        change.rate,
        &operator.name,
        reason,
    )
    .await?;
    let side = |(paused, rate): (bool, Option<f64>)| json!({"paused": paused, "rate": rate});
    let details = json!({"queue": queue, "before": side(was), "after": side(is)});
    audit::record(&mut *transaction, &operator.name, action, reason, details, "done").await?;
    Ok(transaction.commit().await?)
}

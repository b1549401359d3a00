//! Where work is done, and when it begins: queues, workers, schedules.

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use orchestrator::client::{EngineClient, Firing, LocalClient, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use workflows::ids::{SagaId, Timestamp};

use super::{Answer, Body, Items, Outcome, Path, Query};
use crate::access::Operator;
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{API_PAGE_MAX, PAGE_FIRINGS};
use crate::pages::text::seen;
use crate::queue_control::{self, Change};
use crate::schedules::{self, Wish, word};

/// A worker of a queue.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerItem {
    /// Its queue.
    queue: String,
    /// What it calls itself.
    client: String,
    /// Where it runs, or from where it is connected to Kafka.
    host: String,
    /// What it said of itself within the last half minute; none: it is only known as a member of the queue's group.
    said: Option<Said>,
}

/// What a worker says of itself.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// The process.
    id: uuid::Uuid,
    /// The version of its program.
    version: String,
    /// Single tasks of the queue that it runs at once.
    concurrency: u32,
    /// Tasks of the queue that it has taken and not yet answered.
    in_flight: u64,
    /// When it began, RFC 3339.
    started_at: String,
    /// When it was last heard of, RFC 3339.
    seen_at: String,
}

/// The workers.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// Those that are known.
    items: Vec<WorkerItem>,
    /// Always null: all are on one page.
    next: Option<String>,
    /// Queues of which neither the broker nor a worker tells who works on them.
    unknown: Vec<String>,
}

/// The queues
///
/// What operators have said of them, what waits, and how far their workers are behind, as Kafka says now.
#[utoipa::path(get, path = "/queues", tag = "places", responses(
    (status = 200, description = "By name", body = ref("#/components/schemas/Queues")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn queues(State(mission): State<Mission>) -> Answer {
    mission.queues.now(&mission.engine).await;
    let items = queue_control::list(&mission).await?;
    Ok(Json(Items::all(items)).into_response())
}

/// What is to change of a queue; what is left out stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueWish {
    /// Pause it, or resume it.
    paused: Option<bool>,
    /// Let at most so many tasks a second through; null: no limit.
    #[serde(default, deserialize_with = "said")]
    #[schemars(with = "Option<f64>")]
    rate: Option<Option<f64>>,
    /// Why.
    reason: String,
}

/// Tells null from nothing.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Pauses, resumes or limits a queue
///
/// For operators. Every orchestrator knows within a second.
#[utoipa::path(post, path = "/queues/{queue}", tag = "places",
    params(("queue" = String, Path, description = "The queue's name")),
    request_body(content = ref("#/components/schemas/QueueWish"), content_type = "application/json"),
    responses(
    (status = 200, description = "As it is now", body = ref("#/components/schemas/QueueStanding")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn steer_queue(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(queue): Path<String>,
    Body(QueueWish { paused, rate, reason }): Body<QueueWish>,
) -> Answer {
    queue_control::change(&mission, &operator, &queue, Change { paused, rate }, &reason).await?;
    let now = queue_control::list(&mission).await?.into_iter();
    let now = now.into_iter().find(|known| known.queue == queue);
    let now = now.ok_or_else(|| PageError::NotFound(format!("the queue {queue}")))?;
    Ok(Json(now).into_response())
}

/// The workers
///
/// Who says that it works on a queue; for queues of which nobody says so, who is in their groups, as Kafka says now.
#[utoipa::path(get, path = "/workers", tag = "places", responses(
    (status = 200, description = "By queue", body = ref("#/components/schemas/Workers")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn workers(State(mission): State<Mission>) -> Answer {
    let known = mission.queues.now(&mission.engine).await;
    let mut items: Vec<WorkerItem> = Vec::new();
    for worker in queue_control::alive(&mission).await? {
        items.extend(worker.queues.0.iter().map(|at| WorkerItem {
            queue: at.queue.clone(),
            client: worker.name.clone(),
            host: worker.host.clone(),
            said: Some(Said {
                id: worker.id,
                version: worker.version.clone(),
                concurrency: at.concurrency,
                in_flight: at.in_flight,
                started_at: Timestamp::from(worker.started_at).to_rfc3339(),
                seen_at: Timestamp::from(worker.seen_at).to_rfc3339(),
            }),
        }));
    }
    let mut unknown = Vec::new();
    for (name, queue) in known.iter() {
        if items.iter().any(|item| item.queue == *name) {
            continue;
        }
        match &queue.standing.members {
            None => unknown.push(name.clone()),
            Some(members) => items.extend(members.iter().map(|member| WorkerItem {
                queue: name.clone(),
                client: member.client.clone(),
                host: member.host.clone(),
                said: None,
            })),
        }
    }
    items.sort_by(|a, b| (&a.queue, &a.client).cmp(&(&b.queue, &b.client)));
    let next = None;
    Ok(Json(Workers { items, next, unknown }).into_response())
}

/// A schedule.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleItem {
    /// Its name.
    name: String,
    /// The expression.
    cron: String,
    /// The time zone that it is meant in.
    time_zone: String,
    /// What it starts.
    workflow: String,
    /// Its version; none: the newest.
    version: Option<u32>,
    /// The sagas' input; redacted for viewers.
    input: Value,
    /// What happens when the saga of an earlier firing still runs.
    overlap: String,
    /// It does not fire.
    paused: bool,
    /// When it fires next, RFC 3339; none: never, or paused.
    next_due_at: Option<String>,
    /// When it was due last, RFC 3339.
    last_due_at: Option<String>,
}

/// One due time of a schedule.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FiringItem {
    /// When, RFC 3339.
    due_at: String,
    /// `due`, `backfill` or `run_now`.
    origin: String,
    /// What became of it.
    outcome: String,
    /// The saga that it began.
    saga: Option<SagaId>,
    /// Why there is none.
    note: Option<String>,
}

fn schedule_item(schedule: Schedule, operator: &Operator) -> ScheduleItem {
    let instant = |at: Option<Timestamp>| at.map(|at| at.to_rfc3339());
    ScheduleItem {
        input: seen(&schedule.input, operator),
        overlap: word(&schedule.overlap),
        next_due_at: instant(schedule.next_due_at),
        last_due_at: instant(schedule.last_due_at),
        name: schedule.name,
        cron: schedule.cron,
        time_zone: schedule.time_zone,
        workflow: schedule.workflow,
        version: schedule.version,
        paused: schedule.paused,
    }
}

fn firing_item(firing: Firing) -> FiringItem {
    FiringItem {
        due_at: firing.due_at.to_rfc3339(),
        origin: word(&firing.origin),
        outcome: word(&firing.outcome),
        saga: firing.saga,
        note: firing.note,
    }
}

/// The schedules
#[utoipa::path(get, path = "/schedules", tag = "places", responses(
    (status = 200, description = "By name", body = ref("#/components/schemas/Schedules")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn schedules(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Answer {
    let found = LocalClient::new(mission.engine.clone()).schedules().await?;
    let items = found.into_iter().map(|schedule| schedule_item(schedule, &operator));
    Ok(Json(Items::all(items.collect())).into_response())
}

/// One schedule
#[utoipa::path(get, path = "/schedules/{name}", tag = "places",
    params(("name" = String, Path, description = "The schedule's name")),
    responses(
    (status = 200, description = "It", body = ref("#/components/schemas/ScheduleItem")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn schedule(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Answer {
    let found = LocalClient::new(mission.engine.clone()).schedule(&name).await?;
    let found = found.ok_or_else(|| PageError::NotFound(format!("the schedule {name}")))?;
    Ok(Json(schedule_item(found, &operator)).into_response())
}

/// How many.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    limit: Option<u32>,
}

/// A schedule's latest firings, the newest first
#[utoipa::path(get, path = "/schedules/{name}/firings", tag = "places",
    params(("name" = String, Path, description = "The schedule's name"),
           ("limit" = Option<u32>, Query, description = "1 to 500; 50 if left out")),
    responses(
    (status = 200, description = "Firings", body = ref("#/components/schemas/Firings")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn firings(
    State(mission): State<Mission>,
    Path(name): Path<String>,
    Query(Limit { limit }): Query<Limit>,
) -> Answer {
    let limit = limit.unwrap_or(PAGE_FIRINGS).clamp(1, API_PAGE_MAX);
    let found = LocalClient::new(mission.engine.clone()).firings(&name, limit).await?;
    let items = found.into_iter().map(firing_item);
    Ok(Json(Items::all(items.collect())).into_response())
}

/// Why; for a backfill also which range.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleWish {
    /// Why.
    reason: String,
    /// From then on, RFC 3339.
    #[serde(default)]
    from: String,
    /// Until before then, RFC 3339.
    #[serde(default)]
    to: String,
}

/// Pauses or resumes a schedule, fires it now, or makes up for a range of past due times
///
/// For operators.
#[utoipa::path(post, path = "/schedules/{name}/{deed}", tag = "places",
    params(("name" = String, Path, description = "The schedule's name"),
           ("deed" = String, Path, description = "`pause`, `resume`, `run` or `backfill`")),
    request_body(content = ref("#/components/schemas/ScheduleWish"), content_type = "application/json"),
    responses(
    (status = 200, description = "What came of it", body = ref("#/components/schemas/Outcome")),
    (status = "default", description = "A problem", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")))]
pub async fn act(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path((name, deed)): Path<(String, String)>,
    Body(wish): Body<ScheduleWish>,
) -> Answer {
    let known = Wish::parse(&deed, &wish.from, &wish.to)?;
    let outcome = schedules::act(&mission, &operator, &name, known, &wish.reason).await?;
    Ok(Json(Outcome { outcome }).into_response())
}

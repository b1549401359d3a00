//! Queues and workers.

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use workflows::ids::Timestamp;

use super::{Answer, Body, Path};
use crate::access::Operator;
use crate::app::Mission;
use crate::queue_control::{self, Change};

/// All queues.
pub async fn list(State(mission): State<Mission>) -> Answer {
    let items = queue_control::list(&mission).await?;
    Ok(Json(json!({"items": items, "next": null})).into_response())
}

/// What is to change; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    paused: Option<bool>,
    /// Null: no limit.
    #[serde(default, deserialize_with = "said")]
    rate: Option<Option<f64>>,
    reason: String,
}

/// Tells null from nothing.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Pauses, resumes, limits.
pub async fn change(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(queue): Path<String>,
    Body(Wanted { paused, rate, reason }): Body<Wanted>,
) -> Answer {
    queue_control::change(&mission, &operator, &queue, Change { paused, rate }, &reason).await?;
    let now = queue_control::list(&mission).await?;
    let now = now.into_iter().find(|known| known.queue == queue);
    Ok(Json(json!(now)).into_response())
}

/// Workers that say that they are alive.
pub async fn workers(State(mission): State<Mission>) -> Answer {
    let alive = queue_control::alive(&mission).await?;
    let item = |worker: &orchestrator::store::workers::Worker| {
        json!({
            "id": worker.id, "name": worker.name, "version": worker.version, "host": worker.host,
            "startedAt": Timestamp::from(worker.started_at).to_rfc3339(),
            "seenAt": Timestamp::from(worker.seen_at).to_rfc3339(),
            "queues": worker.queues.0.iter().map(|at| json!({
                "queue": at.queue, "concurrency": at.concurrency, "inFlight": at.in_flight})).collect::<Vec<Value>>(),
        })
    };
    let items: Vec<Value> = alive.iter().map(item).collect();
    Ok(Json(json!({"items": items, "next": null})).into_response())
}

//! Workers' signs of life: taken from their topic, gathered, and written down together every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::ids::Timestamp;
use workflows::protocol::{PROTOCOL_VERSION, WorkerNotice};

use crate::batcher::Shell;
use crate::options::{NOTICE_AGE_MAX, NOTICES_FLUSH, NOTICES_MAX};
use crate::store::workers::{self, Announced, SeenWorkers};
use crate::text::{clean, clean_value};

/// What workers have said since it was last written down: of each the last word.
#[derive(Default)]
pub(crate) struct Presence {
    notices: Mutex<HashMap<Uuid, WorkerNotice>>,
}

impl Presence {
    /// Takes a message of the workers' topic. What can't be read is left: it is only for people, and comes again.
    pub(crate) fn note(&self, payload: &[u8], now: Timestamp) {
        let notice: WorkerNotice = match serde_json::from_slice(payload) {
            Ok(notice) => notice,
            Err(error) => return tracing::debug!(%error, "a worker's sign of life can't be read"),
        };
        // A new consumer group begins with what is long past.
        let age_ms = now.0.saturating_sub(notice.at.0);
        if notice.v != PROTOCOL_VERSION || age_ms > NOTICE_AGE_MAX.as_millis() as i64 {
            return;
        }
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = notices.remove(&notice.worker);
        if notices.len() < NOTICES_MAX {
            // Its activities are told of less often, and must not be lost to the next word.
            let mut notice = notice;
            if notice.activities.is_empty() {
                notice.activities = earlier.map(|earlier| earlier.activities).unwrap_or_default();
            }
            notices.insert(notice.worker, notice);
        }
    }

    fn take(&self) -> Vec<WorkerNotice> {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *notices).into_values().collect()
    }
}

/// Writes signs of life down, until `stop`.
pub(crate) async fn keep(shell: Arc<Shell>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(NOTICES_FLUSH))
        .await
        .is_some()
    {
        let notices = shell.presence.take();
        if notices.is_empty() {
            continue;
        }
        if let Err(error) = write(&shell.pool, notices).await {
            tracing::debug!(%error, "workers' signs of life could not be written; the next ones will be");
        }
    }
}

async fn write(pool: &sqlx::PgPool, notices: Vec<WorkerNotice>) -> Result<(), sqlx::Error> {
    let (gone, here): (Vec<_>, Vec<_>) = notices.into_iter().partition(|notice| notice.leaving);
    let mut seen = SeenWorkers::default();
    let mut activities = HashMap::new();
    for notice in here {
        for activity in notice.activities {
            activities.insert(
                (clean(&activity.queue), clean(&activity.activity)),
                (clean(&notice.version), activity),
            );
        }
        seen.id.push(notice.worker);
        seen.name.push(clean(&notice.name));
        seen.version.push(clean(&notice.version));
        seen.host.push(clean(&notice.host));
        seen.started_at.push(notice.started_at.to_datetime());
        seen.queues.push(json(&notice.queues));
    }
    let mut announced = Announced::default();
    for ((queue, name), (version, activity)) in activities {
        announced.queue.push(queue);
        announced.activity.push(name);
        announced.version.push(version);
        announced.input.push(json(&activity.input));
        announced.output.push(json(&activity.output));
        announced.codes.push(json(&activity.codes));
    }
    if !seen.id.is_empty() {
        workers::seen(pool, &seen).await?;
    }
    if !announced.queue.is_empty() {
        workers::announce(pool, &announced).await?;
    }
    if !gone.is_empty() {
        let gone: Vec<Uuid> = gone.into_iter().map(|notice| notice.worker).collect();
        workers::left(pool, &gone).await?;
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).expect("plain data with string keys");
    clean_value(value).to_string()
}

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
                (activity.queue.clone(), activity.activity.clone()),
                (notice.version.clone(), activity),
            );
        }
        let text = |text: String| text.replace('\0', "\u{fffd}");
        seen.id.push(notice.worker);
        seen.name.push(text(notice.name));
        seen.version.push(text(notice.version));
        seen.host.push(text(notice.host));
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
    // jsonb takes no U+0000; nothing of ours has one.
    let text = serde_json::to_string(value).expect("plain data with string keys");
    text.replace("\\u0000", "\u{fffd}")
}

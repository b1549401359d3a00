//! Says that this worker is alive: who it is, what it works on and how much of it, every ten seconds on a topic of its own. Nothing
//! depends on it but what people see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use activities::Registry;
use tokio_util::sync::CancellationToken;
use transport::{Outgoing, Producer};
use uuid::Uuid;
use workflows::ids::Timestamp;
use workflows::protocol::{
    AnnouncedActivity, ENVELOPE_BYTES_MAX, PROTOCOL_VERSION, QueueStanding, WORKERS_TOPIC, WorkerNotice,
};

use crate::options::WorkerOptions;
use crate::running::now_ms;

/// How often: whoever looks takes a worker for gone that was silent three times.
const NOTICE_EVERY: Duration = Duration::from_secs(10);
/// Every how many notices the activities are told of: each five minutes.
const ACTIVITIES_EVERY: u32 = 30;
/// How long the goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// How much each queue has in hand. Clones tell of the same worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct InHand {
    queues: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
}

impl InHand {
    /// A queue's number.
    pub fn of(&self, queue: &str) -> Arc<AtomicU64> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(queues.entry(queue.to_owned()).or_default())
    }

    fn all(&self) -> Vec<(String, u64)> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |(queue, number): (&String, &Arc<AtomicU64>)| (queue.clone(), number.load(Ordering::Relaxed));
        queues.iter().map(number).collect()
    }
}

/// Says it until `stop`, and then goodbye.
pub(crate) async fn announce(
    options: WorkerOptions,
    activities: Vec<AnnouncedActivity>,
    in_hand: InHand,
    producer: Producer,
    stop: CancellationToken,
) {
    let mut notice = WorkerNotice {
        v: PROTOCOL_VERSION,
        worker: Uuid::now_v7(),
        name: options.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host(),
        started_at: Timestamp(now_ms()),
        at: Timestamp(now_ms()),
        leaving: false,
        queues: Vec::new(),
        activities: Vec::new(),
    };
    let mut said = 0_u32;
    let mut ticks = tokio::time::interval(NOTICE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        notice.activities = if said.is_multiple_of(ACTIVITIES_EVERY) {
            activities.clone()
        } else {
            Vec::new()
        };
        said = said.wrapping_add(1);
        send(&mut notice, &options, &in_hand, &producer).await;
    }
    notice.activities = Vec::new();
    notice.leaving = true;
    let goodbye = send(&mut notice, &options, &in_hand, &producer);
    // It is missed soon, if this one gets lost.
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
}

async fn send(notice: &mut WorkerNotice, options: &WorkerOptions, in_hand: &InHand, producer: &Producer) {
    notice.at = Timestamp(now_ms());
    let standing = |(queue, in_flight)| QueueStanding {
        queue,
        concurrency: u32::try_from(options.concurrency).unwrap_or(u32::MAX),
        in_flight,
    };
    notice.queues = in_hand.all().into_iter().map(standing).collect();
    let mut payload = serde_json::to_vec(&notice).expect("a notice is plain data");
    if payload.len() > ENVELOPE_BYTES_MAX {
        tracing::warn!(
            bytes = payload.len(),
            "the activities' schemas are too large to be announced"
        );
        notice.activities = Vec::new();
        payload = serde_json::to_vec(&notice).expect("a notice is plain data");
    }
    let message = Outgoing {
        topic: WORKERS_TOPIC.to_owned(),
        // It has but this one.
        partition: 0,
        key: None,
        headers: Vec::new(),
        payload,
    };
    if let Err(error) = producer.send_at_leisure(message).await {
        tracing::debug!(%error, "a sign of life was not delivered; the next one will be");
    }
}

/// What the activities of these queues take and give.
pub(crate) fn activities(registry: &Registry, queues: &std::collections::BTreeSet<String>) -> Vec<AnnouncedActivity> {
    let announced = registry.announcements().into_iter();
    let announced = announced.filter(|announced| queues.contains(&announced.queue));
    let activity = |announced: activities::Announcement| AnnouncedActivity {
        queue: announced.queue,
        activity: announced.activity.to_owned(),
        input: announced.schemas.input,
        output: announced.schemas.output,
        codes: announced.schemas.codes.iter().map(|code| (*code).to_owned()).collect(),
    };
    announced.map(activity).collect()
}

/// The machine's, or the container's, name; empty: not known.
fn host() -> String {
    let named = std::env::var("HOSTNAME").ok();
    let name = named.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    name.unwrap_or_default().trim().to_owned()
}

//! A queue's activities, each with its metrics at hand: looking them up by label for each task would cost more than the task's JSON.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use activities::{Handler, Registry};
use metrics::{Counter, Histogram};
use workflows::protocol::Outcome;

/// An activity as its queue runs it.
pub(crate) struct Entry {
    pub queue: String,
    pub name: &'static str,
    pub handler: Handler,
    pub seconds: Histogram,
    pub batch_tasks: Histogram,
    outcomes: Outcomes,
}

struct Outcomes {
    succeeded: Counter,
    failed: Counter,
    unknown: Counter,
    pending: Counter,
    heartbeat: Counter,
}

/// The activities of a queue, by name.
pub(crate) fn entries(registry: &Registry, queue: &str) -> HashMap<&'static str, Arc<Entry>> {
    let mut entries = HashMap::new();
    for announced in registry.announcements() {
        if announced.queue == queue
            && let Some(handler) = registry.get(queue, announced.activity)
        {
            entries.insert(
                announced.activity,
                Arc::new(Entry::new(queue, announced.activity, handler)),
            );
        }
    }
    entries
}

impl Entry {
    fn new(queue: &str, name: &'static str, handler: Handler) -> Self {
        let labels = || [("queue", queue.to_owned()), ("activity", name.to_owned())];
        let outcome = |outcome: &'static str| metrics::counter!("sagaline_worker_tasks_total", "queue" => queue.to_owned(), "activity" => name, "outcome" => outcome);
        Entry {
            queue: queue.to_owned(),
            name,
            handler,
            seconds: metrics::histogram!("sagaline_worker_run_seconds", &labels()),
            batch_tasks: metrics::histogram!("sagaline_worker_batch_tasks", &labels()),
            outcomes: Outcomes {
                succeeded: outcome("succeeded"),
                failed: outcome("failed"),
                unknown: outcome("unknown"),
                pending: outcome("pending"),
                heartbeat: outcome("heartbeat"),
            },
        }
    }

    /// How often heartbeats are sent by themselves.
    pub fn heartbeat_every(&self) -> Option<Duration> {
        match &self.handler {
            Handler::Single(activity) => activity.heartbeat_every(),
            Handler::Batch(_) => None,
        }
    }

    pub fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Succeeded { .. } => self.outcomes.succeeded.increment(1),
            Outcome::Failed { .. } => self.outcomes.failed.increment(1),
            Outcome::Unknown { .. } => self.outcomes.unknown.increment(1),
            Outcome::Pending { .. } => self.outcomes.pending.increment(1),
            Outcome::Heartbeat {} => self.outcomes.heartbeat.increment(1),
        }
    }
}

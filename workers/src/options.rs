//! What a worker process is told.

use std::time::Duration;

use transport::KafkaConfig;

use crate::readiness::Readiness;

/// Single tasks of a queue that run at once, unless said otherwise.
const CONCURRENCY_DEFAULT: usize = 64;
/// Tasks that one batch takes, unless said otherwise: where a set-based statement gains little more by being larger.
const BATCH_DEFAULT: usize = 500;
/// How long a leaving worker may take to finish, unless said otherwise: within the 30 s that Kubernetes allows.
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
/// Begins the name of every consumer group.
const GROUP_PREFIX_DEFAULT: &str = "sagaline-worker-";

/// What a worker process is told.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Where tasks come from and results go to.
    pub kafka: KafkaConfig,
    /// The queues to work on; each has its own consumer group and limits.
    pub queues: Vec<String>,
    /// Who worked, in results and logs.
    pub name: String,
    /// Single tasks of a queue that run at once.
    pub concurrency: usize,
    /// Tasks of a queue that are taken in one turn, and by one call of a batch activity.
    pub batch_max: usize,
    /// The consumer group is this, then the queue's name.
    pub group_prefix: String,
    /// How long running tasks may take once the worker is told to leave; then they are cancelled.
    pub drain_timeout: Duration,
    /// Tells whoever keeps a clone when the worker can work.
    pub readiness: Readiness,
}

impl WorkerOptions {
    /// Works on these queues, with the usual limits.
    pub fn new(kafka: KafkaConfig, queues: Vec<String>) -> Self {
        let name = format!("{}-{}", kafka.client_id, std::process::id());
        WorkerOptions {
            kafka,
            queues,
            name,
            concurrency: CONCURRENCY_DEFAULT,
            batch_max: BATCH_DEFAULT,
            group_prefix: GROUP_PREFIX_DEFAULT.to_owned(),
            drain_timeout: DRAIN_TIMEOUT_DEFAULT,
            readiness: Readiness::default(),
        }
    }

    /// The consumer group of a queue.
    pub fn group(&self, queue: &str) -> String {
        format!("{}{queue}", self.group_prefix)
    }

    /// Tasks of a queue taken and not yet answered for good, at most: bounds memory. Four turns, so that one can be read and
    /// one acknowledged while two are worked on.
    pub(crate) fn outstanding_max(&self) -> usize {
        4 * self.batch_max.max(self.concurrency).max(1)
    }
}

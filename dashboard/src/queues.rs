//! How far the workers' consumer groups are behind, and who is in them. Kafka is asked in the background: a page shows what is
//! known and never waits for a broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use orchestrator::Engine;
use transport::{GroupStanding, group_standing};
use workflows::protocol::tasks_topic;

use crate::limits::{QUEUES_AGE_MAX, QUEUES_MAX};

/// Begins the name of each worker group, then comes the queue: as workers name theirs unless they are told otherwise.
pub const WORKER_GROUP_PREFIX: &str = "sagaline-worker-";

/// What is known of the queues.
#[derive(Clone, Default)]
pub struct Queues {
    known: Arc<Mutex<Known>>,
    /// Who waits for an answer waits for the same one.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    queues: Arc<BTreeMap<String, Queue>>,
    asked: Option<Instant>,
    asking: bool,
}

/// What is known of a queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Workflows with a step there, by name.
    pub workflows: Vec<String>,
    /// Its group; none: not known yet.
    pub standing: GroupStanding,
}

impl Queue {
    /// Work waits and it is known that nobody is there to do it.
    pub fn is_deserted(&self) -> bool {
        self.standing.lag.is_some_and(|lag| lag > 0) && self.standing.members.as_ref().is_some_and(Vec::is_empty)
    }
}

impl Queues {
    /// What is known; asks for newer in the background where that is old.
    pub fn get(&self, engine: &Engine) -> Arc<BTreeMap<String, Queue>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let old = known.asked.is_none_or(|asked| asked.elapsed() > QUEUES_AGE_MAX);
        if old && !known.asking {
            known.asking = true;
            tokio::spawn(ask(engine.clone(), self.known.clone()));
        }
        known.queues.clone()
    }
}

impl Queues {
    /// The same for who would rather wait for Kafka than be told nothing: programs.
    pub async fn now(&self, engine: &Engine) -> Arc<BTreeMap<String, Queue>> {
        let _turn = self.turn.lock().await;
        let fresh = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.asked.is_some_and(|asked| asked.elapsed() <= QUEUES_AGE_MAX)
        };
        if !fresh {
            ask(engine.clone(), self.known.clone()).await;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.queues.clone()
    }
}

async fn ask(engine: Engine, known: Arc<Mutex<Known>>) {
    let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
    // Without the database there are no definitions to read; the last answer stays.
    let definitions = engine.definitions().all().await.unwrap_or_default();
    for definition in &definitions {
        for name in definition.compiled.queues() {
            let queue = queues.entry(name).or_default();
            if !queue.workflows.iter().any(|workflow| workflow == definition.name()) {
                queue.workflows.push(definition.name().to_owned());
            }
        }
    }
    for (name, queue) in queues.iter_mut().take(QUEUES_MAX) {
        let group = format!("{WORKER_GROUP_PREFIX}{name}");
        queue.standing = match group_standing(engine.kafka(), &group, &tasks_topic(name)).await {
            Ok(standing) => standing,
            Err(error) => {
                tracing::debug!(%error, queue = name, "a queue could not be asked about");
                GroupStanding::default()
            }
        };
    }
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if !queues.is_empty() {
        known.queues = Arc::new(queues);
    }
    known.asked = Some(Instant::now());
    known.asking = false;
}

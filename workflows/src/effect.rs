//! What a transition asks of the shell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{SagaId, Timestamp};
use crate::protocol::Task;

/// Something for the shell to do once the new state is committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a task to a queue.
    Dispatch {
        /// The queue.
        queue: String,
        /// The task.
        task: Task,
    },
    /// Publish a domain event.
    Publish(Fact),
}

/// A domain event, published as a CloudEvent in Kafka's binary mode, keyed by the saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// The saga.
    pub saga: SagaId,
    /// The journal entry it comes from.
    pub seq: u64,
    /// Its place among that entry's facts.
    pub index: u32,
    /// Topic and type.
    pub topic: String,
    /// What happened.
    pub data: Value,
    /// When.
    pub at: Timestamp,
}

impl Fact {
    /// The CloudEvents id: unique, and the same however often it is published.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.saga, self.seq, self.index)
    }
}

//! What waits for its batch: starts and events, each with who wants to know what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;
use transport::{GroupConsumer, Ticket};
use workflows::event::Event;
use workflows::ids::SagaId;

use crate::backlog::Underway;
use crate::definition_cache::Deployed;
use crate::error::EngineError;
use crate::requests::{Applied, SignalReceipt, StartedSaga};

/// Something that is to happen to a saga.
#[expect(
    clippy::large_enum_variant,
    reason = "events are the many: a box would cost each an allocation"
)]
pub(crate) enum Item {
    /// It begins.
    Start(Box<StartItem>),
    /// Anything else.
    Event(EventItem),
}

/// A saga to be started, checked.
pub(crate) struct StartItem {
    pub(crate) saga: SagaId,
    /// The caller chose the id: signals may have come before.
    pub(crate) chosen_id: bool,
    pub(crate) definition: Arc<Deployed>,
    pub(crate) input: Value,
    /// Idempotency key and hash of the request.
    pub(crate) key: Option<(String, String)>,
    pub(crate) business_key: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Result<StartedSaga, EngineError>>,
    pub(crate) when: Reply,
}

/// When whoever starts a saga is told what came of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// As soon as it is durable.
    Always,
    /// Only if no saga began under the id that was meant for it. Who waits for its end is told of that, and need not be woken twice.
    UnlessBegun,
}

/// An event and where it comes from.
pub(crate) struct EventItem {
    pub(crate) saga: SagaId,
    pub(crate) event: Event,
    pub(crate) source: Source,
    pub(crate) bytes: usize,
}

/// Where an event comes from.
pub(crate) enum Source {
    /// A caller, who waits for the answer.
    Call {
        expected_seq: Option<u64>,
        reply: oneshot::Sender<Result<EventAnswer, EngineError>>,
    },
    /// A worker, over Kafka.
    Worker {
        consumer: Arc<GroupConsumer>,
        ticket: Ticket,
    },
    /// The timer table.
    Timer,
    /// The sweep of unanswered attempts.
    Attempt,
    /// Everything live is sent again.
    Redispatch,
    /// A signal that was parked.
    Parked,
    /// A queue that lets a held task through.
    Queue(#[expect(dead_code, reason = "counts as long as it lives")] Underway),
}

/// What came of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EventAnswer {
    Applied(Applied),
    Signal(SignalReceipt),
}

impl Item {
    pub(crate) fn saga(&self) -> SagaId {
        match self {
            Item::Start(start) => start.saga,
            Item::Event(event) => event.saga,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Item::Start(start) => start.bytes,
            Item::Event(event) => event.bytes,
        }
    }
}

//! The engine's handle: what it can do, and the tasks it is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use transport::KafkaConfig;
use workflows::event::{CommandEvent, Event, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::state::{State, Status};

use crate::clock::DatabaseClock;
use crate::definition_cache::{DefinitionCache, Deployed};
use crate::error::EngineError;
use crate::options::EngineOptions;
use crate::store::reads::SagaRecord;

/// A saga to be started.
#[derive(Clone, Debug, Default)]
pub struct NewSaga {
    /// Its id; left out, the engine makes one (version 7).
    pub id: Option<SagaId>,
    /// The workflow's name.
    pub workflow: String,
    /// Its version; left out, the newest.
    pub version: Option<u32>,
    /// The workflow's input.
    pub input: Value,
    /// The same key gives the same saga.
    pub idempotency_key: Option<String>,
    /// What it is about; left out, the definition says.
    pub business_key: Option<String>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A saga that was started, now or by an earlier request with the same key.
#[derive(Clone, Debug)]
pub struct StartedSaga {
    /// Its id.
    pub id: SagaId,
    /// It had been started before: read it to know where it stands.
    pub replayed: bool,
    /// Its definition; none if replayed.
    pub definition: Option<Arc<Deployed>>,
    /// Its first state; none if replayed.
    pub state: Option<Arc<State>>,
    /// What it is about.
    pub business_key: Option<String>,
    /// When it was accepted, on the database's clock (of a replayed one: now).
    pub at: Timestamp,
}

/// Where a saga stands after an event was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its last journal entry.
    pub seq: u64,
    /// What it is doing.
    pub status: Status,
    /// The event changed it.
    pub changed: bool,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalReceipt {
    /// Its saga is not there yet: it is kept until then.
    Parked,
    /// Its saga has it.
    Delivered,
    /// A signal of this id had come before; this one changed nothing.
    Duplicate,
}

/// A running engine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    definitions: DefinitionCache,
    clock: Arc<DatabaseClock>,
}

impl Engine {
    /// Starts an engine over a migrated database. Kafka may still be absent; Postgres may not.
    pub async fn start(options: EngineOptions, pool: PgPool, kafka: KafkaConfig) -> Result<Engine, EngineError> {
        let _ = (options, pool, kafka);
        unimplemented!()
    }

    /// The callers' connections, for reads.
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// Deployed definitions.
    pub fn definitions(&self) -> &DefinitionCache {
        &self.inner.definitions
    }

    /// The database's time.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Starts a saga. When this returns, the saga survives any crash.
    pub async fn start_saga(&self, new: NewSaga) -> Result<StartedSaga, EngineError> {
        let _ = new;
        unimplemented!()
    }

    /// Starts several sagas, together; one answer each, in their order.
    pub async fn start_sagas(&self, new: Vec<NewSaga>) -> Vec<Result<StartedSaga, EngineError>> {
        let _ = new;
        unimplemented!()
    }

    /// Gives a saga a signal; one that comes before its saga is parked.
    pub async fn signal(&self, saga: SagaId, signal: Signal) -> Result<SignalReceipt, EngineError> {
        let _ = (saga, signal);
        unimplemented!()
    }

    /// Carries out a command, if the saga's journal still ends at `expected_seq` (none: in any case).
    pub async fn command(
        &self,
        saga: SagaId,
        command: CommandEvent,
        expected_seq: Option<u64>,
    ) -> Result<Applied, EngineError> {
        self.send_event(saga, Event::Command(command), expected_seq).await
    }

    /// Applies any event and waits until that is durable.
    pub async fn send_event(
        &self,
        saga: SagaId,
        event: Event,
        expected_seq: Option<u64>,
    ) -> Result<Applied, EngineError> {
        let _ = (saga, event, expected_seq);
        unimplemented!()
    }

    /// Reads a saga.
    pub async fn saga(&self, saga: SagaId) -> Result<Option<SagaRecord>, EngineError> {
        Ok(crate::store::reads::saga(&self.inner.pool, saga).await?)
    }

    /// Waits until a saga has ended or waits for an operator, at most `timeout`, and reads it then. None: no such saga.
    pub async fn wait(&self, saga: SagaId, timeout: Duration) -> Result<Option<SagaRecord>, EngineError> {
        let _ = (saga, timeout);
        unimplemented!()
    }

    /// Has every live saga send its unanswered tasks again, after the broker has lost its messages.
    /// Gives how many sagas that were.
    pub async fn redispatch_all(&self) -> Result<u64, EngineError> {
        unimplemented!()
    }

    /// Postgres and Kafka answer, and it is not shutting down.
    pub async fn ready(&self) -> Result<(), EngineError> {
        unimplemented!()
    }

    /// Takes nothing more, finishes what is under way, and stops.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}

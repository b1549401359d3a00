//! The engine as its callers see it: one trait, in process or over HTTP.
//!
//! The shop's gateway, the dashboard, the command line and the benchmarks hold an `Arc<dyn EngineClient>` and can't
//! tell which of the two they have. Both take and give the same types and the same errors; one test suite runs
//! through both (`tests/client.rs`).

pub(crate) mod check;
mod http;
mod local;
mod types;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use workflows::definition::Definition;
use workflows::event::{CommandEvent, Signal};
use workflows::ids::{SagaId, Timestamp};

pub use http::HttpClient;
pub use local::LocalClient;
pub use types::*;

/// What callers ask of the engine. Every answer is durable: what was accepted survives any crash.
#[async_trait]
pub trait EngineClient: Send + Sync {
    /// Starts a saga; with an idempotency key that was used before, gives the saga it began then. With
    /// `wait`, answers once the saga has settled, or with its state when the time is up.
    async fn start(&self, request: StartRequest) -> Result<Started, ClientError>;

    /// The same, for who only wants to know how it went: it costs the engine less.
    async fn start_brief(&self, request: StartRequest) -> Result<StartedBrief, ClientError> {
        let Started { saga, replayed } = self.start(request).await?;
        let saga = SagaBrief::from(&saga);
        Ok(StartedBrief { saga, replayed })
    }

    /// Starts up to [`BULK_STARTS_MAX`] sagas in one batch; one answer each, in their order. `wait` is not heeded.
    async fn start_bulk(&self, requests: Vec<StartRequest>) -> Result<Vec<Result<Started, ClientError>>, ClientError>;

    /// Which of these idempotency keys, at most [`KEYS_LOOKUP_MAX`], a saga was begun with. An answer from an engine that
    /// can't tell names all of them: a key that isn't named was certainly not used until now.
    async fn used_keys(&self, keys: Vec<String>) -> Result<HashSet<String>, ClientError> {
        Ok(keys.into_iter().collect())
    }

    /// Where a saga stands.
    async fn get(&self, saga: SagaId) -> Result<Option<SagaDetail>, ClientError>;

    /// A saga's journal after entry `after` (0: from the beginning), at most `limit` entries.
    async fn journal(&self, saga: SagaId, after: u64, limit: u32) -> Result<Vec<JournalItem>, ClientError>;

    /// Gives a saga a signal; one that comes before its saga is parked.
    async fn signal(&self, saga: SagaId, signal: Signal) -> Result<SignalReceipt, ClientError>;

    /// Does something to a saga on an operator's behalf, if its journal still ends at `expected_seq` (none: in any case).
    async fn command_at(
        &self,
        saga: SagaId,
        command: CommandEvent,
        expected_seq: Option<u64>,
    ) -> Result<SagaDetail, ClientError>;

    /// Does something to a saga on an operator's behalf.
    async fn command(&self, saga: SagaId, command: CommandEvent) -> Result<SagaDetail, ClientError> {
        self.command_at(saga, command, None).await
    }

    /// Waits until a saga has come so far, at most `timeout` (capped at [`WAIT_MAX`]), and gives its state then.
    async fn wait(&self, saga: SagaId, until: Until, timeout: Duration) -> Result<Option<SagaDetail>, ClientError>;

    /// Sagas, newest first, a page at a time.
    async fn list(&self, filter: ListFilter) -> Result<Page<SagaSummary>, ClientError>;

    /// Stores a definition. The same one again is no error.
    async fn deploy(&self, definition: Definition) -> Result<Deployed, ClientError>;

    /// Every workflow's versions, by name and version.
    async fn definitions(&self) -> Result<Vec<DefinitionSummary>, ClientError>;

    /// One definition; without a version, the newest.
    async fn definition(&self, name: &str, version: Option<u32>) -> Result<Option<DefinitionDetail>, ClientError>;

    /// Every schedule, by name.
    async fn schedules(&self) -> Result<Vec<Schedule>, ClientError>;

    /// One schedule.
    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, ClientError>;

    /// Creates a schedule.
    async fn create_schedule(&self, spec: ScheduleSpec) -> Result<Schedule, ClientError>;

    /// Stops (true) or resumes (false) a schedule's firings. What was due while it was paused is not made up for.
    async fn pause_schedule(&self, name: &str, paused: bool) -> Result<Schedule, ClientError>;

    /// Fires a schedule now, beside its plan.
    async fn run_schedule(&self, name: &str) -> Result<Firing, ClientError>;

    /// Fires a schedule for each of its due times in `from..to` that has not fired; at most [`BACKFILL_MAX`].
    async fn backfill_schedule(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Firing>, ClientError>;

    /// A schedule's latest firings, newest first.
    async fn firings(&self, name: &str, limit: u32) -> Result<Vec<Firing>, ClientError>;

    /// Deletes a schedule and its history. Sagas it began go on.
    async fn delete_schedule(&self, name: &str) -> Result<(), ClientError>;
}

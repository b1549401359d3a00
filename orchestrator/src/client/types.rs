//! What goes in and out of [`super::EngineClient`]: also the JSON of the HTTP API, field by field.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflows::Problem;
use workflows::definition::Definition;
use workflows::effect::Fact;
use workflows::ids::{SagaId, Timestamp};
use workflows::state::Status;
use workflows::{SagaView, definition};

/// Idempotency keys looked up in one call: of the longest, a quarter of a megabyte.
pub const KEYS_LOOKUP_MAX: usize = 1_000;
/// Starts in one bulk request: about what one engine batch takes.
pub const BULK_STARTS_MAX: usize = 1_000;
/// How long a caller can be kept waiting: below the idle time-outs of common proxies.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// Sagas on one page.
pub const PAGE_MAX: u32 = 500;
/// Sagas on a page when nobody says.
pub const PAGE_DEFAULT: u32 = 50;
/// Journal entries in one answer.
pub const JOURNAL_PAGE_MAX: u32 = 1_000;
/// Firings of one backfill: more would crowd out what is due now.
pub const BACKFILL_MAX: usize = 1_000;

/// A saga to start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRequest {
    /// The workflow's name.
    pub workflow: String,
    /// Its version; left out, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its input, at most 256 KiB.
    #[serde(default)]
    pub input: Value,
    /// The same key gives the same saga. Over HTTP, the `Idempotency-Key` header can be used instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Free labels to find sagas by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// W3C trace context. Over HTTP, the header of that name.
    #[serde(skip)]
    pub traceparent: Option<String>,
    /// Answer once the saga has settled, or when this time is up. Over HTTP, `Prefer: wait=<seconds>`.
    #[serde(skip)]
    pub wait: Option<Duration>,
}

/// A saga that was started, now or by an earlier request with the same idempotency key.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// The saga.
    pub saga: SagaDetail,
    /// It had been started before.
    pub replayed: bool,
}

/// The same, told in brief.
#[derive(Clone, Debug, PartialEq)]
pub struct StartedBrief {
    /// The saga.
    pub saga: SagaBrief,
    /// It had been started before.
    pub replayed: bool,
}

/// As much of a saga as whoever only wants to know how it went needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaBrief {
    /// Its id.
    pub id: SagaId,
    /// What it is doing.
    pub status: Status,
    /// Journal entries so far.
    pub seq: u64,
}

impl From<&SagaDetail> for SagaBrief {
    fn from(saga: &SagaDetail) -> Self {
        SagaBrief {
            id: saga.id,
            status: saga.view.status,
            seq: saga.view.seq,
        }
    }
}

/// A saga in full. Instants are milliseconds since the Unix epoch on the database's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaDetail {
    /// Its id.
    pub id: SagaId,
    /// The workflow's name.
    pub workflow: String,
    /// The workflow's version.
    pub version: u32,
    /// What it is about.
    pub business_key: Option<String>,
    /// Its labels.
    pub tags: BTreeMap<String, String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Where it stands.
    #[serde(flatten)]
    pub view: SagaView,
}

impl SagaDetail {
    /// It has ended, or an operator must act: waiting for more is in vain.
    pub fn is_settled(&self) -> bool {
        is_settled(self.view.status)
    }
}

/// Whether waiting for such a saga is over: it has ended, or an operator must act.
pub fn is_settled(status: Status) -> bool {
    status.is_final() || status == Status::Failed
}

/// What of a saga is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// It has ended, or an operator must act.
    #[default]
    Settled,
    /// It can't turn any more, though it may still have to do: its point of no return is behind it, or it is being undone.
    Decided,
}

impl Until {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Until::Settled => "settled",
            Until::Decided => "decided",
        }
    }

    /// Whether a saga has come so far.
    pub fn is_reached(self, status: Status, pivoted: bool) -> bool {
        let is_decided = pivoted || status == Status::Compensating;
        is_settled(status) || self == Until::Decided && is_decided
    }
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Until, String> {
        [Until::Settled, Until::Decided]
            .into_iter()
            .find(|until| until.as_str() == text)
            .ok_or_else(|| format!("{text:?} is neither `settled` nor `decided`"))
    }
}

/// A saga in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaSummary {
    /// Its id.
    pub id: SagaId,
    /// The workflow's name.
    pub workflow: String,
    /// The workflow's version.
    pub version: u32,
    /// What it is doing.
    pub status: Status,
    /// What it is about.
    pub business_key: Option<String>,
    /// Its labels.
    pub tags: BTreeMap<String, String>,
    /// Journal entries so far.
    pub seq: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// An entry of a saga's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JournalItem {
    /// Counts from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What it was, e.g. `step_succeeded`.
    pub kind: String,
    /// The step it concerns.
    pub step: Option<String>,
    /// The event, as it came in.
    pub event: Value,
    /// The domain events it published.
    pub facts: Vec<Fact>,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalReceipt {
    /// Its saga is not there yet: it is kept until then.
    Parked,
    /// Its saga has it.
    Delivered,
    /// A signal of this id had come before; this one changed nothing.
    Duplicate,
}

/// Which sagas to list. Every condition must hold; a page begins where `cursor` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListFilter {
    /// One of these; empty: any.
    pub status: Vec<Status>,
    /// Of this workflow.
    pub workflow: Option<String>,
    /// About this.
    pub business_key: Option<String>,
    /// With this label.
    pub tag: Option<(String, String)>,
    /// Accepted at or after.
    pub created_after: Option<Timestamp>,
    /// Accepted before.
    pub created_before: Option<Timestamp>,
    /// From an earlier page's `next`.
    pub cursor: Option<String>,
    /// 1 to [`PAGE_MAX`]; left out, [`PAGE_DEFAULT`].
    pub limit: Option<u32>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; none: this was the last.
    pub next: Option<String>,
}

/// A workflow's version in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionSummary {
    /// The workflow's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its canonical JSON, in hex.
    pub hash: String,
    /// For people.
    pub description: String,
    /// When it was deployed.
    pub deployed_at: Timestamp,
}

/// A definition that is stored, now or already before.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployed {
    /// The definition.
    pub definition: DefinitionSummary,
    /// It was not there before.
    pub created: bool,
}

/// A workflow's version in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionDetail {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: DefinitionSummary,
    /// The definition itself.
    pub definition: Definition,
}

/// When and how a schedule starts sagas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Lower-case letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// `minute hour day-of-month month day-of-week`, or with seconds before and a year behind.
    pub cron: String,
    /// The IANA time zone that the expression is meant in.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// The workflow to start.
    pub workflow: String,
    /// Its version; left out, the newest at each firing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its input.
    #[serde(default)]
    pub input: Value,
    /// Labels of the sagas, beside `schedule=<name>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What to do when it is due while the saga of an earlier firing still runs.
    #[serde(default)]
    pub overlap: Overlap,
    /// After a time without any orchestrator: due times as old as this are made up for, older ones recorded as missed.
    #[serde(default = "catch_up_default", with = "definition::duration")]
    #[schemars(with = "String")]
    pub catch_up: Duration,
    /// Begin paused.
    #[serde(default)]
    pub paused: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// A rolling restart or a database failover is made up for; a weekend is not.
fn catch_up_default() -> Duration {
    Duration::from_secs(10 * 60)
}

/// What to do when a schedule is due while the saga of an earlier firing still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Leave this one out.
    #[default]
    Skip,
    /// Start this one when the other has ended; at most one waits, a later one replaces nothing and is left out.
    Queue,
    /// Start it all the same.
    Allow,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The expression, as it was given.
    pub cron: String,
    /// The IANA time zone that the expression is meant in.
    pub time_zone: String,
    /// The workflow it starts.
    pub workflow: String,
    /// The workflow's version; none: the newest.
    pub version: Option<u32>,
    /// The sagas' input.
    pub input: Value,
    /// The sagas' labels.
    pub tags: BTreeMap<String, String>,
    /// What happens when firings overlap.
    pub overlap: Overlap,
    /// How old a missed due time may be to be made up for.
    #[serde(with = "definition::duration")]
    #[schemars(with = "String")]
    pub catch_up: Duration,
    /// It does not fire.
    pub paused: bool,
    /// When it is due next; none: never again, or paused.
    pub next_due_at: Option<Timestamp>,
    /// The last due time that was handled.
    pub last_due_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last paused, resumed or fired.
    pub updated_at: Timestamp,
}

/// One due time of a schedule and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Firing {
    /// The schedule.
    pub schedule: String,
    /// The due time; for a run-now, when it was asked for.
    pub due_at: Timestamp,
    /// Where it came from.
    pub origin: FiringOrigin,
    /// What became of it.
    pub outcome: FiringOutcome,
    /// The saga, once started.
    pub saga: Option<SagaId>,
    /// Why it is not started, for people.
    pub note: Option<String>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
}

/// Where a firing came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FiringOrigin {
    /// It was due.
    Due,
    /// Somebody asked for a range of past due times.
    Backfill,
    /// Somebody asked for it at once.
    Manual,
}

/// What became of a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FiringOutcome {
    /// Claimed; its saga is being started.
    Claimed,
    /// It waits for an earlier firing's saga to end.
    Queued,
    /// Its saga was started.
    Started,
    /// Left out because an earlier firing's saga still ran.
    Skipped,
    /// No orchestrator ran then, and it was too old to be made up for.
    Missed,
    /// The start was refused: the note says why.
    Refused,
}

/// Why the engine did not do it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// There is no such thing.
    #[error("{what} does not exist")]
    NotFound {
        /// Which thing.
        what: String,
    },
    /// The request is wrong; every problem is listed.
    #[error("the request is not valid: {}", list(.problems))]
    Invalid {
        /// What is wrong where.
        problems: Vec<Problem>,
    },
    /// The idempotency key was used before, with another request.
    #[error("idempotency key {key:?} was used before with another request; use a new key, or send the same request")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// A request with this idempotency key is still being worked on.
    #[error("a request with idempotency key {key:?} is still being worked on; send it again in a moment")]
    InFlight {
        /// The key.
        key: String,
    },
    /// It exists already, differently: a schedule of this name, another definition under this version.
    #[error("{message}")]
    Conflict {
        /// What is there, and what to do.
        message: String,
    },
    /// It does not fit the state.
    #[error("{message}")]
    Refused {
        /// Why, and what would be possible.
        message: String,
    },
    /// The saga has moved on since the caller looked (`If-Match`).
    #[error("the saga is at entry {current} of its journal, not {expected}: look again, then decide")]
    Moved {
        /// Where the caller thought it was.
        expected: u64,
        /// Where it is.
        current: u64,
    },
    /// Too much is waiting already.
    #[error("the engine is at its limit; try again in {} ms", .retry_after.as_millis())]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The engine, or what it needs, can't be reached. Whether the request was carried out is not known.
    #[error("the engine is not available: {message}")]
    Unavailable {
        /// What failed.
        message: String,
    },
    /// A defect of ours, or a row that can't be read; the engine's log has more.
    #[error("internal error: {message}")]
    Internal {
        /// What failed.
        message: String,
    },
}

impl ClientError {
    /// One problem with a request.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        ClientError::Invalid {
            problems: vec![Problem {
                pointer: pointer.into(),
                message: message.into(),
            }],
        }
    }

    /// A saga that is not there.
    pub fn no_saga(saga: SagaId) -> Self {
        ClientError::NotFound {
            what: format!("saga {saga}"),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

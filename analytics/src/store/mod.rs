//! Where facts are written and asked for: Postgres, or ClickHouse. Both count alike; `tests/stores.rs` holds them against each other.
//!
//! | | Postgres | ClickHouse |
//! |---|---|---|
//! | each fact once | when it is written: the key of `facts` | when it is read: by its id (`final` of a `ReplacingMergeTree`) |
//! | counts | rolled up by the statement that writes | made of the facts that are kept; rolled up before those go |

mod clickhouse;
mod postgres;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::PgPool;

pub use self::clickhouse::{Address, ClickHouse};
use crate::fact::Fact;

/// How many facts of a kind there were in a step of time, and what they come to.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Count {
    /// When the step begins.
    pub since: DateTime<Utc>,
    /// The facts' topic; of a user's action, `action.` and its name.
    pub kind: String,
    /// The shop's event; none: empty.
    pub event_id: String,
    /// The amounts' currency; none: empty.
    pub currency: String,
    /// How many.
    pub facts: i64,
    /// The amounts' sum.
    pub cents: i64,
    /// How long all of them took together.
    pub millis: i64,
}

/// How many bookings took about so long until they were confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Took {
    /// When the step begins.
    pub since: DateTime<Utc>,
    /// About how long ([`crate::fact::bucket`]).
    pub bucket: i32,
    /// How many.
    pub facts: i64,
}

/// How long a step of time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Step {
    /// As the store has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Minute => "minute",
            Step::Hour => "hour",
            Step::Day => "day",
        }
    }

    /// How long it is.
    pub fn length(self) -> chrono::TimeDelta {
        match self {
            Step::Minute => chrono::TimeDelta::minutes(1),
            Step::Hour => chrono::TimeDelta::hours(1),
            Step::Day => chrono::TimeDelta::days(1),
        }
    }
}

/// Why a store did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// ClickHouse.
    #[error("ClickHouse: {0}")]
    ClickHouse(#[from] ::clickhouse::error::Error),
    /// ClickHouse.
    #[error("ClickHouse did not answer within {0:?}")]
    Late(Duration),
}

/// What was cleared away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Days whose facts went.
    pub days: u64,
    /// Rows beside.
    pub rows: u64,
}

/// From when to before when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The first moment.
    pub from: DateTime<Utc>,
    /// The first moment that is not in it.
    pub to: DateTime<Utc>,
}

/// A store. Cheap to clone.
#[derive(Clone)]
pub enum Store {
    /// Postgres, schema `analytics`, which somebody has migrated.
    Postgres(PgPool),
    /// ClickHouse.
    ClickHouse(Box<ClickHouse>),
}

impl From<ClickHouse> for Store {
    fn from(store: ClickHouse) -> Store {
        Store::ClickHouse(Box::new(store))
    }
}

impl From<PgPool> for Store {
    fn from(pool: PgPool) -> Store {
        Store::Postgres(pool)
    }
}

impl Store {
    /// Makes what ClickHouse lacks: its database and tables. Postgres is migrated like everything else.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        match self {
            Store::Postgres(_) => Ok(()),
            Store::ClickHouse(store) => store.prepare().await,
        }
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self {
            Store::Postgres(pool) => Ok(sqlx::query("select 1").execute(pool).await.map(drop)?),
            Store::ClickHouse(store) => store.ping().await,
        }
    }

    /// How long facts should be gathered before they are written.
    pub fn linger(&self) -> Duration {
        match self {
            Store::Postgres(_) => Duration::ZERO,
            // Each write is a part of its own on disk, which has to be merged.
            Store::ClickHouse(_) => crate::limits::CLICKHOUSE_LINGER,
        }
    }

    /// Writes facts, each once; says how many were new, as far as this store knows when it writes. `days` are those that are known to be there.
    pub async fn record(&self, facts: &[Fact], days: &mut BTreeSet<NaiveDate>) -> Result<u64, StoreError> {
        if facts.is_empty() {
            return Ok(0);
        }
        match self {
            Store::Postgres(pool) => {
                let missing: BTreeSet<NaiveDate> = facts
                    .iter()
                    .map(|fact| fact.at.date_naive())
                    .filter(|day| !days.contains(day))
                    .collect();
                if !missing.is_empty() {
                    postgres::make_days(pool, &missing).await?;
                    days.extend(missing);
                }
                Ok(postgres::record(pool, facts).await?.unsigned_abs())
            }
            Store::ClickHouse(store) => store.record(facts).await,
        }
    }

    /// Clears away what is over by then. What is left over is cleared the next time.
    pub async fn clear_away(&self, now: DateTime<Utc>) -> Result<Cleared, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::clear_away(pool, now).await?),
            Store::ClickHouse(store) => store.clear_away(now).await,
        }
    }

    /// What happened, by step.
    pub async fn counts(&self, step: Step, time: Time) -> Result<Vec<Count>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::counts(pool, step, time).await?),
            Store::ClickHouse(store) => store.counts(step, time, None).await,
        }
    }

    /// What happened with these events of the shop, by step.
    pub async fn event_counts(&self, step: Step, time: Time, events: &[String]) -> Result<Vec<Count>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::event_counts(pool, step, time, events).await?),
            Store::ClickHouse(store) => store.counts(step, time, Some(events)).await,
        }
    }

    /// The same of all that time together, from the counts by hour: a few rows for each event, however long it is.
    pub async fn event_totals(&self, time: Time, events: &[String]) -> Result<Vec<Count>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::event_totals(pool, time, events).await?),
            Store::ClickHouse(store) => store.event_totals(time, events).await,
        }
    }

    /// What happened, whatever it was about, by step.
    pub async fn kind_counts(&self, step: Step, time: Time) -> Result<Vec<Count>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::kind_counts(pool, step, time).await?),
            Store::ClickHouse(store) => store.kind_counts(step, time).await,
        }
    }

    /// How many facts of each of these kinds there were, by the minute, whatever they are about.
    pub async fn kinds<const N: usize>(&self, time: Time, kinds: [&str; N]) -> Result<[i64; N], StoreError> {
        let counts = match self {
            Store::Postgres(pool) => postgres::kinds(pool, time, &kinds).await?,
            Store::ClickHouse(store) => store.kinds(time, &kinds).await?,
        };
        Ok(std::array::from_fn(|number| {
            counts.get(number).copied().unwrap_or_default()
        }))
    }

    /// The events with the most bookings begun, at most so many, and how many those are; by steps of a minute or an hour.
    pub async fn popular(&self, step: Step, time: Time, limit: i64) -> Result<Vec<(String, i64)>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::popular(pool, step, time, limit).await?),
            Store::ClickHouse(store) => store.popular(step, time, limit).await,
        }
    }

    /// How many users did something, each counted once.
    pub async fn active_users(&self, time: Time) -> Result<i64, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::active_users(pool, time).await?),
            Store::ClickHouse(store) => store.active_users(time).await,
        }
    }

    /// The same of each step in which somebody did.
    pub async fn active_by(&self, step: Step, time: Time) -> Result<Vec<(DateTime<Utc>, i64)>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::active_by(pool, step, time).await?),
            Store::ClickHouse(store) => store.active_by(step, time).await,
        }
    }

    /// How many visitors of events came how far on whole days, by kind; each counts once a day and event. None: of all events.
    pub async fn funnel(&self, time: Time, events: Option<&[String]>) -> Result<Vec<(String, i64)>, StoreError> {
        match (self, events) {
            (Store::Postgres(pool), None) => Ok(postgres::funnel(pool, time).await?),
            (Store::Postgres(pool), Some(events)) => Ok(postgres::event_funnel(pool, time, events).await?),
            (Store::ClickHouse(store), events) => store.funnel(time, events).await,
        }
    }

    /// How long bookings took until they were confirmed, by steps of a minute or an hour.
    pub async fn took(&self, step: Step, time: Time) -> Result<Vec<Took>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::took(pool, step, time).await?),
            Store::ClickHouse(store) => store.took(step, time).await,
        }
    }

    /// What was published of the system's state, the oldest first, at most so many.
    pub async fn system(&self, time: Time, limit: i64) -> Result<Vec<(DateTime<Utc>, Value)>, StoreError> {
        match self {
            Store::Postgres(pool) => Ok(postgres::system(pool, time, limit).await?),
            Store::ClickHouse(store) => store.system(time, limit).await,
        }
    }
}

//! Identifiers and the instant type. A newtype for each, so that they can't be mixed up.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A saga's identifier: a version 7 UUID, so that ids sort by the time their sagas began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SagaId(pub Uuid);

impl SagaId {
    /// The Kafka partition, of `partitions`, that carries this saga's tasks, results and facts.
    ///
    /// Every process must agree on it, so it is part of the protocol (docs/protocol.md):
    /// the last eight bytes of the id (random in a version 7 UUID), big-endian, modulo `partitions`.
    pub fn partition(self, partitions: u32) -> u32 {
        let bytes = self.0.as_bytes();
        let tail = u64::from_be_bytes(bytes[8..16].try_into().expect("eight bytes"));
        (tail % u64::from(partitions.max(1))) as u32
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for SagaId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(SagaId)
    }
}

/// An instant, in milliseconds since the Unix epoch, on the database's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant plus `duration`, saturating.
    pub fn plus(self, duration: std::time::Duration) -> Timestamp {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }

    /// As a chrono instant; out-of-range values become the epoch.
    pub fn to_datetime(self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// RFC 3339 with milliseconds, as published in APIs and events.
    pub fn to_rfc3339(self) -> String {
        self.to_datetime().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    }
}

impl From<chrono::DateTime<chrono::Utc>> for Timestamp {
    fn from(at: chrono::DateTime<chrono::Utc>) -> Self {
        Timestamp(at.timestamp_millis())
    }
}

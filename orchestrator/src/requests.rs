//! What callers ask of the engine and what they are told, and the checks of the former.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use workflows::ids::{SagaId, Timestamp};
use workflows::limits::INPUT_BYTES_MAX;
use workflows::state::{State, Status};

use crate::client::is_settled;
use crate::definition_cache::Deployed;
use crate::error::EngineError;
use crate::options::{KEY_BYTES_MAX, TAGS_MAX};
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

/// A saga that was started, now or by an earlier request with the same key, and waited for.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// Its id.
    pub id: SagaId,
    /// It had been started before.
    pub replayed: bool,
    /// As it settled; none: it had not in time.
    pub settled: Option<SagaRecord>,
}

impl Awaited {
    /// It began with this request, and was last seen like this.
    pub(crate) fn begun(id: SagaId, seen: Option<SagaRecord>) -> Awaited {
        Awaited {
            id,
            replayed: false,
            settled: seen.filter(|record| is_settled(record.summary.status)),
        }
    }
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

/// Checks what a caller says of a new saga; gives the size of its input.
pub(crate) fn check_start(new: &NewSaga) -> Result<usize, EngineError> {
    let bytes = workflows::json_bytes(&new.input);
    if bytes > INPUT_BYTES_MAX {
        return Err(EngineError::invalid(
            "/input",
            format!("has {bytes} bytes; at most {INPUT_BYTES_MAX}"),
        ));
    }
    if let Some(key) = &new.idempotency_key {
        check_text("/idempotencyKey", key, true)?;
    }
    if new.tags.len() > TAGS_MAX {
        return Err(EngineError::invalid(
            "/tags",
            format!("has {} labels; at most {TAGS_MAX}", new.tags.len()),
        ));
    }
    for (name, value) in &new.tags {
        check_text("/tags", name, true)?;
        check_text(&format!("/tags/{name}"), value, false)?;
    }
    if let Some(traceparent) = &new.traceparent {
        check_text("/traceparent", traceparent, false)?;
    }
    Ok(bytes)
}

/// What goes into a text column and an index: not too long, and without the NUL that Postgres refuses.
pub(crate) fn check_text(pointer: &str, text: &str, needed: bool) -> Result<(), EngineError> {
    if needed && text.is_empty() {
        return Err(EngineError::invalid(pointer, "must not be empty"));
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(EngineError::invalid(
            pointer,
            format!("has {} bytes; at most {KEY_BYTES_MAX}", text.len()),
        ));
    }
    if text.contains('\0') {
        return Err(EngineError::invalid(pointer, "must not contain U+0000"));
    }
    Ok(())
}

/// What must be the same when an idempotency key is used again.
pub(crate) fn request_hash(new: &NewSaga) -> String {
    let mut request = serde_json::json!([new.workflow, new.version, new.input, new.business_key, new.tags]);
    // The order of an object's keys says nothing; whether serde_json keeps it depends on what else is built with us.
    request.sort_all_objects();
    hex::encode(Sha256::digest(request.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_same_request_has_the_same_hash() {
        let new = |input: &str| NewSaga {
            input: serde_json::from_str(input).unwrap(),
            ..NewSaga::default()
        };
        assert_eq!(
            request_hash(&new(r#"{"a":1,"b":2}"#)),
            request_hash(&new(r#"{ "b":2, "a":1 }"#))
        );
        assert_ne!(request_hash(&new("1")), request_hash(&new("2")));
    }

    #[test]
    fn texts_are_bounded_and_free_of_nul() {
        assert!(check_text("/key", &"x".repeat(KEY_BYTES_MAX), true).is_ok());
        assert!(check_text("/key", &"x".repeat(KEY_BYTES_MAX + 1), true).is_err());
        assert!(check_text("/key", "a\0b", true).is_err());
        assert!(check_text("/key", "", true).is_err());
        assert!(check_text("/value", "", false).is_ok());
    }
}

//! Idempotency keys in use at this moment.
//!
//! The engine remembers keys for good, on the database; this only lets a second request be told "still being worked
//! on" while the first one waits for its outcome here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::problem::{Kind, Problem, key_in_flight};

/// Keys in use, each with the hash of its request.
#[derive(Clone, Default)]
pub struct KeysInFlight(Arc<Mutex<HashMap<String, String>>>);

/// A key is in use until this is dropped.
pub struct KeyGuard {
    keys: KeysInFlight,
    key: String,
}

impl KeysInFlight {
    /// Takes a key into use, or says who has it: the same request (409) or another one (422).
    pub fn begin(&self, key: &str, request_hash: String) -> Result<KeyGuard, Problem> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.get(key) {
            Some(hash) if *hash == request_hash => Err(key_in_flight()),
            Some(_) => Err(Problem::new(
                Kind::KeyReused,
                "this Idempotency-Key is in use by another request; use a new key for each booking",
            )),
            None => {
                keys.insert(key.to_owned(), request_hash);
                Ok(KeyGuard {
                    keys: self.clone(),
                    key: key.to_owned(),
                })
            }
        }
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.keys
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_key_is_in_use_until_its_request_ends() {
        let keys = KeysInFlight::default();
        let first = keys.begin("k", "a".to_owned()).ok().unwrap();
        assert_eq!(keys.begin("k", "a".to_owned()).err().unwrap().kind(), Kind::KeyInFlight);
        assert_eq!(keys.begin("k", "b".to_owned()).err().unwrap().kind(), Kind::KeyReused);
        assert!(keys.begin("l", "b".to_owned()).is_ok());
        drop(first);
        assert!(keys.begin("k", "b".to_owned()).is_ok());
    }
}

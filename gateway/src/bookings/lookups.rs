//! Asks the engine whether idempotency keys were used; those who ask at the same time share one question.
//!
//! A wish for seats that are taken may be a repetition: by the very booking that has them. So nobody who sent a key is
//! refused from memory before the engine has said that it doesn't know the key.

use orchestrator::client::{ClientError, EngineClient, KEYS_LOOKUP_MAX};

use crate::together::Together;

/// Questions that wait to be asked together.
#[derive(Default)]
pub struct KeyLookups(Together<String, ()>);

impl KeyLookups {
    /// Whether a booking was begun with this key, or may have been.
    pub async fn is_used(&self, engine: &dyn EngineClient, key: &str) -> Result<bool, ClientError> {
        let ask = async |keys| {
            let used = engine.used_keys(keys).await?;
            Ok::<_, ClientError>(used.into_iter().map(|key| (key, ())).collect())
        };
        Ok(self.0.ask(key.to_owned(), KEYS_LOOKUP_MAX, ask).await?.is_some())
    }
}

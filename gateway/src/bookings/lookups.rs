//! Asks the engine whether idempotency keys were used; those who ask at the same time share one question.
//!
//! A wish for seats that are taken may be a repetition: by the very booking that has them. So nobody who sent a key is
//! refused from memory before the engine has said that it doesn't know the key.

use std::sync::{Mutex, PoisonError};

use orchestrator::client::{ClientError, EngineClient, KEYS_LOOKUP_MAX};
use tokio::sync::oneshot;

/// Keys of others that are asked for together with one's own.
const OTHERS_MAX: usize = KEYS_LOOKUP_MAX - 1;

/// Questions that wait to be asked together.
#[derive(Default)]
pub struct KeyLookups {
    waiting: Mutex<Vec<(String, oneshot::Sender<bool>)>>,
    turn: tokio::sync::Mutex<()>,
}

impl KeyLookups {
    /// Whether a booking was begun with this key, or may have been.
    pub async fn is_used(&self, engine: &dyn EngineClient, key: &str) -> Result<bool, ClientError> {
        let (answer, mut answered) = oneshot::channel();
        self.lock().push((key.to_owned(), answer));
        // Whoever is next asks for all who wait behind it.
        let _turn = self.turn.lock().await;
        if let Ok(used) = answered.try_recv() {
            return Ok(used);
        }
        let mut batch = {
            let mut waiting = self.lock();
            let count = waiting.len().min(OTHERS_MAX);
            waiting.drain(..count).collect::<Vec<_>>()
        };
        // Those who have hung up, and ourselves: the answer is used here.
        batch.retain(|(_, answer)| !answer.is_closed());
        let mut keys: Vec<String> = batch.iter().map(|(key, _)| key.clone()).collect();
        // Not in the batch if somebody took it and failed, or if too many wait.
        if !keys.iter().any(|other| other == key) {
            keys.push(key.to_owned());
        }
        let used = engine.used_keys(keys).await?;
        for (key, answer) in batch {
            // An error means that nobody waits for it any more.
            let _ = answer.send(used.contains(&key));
        }
        Ok(used.contains(key))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, oneshot::Sender<bool>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

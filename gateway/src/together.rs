//! Questions that are asked at the same time, asked as one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

type Waiting<K, A> = Vec<(K, oneshot::Sender<Option<A>>)>;

/// Gathers questions while one is under way.
pub struct Together<K, A> {
    waiting: Mutex<Waiting<K, A>>,
    turn: tokio::sync::Mutex<()>,
}

impl<K, A> Default for Together<K, A> {
    fn default() -> Self {
        Together {
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, A: Clone> Together<K, A> {
    /// The answer for `key`, asked together with what others want to know, at most `most` keys at a time; none: there is
    /// no answer for it. If asking fails, the others ask for themselves.
    pub async fn ask<E, F>(&self, key: K, most: usize, ask: impl FnOnce(Vec<K>) -> F) -> Result<Option<A>, E>
    where
        F: Future<Output = Result<HashMap<K, A>, E>>,
    {
        let (answer, mut answered) = oneshot::channel();
        self.lock().push((key.clone(), answer));
        // Whoever is next asks for all who wait behind it.
        let _turn = self.turn.lock().await;
        if let Ok(answer) = answered.try_recv() {
            return Ok(answer);
        }
        let mut batch = {
            let mut waiting = self.lock();
            // Without those who have hung up.
            waiting.retain(|(_, answer)| !answer.is_closed());
            let count = waiting.len().min(most.saturating_sub(1));
            waiting.drain(..count).collect::<Vec<_>>()
        };
        let mut keys: Vec<K> = batch.iter().map(|(key, _)| key.clone()).collect();
        // Not among them if too many wait, or if somebody took it and failed.
        if !keys.contains(&key) {
            keys.push(key.clone());
        }
        let found = ask(keys).await?;
        for (key, answer) in batch.drain(..) {
            // An error means that nobody waits for it any more.
            let _ = answer.send(found.get(&key).cloned());
        }
        Ok(found.get(&key).cloned())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<K, A>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

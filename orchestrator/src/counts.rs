//! Counts what happens to sagas, by minute and workflow, in memory; every few seconds that is added to a small table. So figures over time
//! cost the same however many sagas there are, and the hot path nothing but an addition.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workflows::ids::Timestamp;

use crate::batcher::Shell;
use crate::options::{COUNTS_FLUSH, COUNTS_MAX};
use crate::store::counts::{self, Counted};

/// What a saga is worth in cents, and for how many things, by its workflow's name and its input. The engine can't know; whoever puts
/// the program together can.
pub type Worth = fn(&str, &Value) -> (i64, i64);

/// A minute's length in milliseconds.
const MINUTE_MS: i64 = 60_000;

type Key = (i64, Arc<str>, &'static str);

/// Sagas, what they were worth, and for how many things.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    sagas: i64,
    money_cents: i64,
    items: i64,
}

/// What was counted and not yet written down.
#[derive(Default)]
pub(crate) struct Counts {
    known: Mutex<HashMap<Key, Count>>,
}

/// What a batch counts before it is added in one go.
pub(crate) struct Tally {
    minute: i64,
    counted: HashMap<Key, Count>,
}

impl Tally {
    pub(crate) fn at(now: Timestamp) -> Self {
        Tally {
            minute: now.0.div_euclid(MINUTE_MS),
            counted: HashMap::new(),
        }
    }

    /// One more.
    pub(crate) fn count(&mut self, workflow: &Arc<str>, kind: &'static str, worth: (i64, i64)) {
        let key = (self.minute, Arc::clone(workflow), kind);
        let count = self.counted.entry(key).or_default();
        count.add(Count {
            sagas: 1,
            money_cents: worth.0,
            items: worth.1,
        });
    }
}

impl Count {
    fn add(&mut self, more: Count) {
        self.sagas = self.sagas.saturating_add(more.sagas);
        self.money_cents = self.money_cents.saturating_add(more.money_cents);
        self.items = self.items.saturating_add(more.items);
    }
}

impl Counts {
    /// What a batch has counted.
    pub(crate) fn add(&self, tally: Tally) {
        self.merge(tally.counted);
    }

    fn merge(&self, counted: HashMap<Key, Count>) {
        if counted.is_empty() {
            return;
        }
        let mut known = self.lock();
        for (key, count) in counted {
            // Without Postgres for long, the newest minutes are lost rather than the memory.
            if known.len() < COUNTS_MAX || known.contains_key(&key) {
                known.entry(key).or_default().add(count);
            }
        }
    }

    async fn flush(&self, pool: &PgPool) {
        let counted = std::mem::take(&mut *self.lock());
        if counted.is_empty() {
            return;
        }
        let mut rows = Counted::default();
        for ((minute, workflow, kind), count) in &counted {
            rows.minute
                .push(Timestamp(minute.saturating_mul(MINUTE_MS)).to_datetime());
            rows.workflow.push(workflow.to_string());
            rows.kind.push(kind);
            rows.sagas.push(count.sagas);
            rows.money_cents.push(count.money_cents);
            rows.items.push(count.items);
        }
        if let Err(error) = counts::add(pool, &rows).await {
            tracing::debug!(%error, "counts could not be written; trying again");
            self.merge(counted);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Count>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes counts down, until `stop` and once more then.
pub(crate) async fn keep(shell: Arc<Shell>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(COUNTS_FLUSH))
        .await
        .is_some()
    {
        shell.counts.flush(&shell.pool).await;
    }
    shell.counts.flush(&shell.pool).await;
}

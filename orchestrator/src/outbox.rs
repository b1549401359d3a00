//! Gets committed messages to the broker: at once in the normal case, from the outbox table after a failure, whoever's.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use transport::{KafkaConfig, Outgoing, Producer, TransportError};
use uuid::Uuid;

use crate::messages::{self, Routing};
use crate::options::{OUTBOX_SWEEP_ROWS_MAX, UNACKNOWLEDGED_BYTES_MAX};
use crate::store;

/// How often acknowledged rows that no batch has deleted yet are deleted, and left-behind ones are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long facts are gathered. A booking tells several, each on a topic of its own, so a batch's facts go to dozens of partitions, and
/// the client sends a request for each; nobody is waited for until they have been read.
const FACTS_GATHER: Duration = Duration::from_millis(20);

/// No partition of the results is ours, as far as is known.
const NOWHERE: i32 = -1;

/// Ways to the broker.
pub(crate) struct Producers {
    /// For what sagas wait for.
    tasks: Producer,
    /// For what is only told. On the tasks' way they would be in front of them: five requests are on their way at a time, and
    /// a batch's facts are dozens.
    facts: Producer,
}

impl Producers {
    pub(crate) fn new(kafka: &KafkaConfig) -> Result<Producers, TransportError> {
        Ok(Producers {
            tasks: Producer::new(kafka)?,
            facts: Producer::gathering(kafka, FACTS_GATHER)?,
        })
    }

    fn of(&self, message: &Outgoing) -> &Producer {
        match messages::is_fact(message) {
            true => &self.facts,
            false => &self.tasks,
        }
    }
}

/// Publishes outbox rows.
pub(crate) struct Publisher {
    producers: Producers,
    instance: Uuid,
    /// After which a silent replica's rows are taken over.
    lease: Duration,
    rows: Mutex<Rows>,
    unacknowledged_bytes: AtomicUsize,
    /// Counts batches, so that their tasks take turns over the partitions.
    batches: AtomicU32,
    /// The partition of the results on which answers shall come.
    reply: AtomicI32,
}

#[derive(Default)]
struct Rows {
    /// Being committed, on their way to the broker, or acknowledged and not yet deleted: not for the sweep.
    in_hand: HashSet<Uuid>,
    /// The broker has all of their messages.
    acknowledged: Vec<Uuid>,
    /// Every message was handed to the broker; the acknowledgements are still to come.
    on_their_way: usize,
    /// How often a row of ours may have come to be in the table without being in hand.
    left_behind: u64,
    /// As many of those the sweep has seen to; while there are no more it looks seldom.
    swept: u64,
}

impl Publisher {
    pub(crate) fn new(producers: Producers, instance: Uuid, lease: Duration) -> Arc<Self> {
        Arc::new(Publisher {
            producers,
            instance,
            lease,
            rows: Mutex::default(),
            unacknowledged_bytes: AtomicUsize::new(0),
            batches: AtomicU32::new(instance.as_u128() as u32),
            reply: AtomicI32::new(NOWHERE),
        })
    }

    /// Where the next batch's messages go.
    pub(crate) fn routing(&self) -> Routing {
        let partitions = self.producers.tasks.partitions();
        let reply = match self.reply.load(Ordering::Relaxed) {
            // Together at one place, whoever reads there.
            NOWHERE => (self.instance.as_u128() % u128::from(partitions.max(1))) as u32,
            reply => reply.unsigned_abs(),
        };
        Routing {
            partitions,
            first: self.batches.fetch_add(1, Ordering::Relaxed),
            reply: Some(reply),
        }
    }

    /// These partitions of the results are read here.
    pub(crate) fn reply_among(&self, partitions: &[i32]) {
        let reply = match partitions.len() {
            0 => NOWHERE,
            // Replicas that share the same broker choose differently by what they are assigned.
            count => partitions[self.instance.as_u128() as usize % count],
        };
        self.reply.store(reply, Ordering::Relaxed);
    }

    /// Whether answers come here.
    pub(crate) fn is_answered(&self) -> bool {
        self.reply.load(Ordering::Relaxed) >= 0
    }

    /// A row of this id is about to be committed.
    pub(crate) fn expect(&self, row: Uuid) {
        self.lock().in_hand.insert(row);
    }

    /// The row was not committed, or won't be published from here; if it is there, the sweep does it.
    pub(crate) fn abandon(&self, row: Uuid) {
        let mut rows = self.lock();
        rows.in_hand.remove(&row);
        rows.left_behind += 1;
    }

    /// Sends a committed row's messages, tasks and facts each in order, behind all of their kind that were sent before.
    pub(crate) fn publish(self: &Arc<Self>, row: Uuid, messages: Vec<Outgoing>) {
        let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();
        if self.unacknowledged_bytes.load(Ordering::Relaxed) + bytes > UNACKNOWLEDGED_BYTES_MAX {
            self.abandon(row);
            return;
        }
        self.unacknowledged_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.lock().on_their_way += 1;
        let acknowledgements: Vec<_> = messages
            .into_iter()
            .map(|message| self.producers.of(&message).send(message))
            .collect();
        let publisher = Arc::clone(self);
        tokio::spawn(async move {
            let answers = join_all(acknowledgements).await;
            publisher.unacknowledged_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let failed = answers.into_iter().filter_map(Result::err).collect::<Vec<_>>();
            let mut rows = publisher.lock();
            rows.on_their_way -= 1;
            match failed.first() {
                None => rows.acknowledged.push(row),
                Some(error) => {
                    rows.in_hand.remove(&row);
                    rows.left_behind += 1;
                    metrics::counter!("sagaline_outbox_failures_total").increment(1);
                    tracing::warn!(%error, messages = failed.len(), outbox = %row, "messages were not published; they will be sent again");
                }
            }
        });
    }

    /// Acknowledged rows, to be deleted by the caller, who then tells [`Self::deleted`] or [`Self::not_deleted`].
    pub(crate) fn take_acknowledged(&self) -> Vec<Uuid> {
        std::mem::take(&mut self.lock().acknowledged)
    }

    pub(crate) fn deleted(&self, rows: &[Uuid]) {
        let mut known = self.lock();
        for row in rows {
            known.in_hand.remove(row);
        }
    }

    pub(crate) fn not_deleted(&self, rows: Vec<Uuid>) {
        self.lock().acknowledged.extend(rows);
    }

    /// Deletes acknowledged rows, and publishes left-behind ones: this replica's own that failed, and those of
    /// replicas that are gone. Until `stop`.
    pub(crate) async fn sweep(self: Arc<Self>, pool: PgPool, stop: CancellationToken) {
        let mut ticks = 0_u32;
        while stop
            .run_until_cancelled(tokio::time::sleep(SWEEP_INTERVAL))
            .await
            .is_some()
        {
            ticks = ticks.wrapping_add(1);
            if let Err(error) = self.sweep_once(&pool, ticks.is_multiple_of(4)).await {
                tracing::debug!(%error, "the outbox could not be swept; trying again");
            }
        }
    }

    async fn sweep_once(self: &Arc<Self>, pool: &PgPool, orphans_too: bool) -> Result<(), sqlx::Error> {
        self.delete_acknowledged(pool).await?;
        if orphans_too {
            let lease_s = self.lease.as_secs_f64();
            let claimed = store::outbox::claim_orphans(pool, self.instance, lease_s, OUTBOX_SWEEP_ROWS_MAX).await?;
            if claimed > 0 {
                tracing::info!(rows = claimed, "publishing what a replica that is gone has left behind");
            }
            let (rows, age_s) = store::outbox::backlog(pool).await?;
            metrics::gauge!("sagaline_outbox_rows").set(rows as f64);
            metrics::gauge!("sagaline_outbox_age_seconds").set(age_s);
        }
        let (in_hand, left_behind): (Vec<Uuid>, u64) = {
            let rows = self.lock();
            if rows.left_behind == rows.swept && !orphans_too {
                return Ok(());
            }
            (rows.in_hand.iter().copied().collect(), rows.left_behind)
        };
        let rows = store::outbox::own_rows(pool, self.instance, &in_hand, OUTBOX_SWEEP_ROWS_MAX).await?;
        if (rows.len() as i64) < OUTBOX_SWEEP_ROWS_MAX {
            self.lock().swept = left_behind;
        }
        for row in rows {
            // A batch may have been committed since the look at what is in hand; it was in hand before its commit.
            if !self.lock().in_hand.insert(row.id) {
                continue;
            }
            match messages::decode(&row.payload) {
                Ok(messages) => self.publish(row.id, messages),
                Err(error) => {
                    tracing::error!(outbox = %row.id, %error, "an outbox row can't be read; it is left alone")
                }
            }
        }
        Ok(())
    }

    /// Deletes acknowledged rows now.
    pub(crate) async fn delete_acknowledged(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let acknowledged = self.take_acknowledged();
        if acknowledged.is_empty() {
            return Ok(());
        }
        match store::outbox::delete(pool, &acknowledged).await {
            Ok(()) => {
                self.deleted(&acknowledged);
                Ok(())
            }
            Err(error) => {
                self.not_deleted(acknowledged);
                Err(error)
            }
        }
    }

    /// Rows on their way to the broker.
    pub(crate) fn on_their_way(&self) -> usize {
        self.lock().on_their_way
    }

    /// Sends one message outside of any batch.
    pub(crate) async fn send(&self, message: Outgoing) -> Result<(), TransportError> {
        self.producers.of(&message).send(message).await
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The engine's handle: what it can do, and the tasks it is made of.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use transport::KafkaConfig;
use uuid::Uuid;
use workflows::event::{CommandEvent, Event, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::json_bytes;
use workflows::limits::PAYLOAD_BYTES_MAX;

use crate::backlog::Backlog;
use crate::batcher::{self, Shell};
use crate::cache::SagaCache;
use crate::client::Until;
use crate::clock::DatabaseClock;
use crate::counts::{self, Counts};
use crate::definition_cache::DefinitionCache;
use crate::error::EngineError;
use crate::gates::{self, Gates};
use crate::inbound::{EventAnswer, EventItem, Item, Reply, Source, StartItem};
use crate::options::{EngineOptions, INBOUND_MAX, REDISPATCH_PAGE, SAGAS_PER_BATCH_MAX};
use crate::outbox::{Producers, Publisher};
use crate::presence::{self, Presence};
use crate::requests::{Applied, Awaited, NewSaga, SignalReceipt, StartedSaga, check_start, check_text, request_hash};
use crate::store::reads::SagaRecord;
use crate::waiters::{Reached, Waiters};
use crate::{housekeeping, results, store, timers, topics};

/// How long a caller waits for its answer, at most: longer than a Postgres restart, shorter than common proxies wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Who waits so long for a saga's end is not told of its beginning as well: each costs a wake-up. Whoever waits less may be told of no more than that.
const TOLD_ONCE_FROM: Duration = Duration::from_secs(5);
/// How often a shutdown looks whether what is under way is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// A running engine. Clones are handles to the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    /// The callers' connections.
    pool: PgPool,
    kafka: KafkaConfig,
    shell: Arc<Shell>,
    inbound: mpsc::Sender<Item>,
    /// Nothing new is taken in.
    closing: CancellationToken,
    /// The batcher's end: everything else has stopped.
    tasks: Mutex<Tasks>,
}

struct Tasks {
    /// What brings events in.
    sources: JoinSet<()>,
    /// What must go on until all of them are done.
    rest: JoinSet<()>,
    rest_stop: CancellationToken,
    batcher: Option<tokio::task::JoinHandle<()>>,
    drain: Option<oneshot::Sender<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A handle that is dropped without a shutdown is a crash, from which others recover.
        if let Some(batcher) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).batcher.take() {
            batcher.abort();
        }
    }
}

impl Engine {
    /// Starts an engine over a migrated database. Kafka may still be absent; Postgres may not.
    pub async fn start(options: EngineOptions, pool: PgPool, kafka: KafkaConfig) -> Result<Engine, EngineError> {
        let instance = Uuid::now_v7();
        let hot = store::engine_pool(&pool, options.connections);
        let clock = Arc::new(DatabaseClock::start(&hot).await?);
        store::instances::heartbeat(&hot, instance).await?;
        let definitions = DefinitionCache::new(pool.clone());
        definitions.refresh().await?;
        let gates = Gates::default();
        // Before the first batch: a paused queue stays so over a restart.
        gates.set(&store::queues::standing(&hot).await?);
        let producers = Producers::new(&kafka).map_err(|error| EngineError::Internal(error.to_string()))?;
        let cached_sagas_max = if options.cache { options.cached_sagas_max } else { 0 };
        let options = EngineOptions {
            sagas_per_batch_max: options.sagas_per_batch_max.clamp(1, SAGAS_PER_BATCH_MAX),
            ..options
        };
        let backlog = Backlog::new(options.unanswered_min);
        let shell = Arc::new(Shell {
            publisher: Publisher::new(producers, instance, options.instance_lease),
            pool: hot,
            options,
            instance,
            definitions,
            clock,
            cache: SagaCache::new(cached_sagas_max),
            waiters: Arc::new(Waiters::default()),
            gates,
            backlog,
            presence: Presence::default(),
            counts: Counts::default(),
        });
        let (inbound, received) = mpsc::channel(INBOUND_MAX);
        let closing = CancellationToken::new();
        let tasks = Mutex::new(spawn(&shell, kafka.clone(), &inbound, received, &closing));
        tracing::info!(%instance, "the engine is running");
        Ok(Engine {
            inner: Arc::new(Inner {
                pool,
                kafka,
                shell,
                inbound,
                closing,
                tasks,
            }),
        })
    }

    /// The callers' connections, for reads.
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// The connections of the hot path.
    pub fn hot_pool(&self) -> &PgPool {
        &self.inner.shell.pool
    }

    /// How it reaches Kafka, for those who look how far groups have read.
    pub fn kafka(&self) -> &KafkaConfig {
        &self.inner.kafka
    }

    /// Deployed definitions.
    pub fn definitions(&self) -> &DefinitionCache {
        &self.inner.shell.definitions
    }

    /// This replica's id.
    pub fn instance(&self) -> Uuid {
        self.inner.shell.instance
    }

    /// The database's time.
    pub fn now(&self) -> Timestamp {
        self.inner.shell.clock.now()
    }

    /// Starts a saga. When this returns, the saga survives any crash.
    pub async fn start_saga(&self, new: NewSaga) -> Result<StartedSaga, EngineError> {
        let chosen_id = new.id.is_some();
        answered(self.enqueue_start(new, chosen_id, Reply::Always).await?).await
    }

    /// Starts several sagas, together; one answer each, in their order.
    pub async fn start_sagas(&self, new: Vec<NewSaga>) -> Vec<Result<StartedSaga, EngineError>> {
        let mut waiting = Vec::with_capacity(new.len());
        for new in new {
            let chosen_id = new.id.is_some();
            waiting.push(self.enqueue_start(new, chosen_id, Reply::Always).await);
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(match answer {
                Ok(answer) => answered(answer).await,
                Err(error) => Err(error),
            });
        }
        answers
    }

    /// Gives a saga a signal; one that comes before its saga is parked.
    pub async fn signal(&self, saga: SagaId, signal: Signal) -> Result<SignalReceipt, EngineError> {
        check_text("/id", &signal.id, true)?;
        check_text("/name", &signal.name, true)?;
        let bytes = json_bytes(&signal.payload);
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(EngineError::invalid(
                "/payload",
                format!("has {bytes} bytes; at most {PAYLOAD_BYTES_MAX}"),
            ));
        }
        match self.call(saga, Event::Signal(signal), None, bytes).await? {
            EventAnswer::Signal(receipt) => Ok(receipt),
            EventAnswer::Applied(_) => Err(EngineError::Internal(
                "a signal was answered as another event".to_owned(),
            )),
        }
    }

    /// Carries out a command, if the saga's journal still ends at `expected_seq` (none: in any case).
    pub async fn command(
        &self,
        saga: SagaId,
        command: CommandEvent,
        expected_seq: Option<u64>,
    ) -> Result<Applied, EngineError> {
        self.send_event(saga, Event::Command(command), expected_seq).await
    }

    /// Applies any event but a signal and waits until that is durable.
    pub async fn send_event(
        &self,
        saga: SagaId,
        event: Event,
        expected_seq: Option<u64>,
    ) -> Result<Applied, EngineError> {
        let bytes = if let Event::Command(command) = &event {
            serde_json::json!(command).to_string().len()
        } else {
            64
        };
        match self.call(saga, event, expected_seq, bytes).await? {
            EventAnswer::Applied(applied) => Ok(applied),
            EventAnswer::Signal(_) => Err(EngineError::invalid("/event", "a signal is sent with Engine::signal")),
        }
    }

    /// Reads a saga.
    pub async fn saga(&self, saga: SagaId) -> Result<Option<SagaRecord>, EngineError> {
        Ok(store::reads::saga(&self.inner.pool, saga).await?)
    }

    /// Waits until a saga has ended or waits for an operator, at most `timeout`, and gives it as it is then. None: no
    /// such saga.
    pub async fn wait(&self, saga: SagaId, timeout: Duration) -> Result<Option<SagaRecord>, EngineError> {
        self.wait_until(saga, Until::Settled, timeout).await
    }

    /// The same, until the saga has come so far.
    pub async fn wait_until(
        &self,
        saga: SagaId,
        until: Until,
        timeout: Duration,
    ) -> Result<Option<SagaRecord>, EngineError> {
        let began = Instant::now();
        let reached = self.inner.shell.waiters.register(saga, until)?;
        match self.saga(saga).await? {
            Some(record) if !until.is_reached(record.summary.status, record.state.pivoted) => {
                self.wait_registered(saga, reached, timeout.saturating_sub(began.elapsed()))
                    .await
            }
            found => Ok(found),
        }
    }

    /// Starts a saga and waits like [`Self::wait`]; gives the saga as well if it settled in time. Cheaper than the
    /// two calls: it reads nothing that it knows, and wakes its caller once.
    pub async fn start_saga_and_wait(&self, new: NewSaga, timeout: Duration) -> Result<Awaited, EngineError> {
        let began = Instant::now();
        let chosen_id = new.id.is_some();
        let id = new.id.unwrap_or_else(|| SagaId(Uuid::now_v7()));
        // Registered before it can settle.
        let mut settled = self.inner.shell.waiters.register(id, Until::Settled)?;
        let new = NewSaga { id: Some(id), ..new };
        let started = if timeout < TOLD_ONCE_FROM {
            answered(self.enqueue_start(new, chosen_id, Reply::Always).await?).await?
        } else {
            let answer = self.enqueue_start(new, chosen_id, Reply::UnlessBegun).await?;
            tokio::select! {
                biased;
                Ok(record) = &mut settled => return Ok(Awaited::begun(id, Some(Arc::unwrap_or_clone(record)))),
                started = answer => started.map_err(|_| stopped())??,
                () = tokio::time::sleep(timeout) => {
                    // Whether it has begun is in the database.
                    let record = self.saga(id).await?.ok_or_else(|| no_answer(timeout))?;
                    return Ok(Awaited::begun(id, Some(record)));
                }
            }
        };
        let left = timeout.saturating_sub(began.elapsed());
        let record = if started.replayed {
            self.wait(started.id, left).await?
        } else {
            self.wait_registered(id, settled, left).await?
        };
        Ok(Awaited {
            replayed: started.replayed,
            ..Awaited::begun(started.id, record)
        })
    }

    async fn wait_registered(
        &self,
        saga: SagaId,
        reached: oneshot::Receiver<Reached>,
        timeout: Duration,
    ) -> Result<Option<SagaRecord>, EngineError> {
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(record)) => Ok(Some(Arc::unwrap_or_clone(record))),
            Ok(Err(_)) | Err(_) => self.saga(saga).await,
        }
    }

    /// Has every live saga send its unanswered tasks again, after the broker has lost its messages.
    /// Gives how many sagas that were.
    pub async fn redispatch_all(&self) -> Result<u64, EngineError> {
        let mut after = SagaId(Uuid::nil());
        let mut count = 0;
        loop {
            let page = store::timers::live_sagas(&self.inner.shell.pool, after, REDISPATCH_PAGE).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after = *last;
            count += page.len() as u64;
            for saga in page {
                let item = EventItem {
                    saga,
                    event: Event::Redispatch {},
                    source: Source::Redispatch,
                    bytes: 64,
                };
                self.inner
                    .inbound
                    .send(Item::Event(item))
                    .await
                    .map_err(|_| EngineError::ShuttingDown)?;
            }
        }
    }

    /// Postgres answers, and the engine is not shutting down. Kafka may be away: what is accepted meanwhile is
    /// published when it comes back.
    pub async fn ready(&self) -> Result<(), EngineError> {
        if self.inner.closing.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        let asked = tokio::time::timeout(Duration::from_secs(2), store::clock_micros(&self.inner.shell.pool)).await;
        match asked {
            Ok(answer) => answer.map(drop).map_err(EngineError::from),
            Err(_) => Err(EngineError::Unavailable("no answer within 2 s".to_owned())),
        }
    }

    /// Whether it takes nothing more.
    pub fn is_shutting_down(&self) -> bool {
        self.inner.closing.is_cancelled()
    }

    /// Takes nothing more, finishes what is under way, and stops.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        let (mut sources, mut rest, rest_stop, batcher, drain) = {
            let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            (
                std::mem::take(&mut tasks.sources),
                std::mem::take(&mut tasks.rest),
                tasks.rest_stop.clone(),
                tasks.batcher.take(),
                tasks.drain.take(),
            )
        };
        let Some(mut batcher) = batcher else { return };
        let shell = &self.inner.shell;
        let drained = tokio::time::timeout(shell.options.drain_timeout, async {
            drop(drain);
            let _ = (&mut batcher).await;
            while sources.join_next().await.is_some() {}
            while shell.publisher.on_their_way() > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
            let _ = shell.publisher.delete_acknowledged(&shell.pool).await;
        });
        if drained.await.is_err() {
            tracing::warn!("not everything was finished in time; others, or the next start, go on with it");
            batcher.abort();
        }
        rest_stop.cancel();
        while rest.join_next().await.is_some() {}
        if let Err(error) = store::instances::leave(&shell.pool, shell.instance).await {
            tracing::debug!(%error, "the replica's row stays until it is old");
        }
        shell.pool.close().await;
        tracing::info!("the engine has stopped");
    }

    /// Stops at once, as a killed process would: nothing is finished, nothing is cleaned up. For tests.
    #[doc(hidden)]
    pub fn crash(&self) {
        self.inner.closing.cancel();
        let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.sources.abort_all();
        tasks.rest.abort_all();
        if let Some(batcher) = tasks.batcher.take() {
            batcher.abort();
        }
    }

    async fn enqueue_start(
        &self,
        new: NewSaga,
        chosen_id: bool,
        when: Reply,
    ) -> Result<oneshot::Receiver<Result<StartedSaga, EngineError>>, EngineError> {
        let definition = self.inner.shell.definitions.by_name(&new.workflow, new.version).await?;
        let bytes = check_start(&new)?;
        definition.check_input(&new.input)?;
        let business_key = new
            .business_key
            .clone()
            .or_else(|| definition.compiled.business_key(&new.input));
        if let Some(key) = &business_key {
            check_text("/businessKey", key, true)?;
        }
        let hash = new.idempotency_key.as_ref().map(|_| request_hash(&new));
        let (reply, answer) = oneshot::channel();
        let start = StartItem {
            saga: new.id.unwrap_or_else(|| SagaId(Uuid::now_v7())),
            chosen_id,
            definition,
            input: new.input,
            key: new.idempotency_key.zip(hash),
            business_key,
            tags: new.tags,
            traceparent: new.traceparent,
            bytes,
            reply,
            when,
        };
        self.enqueue(Item::Start(Box::new(start)))?;
        Ok(answer)
    }

    async fn call(
        &self,
        saga: SagaId,
        event: Event,
        expected_seq: Option<u64>,
        bytes: usize,
    ) -> Result<EventAnswer, EngineError> {
        let (reply, answer) = oneshot::channel();
        let source = Source::Call { expected_seq, reply };
        self.enqueue(Item::Event(EventItem {
            saga,
            event,
            source,
            bytes,
        }))?;
        answered(answer).await
    }

    fn enqueue(&self, item: Item) -> Result<(), EngineError> {
        if self.inner.closing.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        self.inner.inbound.try_send(item).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                metrics::counter!("sagaline_overloaded_total").increment(1);
                EngineError::Overloaded {
                    what: "events",
                    waiting: INBOUND_MAX,
                }
            }
            mpsc::error::TrySendError::Closed(_) => EngineError::ShuttingDown,
        })
    }
}

fn spawn(
    shell: &Arc<Shell>,
    kafka: KafkaConfig,
    inbound: &mpsc::Sender<Item>,
    received: mpsc::Receiver<Item>,
    closing: &CancellationToken,
) -> Tasks {
    let rest_stop = CancellationToken::new();
    let (drain, drained) = oneshot::channel();
    let batcher = tokio::spawn(batcher::run(Arc::clone(shell), received, drained));
    let mut rest = JoinSet::new();
    rest.spawn(topics::keep(Arc::clone(shell), kafka.clone(), rest_stop.clone()));
    let mut sources = JoinSet::new();
    sources.spawn(results::consume(
        Arc::clone(shell),
        kafka,
        inbound.clone(),
        closing.clone(),
    ));
    sources.spawn(timers::fire(Arc::clone(shell), inbound.clone(), closing.clone()));
    sources.spawn(timers::sweep_attempts(
        Arc::clone(shell),
        inbound.clone(),
        closing.clone(),
    ));
    sources.spawn(timers::deliver_parked(
        Arc::clone(shell),
        inbound.clone(),
        closing.clone(),
    ));
    sources.spawn(gates::keep(Arc::clone(shell), inbound.clone(), closing.clone()));
    rest.spawn(counts::keep(Arc::clone(shell), rest_stop.clone()));
    rest.spawn(presence::keep(Arc::clone(shell), rest_stop.clone()));
    rest.spawn(housekeeping::heartbeat(Arc::clone(shell), rest_stop.clone()));
    rest.spawn(housekeeping::retention(Arc::clone(shell), rest_stop.clone()));
    rest.spawn(Arc::clone(&shell.publisher).sweep(shell.pool.clone(), rest_stop.clone()));
    rest.spawn(shell.definitions.clone().keep(rest_stop.clone()));
    let (waiting, clock) = (Arc::clone(shell), Arc::clone(&shell.clock));
    let (pool, stop) = (shell.pool.clone(), rest_stop.clone());
    rest.spawn(async move { waiting.waiters.poll(pool, &waiting.cache, stop).await });
    let (pool, stop) = (shell.pool.clone(), rest_stop.clone());
    rest.spawn(async move { clock.keep(pool, stop).await });
    Tasks {
        sources,
        rest,
        rest_stop,
        batcher: Some(batcher),
        drain: Some(drain),
    }
}

fn stopped() -> EngineError {
    EngineError::Unavailable("the engine stopped before it could answer".to_owned())
}

fn no_answer(within: Duration) -> EngineError {
    EngineError::Unavailable(format!("no answer within {} s", within.as_secs_f32()))
}

async fn answered<T>(answer: oneshot::Receiver<Result<T, EngineError>>) -> Result<T, EngineError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(stopped()),
        Err(_) => Err(no_answer(ANSWER_TIMEOUT)),
    }
}

//! Gathers what comes in into batches and carries them out: read, decide, write, then answer and publish.
//!
//! A batch closes when the one before it has been committed: an idle engine answers at once, a busy one batches by
//! itself, and after a small batch of a busy engine the next gathers for a while. A second batch may run beside the first when enough waits; the two never share a saga.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet};
use uuid::Uuid;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::TaskResult;
use workflows::state::{State, Status};

use crate::backlog::Backlog;
use crate::cache::{KnownSaga, SagaCache};
use crate::clock::DatabaseClock;
use crate::counts::{Counts, Tally};
use crate::definition_cache::DefinitionCache;
use crate::error::EngineError;
use crate::gates::Gates;
use crate::inbound::{EventAnswer, EventItem, Item, Reply, Source, StartItem};
use crate::options::{
    ALONE_RETRIES_MAX, BATCH_BYTES_MAX, EngineOptions, Failpoint, LANES_MAX, REST_ENDS_AT, REST_FROM, REST_MAX,
    SECOND_LANE_BACKLOG_MIN, STALE_RETRIES_MAX,
};
use crate::outbox::Publisher;
use crate::plan::{After, Answer, Lookups, Plan, Surroundings, plan};
use crate::presence::Presence;
use crate::requests::StartedSaga;
use crate::store::reads::{SagaRecord, SagaSummary};
use crate::store::{self, Failure};
use crate::waiters::Waiters;

/// Items held back here, in batches: enough to fill both lanes, and to see past sagas that are in flight.
const PENDING_BATCHES_MAX: usize = 4;
/// The first wait before a batch is tried again while Postgres is away.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// The longest: a restarted Postgres is found within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What batches are carried out with.
pub(crate) struct Shell {
    pub(crate) pool: PgPool,
    pub(crate) options: EngineOptions,
    pub(crate) instance: Uuid,
    pub(crate) definitions: DefinitionCache,
    pub(crate) clock: Arc<DatabaseClock>,
    pub(crate) cache: SagaCache,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) gates: Gates,
    pub(crate) backlog: Backlog,
    pub(crate) presence: Presence,
    pub(crate) counts: Counts,
}

/// Takes items until `drain` is dropped, and then until the channel is empty and everything taken is done.
pub(crate) async fn run(shell: Arc<Shell>, mut inbound: mpsc::Receiver<Item>, mut drain: oneshot::Receiver<()>) {
    let sagas_max = shell.options.sagas_per_batch_max;
    let pending_max = PENDING_BATCHES_MAX * sagas_max;
    let mut pending: VecDeque<Item> = VecDeque::new();
    let mut received = Vec::new();
    let mut lanes: JoinSet<()> = JoinSet::new();
    let mut flights: HashMap<Id, (Vec<SagaId>, Instant)> = HashMap::new();
    let mut rest_until: Option<Instant> = None;
    let mut busy: HashSet<SagaId> = HashSet::new();
    let mut closed = false;
    let mut draining = false;
    loop {
        while pending.len() < pending_max
            && let Ok(item) = inbound.try_recv()
        {
            pending.push_back(item);
        }
        metrics::gauge!("sagaline_inbound_length").set((inbound.len() + pending.len()) as f64);
        let resting = rest_until.filter(|until| pending.len() < REST_ENDS_AT && !draining && *until > Instant::now());
        let may_begin = (lanes.is_empty() && resting.is_none())
            || (lanes.len() < LANES_MAX && pending.len() >= SECOND_LANE_BACKLOG_MIN);
        if may_begin && let Some(batch) = take_batch(&mut pending, &busy, sagas_max) {
            let sagas: Vec<SagaId> = batch.iter().map(Item::saga).collect();
            busy.extend(&sagas);
            let lane = lanes.spawn(carry_out(Arc::clone(&shell), batch));
            flights.insert(lane.id(), (sagas, Instant::now()));
            continue;
        }
        if closed && pending.is_empty() && lanes.is_empty() {
            return;
        }
        tokio::select! {
            _ = &mut drain, if !draining => {
                draining = true;
                inbound.close();
            }
            Some(done) = lanes.join_next_with_id(), if !lanes.is_empty() => {
                let id = match done {
                    Ok((id, ())) => id,
                    Err(error) => {
                        tracing::error!(%error, "a batch ended badly; what it held comes again");
                        error.id()
                    }
                };
                if let Some((sagas, begun)) = flights.remove(&id) {
                    rest_until = rest_after(sagas.len(), begun.elapsed()).map(|rest| Instant::now() + rest);
                    for saga in sagas {
                        busy.remove(&saga);
                    }
                }
            }
            () = tokio::time::sleep_until(resting.unwrap_or_else(Instant::now).into()), if resting.is_some() => {}
            count = inbound.recv_many(&mut received, sagas_max), if !closed && pending.len() < pending_max => {
                closed = count == 0;
                pending.extend(received.drain(..));
            }
        }
    }
}

/// How long to gather after a batch of so many sagas that took so long.
///
/// A batch costs the same in statements, messages and wake-ups however few sagas it holds. Many replicas on one machine would
/// otherwise work in ever smaller batches, which take ever longer because all of them do. After a lone saga there is nobody
/// to wait for.
fn rest_after(sagas: usize, took: Duration) -> Option<Duration> {
    (REST_FROM..REST_ENDS_AT).contains(&sagas).then(|| took.min(REST_MAX))
}

/// What a worker has said of a task.
fn answered(item: &Item) -> Option<&TaskResult> {
    match item {
        Item::Event(EventItem {
            event: Event::Result(result),
            ..
        }) => Some(result),
        Item::Event(_) | Item::Start(_) => None,
    }
}

/// The next batch: items in their order, but for those whose saga is in flight, which stay in theirs.
fn take_batch(pending: &mut VecDeque<Item>, busy: &HashSet<SagaId>, sagas_max: usize) -> Option<Vec<Item>> {
    let mut batch = Vec::new();
    let mut sagas = HashSet::new();
    let mut bytes = 0;
    let mut kept = VecDeque::new();
    while let Some(item) = pending.pop_front() {
        let saga = item.saga();
        if busy.contains(&saga) {
            kept.push_back(item);
            continue;
        }
        let full = (sagas.len() >= sagas_max && !sagas.contains(&saga)) || bytes + item.bytes() > BATCH_BYTES_MAX;
        if full && !batch.is_empty() {
            pending.push_front(item);
            break;
        }
        bytes += item.bytes();
        sagas.insert(saga);
        batch.push(item);
    }
    while let Some(item) = kept.pop_back() {
        pending.push_front(item);
    }
    (!batch.is_empty()).then_some(batch)
}

/// What became of an attempt to carry out a batch.
enum Carried {
    Committed(Box<Plan>, Timestamp),
    /// It can't be done as a whole.
    Split(EngineError),
}

/// Carries out a batch; one that can't be done as a whole is split until what spoils it is alone.
async fn carry_out(shell: Arc<Shell>, items: Vec<Item>) {
    shell
        .backlog
        .answered(items.iter().filter_map(answered), shell.clock.now());
    let mut todo = vec![items];
    while let Some(mut items) = todo.pop() {
        match shell.commit(&items).await {
            Carried::Committed(plan, at) => shell.finish(items, *plan, at),
            Carried::Split(error) => match split(&mut items) {
                Some(rest) => {
                    todo.push(rest);
                    todo.push(items);
                }
                None => give_up(items, &error),
            },
        }
    }
}

/// Moves half of the sagas out; none: there is only one.
fn split(items: &mut Vec<Item>) -> Option<Vec<Item>> {
    let mut sagas: Vec<SagaId> = items.iter().map(Item::saga).collect();
    sagas.sort_unstable();
    sagas.dedup();
    let middle = *sagas.get(sagas.len() / 2).filter(|_| sagas.len() > 1)?;
    let (first, rest): (Vec<Item>, Vec<Item>) = items.drain(..).partition(|item| item.saga() < middle);
    *items = first;
    Some(rest)
}

fn give_up(items: Vec<Item>, error: &EngineError) {
    for item in items {
        tracing::error!(saga = %item.saga(), %error, "an event can't be applied and is dropped");
        match item {
            Item::Start(start) => drop(start.reply.send(Err(error.clone()))),
            Item::Event(event) => answer_event(event, Err(error.clone()), &mut Vec::new()),
        }
    }
}

impl Shell {
    /// Reads, decides and writes, until that is committed or known to be impossible.
    async fn commit(&self, items: &[Item]) -> Carried {
        let mut stale = 0;
        let mut backoff = Backoff::default();
        loop {
            let lookups = match self.look_up(items, stale > 0).await {
                Ok(lookups) => lookups,
                Err(error) => match backoff.wait(error).await {
                    Ok(()) => continue,
                    Err(error) => return Carried::Split(error),
                },
            };
            let now = self.clock.now();
            let gated = self.gates.closed();
            let around = Surroundings {
                now,
                instance: self.instance,
                routing: self.publisher.routing(),
                event_source: &self.options.event_source,
                gated: &gated,
            };
            let mut plan = plan(items, &lookups, &around, self.backlog.rooms(now));
            if !plan.recheck.is_empty() {
                self.cache.forget(plan.recheck.iter().copied());
                continue;
            }
            match self.write(now, &mut plan, &mut backoff).await {
                Ok(()) => return Carried::Committed(Box::new(plan), now),
                Err(None) => {
                    stale += 1;
                    metrics::counter!("sagaline_batches_stale_total").increment(1);
                    self.cache.forget(items.iter().map(Item::saga));
                    let alone = items.iter().all(|item| item.saga() == items[0].saga());
                    let tries_max = if alone { ALONE_RETRIES_MAX } else { STALE_RETRIES_MAX };
                    if stale > tries_max {
                        return Carried::Split(EngineError::Unavailable("other writers keep coming first".to_owned()));
                    }
                    if stale > STALE_RETRIES_MAX {
                        tokio::time::sleep(BACKOFF_MIN).await;
                    }
                }
                Err(Some(error)) => return Carried::Split(error),
            }
        }
    }

    /// Writes a plan. Err(None): somebody else came first.
    async fn write(&self, now: Timestamp, plan: &mut Plan, backoff: &mut Backoff) -> Result<(), Option<EngineError>> {
        if plan.write.is_empty() {
            return Ok(());
        }
        let row = plan.write.outbox.as_ref().map(|row| row.id);
        if let Some(row) = row {
            self.publisher.expect(row);
        }
        plan.write.outbox_gone = self.publisher.take_acknowledged();
        let begun = Instant::now();
        let written = store::batch::write_batch(&self.pool, now, &plan.write).await;
        let outcome = match written {
            Ok(()) => {
                metrics::histogram!("sagaline_commit_seconds").record(begun.elapsed().as_secs_f64());
                Ok(())
            }
            Err(error) => match store::classify(&error) {
                Failure::Stale => Err(None),
                Failure::Data => Err(Some(EngineError::from(error))),
                Failure::Transient => self.was_committed(now, plan, backoff, error).await,
            },
        };
        let acknowledged = std::mem::take(&mut plan.write.outbox_gone);
        match &outcome {
            Ok(()) => self.publisher.deleted(&acknowledged),
            Err(_) => {
                self.publisher.not_deleted(acknowledged);
                if let Some(row) = row {
                    self.publisher.abandon(row);
                }
            }
        }
        outcome
    }

    /// The answer to a write was lost: finds out whether it was committed, for however long that takes.
    async fn was_committed(
        &self,
        now: Timestamp,
        plan: &Plan,
        backoff: &mut Backoff,
        error: sqlx::Error,
    ) -> Result<(), Option<EngineError>> {
        let journal = &plan.write.journal;
        let mut error = error;
        loop {
            backoff.wait(error).await.map_err(Some)?;
            // A plan without journal entries may be written twice.
            let (Some(saga), Some(seq), Some(event)) =
                (journal.saga_id.first(), journal.seq.first(), journal.event.first())
            else {
                return Err(None);
            };
            match store::batch::has_journal_entry(&self.pool, *saga, *seq, now, event).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(None),
                Err(again) => error = again,
            }
        }
    }

    /// Reads what the items need: states that are not in memory, and whatever starts and signals depend on.
    async fn look_up(&self, items: &[Item], again: bool) -> Result<Lookups, sqlx::Error> {
        let mut sagas: Vec<SagaId> = Vec::with_capacity(items.len());
        let mut starting: Vec<Uuid> = Vec::new();
        let mut keys: Vec<&str> = Vec::new();
        let mut signals: (Vec<Uuid>, Vec<&str>) = Default::default();
        for item in items {
            match item {
                Item::Start(start) => {
                    keys.extend(start.key.as_ref().map(|(key, _)| key.as_str()));
                    // An id made here can't be there yet, unless this batch was written and nobody knows it.
                    if start.chosen_id || again {
                        sagas.push(start.saga);
                    }
                    if start.chosen_id {
                        starting.push(start.saga.0);
                    }
                }
                Item::Event(event) => {
                    sagas.push(event.saga);
                    if let Event::Signal(signal) = &event.event {
                        signals.0.push(event.saga.0);
                        signals.1.push(&signal.id);
                    }
                }
            }
        }
        sagas.sort_unstable();
        sagas.dedup();
        let mut lookups = Lookups {
            sagas: self.cache.get(sagas.iter().copied()),
            ..Lookups::default()
        };
        let missing: Vec<Uuid> = sagas
            .iter()
            .filter(|saga| !lookups.sagas.contains_key(saga))
            .map(|saga| saga.0)
            .collect();
        metrics::counter!("sagaline_sagas_read_total").increment(missing.len() as u64);
        if !missing.is_empty() {
            self.load(&missing, &mut lookups).await?;
        }
        if !keys.is_empty() {
            lookups.keys = store::batch::load_start_keys(&self.pool, &keys).await?;
        }
        if !signals.0.is_empty() {
            lookups.seen = store::signals::load_seen(&self.pool, &signals.0, &signals.1).await?;
        }
        if !starting.is_empty() {
            for (saga, signal) in store::signals::load_parked(&self.pool, &starting).await? {
                lookups.parked.entry(saga).or_default().push(signal);
            }
        }
        Ok(lookups)
    }

    async fn load(&self, missing: &[Uuid], lookups: &mut Lookups) -> Result<(), sqlx::Error> {
        for (saga, loaded) in store::batch::load_sagas(&self.pool, missing).await? {
            let definition = match self.definitions.by_id(loaded.definition_id).await {
                Ok(definition) => definition,
                Err(EngineError::Unavailable(message)) => return Err(sqlx::Error::Io(std::io::Error::other(message))),
                Err(error) => return Err(sqlx::Error::Decode(Box::new(error))),
            };
            let state = State::decode(&loaded.state)
                .map_err(|error| sqlx::Error::Decode(format!("state of saga {saga}: {error}").into()))?;
            let known = KnownSaga {
                definition,
                state: Arc::new(state),
                meta: None,
                cached: false,
            };
            lookups.sagas.insert(saga, known);
        }
        Ok(())
    }

    /// After the commit: publishes, remembers, answers.
    fn finish(&self, items: Vec<Item>, plan: Plan, now: Timestamp) {
        let Plan {
            write,
            outgoing,
            answers,
            after,
            stray_timers,
            transitions,
            tasks,
            facts,
            sent,
            short,
            recheck: _,
        } = plan;
        self.gates.fill(self.backlog.sent(sent, now));
        self.gates.fill(short);
        if let Some(row) = write.outbox {
            match self.options.failpoint {
                Failpoint::None => self.publisher.publish(row.id, outgoing),
                Failpoint::BeforePublish => {}
            }
        }
        metrics::counter!("sagaline_batches_total").increment(1);
        metrics::histogram!("sagaline_batch_sagas").record(after.len() as f64);
        metrics::counter!("sagaline_tasks_dispatched_total").increment(tasks);
        metrics::counter!("sagaline_facts_published_total").increment(facts);
        for ((_, kind), (definition, count)) in transitions {
            metrics::counter!("sagaline_transitions_total", "workflow" => definition.name().to_owned(), "kind" => kind)
                .increment(count);
        }
        self.count(&after, now);
        self.tell_waiters(&after, now);
        // What others will move would only be known wrongly here, and whoever waits for it would be told late.
        let ours = self.publisher.is_answered();
        self.cache.put(
            after
                .into_iter()
                .map(|after| (after.saga, (ours && !after.ended).then_some(after.known))),
        );
        let mut finished = Vec::new();
        for (item, answer) in items.into_iter().zip(answers) {
            match (item, answer) {
                // A caller may have gone: what it asked for is done all the same.
                (Item::Start(start), Answer::Start(answer)) => self.answer_start(*start, answer),
                (Item::Event(event), Answer::Event(answer)) => answer_event(event, answer, &mut finished),
                (Item::Start(_), Answer::Event(_)) | (Item::Event(_), Answer::Start(_)) => {
                    unreachable!("answers are made from the items, in their order")
                }
            }
        }
        if let Some((consumer, _)) = finished.first() {
            consumer.complete_parts(finished.iter().map(|(_, ticket)| (*ticket, 1)));
        }
        if !stray_timers.is_empty() {
            let pool = self.pool.clone();
            tokio::spawn(async move {
                if let Err(error) = store::timers::delete_timers(&pool, &stray_timers).await {
                    tracing::debug!(%error, "timers of sagas that are gone were not removed; they come again");
                }
            });
        }
    }

    fn answer_start(&self, start: StartItem, answer: Result<StartedSaga, EngineError>) {
        let begun = matches!(&answer, Ok(started) if started.id == start.saga && !started.replayed);
        match start.when {
            Reply::UnlessBegun if begun => self.waiters.keep(start.saga, start.reply),
            Reply::Always | Reply::UnlessBegun => drop(start.reply.send(answer)),
        }
    }

    /// What a batch has done to its sagas, for figures.
    fn count(&self, after: &[After], now: Timestamp) {
        let mut tally = Tally::at(now);
        for after in after {
            let (status, before) = (after.status, after.stored_status);
            let ended = status.is_final() && !before.is_some_and(Status::is_final);
            let kinds = [
                ("started", before.is_none()),
                ("completed", ended && status == Status::Completed),
                ("undone", ended && status != Status::Completed),
                ("failing", status == Status::Failed && before != Some(Status::Failed)),
            ];
            for (kind, _) in kinds.into_iter().filter(|(_, counts)| *counts) {
                let label = &after.known.definition.label;
                let worth = self.options.worth.map(|worth| worth(label, &after.known.state.input));
                tally.count(label, kind, worth.unwrap_or_default());
            }
        }
        self.counts.add(tally);
    }

    fn tell_waiters(&self, after: &[After], now: Timestamp) {
        for after in after {
            if self.waiters.wants(after.saga, after.status, after.known.state.pivoted) {
                match record(after, now) {
                    Some(record) => self.waiters.reached(&Arc::new(record)),
                    None => self.waiters.unread(after.saga),
                }
            }
        }
    }
}

/// The saga as a reader would find it, if all of that is known.
fn record(after: &After, now: Timestamp) -> Option<SagaRecord> {
    let meta = after.known.meta.as_ref()?;
    let definition = &after.known.definition;
    let ending = after.known.state.ending.as_ref().filter(|_| after.ended);
    Some(SagaRecord {
        summary: SagaSummary {
            id: after.saga,
            workflow: definition.name().to_owned(),
            definition_id: definition.id,
            status: after.status,
            business_key: meta.business_key.clone(),
            tags: meta.tags.clone(),
            seq: after.known.state.seq,
            created_at: meta.created_at,
            updated_at: now,
            ended_at: after.ended.then_some(now),
            failure_code: ending.map(|ending| {
                ending
                    .error
                    .as_ref()
                    .map_or_else(|| ending.reason.clone(), |error| error.code.clone())
            }),
            failure_step: ending.and_then(|ending| ending.step.clone()),
        },
        state: Arc::clone(&after.known.state),
    })
}

type Finished = (Arc<transport::GroupConsumer>, transport::Ticket);

fn answer_event(item: EventItem, answer: Result<EventAnswer, EngineError>, finished: &mut Vec<Finished>) {
    let saga = item.saga;
    match item.source {
        Source::Call { reply, .. } => drop(reply.send(answer)),
        Source::Worker { consumer, ticket } => {
            if let Err(error) = answer {
                metrics::counter!("sagaline_results_ignored_total").increment(1);
                tracing::warn!(%saga, %error, "a worker's result is ignored");
            }
            finished.push((consumer, ticket));
        }
        Source::Timer | Source::Attempt | Source::Redispatch | Source::Parked | Source::Queue(_) => {
            if let Err(error) = answer {
                tracing::debug!(%saga, %error, "an event of the engine's own came to nothing");
            }
        }
    }
}

/// Waits longer each time.
struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { wait: BACKOFF_MIN }
    }
}

impl Backoff {
    /// Waits, if the same again can succeed; else gives the error back.
    async fn wait(&mut self, error: sqlx::Error) -> Result<(), EngineError> {
        if store::classify(&error) == Failure::Data {
            return Err(EngineError::from(error));
        }
        if self.wait > BACKOFF_MIN {
            tracing::warn!(%error, retry_in = ?self.wait, "Postgres does not answer; the batch waits");
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(BACKOFF_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

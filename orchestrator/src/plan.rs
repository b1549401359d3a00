//! What a batch will do: every event applied in memory, and everything to be written, sent and answered gathered. No I/O.

mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use transport::Outgoing;
use uuid::Uuid;
use workflows::effect::Effect;
use workflows::event::{Event, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::trace_id;
use workflows::state::{NodeIndex, State, Status};
use workflows::{Refused, Transition};

use crate::backlog::{Rooms, Sent};
use crate::cache::{KnownSaga, SagaMeta};
use crate::definition_cache::Deployed;
use crate::error::EngineError;
use crate::inbound::{EventAnswer, EventItem, Item, Source, StartItem};
use crate::messages::{self, Messages, Routing};
use crate::requests::{Applied, SignalReceipt, StartedSaga};
use crate::store::batch::{BatchWrite, OutboxRow, StartKey};
use crate::text::clean;

/// What was read for a batch.
#[derive(Default)]
pub(crate) struct Lookups {
    pub(crate) sagas: HashMap<SagaId, KnownSaga>,
    pub(crate) keys: HashMap<String, StartKey>,
    /// Signals that came before; true: delivered.
    pub(crate) seen: HashMap<(SagaId, String), bool>,
    /// Signals that wait for a saga which begins in this batch.
    pub(crate) parked: HashMap<SagaId, Vec<Signal>>,
}

/// What the plan needs to know of its surroundings.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Timestamp,
    pub(crate) instance: Uuid,
    pub(crate) routing: Routing,
    pub(crate) event_source: &'a str,
    /// Queues whose tasks are held until they are let through.
    pub(crate) gated: &'a HashSet<String>,
}

/// What came of one item.
pub(crate) enum Answer {
    Start(Result<StartedSaga, EngineError>),
    Event(Result<EventAnswer, EngineError>),
}

/// A saga as it is after the batch.
pub(crate) struct After {
    pub(crate) saga: SagaId,
    pub(crate) known: KnownSaga,
    pub(crate) status: Status,
    /// What it was before; none: it begins in this batch.
    pub(crate) stored_status: Option<Status>,
    /// Nothing can happen to it by itself any more.
    pub(crate) ended: bool,
}

/// Everything that comes of a batch.
pub(crate) struct Plan {
    pub(crate) write: BatchWrite,
    pub(crate) outgoing: Vec<Outgoing>,
    /// One for each item, in their order.
    pub(crate) answers: Vec<Answer>,
    pub(crate) after: Vec<After>,
    /// Decisions that write nothing, made on a state from memory: to be made again on what Postgres has.
    pub(crate) recheck: Vec<SagaId>,
    /// Timers of sagas that are not there.
    pub(crate) stray_timers: Vec<Uuid>,
    pub(crate) transitions: HashMap<(i64, &'static str), (Arc<Deployed>, u64)>,
    pub(crate) tasks: u64,
    pub(crate) facts: u64,
    pub(crate) sent: Sent,
    /// Queues that had no room for all of their tasks.
    pub(crate) short: BTreeSet<String>,
}

/// Applies a batch's items, saga by saga in the order of their ids, each saga's items in the order in which they came.
/// `rooms`: what queues that are not gated take before theirs are held, too.
pub(crate) fn plan(items: &[Item], lookups: &Lookups, around: &Surroundings<'_>, rooms: Rooms) -> Plan {
    let mut places: Vec<(SagaId, usize)> = items.iter().map(Item::saga).zip(0..).collect();
    places.sort_unstable();
    let mut planner = Planner {
        lookups,
        around,
        write: BatchWrite::default(),
        messages: Messages::new(around.routing, around.event_source),
        answers: items.iter().map(|_| None).collect(),
        after: Vec::with_capacity(places.len()),
        recheck: Vec::new(),
        stray_timers: Vec::new(),
        keys: BTreeMap::new(),
        signals: HashSet::new(),
        transitions: HashMap::new(),
        sent: Sent::default(),
        rooms,
        short: BTreeSet::new(),
    };
    for group in places.chunk_by(|a, b| a.0 == b.0) {
        planner.saga(group[0].0, group.iter().map(|(_, index)| (*index, &items[*index])));
    }
    planner.finish()
}

struct Planner<'a> {
    lookups: &'a Lookups,
    around: &'a Surroundings<'a>,
    write: BatchWrite,
    messages: Messages,
    answers: Vec<Option<Answer>>,
    after: Vec<After>,
    recheck: Vec<SagaId>,
    stray_timers: Vec<Uuid>,
    /// Start keys taken by this batch, by key, so that they are written in one order.
    keys: BTreeMap<&'a str, (&'a str, SagaId)>,
    /// Signals delivered by this batch.
    signals: HashSet<(SagaId, String)>,
    transitions: HashMap<(i64, &'static str), (Arc<Deployed>, u64)>,
    sent: Sent,
    rooms: Rooms,
    short: BTreeSet<String>,
}

/// A saga while its items are applied.
struct Current {
    definition: Arc<Deployed>,
    meta: Option<Arc<SagaMeta>>,
    state: Arc<State>,
    /// The journal entry it stood at before; none: it begins in this batch.
    stored_seq: Option<u64>,
    stored_timer: Option<Timestamp>,
    stored_status: Option<Status>,
    cached: bool,
    /// Its timer row is to be written in any case: it was claimed, and stands at the end of the lease.
    timer_claimed: bool,
    failure: (Option<String>, Option<String>),
    /// Steps that were held before.
    stored_held: Vec<NodeIndex>,
    /// Steps that this batch holds, with their queues.
    held: Vec<(String, String)>,
    /// Steps that this batch was told to let through.
    released: Vec<String>,
}

impl<'a> Planner<'a> {
    fn saga(&mut self, saga: SagaId, items: impl Iterator<Item = (usize, &'a Item)>) {
        let lookups = self.lookups;
        let mut current = lookups.sagas.get(&saga).map(|known| Current {
            definition: Arc::clone(&known.definition),
            meta: known.meta.clone(),
            stored_seq: Some(known.state.seq),
            stored_timer: known.state.timer_due(),
            stored_status: Some(known.state.status()),
            state: Arc::clone(&known.state),
            cached: known.cached,
            timer_claimed: false,
            failure: (None, None),
            stored_held: known.state.held().collect(),
            held: Vec::new(),
            released: Vec::new(),
        });
        for (index, item) in items {
            let answer = match item {
                Item::Start(start) => Answer::Start(self.start(start, &mut current)),
                Item::Event(event) => Answer::Event(self.event(event, &mut current)),
            };
            self.answers[index] = Some(answer);
        }
        if let Some(current) = current {
            self.row(saga, current);
        }
    }

    fn start(&mut self, start: &'a StartItem, current: &mut Option<Current>) -> Result<StartedSaga, EngineError> {
        if let Some((key, hash)) = &start.key {
            let used = self
                .lookups
                .keys
                .get(key)
                .map(|used| (used.request_hash.as_str(), used.saga));
            if let Some((used_hash, saga)) = used.or_else(|| self.keys.get(key.as_str()).copied()) {
                if used_hash != hash {
                    return Err(EngineError::KeyReused { key: key.clone(), saga });
                }
                return Ok(StartedSaga {
                    id: saga,
                    // Its own key: the batch was committed before, and its answer lost.
                    replayed: saga != start.saga,
                    definition: None,
                    state: None,
                    business_key: None,
                    at: self.around.now,
                });
            }
        }
        if let Some(current) = current {
            if start.chosen_id {
                return Err(EngineError::SagaExists(start.saga));
            }
            // Nobody else has this id: the batch was committed before, and its answer lost.
            return Ok(StartedSaga {
                id: start.saga,
                replayed: false,
                definition: Some(Arc::clone(&current.definition)),
                state: Some(Arc::clone(&current.state)),
                business_key: start.business_key.clone(),
                at: current.state.started_at,
            });
        }
        let now = self.around.now;
        let transition = guarded(start.saga, || {
            workflows::start(
                &start.definition.compiled,
                start.saga,
                start.input.clone(),
                start.traceparent.clone(),
                now,
            )
        })?;
        let event = Event::Started {
            input: start.input.clone(),
            traceparent: start.traceparent.clone(),
        };
        let mut held = Vec::new();
        let state = self.record_and_hold(start.saga, &start.definition, &event, transition, &mut held)?;
        if let Some((key, hash)) = &start.key {
            self.keys.insert(key, (hash, start.saga));
        }
        let meta = SagaMeta {
            business_key: start.business_key.clone(),
            tags: start.tags.clone(),
            created_at: now,
        };
        let begun = current.insert(Current {
            definition: Arc::clone(&start.definition),
            meta: Some(Arc::new(meta)),
            state: Arc::new(state),
            stored_seq: None,
            stored_timer: None,
            stored_status: None,
            cached: false,
            timer_claimed: false,
            failure: (None, None),
            stored_held: Vec::new(),
            held,
            released: Vec::new(),
        });
        let started = StartedSaga {
            id: start.saga,
            replayed: false,
            definition: Some(Arc::clone(&start.definition)),
            state: Some(Arc::clone(&begun.state)),
            business_key: start.business_key.clone(),
            at: now,
        };
        for signal in self.lookups.parked.get(&start.saga).into_iter().flatten() {
            if let Err(error) = self.signal(start.saga, signal, begun) {
                tracing::warn!(saga = %start.saga, signal = signal.name, %error, "a parked signal does not fit");
            }
        }
        Ok(started)
    }

    fn event(&mut self, item: &EventItem, current: &mut Option<Current>) -> Result<EventAnswer, EngineError> {
        let Some(current) = current else {
            return self.without_saga(item);
        };
        match &item.source {
            Source::Call {
                expected_seq: Some(expected),
                ..
            } if current.state.seq != *expected => {
                if current.cached {
                    self.recheck.push(item.saga);
                }
                return Err(EngineError::Moved {
                    saga: item.saga,
                    expected: *expected,
                    current: current.state.seq,
                });
            }
            Source::Timer => current.timer_claimed = true,
            Source::Queue(_) => current
                .released
                .extend(released_step(&item.event).map(ToOwned::to_owned)),
            Source::Call { .. } | Source::Worker { .. } | Source::Attempt | Source::Redispatch | Source::Parked => {}
        }
        match &item.event {
            Event::Signal(signal) => self.signal(item.saga, signal, current).map(EventAnswer::Signal),
            Event::Started { .. }
            | Event::Result(_)
            | Event::Tick {}
            | Event::Command(_)
            | Event::Redispatch {}
            | Event::Hold { .. }
            | Event::Release { .. } => self.advance(item.saga, &item.event, current).map(EventAnswer::Applied),
        }
    }

    /// An event for a saga that is not there: only signals may come early.
    fn without_saga(&mut self, item: &EventItem) -> Result<EventAnswer, EngineError> {
        let Event::Signal(signal) = &item.event else {
            if matches!(item.source, Source::Timer) {
                self.stray_timers.push(item.saga.0);
            }
            if let Some(step) = released_step(&item.event) {
                self.write.unheld.push(item.saga.0, step);
            }
            return Err(EngineError::UnknownSaga(item.saga));
        };
        let key = (item.saga, signal.id.clone());
        if self.lookups.seen.contains_key(&key) || !self.signals.insert(key) {
            return Ok(EventAnswer::Signal(SignalReceipt::Duplicate));
        }
        self.note_signal(item.saga, signal, false)?;
        Ok(EventAnswer::Signal(SignalReceipt::Parked))
    }

    fn signal(&mut self, saga: SagaId, signal: &Signal, current: &mut Current) -> Result<SignalReceipt, EngineError> {
        let key = (saga, signal.id.clone());
        if self.lookups.seen.get(&key) == Some(&true) || self.signals.contains(&key) {
            return Ok(SignalReceipt::Duplicate);
        }
        let was_parked = self.lookups.seen.contains_key(&key)
            || self
                .lookups
                .parked
                .get(&saga)
                .is_some_and(|parked| parked.iter().any(|early| early.id == signal.id));
        let applied = self.advance(saga, &Event::Signal(signal.clone()), current);
        // A parked signal that is refused is settled all the same: its sender has long been answered.
        if applied.is_ok() || was_parked {
            self.signals.insert(key);
            self.note_signal(saga, signal, true)?;
        }
        applied.map(|_| SignalReceipt::Delivered)
    }

    fn note_signal(&mut self, saga: SagaId, signal: &Signal, delivered: bool) -> Result<(), EngineError> {
        let rows = &mut self.write.signals;
        rows.signal.push(encode(signal)?);
        rows.saga_id.push(saga.0);
        rows.id.push(signal.id.clone());
        rows.delivered.push(delivered);
        Ok(())
    }

    fn advance(&mut self, saga: SagaId, event: &Event, current: &mut Current) -> Result<Applied, EngineError> {
        let definition = Arc::clone(&current.definition);
        let now = self.around.now;
        let state = State::clone(&current.state);
        let outcome = guarded(saga, || {
            workflows::advance(&definition.compiled, saga, state, event, now)
        });
        let transition = match outcome {
            Ok(transition) => transition,
            Err(error) => {
                if current.cached {
                    self.recheck.push(saga);
                }
                return Err(error);
            }
        };
        let changed = transition.journal.is_some();
        if !changed && current.cached && transition.effects.is_empty() {
            self.recheck.push(saga);
        }
        if let Event::Result(result) = event
            && let workflows::protocol::Outcome::Failed { code, .. } = &result.outcome
        {
            current.failure = (Some(clean(code)), Some(clean(&result.token.step)));
        }
        let state = self.record_and_hold(saga, &definition, event, transition, &mut current.held)?;
        current.state = Arc::new(state);
        Ok(Applied {
            seq: current.state.seq,
            status: current.state.status(),
            changed,
        })
    }

    /// Notes a transition, and behind it that those of its tasks are held whose queues are gated.
    fn record_and_hold(
        &mut self,
        saga: SagaId,
        definition: &Arc<Deployed>,
        event: &Event,
        mut transition: Transition,
        held: &mut Vec<(String, String)>,
    ) -> Result<State, EngineError> {
        let steps = self.hold_back(event, &mut transition, held);
        let state = self.record(saga, definition, event, transition)?;
        if steps.is_empty() {
            return Ok(state);
        }
        let (event, now) = (Event::Hold { steps }, self.around.now);
        let held = guarded(saga, || {
            workflows::advance(&definition.compiled, saga, state, &event, now)
        })?;
        self.record(saga, definition, &event, held)
    }

    /// Takes the tasks for gated and full queues out; gives their steps. What a queue has just let through goes, and so does what is sent again.
    fn hold_back(
        &mut self,
        event: &Event,
        transition: &mut Transition,
        held: &mut Vec<(String, String)>,
    ) -> Vec<String> {
        if matches!(event, Event::Redispatch {}) {
            return Vec::new();
        }
        let Planner {
            around, rooms, short, ..
        } = self;
        let mut holds = |queue: &str| {
            let gated = around.gated.contains(queue);
            let full = !gated && !rooms.take(queue);
            if full && !short.contains(queue) {
                short.insert(queue.to_owned());
            }
            gated || full
        };
        let released = released_step(event);
        let mut steps = Vec::new();
        transition.effects.retain(|effect| match effect {
            Effect::Dispatch { queue, task } if released != Some(task.token.step.as_str()) && holds(queue) => {
                steps.push(task.token.step.clone());
                held.push((task.token.step.clone(), queue.clone()));
                false
            }
            Effect::Dispatch { .. } | Effect::Publish(_) => true,
        });
        steps
    }

    /// Notes a transition's journal entry and messages; gives its state.
    fn record(
        &mut self,
        saga: SagaId,
        definition: &Arc<Deployed>,
        event: &Event,
        transition: Transition,
    ) -> Result<State, EngineError> {
        let Transition {
            state,
            journal,
            step,
            effects,
        } = transition;
        let mut facts = Vec::new();
        for effect in &effects {
            self.messages.push(effect).map_err(internal)?;
            match effect {
                Effect::Publish(fact) => facts.push(fact),
                Effect::Dispatch { queue, task } => self.sent.note(queue, task),
            }
        }
        let Some(kind) = journal else { return Ok(state) };
        tracing::debug!(
            %saga, workflow = definition.name(), seq = state.seq, kind, step, attempt = attempt(event, &effects),
            trace_id = trace_id(state.traceparent.as_deref()),
            "transition"
        );
        let facts = if facts.is_empty() { None } else { Some(encode(&facts)?) };
        let rows = &mut self.write.journal;
        rows.event.push(encode(event)?);
        rows.saga_id.push(saga.0);
        rows.seq.push(state.seq as i64);
        rows.kind.push(kind);
        rows.step.push(step.as_deref().map(clean));
        rows.facts.push(facts);
        let (_, count) = self
            .transitions
            .entry((definition.id, kind))
            .or_insert_with(|| (Arc::clone(definition), 0));
        *count += 1;
        Ok(state)
    }

    fn finish(mut self) -> Plan {
        for (key, (hash, saga)) in std::mem::take(&mut self.keys) {
            self.write.start_keys.key.push(key.to_owned());
            self.write.start_keys.request_hash.push(hash.to_owned());
            self.write.start_keys.saga_id.push(saga.0);
        }
        let (tasks, facts) = self.messages.counts();
        let outgoing = self.messages.finish();
        if !outgoing.is_empty() {
            self.write.outbox = Some(OutboxRow {
                id: Uuid::now_v7(),
                instance: self.around.instance,
                messages: i32::try_from(outgoing.len()).unwrap_or(i32::MAX),
                payload: messages::encode(&outgoing),
            });
        }
        let answers = self
            .answers
            .into_iter()
            .map(|answer| answer.expect("every item is in one group"))
            .collect();
        Plan {
            write: self.write,
            outgoing,
            answers,
            after: self.after,
            recheck: self.recheck,
            stray_timers: self.stray_timers,
            transitions: self.transitions,
            tasks,
            facts,
            sent: self.sent,
            short: self.short,
        }
    }
}

/// The step that a queue lets through.
fn released_step(event: &Event) -> Option<&str> {
    match event {
        Event::Release { step } => Some(step),
        _other => None,
    }
}

/// Which attempt a transition is about: the one that ended, or else the one that begins.
fn attempt(event: &Event, effects: &[Effect]) -> Option<u32> {
    if let Event::Result(result) = event {
        return Some(result.token.attempt);
    }
    effects.iter().find_map(|effect| match effect {
        Effect::Dispatch { task, .. } => Some(task.token.attempt),
        Effect::Publish(_) => None,
    })
}

/// Runs a transition; a panic in it (a bug) becomes an error of this one saga instead of the end of the batch.
fn guarded(saga: SagaId, transition: impl FnOnce() -> Result<Transition, Refused>) -> Result<Transition, EngineError> {
    match catch_unwind(AssertUnwindSafe(transition)) {
        Ok(outcome) => Ok(outcome?),
        Err(_) => {
            tracing::error!(%saga, "a transition panicked; the event is not applied");
            Err(EngineError::Internal(format!("a transition of saga {saga} panicked")))
        }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<String, EngineError> {
    serde_json::to_string(value).map_err(internal)
}

fn internal(error: serde_json::Error) -> EngineError {
    EngineError::Internal(error.to_string())
}

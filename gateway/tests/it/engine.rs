//! An engine for tests: keeps what it is told, and stands wherever a test puts it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use orchestrator::client::*;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;
use workflows::definition::Definition;
use workflows::effect::Fact;
use workflows::event::{Command, CommandEvent, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::state::Status;
use workflows::{SagaView, StepView};

/// When everything happens here.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Asking for this saga is a defect.
pub const CURSED: SagaId = SagaId(Uuid::from_u128(0xdead));

#[derive(Default)]
pub struct FakeEngine {
    inner: Mutex<Inner>,
    /// It can't be reached.
    pub is_away: AtomicBool,
    /// Starts that came, answered or not.
    pub arrived: AtomicUsize,
    /// It has too much to do.
    pub is_busy: AtomicBool,
    /// Starts wait for a permit.
    pub gate: Mutex<Option<std::sync::Arc<Semaphore>>>,
}

#[derive(Default)]
struct Inner {
    sagas: HashMap<SagaId, (SagaDetail, Vec<JournalItem>)>,
    keys: HashMap<String, (Value, SagaId)>,
    starts: Vec<StartRequest>,
    signals: Vec<(SagaId, Signal)>,
}

/// A step that has had its effect.
pub fn present(name: &str, output: Value) -> StepView {
    step(name, "present", output)
}

/// A step that stands so.
pub fn step(name: &str, standing: &str, output: Value) -> StepView {
    StepView {
        name: name.to_owned(),
        kind: "step".to_owned(),
        progress: None,
        role: None,
        attempt: 1,
        until: None,
        standing: standing.to_owned(),
        output,
        error: None,
    }
}

impl FakeEngine {
    /// What was started.
    pub fn starts(&self) -> Vec<StartRequest> {
        self.inner.lock().unwrap().starts.clone()
    }

    /// The saga that was started under a key.
    pub fn saga_of(&self, key: &str) -> Option<SagaId> {
        self.inner.lock().unwrap().keys.get(key).map(|(_, saga)| *saga)
    }

    /// Which signals came, repetitions included.
    pub fn signals(&self) -> Vec<(SagaId, Signal)> {
        self.inner.lock().unwrap().signals.clone()
    }

    /// Moves a saga.
    pub fn change(&self, saga: SagaId, change: impl FnOnce(&mut SagaView)) {
        change(&mut self.inner.lock().unwrap().sagas.get_mut(&saga).unwrap().0.view);
    }

    /// Adds an entry with one fact to a saga's journal.
    pub fn record(&self, saga: SagaId, topic: &str, data: Value) {
        let mut inner = self.inner.lock().unwrap();
        let journal = &mut inner.sagas.get_mut(&saga).unwrap().1;
        let seq = journal.len() as u64 + 1;
        let fact = Fact {
            saga,
            seq,
            index: 0,
            topic: topic.to_owned(),
            data,
            at: NOW,
        };
        let event = json!({"event": "tick"});
        journal.push(JournalItem {
            seq,
            at: NOW,
            kind: "timer".to_owned(),
            step: None,
            event,
            facts: vec![fact],
        });
    }

    /// Puts a saga there.
    pub fn insert(&self, id: SagaId, workflow: &str, input: Value) {
        let view = SagaView {
            status: Status::Running,
            seq: 1,
            started_at: NOW,
            back_to: None,
            pivoted: false,
            input,
            steps: Vec::new(),
            reason: None,
            failed_step: None,
            error: None,
            output: Value::Null,
            extended: Vec::new(),
        };
        let saga = SagaDetail {
            id,
            workflow: workflow.to_owned(),
            version: 1,
            business_key: None,
            tags: BTreeMap::new(),
            created_at: NOW,
            updated_at: NOW,
            ended_at: None,
            view,
        };
        self.inner.lock().unwrap().sagas.insert(id, (saga, Vec::new()));
    }

    fn reach(&self) -> Result<(), ClientError> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(ClientError::Unavailable {
                message: "connection refused".to_owned(),
            }),
            false => Ok(()),
        }
    }

    fn detail(&self, saga: SagaId) -> Option<SagaDetail> {
        self.inner
            .lock()
            .unwrap()
            .sagas
            .get(&saga)
            .map(|(detail, _)| detail.clone())
    }
}

#[async_trait]
impl EngineClient for FakeEngine {
    async fn start(&self, request: StartRequest) -> Result<Started, ClientError> {
        self.reach()?;
        self.arrived.fetch_add(1, Ordering::SeqCst);
        if self.is_busy.load(Ordering::SeqCst) {
            return Err(ClientError::Overloaded {
                retry_after: Duration::from_secs(1),
            });
        }
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let known = {
            let mut inner = self.inner.lock().unwrap();
            inner.starts.push(request.clone());
            request
                .idempotency_key
                .as_ref()
                .and_then(|key| inner.keys.get(key).cloned())
        };
        if let Some((input, id)) = known {
            if input != request.input {
                return Err(ClientError::KeyReused {
                    key: request.idempotency_key.unwrap(),
                });
            }
            return Ok(Started {
                saga: self.detail(id).unwrap(),
                replayed: true,
            });
        }
        let count = self.inner.lock().unwrap().sagas.len() as u128;
        let id = SagaId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + count));
        self.insert(id, &request.workflow, request.input.clone());
        if let Some((saga, _)) = self.inner.lock().unwrap().sagas.get_mut(&id) {
            saga.business_key = request.input["eventId"].as_str().map(str::to_owned);
            saga.tags = request.tags.clone();
        }
        self.record(id, "booking.initiated", json!({"bookingId": id}));
        if let Some(key) = request.idempotency_key {
            self.inner.lock().unwrap().keys.insert(key, (request.input, id));
        }
        Ok(Started {
            saga: self.detail(id).unwrap(),
            replayed: false,
        })
    }

    async fn used_keys(&self, keys: Vec<String>) -> Result<HashSet<String>, ClientError> {
        self.reach()?;
        let inner = self.inner.lock().unwrap();
        Ok(keys.into_iter().filter(|key| inner.keys.contains_key(key)).collect())
    }

    async fn get(&self, saga: SagaId) -> Result<Option<SagaDetail>, ClientError> {
        self.reach()?;
        assert_ne!(saga, CURSED, "cursed");
        Ok(self.detail(saga))
    }

    async fn journal(&self, saga: SagaId, _: u64, _: u32) -> Result<Vec<JournalItem>, ClientError> {
        self.reach()?;
        self.inner
            .lock()
            .unwrap()
            .sagas
            .get(&saga)
            .map(|it| it.1.clone())
            .ok_or_else(|| ClientError::no_saga(saga))
    }

    async fn signal(&self, saga: SagaId, signal: Signal) -> Result<SignalReceipt, ClientError> {
        self.reach()?;
        let mut inner = self.inner.lock().unwrap();
        let is_known = inner
            .signals
            .iter()
            .any(|(other, earlier)| *other == saga && earlier.id == signal.id);
        inner.signals.push((saga, signal));
        Ok(match inner.sagas.contains_key(&saga) {
            _ if is_known => SignalReceipt::Duplicate,
            true => SignalReceipt::Delivered,
            false => SignalReceipt::Parked,
        })
    }

    async fn command_at(&self, saga: SagaId, event: CommandEvent, _: Option<u64>) -> Result<SagaDetail, ClientError> {
        self.reach()?;
        let detail = self.detail(saga).ok_or_else(|| ClientError::no_saga(saga))?;
        assert_eq!(event.command, Command::Cancel {});
        if detail.view.pivoted || detail.view.status != Status::Running {
            return Err(ClientError::Refused {
                message: "too late".to_owned(),
            });
        }
        self.change(saga, |view| {
            view.status = Status::Compensating;
            view.reason = Some("CANCELLED".to_owned());
        });
        Ok(self.detail(saga).unwrap())
    }

    async fn wait(&self, saga: SagaId, until: Until, timeout: Duration) -> Result<Option<SagaDetail>, ClientError> {
        self.reach()?;
        let over = tokio::time::Instant::now() + timeout;
        while tokio::time::Instant::now() < over {
            let detail = self.detail(saga);
            let has_come = |detail: &SagaDetail| until.is_reached(detail.view.status, detail.view.pivoted);
            if detail.as_ref().is_none_or(has_come) {
                return Ok(detail);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(self.detail(saga))
    }

    async fn list(&self, filter: ListFilter) -> Result<Page<SagaSummary>, ClientError> {
        self.reach()?;
        let inner = self.inner.lock().unwrap();
        let is_meant = |saga: &&SagaDetail| {
            let label = filter.tag.as_ref();
            filter
                .workflow
                .as_ref()
                .is_none_or(|workflow| *workflow == saga.workflow)
                && label.is_none_or(|(name, value)| saga.tags.get(name) == Some(value))
        };
        let sagas = inner.sagas.values().map(|(saga, _)| saga).filter(is_meant);
        Ok(Page {
            items: sagas.map(summary).collect(),
            next: None,
        })
    }

    async fn start_bulk(&self, requests: Vec<StartRequest>) -> Result<Vec<Result<Started, ClientError>>, ClientError> {
        self.reach()?;
        let mut started = Vec::new();
        for request in requests {
            started.push(self.start(request).await);
        }
        Ok(started)
    }

    async fn deploy(&self, _: Definition) -> Result<Deployed, ClientError> {
        unimplemented("deploy")
    }

    async fn definitions(&self) -> Result<Vec<DefinitionSummary>, ClientError> {
        unimplemented("definitions")
    }

    async fn definition(&self, _: &str, _: Option<u32>) -> Result<Option<DefinitionDetail>, ClientError> {
        unimplemented("definition")
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, ClientError> {
        unimplemented("schedules")
    }

    async fn schedule(&self, _: &str) -> Result<Option<Schedule>, ClientError> {
        unimplemented("schedule")
    }

    async fn create_schedule(&self, _: ScheduleSpec) -> Result<Schedule, ClientError> {
        unimplemented("create_schedule")
    }

    async fn pause_schedule(&self, _: &str, _: bool) -> Result<Schedule, ClientError> {
        unimplemented("pause_schedule")
    }

    async fn run_schedule(&self, _: &str) -> Result<Firing, ClientError> {
        unimplemented("run_schedule")
    }

    async fn backfill_schedule(&self, _: &str, _: Timestamp, _: Timestamp) -> Result<Vec<Firing>, ClientError> {
        unimplemented("backfill_schedule")
    }

    async fn firings(&self, _: &str, _: u32) -> Result<Vec<Firing>, ClientError> {
        unimplemented("firings")
    }

    async fn delete_schedule(&self, _: &str) -> Result<(), ClientError> {
        unimplemented("delete_schedule")
    }
}

fn summary(saga: &SagaDetail) -> SagaSummary {
    SagaSummary {
        id: saga.id,
        workflow: saga.workflow.clone(),
        version: saga.version,
        status: saga.view.status,
        business_key: saga.business_key.clone(),
        tags: saga.tags.clone(),
        seq: saga.view.seq,
        created_at: saga.created_at,
        updated_at: saga.updated_at,
        ended_at: saga.ended_at,
    }
}

fn unimplemented<T>(what: &str) -> T {
    panic!("the gateway has no business with {what}")
}

//! The engine in this very process.

use std::time::Duration;

use async_trait::async_trait;
use workflows::definition::Definition;
use workflows::event::{CommandEvent, Signal};
use workflows::ids::{SagaId, Timestamp};

use super::*;
use crate::store::batch;
use crate::store::reads::{self, SagaFilter, SagaRecord};
use crate::{Awaited, Engine, EngineError, NewSaga, schedules};

/// When callers who found the engine at its limit should come back: about half of the longest queue is worked off by then.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The engine in this very process.
#[derive(Clone)]
pub struct LocalClient {
    engine: Engine,
}

impl LocalClient {
    /// A client of this engine.
    pub fn new(engine: Engine) -> Self {
        LocalClient { engine }
    }

    async fn detail(&self, record: SagaRecord) -> Result<SagaDetail, ClientError> {
        let SagaRecord { summary, state } = record;
        let definition = self.engine.definitions().by_id(summary.definition_id).await?;
        Ok(SagaDetail {
            id: summary.id,
            workflow: summary.workflow,
            version: definition.version(),
            business_key: summary.business_key,
            tags: summary.tags,
            created_at: summary.created_at,
            updated_at: summary.updated_at,
            ended_at: summary.ended_at,
            view: workflows::view(&definition.compiled, summary.id, &state),
        })
    }

    async fn read(&self, saga: SagaId) -> Result<Option<SagaDetail>, ClientError> {
        match self.engine.saga(saga).await? {
            Some(record) => Ok(Some(self.detail(record).await?)),
            None => Ok(None),
        }
    }

    /// What a start is answered with, without reading back what was just written.
    async fn started(
        &self,
        started: crate::StartedSaga,
        workflow: String,
        tags: BTreeMap<String, String>,
    ) -> Result<Started, ClientError> {
        let (Some(definition), Some(state)) = (&started.definition, &started.state) else {
            let saga = self
                .read(started.id)
                .await?
                .ok_or_else(|| ClientError::no_saga(started.id))?;
            return Ok(Started {
                saga,
                replayed: started.replayed,
            });
        };
        let view = workflows::view(&definition.compiled, started.id, state);
        let saga = SagaDetail {
            id: started.id,
            workflow,
            version: definition.version(),
            business_key: started.business_key,
            tags,
            created_at: started.at,
            updated_at: started.at,
            ended_at: view.status.is_final().then_some(started.at),
            view,
        };
        Ok(Started {
            saga,
            replayed: started.replayed,
        })
    }
}

fn new_saga(request: StartRequest) -> (NewSaga, Option<Duration>) {
    let StartRequest {
        workflow,
        version,
        input,
        idempotency_key,
        tags,
        traceparent,
        wait,
    } = request;
    let new = NewSaga {
        id: None,
        workflow,
        version,
        input,
        idempotency_key,
        business_key: None,
        tags,
        traceparent,
    };
    (new, wait)
}

impl From<EngineError> for ClientError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::Overloaded { what: _, waiting: _ } => ClientError::Overloaded {
                retry_after: RETRY_AFTER,
            },
            EngineError::ShuttingDown => ClientError::Unavailable { message },
            EngineError::Unavailable(_) => ClientError::Unavailable { message },
            EngineError::UnknownWorkflow { name: _, version: None } => ClientError::invalid("/workflow", message),
            EngineError::UnknownWorkflow {
                name: _,
                version: Some(_),
            } => ClientError::invalid("/version", message),
            EngineError::UnknownSaga(saga) => ClientError::no_saga(saga),
            EngineError::SagaExists(_) => ClientError::Conflict { message },
            EngineError::KeyReused { key, saga: _ } => ClientError::KeyReused { key },
            EngineError::Moved {
                saga: _,
                expected,
                current,
            } => ClientError::Moved { expected, current },
            EngineError::Refused(_) => ClientError::Refused { message },
            EngineError::Invalid { problems } => ClientError::Invalid { problems },
            EngineError::DefinitionConflict { name: _, version: _ } => ClientError::Conflict { message },
            EngineError::Internal(_) => ClientError::Internal { message },
        }
    }
}

impl From<sqlx::Error> for ClientError {
    fn from(error: sqlx::Error) -> Self {
        EngineError::from(error).into()
    }
}

#[async_trait]
impl EngineClient for LocalClient {
    async fn start(&self, request: StartRequest) -> Result<Started, ClientError> {
        check::start("", &request)?;
        let (new, wait) = new_saga(request);
        let (workflow, tags) = (new.workflow.clone(), new.tags.clone());
        let Some(wait) = wait else {
            let started = self.engine.start_saga(new).await?;
            return self.started(started, workflow, tags).await;
        };
        let Awaited { id, replayed, settled } = self.engine.start_saga_and_wait(new, wait.min(WAIT_MAX)).await?;
        let saga = match settled {
            Some(record) => self.detail(record).await?,
            None => self.read(id).await?.ok_or_else(|| ClientError::no_saga(id))?,
        };
        Ok(Started { saga, replayed })
    }

    async fn start_brief(&self, request: StartRequest) -> Result<StartedBrief, ClientError> {
        check::start("", &request)?;
        let (new, wait) = new_saga(request);
        let brief = |id, status, seq, replayed| StartedBrief {
            saga: SagaBrief { id, status, seq },
            replayed,
        };
        let (id, replayed, settled) = match wait {
            Some(wait) => {
                let Awaited { id, replayed, settled } =
                    self.engine.start_saga_and_wait(new, wait.min(WAIT_MAX)).await?;
                (id, replayed, settled)
            }
            None => {
                let started = self.engine.start_saga(new).await?;
                if let Some(state) = &started.state {
                    return Ok(brief(started.id, state.status(), state.seq, started.replayed));
                }
                (started.id, started.replayed, None)
            }
        };
        let record = match settled {
            Some(record) => record,
            None => self.engine.saga(id).await?.ok_or_else(|| ClientError::no_saga(id))?,
        };
        Ok(brief(id, record.summary.status, record.summary.seq, replayed))
    }

    async fn start_bulk(&self, requests: Vec<StartRequest>) -> Result<Vec<Result<Started, ClientError>>, ClientError> {
        check::bulk(&requests)?;
        let mut answers: Vec<Option<Result<Started, ClientError>>> = Vec::with_capacity(requests.len());
        let mut sent = Vec::new();
        let mut shown = Vec::new();
        for (place, request) in requests.into_iter().enumerate() {
            match check::start("", &request) {
                Err(error) => answers.push(Some(Err(error))),
                Ok(()) => {
                    let (new, _) = new_saga(request);
                    shown.push((place, new.workflow.clone(), new.tags.clone()));
                    sent.push(new);
                    answers.push(None);
                }
            }
        }
        let results = self.engine.start_sagas(sent).await;
        for ((place, workflow, tags), result) in shown.into_iter().zip(results) {
            answers[place] = Some(match result {
                Ok(started) => self.started(started, workflow, tags).await,
                Err(error) => Err(error.into()),
            });
        }
        let lost = || {
            Err(ClientError::Internal {
                message: "the engine did not answer a start".to_owned(),
            })
        };
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect())
    }

    async fn used_keys(&self, keys: Vec<String>) -> Result<HashSet<String>, ClientError> {
        check::keys(&keys)?;
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let used = batch::load_start_keys(self.engine.pool(), &keys).await?;
        Ok(used.into_keys().collect())
    }

    async fn get(&self, saga: SagaId) -> Result<Option<SagaDetail>, ClientError> {
        self.read(saga).await
    }

    async fn journal(&self, saga: SagaId, after: u64, limit: u32) -> Result<Vec<JournalItem>, ClientError> {
        check::limit(limit, JOURNAL_PAGE_MAX)?;
        let entries = reads::journal(self.engine.pool(), saga, after, limit).await?;
        if entries.is_empty() && self.engine.saga(saga).await?.is_none() {
            return Err(ClientError::no_saga(saga));
        }
        let items = entries.into_iter().map(|entry| {
            let event = serde_json::to_value(&entry.event).map_err(internal)?;
            let reads::JournalEntry {
                seq,
                at,
                kind,
                step,
                event: _,
                facts,
            } = entry;
            Ok(JournalItem {
                seq,
                at,
                kind,
                step,
                event,
                facts,
            })
        });
        items.collect()
    }

    async fn signal(&self, saga: SagaId, signal: Signal) -> Result<SignalReceipt, ClientError> {
        check::signal(&signal)?;
        Ok(match self.engine.signal(saga, signal).await? {
            crate::SignalReceipt::Parked => SignalReceipt::Parked,
            crate::SignalReceipt::Delivered => SignalReceipt::Delivered,
            crate::SignalReceipt::Duplicate => SignalReceipt::Duplicate,
        })
    }

    async fn command_at(
        &self,
        saga: SagaId,
        command: CommandEvent,
        expected_seq: Option<u64>,
    ) -> Result<SagaDetail, ClientError> {
        check::command(&command)?;
        self.engine.command(saga, command, expected_seq).await?;
        self.read(saga).await?.ok_or_else(|| ClientError::no_saga(saga))
    }

    async fn wait(&self, saga: SagaId, until: Until, timeout: Duration) -> Result<Option<SagaDetail>, ClientError> {
        match self.engine.wait_until(saga, until, timeout.min(WAIT_MAX)).await? {
            Some(record) => Ok(Some(self.detail(record).await?)),
            None => Ok(None),
        }
    }

    async fn list(&self, filter: ListFilter) -> Result<Page<SagaSummary>, ClientError> {
        check::filter(&filter)?;
        let limit = filter.limit.unwrap_or(PAGE_DEFAULT);
        let wanted = SagaFilter {
            status: filter.status,
            workflow: filter.workflow,
            business_key: filter.business_key,
            tag: filter.tag,
            failure_code: None,
            failure_step: None,
            created_from: filter.created_after,
            oldest_first: false,
            created_before: filter.created_before,
            after: filter.cursor.as_deref().map(cursor::read).transpose()?,
        };
        // One more than asked for tells whether there is another page.
        let mut rows = reads::list(self.engine.pool(), &wanted, limit + 1).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| cursor::write(last.id));
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let version = self.engine.definitions().by_id(row.definition_id).await?.version();
            items.push(SagaSummary {
                id: row.id,
                workflow: row.workflow,
                version,
                status: row.status,
                business_key: row.business_key,
                tags: row.tags,
                seq: row.seq,
                created_at: row.created_at,
                updated_at: row.updated_at,
                ended_at: row.ended_at,
            });
        }
        Ok(Page { items, next })
    }

    async fn deploy(&self, definition: Definition) -> Result<Deployed, ClientError> {
        check::definition(&definition)?;
        let (deployed, created) = self.engine.definitions().deploy(definition).await?;
        Ok(Deployed {
            definition: summary(&deployed),
            created,
        })
    }

    async fn definitions(&self) -> Result<Vec<DefinitionSummary>, ClientError> {
        Ok(self
            .engine
            .definitions()
            .all()
            .await?
            .iter()
            .map(|deployed| summary(deployed))
            .collect())
    }

    async fn definition(&self, name: &str, version: Option<u32>) -> Result<Option<DefinitionDetail>, ClientError> {
        match self.engine.definitions().by_name(name, version).await {
            Ok(deployed) => {
                let definition = deployed.compiled.definition().clone();
                Ok(Some(DefinitionDetail {
                    summary: summary(&deployed),
                    definition,
                }))
            }
            Err(EngineError::UnknownWorkflow { name: _, version: _ }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, ClientError> {
        Ok(schedules::store::all(self.engine.pool()).await?)
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, ClientError> {
        Ok(schedules::store::one(self.engine.pool(), name).await?)
    }

    async fn create_schedule(&self, spec: ScheduleSpec) -> Result<Schedule, ClientError> {
        schedules::create(&self.engine, spec).await
    }

    async fn pause_schedule(&self, name: &str, paused: bool) -> Result<Schedule, ClientError> {
        schedules::pause(&self.engine, name, paused).await
    }

    async fn run_schedule(&self, name: &str) -> Result<Firing, ClientError> {
        schedules::run_now(&self.engine, name).await
    }

    async fn backfill_schedule(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Firing>, ClientError> {
        schedules::backfill(&self.engine, name, from, to).await
    }

    async fn firings(&self, name: &str, limit: u32) -> Result<Vec<Firing>, ClientError> {
        check::limit(limit, PAGE_MAX)?;
        let firings = schedules::store::firings(self.engine.pool(), name, limit).await?;
        if firings.is_empty() && self.schedule(name).await?.is_none() {
            return Err(schedules::unknown(name));
        }
        Ok(firings)
    }

    async fn delete_schedule(&self, name: &str) -> Result<(), ClientError> {
        if schedules::store::delete(self.engine.pool(), name).await? {
            Ok(())
        } else {
            Err(schedules::unknown(name))
        }
    }
}

fn summary(deployed: &crate::Deployed) -> DefinitionSummary {
    DefinitionSummary {
        name: deployed.name().to_owned(),
        version: deployed.version(),
        hash: deployed.compiled.hash().to_owned(),
        description: deployed.compiled.definition().description.clone(),
        deployed_at: deployed.created_at,
    }
}

fn internal(error: serde_json::Error) -> ClientError {
    ClientError::Internal {
        message: error.to_string(),
    }
}

/// Cursors: where a page ended. Callers need not know what is in them, and a changed one is refused.
mod cursor {
    use workflows::ids::SagaId;

    use super::ClientError;

    /// Says what the cursor is over, so that it can change later.
    const PREFIX: &str = "s1";

    pub(super) fn write(last: SagaId) -> String {
        format!("{PREFIX}{}", last.0.simple())
    }

    pub(super) fn read(text: &str) -> Result<SagaId, ClientError> {
        let id = text
            .strip_prefix(PREFIX)
            .filter(|id| id.len() == 32)
            .and_then(|id| id.parse().ok());
        id.ok_or_else(|| {
            ClientError::invalid(
                "?cursor",
                "it is not a `next` of an earlier page; leave it out to begin",
            )
        })
    }
}

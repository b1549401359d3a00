//! Deployed definitions, compiled once and kept in memory: there are few, and they never change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workflows::Compiled;
use workflows::definition::Definition;
use workflows::ids::Timestamp;

use crate::error::EngineError;
use crate::store::definitions::{self, StoredDefinition};

/// How often versions that other replicas deployed are looked for, so that "the newest" means that here too.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// A definition that can run.
#[derive(Debug)]
pub struct Deployed {
    /// What sagas refer to it by.
    pub id: i64,
    /// When it was deployed.
    pub created_at: Timestamp,
    /// The definition.
    pub compiled: Compiled,
    /// The workflow's name, to be kept without copying it.
    pub(crate) label: Arc<str>,
    input_schema: Option<jsonschema::Validator>,
}

impl Deployed {
    /// The workflow's name.
    pub fn name(&self) -> &str {
        &self.compiled.definition().name
    }

    /// The workflow's version.
    pub fn version(&self) -> u32 {
        self.compiled.definition().version
    }

    /// Whether an input satisfies the definition's schema; everything wrong with it is listed.
    pub fn check_input(&self, input: &serde_json::Value) -> Result<(), EngineError> {
        let Some(schema) = &self.input_schema else {
            return Ok(());
        };
        let problems: Vec<_> = schema
            .iter_errors(input)
            .map(|error| workflows::Problem {
                pointer: format!("/input{}", error.instance_path()),
                message: error.to_string(),
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(EngineError::Invalid { problems })
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<i64, Arc<Deployed>>,
    /// Name, then version.
    by_name: HashMap<String, BTreeMap<u32, Arc<Deployed>>>,
    /// Every id up to here has been read.
    last_id: i64,
}

/// A cheap handle to the deployed definitions.
#[derive(Clone, Debug)]
pub struct DefinitionCache {
    pool: PgPool,
    known: Arc<RwLock<Known>>,
}

impl DefinitionCache {
    /// An empty cache over this database.
    pub fn new(pool: PgPool) -> Self {
        DefinitionCache {
            pool,
            known: Arc::default(),
        }
    }

    /// Stores a definition; the same one again is no error. Tells whether it is new.
    pub async fn deploy(&self, definition: Definition) -> Result<(Arc<Deployed>, bool), EngineError> {
        let (name, version) = (definition.name.clone(), definition.version);
        let compiled = Compiled::new(definition).map_err(|problems| EngineError::Invalid { problems })?;
        // A schema that does not compile is refused before it is stored.
        input_validator(compiled.definition())?;
        let hash = compiled.hash().to_owned();
        let (stored, created) = definitions::insert(&self.pool, compiled.definition(), &hash).await?;
        if stored.hash != hash {
            return Err(EngineError::DefinitionConflict { name, version });
        }
        Ok((self.remember(stored)?, created))
    }

    /// The definition that a saga row refers to.
    pub async fn by_id(&self, id: i64) -> Result<Arc<Deployed>, EngineError> {
        if let Some(known) = self.read(|known| known.by_id.get(&id).cloned()) {
            return Ok(known);
        }
        match definitions::by_id(&self.pool, id).await? {
            Some(stored) => self.remember(stored),
            None => Err(EngineError::Internal(format!("definition {id} is not in the database"))),
        }
    }

    /// A version, or the newest.
    pub async fn by_name(&self, name: &str, version: Option<u32>) -> Result<Arc<Deployed>, EngineError> {
        if let Some(known) = self.find(name, version) {
            return Ok(known);
        }
        self.refresh().await?;
        self.find(name, version).ok_or_else(|| EngineError::UnknownWorkflow {
            name: name.to_owned(),
            version,
        })
    }

    /// Every version of every workflow, by name and version.
    pub async fn all(&self) -> Result<Vec<Arc<Deployed>>, EngineError> {
        self.refresh().await?;
        let mut all = self.known();
        all.sort_by(|a, b| (a.name(), a.version()).cmp(&(b.name(), b.version())));
        Ok(all)
    }

    /// Every definition that is in memory.
    pub(crate) fn known(&self) -> Vec<Arc<Deployed>> {
        self.read(|known| known.by_id.values().cloned().collect())
    }

    /// Reads what was deployed since the last time.
    pub async fn refresh(&self) -> Result<(), EngineError> {
        let last = self.read(|known| known.last_id);
        // Ids are handed out before they are committed: look back a little, so that a slow commit isn't missed.
        for stored in definitions::after(&self.pool, last.saturating_sub(20)).await? {
            let id = stored.id;
            if self.read(|known| known.by_id.contains_key(&id)) {
                self.write(|known| known.last_id = known.last_id.max(id));
            } else if let Err(error) = self.remember(stored) {
                tracing::error!(definition = id, %error, "a stored definition can't be compiled");
            }
        }
        Ok(())
    }

    /// Keeps reading new definitions until `stop`.
    pub(crate) async fn keep(self, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(REFRESH_INTERVAL))
            .await
            .is_some()
        {
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "definitions were not refreshed");
            }
        }
    }

    fn find(&self, name: &str, version: Option<u32>) -> Option<Arc<Deployed>> {
        self.read(|known| {
            let versions = known.by_name.get(name)?;
            match version {
                Some(version) => versions.get(&version).cloned(),
                None => versions.last_key_value().map(|(_, newest)| Arc::clone(newest)),
            }
        })
    }

    fn remember(&self, stored: StoredDefinition) -> Result<Arc<Deployed>, EngineError> {
        let input_schema = input_validator(&stored.definition)?;
        let compiled = Compiled::new(stored.definition)
            .map_err(|problems| EngineError::Internal(format!("definition {}: {problems:?}", stored.id)))?;
        let deployed = Arc::new(Deployed {
            id: stored.id,
            created_at: stored.created_at,
            label: compiled.definition().name.as_str().into(),
            compiled,
            input_schema,
        });
        self.write(|known| {
            let versions = known.by_name.entry(deployed.name().to_owned()).or_default();
            versions.insert(deployed.version(), Arc::clone(&deployed));
            known.by_id.insert(deployed.id, Arc::clone(&deployed));
            known.last_id = known.last_id.max(deployed.id);
        });
        Ok(deployed)
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn input_validator(definition: &Definition) -> Result<Option<jsonschema::Validator>, EngineError> {
    if definition.input_schema.is_null() {
        return Ok(None);
    }
    jsonschema::validator_for(&definition.input_schema)
        .map(Some)
        .map_err(|error| EngineError::invalid("/input_schema", format!("is not a JSON Schema: {error}")))
}

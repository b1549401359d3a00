//! `scaling.set`: carries out a decision on how many workers run.
//!
//! Decisions may come late or twice, or after a newer one: only what was decided last is carried out, and to do so again changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use activities::typed::{Failure, Typed, TypedActivity};
use activities::{Registry, TaskContext};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use workflows::tickets::alert;

use crate::scale::Targets;
use crate::scaler::{ScaleError, Scaler};
use crate::store;

/// Nothing of that name may be scaled. Permanent.
pub const UNKNOWN_TARGET: &str = "unknown_target";
/// More, or fewer, than is allowed. Permanent.
pub const PAST_LIMIT: &str = "past_limit";
/// The scaler will not. Permanent.
pub const REFUSED: &str = "refused";
/// The scaler is away.
pub const SCALER_AWAY: &str = "scaler_away";

/// What `scaling.set` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetInput {
    /// The decision's number.
    pub decision: i64,
    /// What was decided.
    pub targets: Vec<Replicas>,
}

/// How many replicas of a target there shall be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Replicas {
    /// The target.
    pub name: String,
    /// How many.
    pub replicas: u32,
}

/// What `scaling.set` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Set {
    /// What was set; what a newer decision is about is left out.
    pub set: Vec<Replicas>,
}

/// Registers `scaling.set`.
pub fn register(registry: &mut Registry, pool: PgPool, targets: Targets, scaler: Arc<dyn Scaler>) {
    let activity = SetReplicas { pool, targets, scaler };
    registry.single(alert::QUEUE, Arc::new(Typed(activity)));
}

struct SetReplicas {
    pool: PgPool,
    targets: Targets,
    scaler: Arc<dyn Scaler>,
}

impl SetReplicas {
    /// Whether the settings of this process allow it, which may have changed since it was decided.
    fn check(&self, wish: &Replicas) -> Result<(), Failure> {
        let Some(target) = self.targets.0.iter().find(|target| target.name == wish.name) else {
            let message = format!(
                "{} is not among the targets that may be scaled: {}",
                wish.name, self.targets
            );
            return Err(Failure::permanent(UNKNOWN_TARGET, message));
        };
        if (target.min..=target.max).contains(&wish.replicas) {
            return Ok(());
        }
        let Replicas { name, replicas } = wish;
        let message = format!(
            "{replicas} replicas of {name}: allowed are {} to {}",
            target.min, target.max
        );
        Err(Failure::permanent(PAST_LIMIT, message))
    }
}

#[async_trait]
impl TypedActivity for SetReplicas {
    type Input = SetInput;
    type Output = Set;
    const NAME: &'static str = alert::SET;
    const CODES: &'static [&'static str] = &[UNKNOWN_TARGET, PAST_LIMIT, REFUSED, SCALER_AWAY];

    async fn run(&self, _: &TaskContext, input: SetInput) -> Result<Set, Failure> {
        let away = |error: sqlx::Error| Failure::retryable(SCALER_AWAY, format!("Postgres: {error}"));
        let names: Vec<String> = input.targets.iter().map(|wish| wish.name.clone()).collect();
        let current = store::current(&self.pool, input.decision, &names).await.map_err(away)?;
        let mut wishes: BTreeMap<String, Replicas> = input
            .targets
            .into_iter()
            .map(|wish| (wish.name.clone(), wish))
            .collect();
        wishes.retain(|name, _| current.contains(name));
        wishes.values().try_for_each(|wish| self.check(wish))?;
        for Replicas { name, replicas } in wishes.values() {
            let set = self.scaler.set(name, *replicas).await;
            set.map_err(|error| match error {
                ScaleError::Away(_) => Failure::retryable(SCALER_AWAY, format!("{name}: {error}")),
                ScaleError::Refused(_) => Failure::permanent(REFUSED, format!("{name}: {error}")),
            })?;
            tracing::info!(
                target = name,
                replicas,
                decision = input.decision,
                "the scaler was told how many are wanted"
            );
        }
        let set: Vec<String> = wishes.keys().cloned().collect();
        store::applied(&self.pool, input.decision, &set).await.map_err(away)?;
        Ok(Set {
            set: wishes.into_values().collect(),
        })
    }
}

//! An attempt at a step beside another one: the one before it, that of another saga, or that of the last saga which passed.

use orchestrator::store::reads;
use serde::Serialize;
use serde_json::Value;
use workflows::ids::SagaId;

use crate::access::Operator;
use crate::app::Mission;
use crate::difference::{self, Attempt, Change};
use crate::error::PageError;
use crate::limits::COMPARED_ENTRIES_MAX;
use crate::pages::text::seen;
use crate::store::sagas;

/// What the last attempt of a saga is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The attempt before it; without one, the last saga that passed.
    Whatever,
    /// The attempt before it.
    Previous,
    /// The last saga of the workflow, of any version, that passed the step.
    Passed,
    /// The last attempt of this saga at the step.
    Saga(SagaId),
}

impl With {
    /// As in addresses: nothing, `previous`, `passed` or a saga's id.
    pub fn parse(text: &str) -> Result<With, PageError> {
        match text {
            "" => Ok(With::Whatever),
            "previous" => Ok(With::Previous),
            "passed" => Ok(With::Passed),
            id => id.parse().map(With::Saga).map_err(|_| {
                PageError::Invalid(format!(
                    "{id:?} is neither `previous` nor `passed` nor the id of a saga"
                ))
            }),
        }
    }
}

/// Two attempts, and where they differ.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Compared {
    /// The step.
    pub step: String,
    /// The attempt that it is compared with.
    pub before: Side,
    /// The saga's own.
    pub after: Side,
    /// Where they differ.
    pub changes: Vec<Change>,
    /// There are more.
    pub more: bool,
}

/// One of two attempts.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Whose.
    pub saga: SagaId,
    /// The version of its workflow.
    pub version: u32,
    /// Which one, from 1.
    pub attempt: u32,
    /// When it was sent, RFC 3339.
    pub at: String,
    /// How long until the answer; none: there is none.
    pub took_ms: Option<u64>,
    /// `succeeded`, `failed`, `unknown`, `pending`; none: there is no answer.
    pub outcome: Option<String>,
}

/// A saga's attempts, with what is needed to tell of them.
struct Folded {
    saga: SagaId,
    workflow: String,
    version: u32,
    failure_step: Option<String>,
    attempts: Vec<Attempt>,
}

/// Compares the last attempt of `saga` at `step`; without a step, at the one that failed, or that was tried last.
pub async fn compare(
    mission: &Mission,
    saga: SagaId,
    step: Option<&str>,
    with: With,
    operator: &Operator,
) -> Result<Compared, PageError> {
    let own = fold(mission, saga).await?;
    let step = step.or(own.failure_step.as_deref());
    let step = step.or(own.attempts.last().map(|attempt| attempt.token.step.as_str()));
    let step = step.ok_or_else(|| PageError::Refused("no step of this saga has begun".to_owned()))?;
    let after = latest(&own, step)?;
    let previous = difference::previous(&own.attempts, after);
    match (with, previous) {
        (With::Previous | With::Whatever, Some(before)) => Ok(told(&own, before, &own, after, operator)),
        (With::Previous, None) => Err(PageError::Refused(format!("{step} was tried only once"))),
        (With::Passed | With::Whatever, _) => {
            let other = sagas::last_passed(&mission.pool, &own.workflow, step, saga).await?;
            let other = other
                .ok_or_else(|| PageError::NotFound(format!("a saga of {} that passed {step} lately", own.workflow)))?;
            let other = fold(mission, other).await?;
            let before = difference::passed(&other.attempts, step);
            let before = before.ok_or_else(|| PageError::internal("a step that succeeded has no attempt that did"))?;
            Ok(told(&other, before, &own, after, operator))
        }
        (With::Saga(other), _) => {
            let other = fold(mission, other).await?;
            Ok(told(&other, latest(&other, step)?, &own, after, operator))
        }
    }
}

fn latest<'a>(folded: &'a Folded, step: &str) -> Result<&'a Attempt, PageError> {
    difference::last(&folded.attempts, step)
        .ok_or_else(|| PageError::NotFound(format!("an attempt of the saga {} at {step:?}", folded.saga)))
}

async fn fold(mission: &Mission, saga: SagaId) -> Result<Folded, PageError> {
    let record = reads::saga(&mission.pool, saga).await?;
    let summary = record
        .ok_or_else(|| PageError::NotFound(format!("the saga {saga}")))?
        .summary;
    if summary.seq > u64::from(COMPARED_ENTRIES_MAX) {
        return Err(PageError::Refused(format!(
            "the journal of {saga} has {} entries, and only {COMPARED_ENTRIES_MAX} are compared",
            summary.seq
        )));
    }
    let definition = mission.engine.definitions().by_id(summary.definition_id).await?;
    // Up to hundreds of megabytes where all inputs are as large as can be: like exports, a few at a time.
    let _turn = mission.exports.acquire().await.map_err(PageError::internal)?;
    let journal = reads::journal(&mission.pool, saga, 0, COMPARED_ENTRIES_MAX).await?;
    let events = journal.iter().map(|entry| (entry.at, &entry.event));
    let attempts = difference::attempts(&definition.compiled, saga, events).map_err(PageError::internal)?;
    Ok(Folded {
        saga,
        version: definition.version(),
        workflow: summary.workflow,
        failure_step: summary.failure_step,
        attempts,
    })
}

/// The differences are found first and redacted then, so that viewers are told where they are.
fn told(other: &Folded, before: &Attempt, own: &Folded, after: &Attempt, operator: &Operator) -> Compared {
    let (mut changes, more) = difference::between(before, after);
    for change in &mut changes {
        for value in [&mut change.before, &mut change.after].into_iter().flatten() {
            *value = seen(value, operator);
        }
    }
    Compared {
        step: after.token.step.clone(),
        before: side(other, before),
        after: side(own, after),
        changes,
        more,
    }
}

fn side(folded: &Folded, attempt: &Attempt) -> Side {
    let outcome = match &attempt.outcome["outcome"] {
        Value::String(word) => Some(word.clone()),
        _none => None,
    };
    Side {
        saga: folded.saga,
        version: folded.version,
        attempt: attempt.token.attempt,
        at: attempt.from.to_rfc3339(),
        took_ms: attempt.to.map(|to| to.0.saturating_sub(attempt.from.0).unsigned_abs()),
        outcome,
    }
}

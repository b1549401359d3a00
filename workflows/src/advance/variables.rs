//! What expressions see of a saga.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::compile::Compiled;
use crate::expr::Variables;
use crate::ids::SagaId;
use crate::state::{Record, State, StepError};

/// The reason that compensations see when an operator lets a saga go back to an earlier step.
const WENT_BACK: &str = "WENT_BACK";

/// A saga's data, with what is at hand where the expression stands.
pub(super) struct Scope<'a> {
    pub(super) definition: &'a Compiled,
    pub(super) saga: SagaId,
    pub(super) state: &'a State,
    pub(super) error: Option<Value>,
    pub(super) attempt: u32,
}

impl Variables for Scope<'_> {
    fn root<'a>(&'a self, name: &str) -> Option<Cow<'a, Value>> {
        match name {
            "input" => Some(Cow::Borrowed(&self.state.input)),
            "steps" => Some(Cow::Owned(self.steps())),
            "saga" => Some(Cow::Owned(self.saga_value())),
            "signals" => Some(Cow::Owned(self.signals())),
            "error" => self.error.as_ref().map(Cow::Borrowed),
            "attempt" => Some(Cow::Owned(self.attempt.into())),
            _unknown => None,
        }
    }

    fn path<'a>(&'a self, path: &[String]) -> Option<Cow<'a, Value>> {
        let (root, rest) = path.split_first()?;
        match (root.as_str(), rest) {
            ("input", rest) => descend(&self.state.input, rest).map(Cow::Borrowed),
            ("steps", [step, field, rest @ ..]) => {
                let record = self.state.records.get(self.definition.names.get(step)?)?;
                match field.as_str() {
                    "output" => descend(&record.output, rest).map(Cow::Borrowed),
                    _other => descend_owned(record_value(record), path.get(2..)?).map(Cow::Owned),
                }
            }
            ("saga", [field]) if field == "id" => Some(Cow::Owned(Value::String(self.saga.to_string()))),
            (root, rest) => descend_owned(self.root(root)?.into_owned(), rest).map(Cow::Owned),
        }
    }
}

impl Scope<'_> {
    /// Every step is there, those that have not begun with nulls, so that `steps.x.output == null` can be asked.
    fn steps(&self) -> Value {
        let mut steps = Map::new();
        for (name, index) in &self.definition.names {
            let record = self.state.records.get(index);
            steps.insert(
                name.clone(),
                record.map_or_else(|| record_value(&Record::default()), record_value),
            );
        }
        Value::Object(steps)
    }

    fn saga_value(&self) -> Value {
        let definition = self.definition.definition();
        let ending = self.state.ending.as_ref();
        json!({
            "id": self.saga.to_string(),
            "workflow": definition.name,
            "version": definition.version,
            "startedAt": self.state.started_at.to_rfc3339(),
            "status": ending.map_or(self.state.status(), |ending| ending.status).as_str(),
            "reason": ending.map(|ending| ending.reason.as_str()).or(self.state.back.as_ref().map(|_| WENT_BACK)),
            "failedStep": ending.and_then(|ending| ending.step.as_deref()),
            "error": ending.and_then(|ending| ending.error.as_ref()),
        })
    }

    fn signals(&self) -> Value {
        let parked = self
            .state
            .parked
            .iter()
            .map(|signal| (signal.name.clone(), signal.payload.clone()));
        Value::Object(parked.collect())
    }
}

fn record_value(record: &Record) -> Value {
    json!({ "output": record.output, "error": record.error })
}

/// An error as expressions see it.
pub(super) fn error_value(error: &StepError, will_retry: bool) -> Value {
    json!({
        "code": error.code,
        "message": error.message,
        "retryable": will_retry,
        "details": error.details,
    })
}

fn descend<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

fn descend_owned(value: Value, path: &[String]) -> Option<Value> {
    path.iter()
        .try_fold(value, |mut value, key| value.get_mut(key).map(Value::take))
}

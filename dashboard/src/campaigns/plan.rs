//! What a campaign is told: what to do to each saga, and how carefully.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflows::event::Command;
use workflows::limits::INPUT_BYTES_MAX;

use crate::limits::{
    CAMPAIGN_IN_FLIGHT_MAX, CAMPAIGN_RATE_MAX, CANARY_DEFAULT, CANARY_MAX, CANARY_SHARE, PATIENCE_MAX_SECONDS,
};

/// What is done to each saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Try the failed step again.
    Retry {
        /// Which step; left out, each one that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<String>,
        /// A JSON merge patch (RFC 7396) on the step's input.
        #[serde(default, rename = "inputPatch", skip_serializing_if = "Option::is_none")]
        input_patch: Option<Value>,
    },
    /// Go on as if the step had succeeded.
    Skip {
        /// Which step.
        step: String,
        /// With this output.
        #[serde(default)]
        output: Value,
    },
    /// End it and undo what it did, before the point of no return.
    Cancel {},
    /// Undo what it did, even after it.
    Compensate {},
    /// Let a paused saga go on.
    Resume {},
}

impl Action {
    /// The command's name.
    pub fn name(&self) -> &'static str {
        self.command().name()
    }

    /// The command, as far as it can be told without a look at the saga: a patch isn't applied.
    pub fn command(&self) -> Command {
        match self {
            Action::Retry { step, input_patch: _ } => Command::Retry {
                step: step.clone(),
                input: None,
            },
            Action::Skip { step, output } => Command::Skip {
                step: step.clone(),
                output: output.clone(),
            },
            Action::Cancel {} => Command::Cancel {},
            Action::Compensate {} => Command::Compensate {},
            Action::Resume {} => Command::Resume {},
        }
    }

    /// The patch of its input, for which the saga has to be looked at.
    pub fn patch(&self) -> Option<&Value> {
        match self {
            Action::Retry { step: _, input_patch } => input_patch.as_ref(),
            Action::Skip { .. } | Action::Cancel {} | Action::Compensate {} | Action::Resume {} => None,
        }
    }

    /// The step that was named.
    pub fn step(&self) -> Option<&str> {
        match self {
            Action::Retry { step, input_patch: _ } => step.as_deref(),
            Action::Skip { step, output: _ } => Some(step),
            Action::Cancel {} | Action::Compensate {} | Action::Resume {} => None,
        }
    }

    /// It changes what sagas go on with, or undoes it: not for an operator alone.
    pub fn is_grave(&self) -> bool {
        match self {
            Action::Retry { .. } => self.patch().is_some(),
            Action::Skip { .. } | Action::Compensate {} => true,
            Action::Cancel {} | Action::Resume {} => false,
        }
    }
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// What to do.
    pub action: Action,
    /// So many go first, and each must get past its failing step before others follow. Left out: 5, or 1 % where that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u32>,
    /// Items a second, at most.
    #[serde(default = "rate")]
    pub rate: u32,
    /// Items that were sent and are not past their step yet, at most.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: u32,
    /// It stops by itself when more than so many of a hundred fail.
    #[serde(default = "failure_percent_max")]
    pub failure_percent_max: u32,
    /// It stops by itself when the failure that was to be repaired comes back more often than this.
    #[serde(default = "same_failures_max")]
    pub same_failures_max: u32,
    /// An item that isn't past its step after so many seconds has failed.
    #[serde(default = "patience_seconds")]
    pub patience_seconds: u32,
    /// The field of the sagas' input with their money: whole cents if its name ends in `Cents`, else an amount with up to two
    /// decimals. Left out: `totalCents`, or `totalAmount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money_field: Option<String>,
}

/// Slow enough to look on: an on-call engineer can press the button before much has happened.
fn rate() -> u32 {
    50
}

/// Four seconds' worth at the default rate.
fn in_flight_max() -> u32 {
    200
}

fn failure_percent_max() -> u32 {
    10
}

fn same_failures_max() -> u32 {
    5
}

/// Longer than common attempts' time-outs with a retry or two.
fn patience_seconds() -> u32 {
    600
}

impl Plan {
    /// An action, as carefully as by default.
    pub fn new(action: Action) -> Plan {
        Plan {
            action,
            canary: None,
            rate: rate(),
            in_flight_max: in_flight_max(),
            failure_percent_max: failure_percent_max(),
            same_failures_max: same_failures_max(),
            patience_seconds: patience_seconds(),
            money_field: None,
        }
    }

    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u32, min: u32, max: u32| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(format!("{name} is from {min} to {max}, not {value}"))
            }
        };
        within("canary", self.canary.unwrap_or(1), 1, CANARY_MAX)?;
        within("rate", self.rate, 1, CAMPAIGN_RATE_MAX)?;
        within("inFlightMax", self.in_flight_max, 1, CAMPAIGN_IN_FLIGHT_MAX)?;
        within("failurePercentMax", self.failure_percent_max, 0, 100)?;
        within("patienceSeconds", self.patience_seconds, 1, PATIENCE_MAX_SECONDS)?;
        if self.action.patch().is_some_and(|patch| !patch.is_object()) {
            return Err("inputPatch is a JSON object: its fields replace those of the step's input".to_owned());
        }
        if serde_json::json!(self.action).to_string().len() > INPUT_BYTES_MAX {
            return Err(format!("the action has more than {INPUT_BYTES_MAX} bytes"));
        }
        if self.action.step().is_some_and(str::is_empty) {
            return Err("the step's name is empty".to_owned());
        }
        Ok(())
    }

    /// How many go first, of so many.
    pub fn canary_of(&self, items: u64) -> u64 {
        let usual = u64::from(CANARY_DEFAULT)
            .max(items / CANARY_SHARE)
            .min(u64::from(CANARY_MAX));
        self.canary.map_or(usual, u64::from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_plan_is_short_to_write() {
        let plan: Plan = serde_json::from_value(serde_json::json!({"action": {"command": "retry"}})).unwrap();
        assert_eq!(
            plan,
            Plan::new(Action::Retry {
                step: None,
                input_patch: None
            })
        );
        assert!(plan.check().is_ok());
        assert_eq!(
            (plan.canary_of(20), plan.canary_of(15_000), plan.canary_of(10_000_000)),
            (5, 150, 500)
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let plan = Plan::new(Action::Cancel {});
        assert!(
            Plan {
                rate: 0,
                ..plan.clone()
            }
            .check()
            .unwrap_err()
            .contains("rate")
        );
        assert!(
            Plan {
                canary: Some(0),
                ..plan
            }
            .check()
            .unwrap_err()
            .contains("canary")
        );
        let patch = Action::Retry {
            step: None,
            input_patch: Some(serde_json::json!(1)),
        };
        assert!(Plan::new(patch).check().is_err());
    }
}

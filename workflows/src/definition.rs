//! What a workflow is: serde data, with one JSON/YAML form that round-trips.
//!
//! A definition is a sequence of [`Node`]s. Text that begins with `=` inside a [`Mapping`] is a CEL
//! expression; a leading `\=` stands for a literal `=`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A CEL expression over `input`, `steps`, `signals` and `saga`.
pub type Expression = String;

/// JSON in which text that begins with `=` is a CEL expression.
pub type Mapping = Value;

/// One version of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Lower-case words joined by `_` or `-`.
    pub name: String,
    /// Counts up from 1.
    pub version: u32,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the saga is about (an event, a customer), to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business_key: Option<Expression>,
    /// A JSON Schema that a start's input must satisfy.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input_schema: Value,
    /// What happens, in order.
    pub flow: Vec<Node>,
    /// Facts published when the saga as a whole gets somewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emit: Vec<SagaEmit>,
    /// The saga's result, once completed.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Mapping,
}

/// Bytes of a definition's text: alias bombs and novels are refused before they are parsed.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

impl Definition {
    /// Reads YAML (of which JSON is a part). Anchors and aliases are refused, since a few lines of them can stand for
    /// gigabytes.
    pub fn from_yaml(text: &str) -> Result<Definition, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a definition has at most {TEXT_BYTES_MAX} bytes"));
        }
        let alias = |line: &str| {
            line.split([' ', '[', ',', '{', ':', '-'])
                .any(|word| word.starts_with('*') && word.len() > 1)
        };
        if !text.trim_start().starts_with('{') && text.lines().any(alias) {
            return Err("aliases (*name) are not allowed in a definition: write it out".to_owned());
        }
        // Through a JSON value, so that both forms follow the very same rules.
        let value: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// As YAML.
    pub fn to_yaml(&self) -> String {
        let value = serde_json::to_value(self).expect("a definition is plain data");
        serde_yaml_ng::to_string(&value).expect("JSON is YAML")
    }
}

/// A part of a flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Node {
    /// Run an activity on a worker.
    Step(Box<Step>),
    /// Several branches at once.
    Parallel(Parallel),
    /// A part of the flow with a deadline.
    Scope(Scope),
    /// Wait for a signal.
    WaitFor(WaitFor),
    /// Wait for a time.
    Sleep(Sleep),
    /// Take the first branch whose condition holds.
    Choice(Choice),
    /// Publish a fact.
    Emit(Emit),
    /// The point of no return: from here the saga only rolls forward.
    Pivot(Pivot),
    /// End the saga here, with this outcome (compensating what was done, unless completed).
    End(End),
}

/// Run an activity, with retries, time-outs, and what to do when it fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique in the definition.
    pub name: String,
    /// The activity's name, e.g. `payments.charge`.
    pub activity: String,
    /// The queue whose workers run it.
    pub queue: String,
    /// The activity's input.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Mapping,
    /// Run the step only if this holds; otherwise it is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
    /// How failed attempts are repeated.
    #[serde(default)]
    pub retry: Retry,
    /// How long one attempt may go unanswered.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub attempt_timeout: Duration,
    /// How long the step may take in all.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub total_timeout: Option<Duration>,
    /// How to undo it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Action>,
    /// How to find out what came of an attempt of unknown outcome. Without one the activity must be
    /// idempotent by its key, and the attempt is repeated with the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Action>,
    /// How to settle an attempt that the saga no longer wants (deadline, cancellation): afterwards the effect
    /// has either happened for certain, or never will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Action>,
    /// A signal that makes a pending step probe at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_on: Option<String>,
    /// Where an error code leads, once no retry is left (or at once for a failure that is not retryable).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, Route>,
    /// Where every other error leads. Left out: `compensate` before the pivot, `operator` after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Route>,
    /// Codes of definite failures after which the next attempt keeps its idempotency key, because the request never
    /// got as far as being carried out (connection refused, rate-limited). After any other failure the key is new, since
    /// a provider replays a stored failure. Wrongly listed, a code means a retry that can't succeed; wrongly left out, a
    /// repeated task could have its effect beside the next attempt's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_key_codes: Vec<String>,
    /// Facts published as the step gets on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emit: Vec<StepEmit>,
    /// The step's success is the pivot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
}

/// An activity beside the step's own: compensation, probe or fence. Its idempotency key is the step's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// The activity's name.
    pub activity: String,
    /// The queue; left out, the step's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The activity's input; left out, the input the step itself was given. `steps.<name>` is there, with
    /// its output once known, and `saga.reason` says why the saga ends.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Mapping,
    /// How failed attempts are repeated.
    #[serde(default = "Retry::persistent")]
    pub retry: Retry,
    /// How long one attempt may go unanswered; left out, the step's.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub attempt_timeout: Option<Duration>,
    /// For a probe: codes of its failures that mean "no trace of the effect". The step's attempt is then repeated under
    /// the *same* key. Any other failure is the effect's own, definite one, and the next attempt gets a new key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent_codes: Vec<String>,
}

/// How failed attempts are repeated: the n-th retry waits `initial · factor^(n-1)`, at most `cap`,
/// less up to `jitter` of it by a seeded choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Wait before the first retry.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub initial: Duration,
    /// Growth from one wait to the next.
    pub factor: f64,
    /// The longest wait.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub cap: Duration,
    /// The share of a wait that is left to chance, 0 to 1.
    pub jitter: f64,
    /// Attempts in all, the first included; null: until a deadline. (Left out, it is five: so null is always written.)
    pub max_attempts: Option<u32>,
    /// Error codes not worth another attempt, whatever the worker says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<String>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            initial: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_secs(60),
            jitter: 0.1,
            max_attempts: Some(5),
            non_retryable: Vec::new(),
        }
    }
}

impl Retry {
    /// For work that must get done, such as compensations: twenty attempts, then an operator.
    pub fn persistent() -> Self {
        Retry {
            max_attempts: Some(20),
            ..Retry::default()
        }
    }

    /// One attempt, no more.
    pub fn never() -> Self {
        Retry {
            max_attempts: Some(1),
            ..Retry::default()
        }
    }
}

/// Where an error leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "to")]
pub enum Route {
    /// Undo what was done, in reverse order of completion; ends `compensated`.
    Compensate {
        /// The reason shown and published (`saga.reason`); left out, the error code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The same, but ends `rejected`: the request could not be met, nothing went wrong.
    Reject {
        /// As above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Go on as if the step had succeeded; its output is null, its error remains readable.
    Continue {},
    /// Go on at the named node: a later one of the same or an enclosing sequence (so every saga ends).
    GoTo {
        /// The node's name.
        node: String,
    },
    /// Stop and wait for an operator.
    Operator {},
}

/// Several branches at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parallel {
    /// Unique in the definition.
    pub name: String,
    /// Each a sequence.
    pub branches: Vec<Vec<Node>>,
    /// How many branches must complete before the flow goes on: left out, all. The others are then abandoned:
    /// what they have done stays, what is in flight is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need: Option<u32>,
}

/// A part of the flow with a deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Unique in the definition.
    pub name: String,
    /// How long after its begin.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// What is in it.
    pub flow: Vec<Node>,
    /// Where the deadline leads, once attempts in flight are settled. `go_to` and `continue` abandon the scope.
    pub on_deadline: Route,
    /// What if settling finds that an effect of the scope's *last* step had happened: true, then the
    /// scope counts as completed; false, the effect is undone with the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_late: bool,
    /// How its deadline can be moved, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extend: Option<Extend>,
}

/// A signal that moves a scope's deadline, the first time that it comes while the scope is open and its deadline is ahead. At any
/// other time it is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// The signal's name; nothing else may wait for it.
    pub signal: String,
    /// How much later the deadline is then.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub by: Duration,
}

/// Wait for a signal. A signal that came earlier is taken at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    /// Unique in the definition; the payload becomes `steps.<name>.output`.
    pub name: String,
    /// The signal's name.
    pub signal: String,
    /// How long to wait.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// Where the deadline leads.
    pub on_deadline: Route,
}

/// Wait for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sleep {
    /// Unique in the definition.
    pub name: String,
    /// How long.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub duration: Duration,
}

/// Take the first case whose condition holds, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Unique in the definition.
    pub name: String,
    /// In order.
    pub cases: Vec<Case>,
    /// When no case holds; empty: go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<Node>,
}

/// One case of a [`Choice`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A CEL expression that gives a bool.
    pub when: Expression,
    /// What then.
    pub flow: Vec<Node>,
}

/// Publish a fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Emit {
    /// Unique in the definition.
    pub name: String,
    /// The Kafka topic, which is the event's type too.
    pub topic: String,
    /// The event's data.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Mapping,
}

/// The point of no return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pivot {
    /// Unique in the definition.
    pub name: String,
}

/// End the saga.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Unique in the definition.
    pub name: String,
    /// How.
    pub outcome: EndOutcome,
    /// The reason shown and published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an [`End`] ends the saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndOutcome {
    /// As if the flow had run to its end.
    Completed,
    /// Compensate, then `compensated`.
    Compensated,
    /// Compensate, then `rejected`.
    Rejected,
}

/// A fact published when a step gets somewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepEmit {
    /// When.
    pub on: StepMoment,
    /// The Kafka topic, which is the event's type too.
    pub topic: String,
    /// The event's data; `attempt` and `error` are there beside the usual variables.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Mapping,
    /// Only if this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
}

/// When a [`StepEmit`] is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepMoment {
    /// The first attempt is dispatched.
    Started,
    /// The effect has happened.
    Succeeded,
    /// An attempt failed, finally or not (`error.retryable` tells whether another follows).
    AttemptFailed,
    /// A later attempt is dispatched.
    Retried,
    /// The step has failed for good.
    Failed,
    /// The effect has been undone.
    Compensated,
}

/// A fact published when the saga gets somewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SagaEmit {
    /// When.
    pub on: SagaMoment,
    /// The Kafka topic, which is the event's type too.
    pub topic: String,
    /// The event's data.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Mapping,
    /// Only if this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
}

/// When a [`SagaEmit`] is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SagaMoment {
    /// It began.
    Started,
    /// It ran to its end.
    Completed,
    /// It ended, all undone: compensated, rejected or cancelled (`saga.status` tells).
    Undone,
    /// It stopped and needs an operator.
    Failed,
}

/// Durations as people write them: `15m`, `30s`, `250ms`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes `15m`.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    /// Reads `15m`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|error| de::Error::custom(format!("{text:?} is not a duration such as \"30s\": {error}")))
    }

    /// The same for an optional duration.
    pub mod option {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serializer, de};

        /// Writes `15m`, or null.
        pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads `15m`, or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| {
                humantime::parse_duration(&text)
                    .map_err(|error| de::Error::custom(format!("{text:?} is not a duration such as \"30s\": {error}")))
            })
            .transpose()
        }
    }
}

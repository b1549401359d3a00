//! Activities with typed input, output and failures, on top of [`crate::activity`].
//!
//! Wrap one in [`Typed`] or [`TypedBatch`] to register it: the wrapper decodes the input, answers a bad one with
//! `invalid_input` and the place that is wrong, and encodes what comes back.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use workflows::protocol::Outcome;

use crate::activity::{Activity, BatchActivity, Schemas, TaskContext};

/// The input does not have the activity's shape, or breaks one of its rules.
pub const INVALID_INPUT: &str = "invalid_input";
/// The activity could not do its work for a reason that is no part of its contract, e.g. Postgres is away.
pub const INTERNAL: &str = "internal";

/// Why an activity did not succeed; the variants of [`Outcome`] that are not success.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The effect has definitely not happened.
    Failed {
        /// A stable code, which definitions route by.
        code: &'static str,
        /// For people.
        message: String,
        /// Whether another attempt might succeed.
        retryable: bool,
        /// More for whoever handles the failure.
        details: Value,
    },
    /// Nobody can tell whether it has happened.
    Unknown {
        /// For people.
        message: String,
    },
    /// It is under way elsewhere.
    Pending {
        /// When to probe again.
        check_after: Duration,
        /// What is known so far.
        details: Value,
    },
}

impl Failure {
    /// A failure that another attempt won't change.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Failure::Failed {
            code,
            message: message.into(),
            retryable: false,
            details: Value::Null,
        }
    }

    /// A failure that another attempt may change.
    pub fn retryable(code: &'static str, message: impl Into<String>) -> Self {
        Failure::Failed {
            code,
            message: message.into(),
            retryable: true,
            details: Value::Null,
        }
    }

    /// An input that has the right shape but not the right content; `pointer` is the JSON Pointer to what is wrong.
    pub fn invalid_input(pointer: &str, problem: impl std::fmt::Display) -> Self {
        Failure::permanent(INVALID_INPUT, format!("{pointer}: {problem}")).with(json!({ "pointer": pointer }))
    }

    /// The same failure with `details`, where it can have any.
    pub fn with(mut self, more: Value) -> Self {
        match &mut self {
            Failure::Failed { details, .. } | Failure::Pending { details, .. } => *details = more,
            Failure::Unknown { .. } => {}
        }
        self
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed {
                code,
                message,
                retryable,
                details,
            } => Outcome::Failed {
                code: code.to_owned(),
                message,
                retryable,
                details,
            },
            Failure::Unknown { message } => Outcome::Unknown { message },
            Failure::Pending { check_after, details } => Outcome::Pending {
                check_after_ms: u64::try_from(check_after.as_millis()).unwrap_or(u64::MAX),
                details,
            },
        }
    }
}

/// An [`Activity`] with types.
#[async_trait]
pub trait TypedActivity: Send + Sync {
    /// What it needs.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// What it gives.
    type Output: Serialize + JsonSchema + Send;
    /// As definitions name it.
    const NAME: &'static str;
    /// The codes it fails with.
    const CODES: &'static [&'static str];

    /// See [`Activity::heartbeat_every`].
    fn heartbeat_every(&self) -> Option<Duration> {
        None
    }

    /// See [`Activity::run`].
    async fn run(&self, context: &TaskContext, input: Self::Input) -> Result<Self::Output, Failure>;
}

/// A [`BatchActivity`] with types.
#[async_trait]
pub trait TypedBatchActivity: Send + Sync {
    /// What a task needs.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// What a task gives.
    type Output: Serialize + JsonSchema + Send;
    /// As definitions name it.
    const NAME: &'static str;
    /// The codes its tasks fail with.
    const CODES: &'static [&'static str];

    /// See [`BatchActivity::run_batch`].
    async fn run_batch(&self, tasks: Vec<(TaskContext, Self::Input)>) -> Vec<Result<Self::Output, Failure>>;
}

/// Makes a [`TypedActivity`] an [`Activity`].
pub struct Typed<A>(pub A);

#[async_trait]
impl<A: TypedActivity> Activity for Typed<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn heartbeat_every(&self) -> Option<Duration> {
        self.0.heartbeat_every()
    }

    fn schemas(&self) -> Schemas {
        schemas::<A::Input, A::Output>(A::CODES)
    }

    async fn run(&self, context: &TaskContext, input: Value) -> Outcome {
        match decode::<A::Input>(input) {
            Ok(input) => encode(self.0.run(context, input).await),
            Err(failure) => failure.into(),
        }
    }
}

/// Makes a [`TypedBatchActivity`] a [`BatchActivity`].
pub struct TypedBatch<A>(pub A);

#[async_trait]
impl<A: TypedBatchActivity> BatchActivity for TypedBatch<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn schemas(&self) -> Schemas {
        schemas::<A::Input, A::Output>(A::CODES)
    }

    async fn run_batch(&self, tasks: Vec<(TaskContext, Value)>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(tasks.len());
        let mut readable = Vec::with_capacity(tasks.len());
        for (context, input) in tasks {
            match decode::<A::Input>(input) {
                Ok(input) => {
                    outcomes.push(None);
                    readable.push((context, input));
                }
                Err(failure) => outcomes.push(Some(failure.into())),
            }
        }
        let expected = readable.len();
        let answers = if readable.is_empty() {
            Vec::new()
        } else {
            self.0.run_batch(readable).await
        };
        assert_eq!(answers.len(), expected, "{} must answer each of its tasks", A::NAME);
        let mut answers = answers.into_iter();
        let mut next = || encode(answers.next().expect("counted above"));
        outcomes
            .into_iter()
            .map(|refused| refused.unwrap_or_else(&mut next))
            .collect()
    }
}

/// The contract of an activity with these types.
pub fn schemas<Input: JsonSchema, Output: JsonSchema>(codes: &[&'static str]) -> Schemas {
    Schemas {
        input: schemars::schema_for!(Input).to_value(),
        output: schemars::schema_for!(Output).to_value(),
        codes: codes.to_vec(),
    }
}

/// Reads an input, or says which place of it is wrong.
pub fn decode<Input: DeserializeOwned>(input: Value) -> Result<Input, Failure> {
    serde_path_to_error::deserialize(input).map_err(|error| {
        let pointer = pointer(error.path());
        let message = format!("the input is not valid at {:?}: {}", pointer, error.inner());
        Failure::permanent(INVALID_INPUT, message).with(json!({ "pointer": pointer }))
    })
}

/// What a worker reports of an answer.
pub fn encode<Output: Serialize>(answer: Result<Output, Failure>) -> Outcome {
    match answer.map(serde_json::to_value) {
        Ok(Ok(output)) => Outcome::Succeeded { output },
        // The effect is there, only its description is not: an attempt at encoding it again would fail again.
        Ok(Err(error)) => Outcome::Unknown {
            message: format!("the activity's output is not JSON: {error}"),
        },
        Err(failure) => failure.into(),
    }
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let token = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::str::FromStr;
    use std::sync::Arc;

    use serde::Deserialize;
    use tokio_util::sync::CancellationToken;
    use workflows::ids::{SagaId, Timestamp};
    use workflows::protocol::{Role, Task, Token};

    use super::*;
    use crate::activity::{Handler, Registry};

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct Halve {
        seat_ids: Vec<u32>,
    }

    struct Halving;

    #[async_trait]
    impl TypedBatchActivity for Halving {
        type Input = Halve;
        type Output = Vec<u32>;
        const NAME: &'static str = "numbers.halve";
        const CODES: &'static [&'static str] = &["odd"];

        async fn run_batch(&self, tasks: Vec<(TaskContext, Halve)>) -> Vec<Result<Vec<u32>, Failure>> {
            let halve = |input: Halve| {
                let odd = input.seat_ids.iter().find(|number| *number % 2 == 1);
                match odd {
                    Some(odd) => Err(Failure::permanent("odd", format!("{odd} is odd"))),
                    None => Ok(input.seat_ids.iter().map(|number| number / 2).collect()),
                }
            };
            tasks.into_iter().map(|(_, input)| halve(input)).collect()
        }
    }

    fn context() -> TaskContext {
        let saga = SagaId::from_str("0192f0c1-2345-7000-8000-000000000001").unwrap();
        let token = Token {
            saga,
            step: "halve".into(),
            role: Role::Run,
            attempt: 1,
            epoch: 1,
        };
        let task = Task {
            token,
            workflow: "w".into(),
            activity: Halving::NAME.into(),
            key: format!("{saga}/halve/1"),
            input: Value::Null,
            deadline: Timestamp(0),
            traceparent: None,
        };
        TaskContext::new(&task, CancellationToken::new())
    }

    #[tokio::test]
    async fn bad_inputs_fail_alone_and_name_the_place() {
        let inputs = [
            json!({"seatIds": [2, 4]}),
            json!({"seatIds": [2, "x"]}),
            json!({}),
            json!({"seatIds": [3]}),
        ];
        let tasks = inputs.into_iter().map(|input| (context(), input)).collect();
        let outcomes = TypedBatch(Halving).run_batch(tasks).await;

        assert_eq!(outcomes[0], Outcome::Succeeded { output: json!([1, 2]) });
        let Outcome::Failed {
            code,
            details,
            retryable: false,
            ..
        } = &outcomes[1]
        else {
            panic!("{outcomes:?}")
        };
        assert_eq!(
            (code.as_str(), details),
            ("invalid_input", &json!({"pointer": "/seatIds/1"}))
        );
        let Outcome::Failed {
            code,
            message,
            retryable: false,
            ..
        } = &outcomes[2]
        else {
            panic!("{outcomes:?}")
        };
        assert_eq!(code, "invalid_input");
        assert!(message.contains("seatIds"), "{message}");
        let Outcome::Failed { code, .. } = &outcomes[3] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(code, "odd");
    }

    #[test]
    fn the_registry_finds_and_announces_what_it_was_given() {
        let mut registry = Registry::new();
        registry.batch("numbers", Arc::new(TypedBatch(Halving)));
        assert!(matches!(
            registry.get("numbers", "numbers.halve"),
            Some(Handler::Batch(_))
        ));
        assert!(registry.get("numbers", "numbers.double").is_none());
        assert!(registry.get("letters", "numbers.halve").is_none());
        let announcements = registry.announcements();
        assert_eq!(announcements.len(), 1);
        assert_eq!(announcements[0].schemas.input["required"], json!(["seatIds"]));
        assert_eq!(announcements[0].schemas.codes, ["odd"]);
    }

    #[test]
    #[should_panic(expected = "registered twice")]
    fn one_name_is_registered_once() {
        let mut registry = Registry::new();
        registry
            .batch("numbers", Arc::new(TypedBatch(Halving)))
            .batch("numbers", Arc::new(TypedBatch(Halving)));
    }
}

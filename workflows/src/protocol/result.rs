//! A result's JSON form, by hand: it is read and written for every step of every saga, and what serde derives for a flattened,
//! tagged enum gathers all fields into a buffer first. The test below holds it against the derived form.

use serde::de::Error as _;
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Outcome, TaskResult, Token};

/// Token, outcome, and the four fields of a failure.
const FIELDS_MAX: usize = 6;

impl Serialize for TaskResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("TaskResult", FIELDS_MAX)?;
        out.serialize_field("token", &self.token)?;
        match &self.outcome {
            Outcome::Succeeded { output } => {
                out.serialize_field("outcome", "succeeded")?;
                out.serialize_field("output", output)?;
            }
            Outcome::Failed {
                code,
                message,
                retryable,
                details,
            } => {
                out.serialize_field("outcome", "failed")?;
                out.serialize_field("code", code)?;
                out.serialize_field("message", message)?;
                out.serialize_field("retryable", retryable)?;
                if !details.is_null() {
                    out.serialize_field("details", details)?;
                }
            }
            Outcome::Unknown { message } => {
                out.serialize_field("outcome", "unknown")?;
                out.serialize_field("message", message)?;
            }
            Outcome::Pending {
                check_after_ms,
                details,
            } => {
                out.serialize_field("outcome", "pending")?;
                out.serialize_field("check_after_ms", check_after_ms)?;
                if !details.is_null() {
                    out.serialize_field("details", details)?;
                }
            }
            Outcome::Heartbeat {} => out.serialize_field("outcome", "heartbeat")?,
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for TaskResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Flat {
            token,
            outcome,
            mut rest,
        } = Flat::deserialize(deserializer)?;
        let outcome = match outcome {
            Kind::Succeeded => Outcome::Succeeded {
                output: rest.output.take().ok_or_else(|| D::Error::missing_field("output"))?,
            },
            Kind::Failed => Outcome::Failed {
                code: needed(rest.code, "code")?,
                message: needed(rest.message, "message")?,
                retryable: needed(rest.retryable, "retryable")?,
                details: rest.details.unwrap_or_default(),
            },
            Kind::Unknown => Outcome::Unknown {
                message: needed(rest.message, "message")?,
            },
            Kind::Pending => Outcome::Pending {
                check_after_ms: needed(rest.check_after_ms, "check_after_ms")?,
                details: rest.details.unwrap_or_default(),
            },
            Kind::Heartbeat => Outcome::Heartbeat {},
        };
        Ok(TaskResult { token, outcome })
    }
}

/// A field that this outcome must have, as its type.
fn needed<T: serde::de::DeserializeOwned, E: serde::de::Error>(
    value: Option<Value>,
    name: &'static str,
) -> Result<T, E> {
    let value = value.ok_or_else(|| E::missing_field(name))?;
    serde_json::from_value(value).map_err(|error| E::custom(format_args!("{name}: {error}")))
}

/// Which outcome it is.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Succeeded,
    Failed,
    Unknown,
    Pending,
    Heartbeat,
}

/// Token, kind, and whatever else stands beside them: fields of other outcomes may have any type, for nobody reads them.
struct Flat {
    token: Token,
    outcome: Kind,
    rest: Rest,
}

#[derive(Default)]
struct Rest {
    output: Option<Value>,
    code: Option<Value>,
    message: Option<Value>,
    retryable: Option<Value>,
    check_after_ms: Option<Value>,
    details: Option<Value>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Token,
    Outcome,
    Output,
    Code,
    Message,
    Retryable,
    CheckAfterMs,
    Details,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FlatVisitor)
    }
}

struct FlatVisitor;

impl<'de> serde::de::Visitor<'de> for FlatVisitor {
    type Value = Flat;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a result: a token and an outcome")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Flat, A::Error> {
        let (mut token, mut outcome, mut rest) = (None, None, Rest::default());
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Token => token = Some(map.next_value()?),
                Field::Outcome => outcome = Some(map.next_value()?),
                Field::Output => rest.output = Some(map.next_value()?),
                Field::Code => rest.code = Some(map.next_value()?),
                Field::Message => rest.message = Some(map.next_value()?),
                Field::Retryable => rest.retryable = Some(map.next_value()?),
                Field::CheckAfterMs => rest.check_after_ms = Some(map.next_value()?),
                Field::Details => rest.details = Some(map.next_value()?),
                Field::Other => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(Flat {
            token: token.ok_or_else(|| A::Error::missing_field("token"))?,
            outcome: outcome.ok_or_else(|| A::Error::missing_field("outcome"))?,
            rest,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::ids::SagaId;
    use crate::protocol::Role;

    /// What serde derives: the form that docs/protocol.md describes.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Derived {
        token: Token,
        #[serde(flatten)]
        outcome: Outcome,
    }

    fn token() -> Token {
        Token {
            saga: SagaId(uuid::Uuid::from_u128(7)),
            step: "pay".to_owned(),
            role: Role::Run,
            attempt: 2,
            epoch: 3,
        }
    }

    fn outcomes() -> Vec<Outcome> {
        let details = || [Value::Null, json!({"a": [1, null]})];
        let mut all: Vec<Outcome> = [Value::Null, json!(1), json!({"x": "ü"})]
            .map(|output| Outcome::Succeeded { output })
            .into();
        for details in details() {
            let (code, message) = ("card_declined".to_owned(), "no \"money\"".to_owned());
            all.push(Outcome::Failed {
                code,
                message,
                retryable: true,
                details: details.clone(),
            });
            all.push(Outcome::Pending {
                check_after_ms: u64::MAX,
                details,
            });
        }
        all.push(Outcome::Unknown { message: String::new() });
        all.push(Outcome::Heartbeat {});
        all
    }

    #[test]
    fn is_written_as_derived() {
        for outcome in outcomes() {
            let derived = Derived {
                token: token(),
                outcome: outcome.clone(),
            };
            let ours = TaskResult {
                token: token(),
                outcome,
            };
            let text = serde_json::to_string(&ours).unwrap();
            assert_eq!(text, serde_json::to_string(&derived).unwrap());
            assert_eq!(serde_json::from_str::<TaskResult>(&text).unwrap(), ours);
        }
    }

    #[test]
    fn is_read_as_derived() {
        let token = serde_json::to_value(token()).unwrap();
        let bodies = [
            json!({"outcome": "succeeded"}),
            json!({"outcome": "succeeded", "output": null}),
            json!({"outcome": "succeeded", "output": 1, "code": 5, "message": {}, "unknown": [1]}),
            json!({"outcome": "failed", "code": "x", "message": "m", "retryable": false}),
            json!({"outcome": "failed", "code": "x", "message": "m", "retryable": "no"}),
            json!({"outcome": "failed", "code": 1, "message": "m", "retryable": true}),
            json!({"outcome": "failed", "message": "m", "retryable": true}),
            json!({"outcome": "failed", "code": "x", "message": "m", "retryable": true, "details": null}),
            json!({"outcome": "unknown", "message": "m", "details": 1}),
            json!({"outcome": "unknown"}),
            json!({"outcome": "pending", "check_after_ms": -1}),
            json!({"outcome": "pending", "check_after_ms": 20}),
            json!({"outcome": "heartbeat", "output": 1}),
            json!({"outcome": "exploded"}),
            json!({"outcome": null}),
            json!({}),
        ];
        for mut body in bodies {
            for with_token in [true, false] {
                if with_token {
                    body["token"] = token.clone();
                } else {
                    body.as_object_mut().unwrap().remove("token");
                }
                let text = body.to_string();
                let ours: Result<TaskResult, _> = serde_json::from_str(&text);
                let derived: Result<Derived, _> = serde_json::from_str(&text);
                assert_eq!(ours.is_ok(), derived.is_ok(), "{text}: {ours:?} {derived:?}");
                if let (Ok(ours), Ok(derived)) = (ours, derived) {
                    assert_eq!((ours.token, ours.outcome), (derived.token, derived.outcome));
                }
            }
        }
    }
}

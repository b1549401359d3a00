//! Refusals in Stripe's error shape.

use std::ops::{Deref, DerefMut};

use serde_json::{Map, Value, json};

/// An answer other than success. Boxed, because it is large and rare.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(Box<Details>);

impl Deref for Refusal {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Refusal {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// What it says.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub status: u16,
    pub kind: &'static str,
    pub code: Option<&'static str>,
    pub decline_code: Option<String>,
    pub message: String,
    pub param: Option<String>,
    pub charge: Option<String>,
    pub intent: Option<Value>,
}

impl Refusal {
    pub fn new(status: u16, kind: &'static str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        let message = message.into();
        Refusal(Box::new(Details {
            status,
            kind,
            code,
            decline_code: None,
            message,
            param: None,
            charge: None,
            intent: None,
        }))
    }

    pub fn invalid(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        let mut refusal = Refusal::new(400, "invalid_request_error", Some(code), message);
        refusal.param = Some(param.to_owned());
        refusal
    }

    pub fn missing(param: &str) -> Self {
        Refusal::invalid("parameter_missing", param, format!("Missing required param: {param}."))
    }

    pub fn no_such(status: u16, what: &str, param: &str, id: &str) -> Self {
        let mut refusal = Refusal::invalid("resource_missing", param, format!("No such {what}: '{id}'"));
        refusal.status = status;
        refusal
    }

    pub fn unauthorized(message: &str) -> Self {
        Refusal::new(401, "invalid_request_error", None, message)
    }

    pub fn rate_limited() -> Self {
        let message =
            "Too many requests hit the API too quickly. We recommend an exponential backoff of your requests.";
        Refusal::new(429, "invalid_request_error", Some("rate_limit"), message)
    }

    pub fn internal() -> Self {
        Refusal::new(
            500,
            "api_error",
            None,
            "Sorry! There was an error while talking to one of our backends.",
        )
    }

    /// The same key while its first request is being worked on.
    pub fn key_in_use(key: &str) -> Self {
        let message = format!(
            "There is currently another in-progress request using this idempotency key ({key}). \
             Wait for it to finish, then try again."
        );
        Refusal::new(409, "idempotency_error", Some("idempotency_key_in_use"), message)
    }

    /// The same key with other parameters.
    pub fn key_mismatch(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. \
             Try using a key other than '{key}' if you meant to execute a different request."
        );
        Refusal::new(400, "idempotency_error", None, message)
    }

    pub fn to_json(&self) -> Value {
        let mut error = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                error.insert(name.to_owned(), value);
            }
        };
        put("charge", self.charge.clone().map(Value::from));
        put("code", self.code.map(Value::from));
        put("decline_code", self.decline_code.clone().map(Value::from));
        put(
            "doc_url",
            self.code.map(|code| {
                Value::from(format!(
                    "https://stripe.com/docs/error-codes/{}",
                    code.replace('_', "-")
                ))
            }),
        );
        put("message", Some(Value::from(self.message.clone())));
        put("param", self.param.clone().map(Value::from));
        put("payment_intent", self.intent.clone());
        put("type", Some(Value::from(self.kind)));
        json!({ "error": error })
    }
}

//! Why the gateway didn't do what was asked.

use axum::http::StatusCode;
use serde::Deserialize;

/// Why the gateway didn't do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// It said no, and why.
    #[error("the gateway refused: {}", .0.detail)]
    Refused(Box<Refusal>),
    /// It can't be reached, has too much to do, or answers too late.
    #[error("the gateway is not available: {0}")]
    Away(String),
    /// A defect, of ours or of its.
    #[error("the gateway's answer is not understood: {0}")]
    Odd(String),
}

/// A problem as the gateway describes it (RFC 9457).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    #[serde(rename = "type")]
    kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong this time.
    pub detail: String,
    /// What is wrong at which place.
    #[serde(default)]
    pub errors: Vec<FieldError>,
    /// Seats that were wanted and are taken.
    #[serde(default)]
    pub unavailable_seats: Vec<String>,
    /// Free ones near by.
    #[serde(default)]
    pub available_seats: Vec<String>,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, Deserialize)]
pub struct FieldError {
    /// Where.
    pub pointer: String,
    /// What.
    pub message: String,
}

impl FieldError {
    /// Where and what, for people.
    pub fn told(&self) -> String {
        let field = self.pointer.trim_start_matches(['/', '?', '@']);
        format!("{field} {}", self.message)
    }
}

impl Refusal {
    /// What stands at the end of its type: `seats-unavailable`.
    pub fn code(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    /// Everything that is wrong, for people.
    pub fn told(&self) -> String {
        match self.errors.is_empty() {
            true => self.detail.clone(),
            false => self.errors.iter().map(FieldError::told).collect::<Vec<_>>().join("; "),
        }
    }
}

impl Failure {
    /// Something that should not be.
    pub fn odd(error: impl std::fmt::Display) -> Failure {
        Failure::Odd(error.to_string())
    }

    /// What an answer that is no success says.
    pub fn of_problem(status: StatusCode, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) if status.is_server_error() => match status {
                StatusCode::SERVICE_UNAVAILABLE => Failure::Away(refusal.detail),
                _ => Failure::Odd(refusal.detail),
            },
            Ok(refusal) => Failure::Refused(Box::new(refusal)),
            // A proxy in between.
            Err(_) => Failure::Away(format!("it answers {status}")),
        }
    }

    /// Whether it is a refusal of this kind.
    pub fn is(&self, code: &str) -> bool {
        matches!(self, Failure::Refused(refusal) if refusal.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_apart() {
        let body = br#"{"type": "urn:sagaline:problem:invalid", "title": "t", "status": 422, "detail": "d",
                        "errors": [{"pointer": "/email", "message": "must be an address"}]}"#;
        let failure = Failure::of_problem(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert!(failure.is("invalid") && !failure.is("conflict"));
        assert!(matches!(failure, Failure::Refused(refusal) if refusal.told() == "email must be an address"));
        let away = Failure::of_problem(StatusCode::SERVICE_UNAVAILABLE, body);
        assert!(matches!(away, Failure::Away(_)));
        assert!(matches!(
            Failure::of_problem(StatusCode::BAD_GATEWAY, b"<html>"),
            Failure::Away(_)
        ));
    }
}

//! Things as words.

use std::time::Duration;

use serde_json::Value;
use workflows::ids::Timestamp;
use workflows::state::Status;

use crate::access::{Operator, Role};
use crate::limits::JSON_SHOWN_MAX;

/// A status as a sign, beside its word and colour.
pub fn mark(status: Status) -> &'static str {
    match status {
        Status::Running => "▶",
        Status::Waiting => "◷",
        Status::Compensating => "↶",
        Status::Completed => "✔",
        Status::Compensated => "↩",
        Status::Rejected => "⊘",
        Status::Cancelled => "✕",
        Status::Failed => "‼",
        Status::Paused => "⏸",
    }
}

/// How long ago, or in how long.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let millis = now.0.saturating_sub(at.0);
    let span = span(millis.unsigned_abs());
    if millis >= 0 {
        format!("{span} ago")
    } else {
        format!("in {span}")
    }
}

/// A span of milliseconds, to two units.
pub fn span(millis: u64) -> String {
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    let text = humantime::format_duration(Duration::from_secs(millis / 1_000)).to_string();
    let words: Vec<&str> = text.split(' ').take(2).collect();
    words.join(" ")
}

/// The beginning of a text.
pub fn shortened(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// JSON as who is looking may see it.
pub fn json(value: &Value, operator: &Operator) -> String {
    json_within(value, operator, JSON_SHOWN_MAX)
}

/// The same, up to so many characters.
pub fn json_within(value: &Value, operator: &Operator, characters_max: usize) -> String {
    let text = serde_json::to_string_pretty(&seen(value, operator)).unwrap_or_default();
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}\n… {} bytes in all", &text[..end], text.len()),
        None => text,
    }
}

/// JSON as who is looking may see it.
pub fn seen(value: &Value, operator: &Operator) -> Value {
    if operator.role >= Role::Operator {
        value.clone()
    } else {
        redacted(value)
    }
}

/// The shape without what is in it.
fn redacted(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::String("•••".to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(redacted).collect()),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), redacted(value)))
            .collect(),
    }
}

/// Cents as an amount with thousands apart: `123456789` as `1,234,567.89`.
pub fn amount(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    format!("{sign}{}.{:02}", thousands(cents / 100), cents % 100)
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units_at_most() {
        let now = Timestamp(100_000_000);
        assert_eq!(ago(Timestamp(now.0 - 3_725_000), now), "1h 2m ago");
        assert_eq!(ago(Timestamp(now.0 + 500), now), "in 500 ms");
    }

    #[test]
    fn a_viewer_sees_shapes_only() {
        let viewer = Operator {
            id: 1,
            name: "v".to_owned(),
            role: Role::Viewer,
        };
        let shown = json(&serde_json::json!({"card": "4242", "seats": [1, null]}), &viewer);
        assert!(
            shown.contains("card") && !shown.contains("4242") && !shown.contains('1'),
            "{shown}"
        );
    }
}

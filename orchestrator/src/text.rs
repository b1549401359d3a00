//! Texts from elsewhere, made fit for Postgres, which refuses U+0000 in text and in jsonb. Workers and operators may send anything.

use serde_json::Value;

/// With the replacement character for each NUL.
pub fn clean(text: &str) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text.to_owned()
    }
}

/// The same of every text in a value, names of members included.
pub(crate) fn clean_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean(&text)),
        Value::Array(items) => items.into_iter().map(clean_value).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (clean(&name), clean_value(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_nul_itself_is_replaced() {
        let value = json!({"a\0": ["b\0", 1, null], "pattern": "\\u0000"});
        let cleaned = json!({"a\u{fffd}": ["b\u{fffd}", 1, null], "pattern": "\\u0000"});
        assert_eq!(clean_value(value), cleaned);
    }
}

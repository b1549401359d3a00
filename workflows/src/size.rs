//! How large a value is.

use serde_json::Value;

/// The size of a value as compact JSON, in bytes, without making the text.
pub fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn is_that_of_the_text() {
        for value in [json!(null), json!({"a": ["ü\n\"", 1.5, -3, {"b": {}}]}), json!("\u{0}")] {
            assert_eq!(super::json_bytes(&value), value.to_string().len());
        }
    }
}

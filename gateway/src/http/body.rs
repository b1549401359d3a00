//! How a request's body is read: bounded in size and time, then as UTF-8, then as one JSON object whose members are
//! kept as they were written, so that amounts can be read exactly and every mistake can be named at once.

use std::fmt;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text;
use crate::limits::{BODY_DRAIN_BYTES_MAX, BODY_READ_LIMIT};
use crate::problem::{FieldError, Kind, Problem};

/// The members of a JSON object, as written and in order.
pub struct Members(Vec<(String, Box<RawValue>)>);

/// Refuses a body that is not declared as JSON in UTF-8.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = declared.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    let is_utf8 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    if is_json && is_utf8 {
        return Ok(());
    }
    let what = if declared.is_empty() {
        "nothing".to_owned()
    } else {
        text::echo(declared)
    };
    let detail = format!("the body must be declared as `Content-Type: application/json` in UTF-8, not as {what}");
    Err(Problem::new(Kind::UnsupportedMediaType, detail))
}

/// Reads a whole body of at most `bytes_max`.
pub async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let reading = read_bounded(headers, body, bytes_max);
    tokio::time::timeout(BODY_READ_LIMIT, reading)
        .await
        .unwrap_or_else(|_| {
            Err(Problem::new(
                Kind::TooSlow,
                format!("the body must arrive within {} s", BODY_READ_LIMIT.as_secs()),
            ))
        })
}

async fn read_bounded(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut chunks = body.into_data_stream();
    let mut read = 0;
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0).min(bytes_max));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            Problem::malformed("", "the body broke off before its end")
        })?;
        read += chunk.len();
        if read <= bytes_max {
            bytes.extend_from_slice(&chunk);
        } else {
            // Read on without keeping it: a client that is still sending would not see our answer.
            bytes = Vec::new();
            if read > BODY_DRAIN_BYTES_MAX {
                break;
            }
        }
    }
    if read > bytes_max {
        let detail = format!("the body must have at most {bytes_max} bytes");
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    Ok(bytes.into())
}

/// Reads a whole body of at most `bytes_max` as JSON of this type; the first thing that doesn't fit is named with its place.
pub async fn typed<T: DeserializeOwned>(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<T, Problem> {
    let bytes = read(headers, body, bytes_max).await?;
    require_json(headers)?;
    parse_typed(&bytes)
}

/// Reads JSON as this type.
pub fn parse_typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The whole must be JSON, or a stray bracket is reported as a wrong field.
    parse_object(bytes)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer_of(error.path());
        let message = error.into_inner().to_string();
        // Lines and columns help nobody beside the place.
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(what, _)| what);
        Problem::invalid(vec![FieldError::new(pointer, message.to_owned())])
    })
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", text::pointer_token(key)),
            Segment::Enum { variant } => format!("/{}", text::pointer_token(variant)),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// Reads a body as one JSON object.
pub fn parse_object(bytes: &[u8]) -> Result<Members, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let message = format!(
            "the body is not valid UTF-8: the byte at offset {} does not fit",
            error.valid_up_to()
        );
        Problem::malformed("", message)
    })?;
    let start = text.trim_start_matches([' ', '\t', '\r', '\n']);
    if start.is_empty() {
        return Err(Problem::malformed("", "the body is empty; it must be a JSON object"));
    }
    // The whole must be JSON before its shape is looked at, or a stray bracket is reported as a missing field.
    serde_json::from_str::<&RawValue>(text)
        .map_err(|error| Problem::malformed("", format!("the body is not JSON: {error}")))?;
    if !start.starts_with('{') {
        return Err(Problem::invalid(vec![FieldError::new("", "must be a JSON object")]));
    }
    serde_json::from_str(text).map_err(|error| Problem::malformed("", format!("the body is not JSON: {error}")))
}

impl Members {
    /// These members.
    pub fn of(members: Vec<(String, Box<RawValue>)>) -> Members {
        Members(members)
    }

    /// Takes a member out; `null` counts as left out. A member that is given twice is an error.
    pub fn take(&mut self, name: &str, errors: &mut Vec<FieldError>) -> Option<Box<RawValue>> {
        self.take_or_null(name, errors).filter(|value| value.get() != "null")
    }

    /// The same where `null` says something.
    pub fn take_or_null(&mut self, name: &str, errors: &mut Vec<FieldError>) -> Option<Box<RawValue>> {
        let mut found = None;
        let mut count = 0;
        self.0.retain_mut(|(member, value)| {
            if member != name {
                return true;
            }
            count += 1;
            found = Some(std::mem::take(value));
            false
        });
        if count > 1 {
            errors.push(FieldError::new(format!("/{name}"), "must be given only once"));
        }
        found
    }

    /// Takes a member out that must be there.
    pub fn required(&mut self, name: &str, errors: &mut Vec<FieldError>) -> Option<Box<RawValue>> {
        let raw = self.take(name, errors);
        if raw.is_none() {
            errors.push(FieldError::new(format!("/{name}"), "is required"));
        }
        raw
    }

    /// The same of text, which is checked.
    pub fn required_text(&mut self, name: &str, chars_max: usize, errors: &mut Vec<FieldError>) -> Option<String> {
        let raw = self.required(name, errors)?;
        text_at(&raw, &format!("/{name}"), chars_max, errors)
    }

    /// Refuses whatever has not been taken.
    pub fn finish(self, known: &[&str], errors: &mut Vec<FieldError>) {
        for (name, _) in self.0 {
            let message = format!("is not a known field; known are {}", known.join(", "));
            errors.push(FieldError::new(format!("/{}", text::pointer_token(&name)), message));
        }
    }
}

/// Reads a JSON string and checks it, naming what is wrong at `pointer`.
pub fn text_at(raw: &RawValue, pointer: &str, chars_max: usize, errors: &mut Vec<FieldError>) -> Option<String> {
    let value = decode::<String>(raw, pointer, "must be text", errors)?;
    match text::check(&value, chars_max) {
        Ok(()) => Some(value),
        Err(message) => {
            errors.push(FieldError::new(pointer, message));
            None
        }
    }
}

/// Reads a JSON value as `T`, or says at `pointer` what it must be.
pub fn decode<T: DeserializeOwned>(
    raw: &RawValue,
    pointer: &str,
    must: &str,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    match serde_json::from_str(raw.get()) {
        Ok(value) => Some(value),
        // Right in kind but not decodable: an escape such as \ud800, half of a surrogate pair.
        Err(error) if error.is_syntax() => {
            errors.push(FieldError::new(pointer, format!("{must}, and valid Unicode: {error}")));
            None
        }
        Err(_) => {
            errors.push(FieldError::new(pointer, must));
            None
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::HeaderValue;

    use super::*;

    fn detail_of(body: &[u8]) -> String {
        let problem = parse_object(body).err().unwrap();
        problem.errors()[0].message.clone()
    }

    #[test]
    fn a_body_that_can_not_be_read_is_refused_with_its_place() {
        assert_eq!(detail_of(b""), "the body is empty; it must be a JSON object");
        assert_eq!(
            detail_of(b"{\"userId\": \"\xff\"}"),
            "the body is not valid UTF-8: the byte at offset 12 does not fit"
        );
        assert_eq!(
            detail_of(b"{\"userId\": \"u\",\n}"),
            "the body is not JSON: key must be a string at line 2 column 1"
        );
        assert_eq!(
            detail_of(b"{} {}"),
            "the body is not JSON: trailing characters at line 1 column 4"
        );
        assert_eq!(detail_of(b"[1]"), "must be a JSON object");
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!("{{\"userId\": {}1{}}}", "[".repeat(30_000), "]".repeat(30_000));
        let mut errors = Vec::new();
        let mut members = parse_object(deep.as_bytes()).unwrap_or_else(|_| Members(Vec::new()));
        if let Some(raw) = members.take("userId", &mut errors) {
            assert_eq!(text_at(&raw, "/userId", 10, &mut errors), None);
        }
    }

    #[test]
    fn members_are_taken_once() {
        let mut errors = Vec::new();
        let mut members = parse_object(br#"{"a": 1.00, "b": null, "c": 1, "c": 2, "~/": 0}"#).unwrap();
        assert_eq!(members.take("a", &mut errors).unwrap().get(), "1.00");
        assert!(members.take("b", &mut errors).is_none());
        assert!(members.take("c", &mut errors).is_some());
        members.finish(&["a", "b"], &mut errors);
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/c", "/~0~1"]);
    }

    #[test]
    fn only_json_in_utf8_is_taken() {
        let check = |declared: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(declared));
            require_json(&headers).is_ok()
        };
        assert!(check("application/json"));
        assert!(check("Application/JSON; charset=\"UTF-8\""));
        assert!(check("application/vnd.shop+json"));
        assert!(!check("text/plain"));
        assert!(!check("application/json; charset=utf-16"));
        assert!(!check("application/x-www-form-urlencoded"));
        assert!(require_json(&HeaderMap::new()).is_err());
    }
}

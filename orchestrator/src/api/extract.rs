//! Reading requests: bodies, queries and headers, each refused with the place of what is wrong.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use serde::de::DeserializeOwned;
use workflows::ids::{SagaId, Timestamp};

use super::problem::{ApiError, ProblemDetails, ProblemKind};
use crate::client::{ClientError, WAIT_MAX};

/// A JSON body as `T`; an error names the place by a JSON Pointer.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let media_type = content_type.map(|it| it.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match media_type.as_deref() {
        None | Some("application/json") => {}
        Some(other) if other.starts_with("application/") && other.ends_with("+json") => {}
        Some(other) => {
            let message = format!("{other:?} is not read here; send application/json");
            return Err(ProblemDetails::malformed("@content-type", message).into());
        }
    }
    from_json(body)
}

/// JSON text as `T`, whatever its media type says.
pub fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Keeping track of the place costs as much as reading does, and is only wanted of what can't be read.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = from_deserializer(&mut deserializer)?;
    deserializer
        .end()
        .map_err(|error| ApiError::from(ProblemDetails::malformed("", error.to_string())))?;
    Ok(value)
}

/// Anything that serde can read as `T`; an error names the place by a JSON Pointer.
pub fn from_deserializer<'de, T: DeserializeOwned, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let at = pointer(error.path());
        ProblemDetails::malformed(at, error.inner().to_string()).into()
    })
}

/// An answer to a body that is larger than the route takes.
pub fn limit(body: &Bytes, bytes_max: usize) -> Result<(), ApiError> {
    if body.len() <= bytes_max {
        return Ok(());
    }
    let detail = format!(
        "the body has {} bytes; {bytes_max} is the most that is read here",
        body.len()
    );
    Err(ProblemDetails::new(ProblemKind::TooLarge, detail).into())
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |mut text, segment| {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            Segment::Map { key } => text.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { variant: _ } | Segment::Unknown => {}
        }
        text
    })
}

/// The saga that the path names.
pub struct SagaPath(pub SagaId);

impl<S: Sync> FromRequestParts<S> for SagaPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let text = path_text(parts, "id").await?;
        let saga = text.parse().map_err(|_| ClientError::NotFound {
            what: format!("saga {text:?}"),
        })?;
        Ok(SagaPath(saga))
    }
}

/// The workflow or schedule that the path names.
pub struct NamePath(pub String);

impl<S: Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Ok(NamePath(path_text(parts, "name").await?))
    }
}

/// The version that the path names.
pub struct VersionPath(pub u32);

impl<S: Sync> FromRequestParts<S> for VersionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let text = path_text(parts, "version").await?;
        let version = text.parse().map_err(|_| ClientError::NotFound {
            what: format!("version {text:?}"),
        })?;
        Ok(VersionPath(version))
    }
}

async fn path_text(parts: &mut Parts, name: &str) -> Result<String, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|error| ProblemDetails::malformed("", error.to_string()))?;
    let text = params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .unwrap_or_default();
    if text.contains('\0') {
        return Err(ProblemDetails::malformed("", "the path contains U+0000, which can't be stored").into());
    }
    Ok(text)
}

/// A query string, read parameter by parameter; what nobody asked for is refused.
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ProblemDetails::malformed("", error.to_string()))?;
        if let Some((name, _)) = pairs
            .iter()
            .find(|(name, value)| name.contains('\0') || value.contains('\0'))
        {
            let message = "it contains U+0000, which can't be stored";
            return Err(ProblemDetails::malformed(format!("?{}", name.replace('\0', "")), message).into());
        }
        Ok(Params { pairs })
    }
}

impl Params {
    /// Takes a parameter that may be repeated, or hold several values with commas between.
    pub fn many(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.pairs)
            .into_iter()
            .partition(|(key, _)| key == name);
        self.pairs = rest;
        let taken: Vec<(String, String)> = taken;
        let values = taken.iter().flat_map(|(_, value)| value.split(','));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// Takes a parameter that stands at most once. An empty one counts as left out, as browsers' forms send it.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let Some(place) = self.pairs.iter().position(|(key, _)| key == name) else {
            return Ok(None);
        };
        let (_, value) = self.pairs.remove(place);
        if self.pairs.iter().any(|(key, _)| key == name) {
            return Err(ProblemDetails::malformed(format!("?{name}"), "give it once").into());
        }
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// Takes a number.
    pub fn number<N: std::str::FromStr>(&mut self, name: &str) -> Result<Option<N>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            ProblemDetails::malformed(format!("?{name}"), format!("{text:?} is not a number that fits here"))
        })?;
        Ok(Some(number))
    }

    /// Takes an instant.
    pub fn instant(&mut self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        instant(&text)
            .map(Some)
            .map_err(|message| ProblemDetails::malformed(format!("?{name}"), message).into())
    }

    /// Refuses what is left.
    pub fn end(self, known: &[&str]) -> Result<(), ApiError> {
        let Some((name, _)) = self.pairs.first() else {
            return Ok(());
        };
        let message = format!("there is no such parameter; there are: {}", known.join(", "));
        Err(ProblemDetails::malformed(format!("?{name}"), message).into())
    }
}

/// RFC 3339, or milliseconds since the Unix epoch.
pub fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(Timestamp(millis));
    }
    // A `+` that was not escaped in a query arrives as a space.
    let at = chrono::DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
    at.map(|at| Timestamp(at.timestamp_millis()))
        .map_err(|error| format!("{text:?} is not an instant such as \"2026-11-22T20:00:00Z\": {error}"))
}

fn text_header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(ProblemDetails::malformed(format!("@{name}"), "use printable ASCII").into()),
    }
}

/// `Idempotency-Key`: bare, or in quotes as the IETF draft has it.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let name = HeaderName::from_static("idempotency-key");
    let Some(text) = text_header(headers, &name)? else {
        return Ok(None);
    };
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    Ok(Some(text.to_owned()))
}

/// `traceparent`, if it looks like one; a broken one is nobody's loss.
pub fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let shape = text.len() == 55 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    shape.then(|| text.to_owned())
}

/// `Prefer: wait=<seconds>` (RFC 7240), capped; other preferences are passed over, as the RFC wants it.
pub fn prefer_wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = preferences(headers)
        .filter(|(name, _)| name.eq_ignore_ascii_case("wait"))
        .find_map(|(_, value)| value.parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// `Prefer: return=minimal` (RFC 7240): an answer that says no more than it must.
pub fn prefer_minimal(headers: &HeaderMap) -> bool {
    preferences(headers).any(|(name, value)| name.eq_ignore_ascii_case("return") && value == "minimal")
}

/// Each preference that has a value, without parameters.
fn preferences(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all("prefer").into_iter();
    let each = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    each.filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        Some((name.trim(), value.split(';').next()?.trim().trim_matches('"')))
    })
}

/// `If-Match: "<seq>"`; none or `*`: any.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(text) = text_header(headers, &header::IF_MATCH)? else {
        return Ok(None);
    };
    if text.trim() == "*" {
        return Ok(None);
    }
    let tag = text.trim().strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    match tag.and_then(|tag| tag.parse().ok()) {
        Some(seq) => Ok(Some(seq)),
        None => {
            let message = format!("{text:?} is not an ETag of a saga, such as \"\\\"7\\\"\"");
            Err(ProblemDetails::malformed("@if-match", message).into())
        }
    }
}

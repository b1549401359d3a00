//! Arguments that several commands take.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use workflows::ids::Timestamp;

/// JSON given as text, as `@file`, or as `-` for stdin.
pub fn json(argument: &str) -> anyhow::Result<Value> {
    let text = text(argument)?;
    serde_json::from_str(&text).with_context(|| format!("{argument:?} is not JSON"))
}

/// A text given as such, as `@file`, or as `-` for stdin.
fn text(argument: &str) -> anyhow::Result<String> {
    match argument.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("reading {path}")),
        None if argument == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("reading stdin")?;
            Ok(text)
        }
        None => Ok(argument.to_owned()),
    }
}

/// `name=value`.
pub fn label(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("it must be name=value".into()),
    }
}

/// An instant: RFC 3339, or how long ago (`15m`).
pub fn instant(argument: &str) -> Result<Timestamp, String> {
    if let Ok(at) = chrono::DateTime::parse_from_rfc3339(argument) {
        return Ok(Timestamp(at.timestamp_millis()));
    }
    let ago =
        duration(argument).map_err(|_| "it must be an instant (RFC 3339) or a time ago such as 15m".to_owned())?;
    let millis = i64::try_from(ago.as_millis()).map_err(|_| "that is too long ago".to_owned())?;
    Ok(Timestamp(chrono::Utc::now().timestamp_millis().saturating_sub(millis)))
}

/// A duration such as `30s`.
pub fn duration(argument: &str) -> Result<Duration, String> {
    humantime::parse_duration(argument).map_err(|error| error.to_string())
}

/// Who is at the keyboard, for the journal.
pub fn operator(given: Option<String>) -> anyhow::Result<String> {
    let known = given
        .or_else(|| std::env::var("USER").ok())
        .or_else(|| std::env::var("LOGNAME").ok());
    match known {
        Some(name) if !name.is_empty() => Ok(name),
        Some(_) | None => bail!("say who you are with --by: the journal keeps it"),
    }
}

//! What every request must satisfy, whichever way it came. All that is wrong is listed at once.

use serde_json::Value;
use workflows::Problem;
use workflows::definition::Definition;
use workflows::event::{Command, CommandEvent, Signal};
use workflows::limits::{INPUT_BYTES_MAX, PAYLOAD_BYTES_MAX};

use super::{BULK_STARTS_MAX, ClientError, KEYS_LOOKUP_MAX, ListFilter, PAGE_MAX, StartRequest};

/// Characters of names, keys and labels: they are index keys.
pub(super) const KEY_CHARS_MAX: usize = 255;
/// Labels of a saga.
const TAGS_MAX: usize = 32;
/// Characters of a command's reason and author.
const WORDS_CHARS_MAX: usize = 2_000;

/// Collects what is wrong.
#[derive(Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            pointer: pointer.into(),
            message: message.into(),
        });
    }

    pub(crate) fn done(self) -> Result<(), ClientError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ClientError::Invalid { problems: self.0 })
        }
    }

    /// A name, a key, a label.
    pub(crate) fn text(&mut self, pointer: &str, text: &str, chars_max: usize) {
        if text.contains('\0') {
            self.add(pointer, "contains U+0000, which can't be stored");
        }
        if text.chars().count() > chars_max {
            self.add(pointer, format!("has more than {chars_max} characters"));
        }
    }

    pub(crate) fn key(&mut self, pointer: &str, text: &str) {
        if text.is_empty() {
            self.add(pointer, "is empty");
        }
        self.text(pointer, text, KEY_CHARS_MAX);
    }

    /// Free JSON: bounded, and without U+0000 anywhere, which Postgres' text can't hold.
    pub(crate) fn json(&mut self, pointer: &str, value: &Value, bytes_max: usize) {
        let bytes = encoded_bytes(value);
        if bytes > bytes_max {
            self.add(pointer, format!("has {bytes} bytes as JSON; {bytes_max} is the most"));
        }
        self.no_nul(&mut pointer.to_owned(), value);
    }

    fn no_nul(&mut self, pointer: &mut String, value: &Value) {
        let end = pointer.len();
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => {
                if text.contains('\0') {
                    self.add(pointer.clone(), "contains U+0000, which can't be stored");
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate().filter(|(_, item)| may_hold_text(item)) {
                    pointer.push_str(&format!("/{index}"));
                    self.no_nul(pointer, item);
                    pointer.truncate(end);
                }
            }
            Value::Object(fields) => {
                for (name, item) in fields {
                    if name.contains('\0') {
                        self.add(pointer.clone(), "a field's name contains U+0000, which can't be stored");
                    } else if may_hold_text(item) {
                        pointer.push('/');
                        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                        self.no_nul(pointer, item);
                        pointer.truncate(end);
                    }
                }
            }
        }
    }

    pub(crate) fn tags(&mut self, pointer: &str, tags: &std::collections::BTreeMap<String, String>) {
        if tags.len() > TAGS_MAX {
            self.add(pointer, format!("has {} labels; {TAGS_MAX} is the most", tags.len()));
        }
        for (name, value) in tags {
            self.key(pointer, name);
            self.text(&format!("{pointer}/{}", name.replace('\0', "")), value, KEY_CHARS_MAX);
        }
    }
}

fn may_hold_text(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains('\0'),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// The size of the encoded form, without encoding it into memory.
fn encoded_bytes(value: &Value) -> usize {
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

pub(super) fn start(at: &str, request: &StartRequest) -> Result<(), ClientError> {
    let mut problems = Problems::default();
    problems.key(&format!("{at}/workflow"), &request.workflow);
    if let Some(key) = &request.idempotency_key {
        problems.key(&format!("{at}/idempotencyKey"), key);
    }
    problems.tags(&format!("{at}/tags"), &request.tags);
    problems.json(&format!("{at}/input"), &request.input, INPUT_BYTES_MAX);
    problems.done()
}

pub(super) fn keys(keys: &[String]) -> Result<(), ClientError> {
    if keys.is_empty() || keys.len() > KEYS_LOOKUP_MAX {
        let message = format!("{} keys: send 1 to {KEYS_LOOKUP_MAX}", keys.len());
        return Err(ClientError::invalid("", message));
    }
    let mut problems = Problems::default();
    for (index, key) in keys.iter().enumerate() {
        problems.key(&format!("/{index}"), key);
    }
    problems.done()
}

pub(super) fn bulk(requests: &[StartRequest]) -> Result<(), ClientError> {
    if requests.is_empty() || requests.len() > BULK_STARTS_MAX {
        let message = format!("{} starts: send 1 to {BULK_STARTS_MAX}", requests.len());
        return Err(ClientError::invalid("", message));
    }
    Ok(())
}

pub(super) fn signal(signal: &Signal) -> Result<(), ClientError> {
    let mut problems = Problems::default();
    problems.key("/id", &signal.id);
    problems.key("/name", &signal.name);
    problems.json("/payload", &signal.payload, PAYLOAD_BYTES_MAX);
    problems.done()
}

pub(super) fn command(event: &CommandEvent) -> Result<(), ClientError> {
    let mut problems = Problems::default();
    problems.text("/by", &event.by, WORDS_CHARS_MAX);
    problems.text("/reason", &event.reason, WORDS_CHARS_MAX);
    match &event.command {
        Command::Retry { step, input } => {
            if let Some(step) = step {
                problems.key("/step", step);
            }
            if let Some(input) = input {
                problems.json("/input", input, INPUT_BYTES_MAX);
            }
        }
        Command::Skip { step, output } => {
            problems.key("/step", step);
            problems.json("/output", output, PAYLOAD_BYTES_MAX);
        }
        Command::GoBack { step } => problems.key("/step", step),
        Command::Cancel {} | Command::Compensate {} | Command::Pause {} | Command::Resume {} => {}
    }
    problems.done()
}

pub(super) fn filter(filter: &ListFilter) -> Result<(), ClientError> {
    let mut problems = Problems::default();
    if let Some(workflow) = &filter.workflow {
        problems.text("?workflow", workflow, KEY_CHARS_MAX);
    }
    if let Some(key) = &filter.business_key {
        problems.text("?businessKey", key, KEY_CHARS_MAX);
    }
    if let Some((name, value)) = &filter.tag {
        problems.text("?tag", name, KEY_CHARS_MAX);
        problems.text("?tag", value, KEY_CHARS_MAX);
    }
    if let Some(limit) = filter.limit.filter(|limit| !(1..=PAGE_MAX).contains(limit)) {
        problems.add("?limit", format!("{limit}: ask for 1 to {PAGE_MAX}"));
    }
    problems.done()
}

pub(super) fn limit(limit: u32, max: u32) -> Result<(), ClientError> {
    if (1..=max).contains(&limit) {
        return Ok(());
    }
    Err(ClientError::invalid("?limit", format!("{limit}: ask for 1 to {max}")))
}

pub(super) fn definition(definition: &Definition) -> Result<(), ClientError> {
    let mut problems = Problems::default();
    if definition.version > i32::MAX as u32 {
        problems.add("/version", format!("is larger than {}", i32::MAX));
    }
    match serde_json::to_value(definition) {
        Ok(value) => problems.json("", &value, crate::api::DEFINITION_BODY_BYTES_MAX),
        Err(error) => problems.add("", error.to_string()),
    }
    problems.done()
}

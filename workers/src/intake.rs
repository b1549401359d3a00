//! Reads envelopes. What can't be read is set aside, item by item where that is possible, and never stops a partition.

use serde::Deserialize;
use serde_json::value::RawValue;
use transport::Outgoing;
use workflows::protocol::{ENVELOPE_BYTES_MAX, PROTOCOL_VERSION, Task, TaskEnvelope, poison_topic};

/// What a message turned out to be.
#[derive(Debug, PartialEq)]
pub(crate) struct Intake {
    /// The tasks that can be worked on, in order.
    pub tasks: Vec<Task>,
    /// What can't be read, and why.
    pub poison: Vec<Poison>,
    /// Where the tasks' answers shall go.
    pub reply_partition: Option<u32>,
}

/// Something unreadable.
#[derive(Debug, PartialEq)]
pub(crate) struct Poison {
    pub payload: Vec<u8>,
    pub error: String,
}

impl Intake {
    /// How many pieces of work the message consists of.
    pub fn parts(&self) -> usize {
        self.tasks.len() + self.poison.len()
    }
}

/// Reads a message from a tasks topic.
pub(crate) fn read(payload: &[u8]) -> Intake {
    match serde_json::from_slice::<TaskEnvelope>(payload) {
        Ok(envelope) if envelope.v == PROTOCOL_VERSION && !envelope.tasks.is_empty() => Intake {
            tasks: envelope.tasks,
            poison: Vec::new(),
            reply_partition: envelope.reply_partition,
        },
        Ok(envelope) if envelope.v == PROTOCOL_VERSION => whole(payload, "the envelope has no tasks".into()),
        Ok(envelope) => whole(payload, other_version(envelope.v)),
        Err(error) => read_items(payload, &error),
    }
}

/// One bad task must not take its envelope's others with it.
fn read_items(payload: &[u8], error: &serde_json::Error) -> Intake {
    #[derive(Deserialize)]
    struct Items<'a> {
        v: u32,
        #[serde(default)]
        reply_partition: Option<u32>,
        #[serde(borrow)]
        tasks: Vec<&'a RawValue>,
    }
    match serde_json::from_slice::<Items<'_>>(payload) {
        Ok(items) if items.v == PROTOCOL_VERSION => {
            let mut intake = Intake {
                tasks: Vec::new(),
                poison: Vec::new(),
                reply_partition: items.reply_partition,
            };
            for item in items.tasks {
                match serde_json::from_str::<Task>(item.get()) {
                    Ok(task) => intake.tasks.push(task),
                    Err(error) => {
                        let error = format!("not a task: {error}");
                        intake.poison.push(Poison {
                            payload: item.get().as_bytes().to_vec(),
                            error,
                        });
                    }
                }
            }
            intake
        }
        Ok(items) => whole(payload, other_version(items.v)),
        Err(_) => whole(payload, format!("not a task envelope: {error}")),
    }
}

fn whole(payload: &[u8], error: String) -> Intake {
    Intake {
        tasks: Vec::new(),
        poison: vec![Poison {
            payload: payload.to_vec(),
            error,
        }],
        reply_partition: None,
    }
}

fn other_version(v: u32) -> String {
    format!("the envelope is of protocol version {v}; this worker speaks version {PROTOCOL_VERSION}")
}

impl Poison {
    /// The message that sets it aside, with where it came from and what is wrong.
    pub fn into_message(mut self, queue: &str, partition: i32, offset: i64) -> Outgoing {
        let mut headers = vec![
            ("error".to_owned(), self.error),
            ("source-partition".to_owned(), partition.to_string()),
            ("source-offset".to_owned(), offset.to_string()),
        ];
        if self.payload.len() > ENVELOPE_BYTES_MAX {
            // With its headers it might not fit a message any more; its beginning tells enough.
            headers.push(("truncated-from-bytes".to_owned(), self.payload.len().to_string()));
            self.payload.truncate(ENVELOPE_BYTES_MAX);
        }
        Outgoing {
            topic: poison_topic(queue),
            partition,
            key: None,
            headers,
            payload: self.payload,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TASK: &str = r#"{"token":{"saga":"0190a5c0-0000-7000-8000-000000000001","step":"pay","role":"run","attempt":1,"epoch":0},
        "workflow":"w","activity":"a","key":"k","input":null,"deadline":5}"#;

    fn errors(payload: &[u8]) -> (usize, Vec<String>) {
        let intake = read(payload);
        (
            intake.tasks.len(),
            intake.poison.into_iter().map(|poison| poison.error).collect(),
        )
    }

    #[test]
    fn reads_what_can_be_read() {
        let envelope = |tasks: &str| format!("{{\"v\":1,\"tasks\":[{tasks}]}}").into_bytes();
        assert_eq!(errors(&envelope(TASK)), (1, vec![]));
        let (good, bad) = errors(&envelope(&format!("{TASK},{{\"token\":1}},{TASK}")));
        assert_eq!((good, bad.len()), (2, 1));
        assert!(bad[0].starts_with("not a task: "), "{}", bad[0]);
    }

    #[test]
    fn sets_aside_what_cannot() {
        for (payload, says) in [
            (&b"\xff\xfe"[..], "not a task envelope"),
            (b"", "not a task envelope"),
            (b"{\"v\":1,\"tasks\":[", "not a task envelope"),
            (b"{\"v\":1,\"tasks\":[]}", "no tasks"),
            (b"{\"v\":2,\"tasks\":[]}", "version 2"),
            (b"{\"v\":2,\"tasks\":[{\"new\":true}]}", "version 2"),
            (b"null", "not a task envelope"),
        ] {
            let (good, bad) = errors(payload);
            assert_eq!((good, bad.len()), (0, 1));
            assert!(bad[0].contains(says), "{}", bad[0]);
        }
    }

    #[test]
    fn an_oversized_message_is_set_aside_shortened() {
        let poison = Poison {
            payload: vec![b'x'; 1_000_000],
            error: "e".into(),
        };
        let message = poison.into_message("seats", 3, 7);
        assert_eq!((message.payload.len(), message.partition), (ENVELOPE_BYTES_MAX, 3));
        assert!(
            message
                .headers
                .contains(&("truncated-from-bytes".into(), "1000000".into()))
        );
    }
}

//! A batch's Kafka messages: made from effects, and encoded for the outbox.

use transport::{EnvelopePacker, Outgoing};
use workflows::effect::{Effect, Fact};
use workflows::protocol::{ENVELOPE_ITEMS_MAX, tasks_topic};

/// The outbox encoding's version, its first byte. What follows is compressed: tasks of one batch are much alike, and what
/// isn't written needs no log, no room and no vacuum.
const ENCODING: u8 = 2;
/// Bytes that a row's messages have uncompressed, at most; more is a damaged row.
const DECODED_BYTES_MAX: usize = 1 << 30;

/// The header that every CloudEvent has.
const FACT_MARK: &str = "ce_specversion";

/// Tasks of a batch that go to one partition before the next is taken: few enough that several workers share a large
/// batch, many enough that a small one is a single message. An envelope's, since a request to the broker has one partition's messages.
const TASKS_PER_PARTITION: u32 = ENVELOPE_ITEMS_MAX as u32;

/// Which partitions a batch's messages go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routing {
    /// Partitions of every topic.
    pub(crate) partitions: u32,
    /// Where the batch's tasks begin. Any will do, for their order means nothing; it moves on from batch to batch.
    pub(crate) first: u32,
    /// Where the answers shall come.
    pub(crate) reply: Option<u32>,
}

/// Gathers the messages of a batch.
pub(crate) struct Messages {
    tasks: EnvelopePacker,
    tasks_count: u64,
    /// Tasks by queue.
    queued: Vec<(String, u32)>,
    facts: Vec<Outgoing>,
    routing: Routing,
    source: String,
}

impl Messages {
    pub(crate) fn new(routing: Routing, source: &str) -> Self {
        Messages {
            tasks: EnvelopePacker::tasks(routing.reply),
            tasks_count: 0,
            queued: Vec::new(),
            facts: Vec::new(),
            routing,
            source: source.to_owned(),
        }
    }

    /// Adds an effect.
    pub(crate) fn push(&mut self, effect: &Effect) -> Result<(), serde_json::Error> {
        match effect {
            Effect::Dispatch { queue, task } => {
                self.tasks_count += 1;
                let partition = self.task_partition(queue);
                self.tasks.push(&tasks_topic(queue), partition, task)
            }
            Effect::Publish(fact) => {
                self.facts
                    .push(cloud_event(fact, self.routing.partitions, &self.source)?);
                Ok(())
            }
        }
    }

    fn task_partition(&mut self, queue: &str) -> i32 {
        let Routing { partitions, first, .. } = self.routing;
        let count = match self.queued.iter_mut().find(|(known, _)| known == queue) {
            Some((_, count)) => {
                *count += 1;
                *count - 1
            }
            None => {
                self.queued.push((queue.to_owned(), 1));
                0
            }
        };
        (first.wrapping_add(count / TASKS_PER_PARTITION) % partitions.max(1)) as i32
    }

    /// How many tasks and how many facts there are.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.tasks_count, self.facts.len() as u64)
    }

    /// All messages. Facts and tasks go their own ways, so neither waits for the other.
    pub(crate) fn finish(self) -> Vec<Outgoing> {
        let mut all = self.facts;
        all.extend(self.tasks.finish());
        all
    }
}

/// Whether a message tells a fact, rather than ask for work.
pub(crate) fn is_fact(message: &Outgoing) -> bool {
    // An envelope of tasks says everything in its payload.
    message.headers.iter().any(|(name, _)| name == FACT_MARK)
}

/// CloudEvents 1.0, Kafka protocol binding, binary content mode.
fn cloud_event(fact: &Fact, partitions: u32, source: &str) -> Result<Outgoing, serde_json::Error> {
    let saga = fact.saga.to_string();
    let header = |name: &str, value: String| (name.to_owned(), value);
    Ok(Outgoing {
        topic: fact.topic.clone(),
        partition: fact.saga.partition(partitions) as i32,
        key: Some(saga.clone().into_bytes()),
        headers: vec![
            header(FACT_MARK, "1.0".to_owned()),
            header("ce_id", fact.id()),
            header("ce_type", fact.topic.clone()),
            header("ce_source", source.to_owned()),
            header("ce_subject", saga),
            header("ce_time", fact.at.to_rfc3339()),
            header("content-type", "application/json".to_owned()),
        ],
        payload: serde_json::to_vec(&fact.data)?,
    })
}

/// Messages as bytes: a version byte, then, compressed by LZ4 and led by its length, per message its fields, texts and
/// bytes led by their length as u32.
pub(crate) fn encode(messages: &[Outgoing]) -> Vec<u8> {
    let size: usize = messages.iter().map(|message| message.payload.len() + 512).sum();
    let mut out = Vec::with_capacity(size);
    let bytes = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    for message in messages {
        bytes(&mut out, message.topic.as_bytes());
        out.extend_from_slice(&message.partition.to_le_bytes());
        out.push(u8::from(message.key.is_some()));
        bytes(&mut out, message.key.as_deref().unwrap_or_default());
        out.extend_from_slice(&(message.headers.len() as u32).to_le_bytes());
        for (name, value) in &message.headers {
            bytes(&mut out, name.as_bytes());
            bytes(&mut out, value.as_bytes());
        }
        bytes(&mut out, &message.payload);
    }
    let mut encoded = vec![ENCODING];
    encoded.extend(lz4_flex::block::compress_prepend_size(&out));
    encoded
}

/// The bytes are not what [`encode`] makes.
#[derive(Debug, thiserror::Error)]
#[error("an outbox payload can't be read at byte {at}: {what}")]
pub(crate) struct Unreadable {
    at: usize,
    what: &'static str,
}

/// Messages from what [`encode`] made of them.
pub(crate) fn decode(encoded: &[u8]) -> Result<Vec<Outgoing>, Unreadable> {
    let damaged = |at, what| Unreadable { at, what };
    let compressed = match encoded.split_first() {
        Some((&ENCODING, compressed)) => compressed,
        Some(_) | None => return Err(damaged(0, "it has another version")),
    };
    let (size, block) = lz4_flex::block::uncompressed_size(compressed).map_err(|_| damaged(1, "it has no length"))?;
    if size > DECODED_BYTES_MAX {
        return Err(damaged(1, "its length can't be"));
    }
    let plain = lz4_flex::block::decompress(block, size).map_err(|_| damaged(5, "it can't be decompressed"))?;
    let mut reader = Reader { encoded: &plain, at: 0 };
    let mut messages = Vec::new();
    while reader.at < plain.len() {
        let topic = reader.text()?;
        let partition = i32::from_le_bytes(reader.array()?);
        let has_key = reader.array::<1>()? == [1];
        let key = reader.bytes()?;
        let count = u32::from_le_bytes(reader.array()?);
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push((reader.text()?, reader.text()?));
        }
        let payload = reader.bytes()?.to_vec();
        messages.push(Outgoing {
            topic,
            partition,
            key: has_key.then(|| key.to_vec()),
            headers,
            payload,
        });
    }
    Ok(messages)
}

struct Reader<'a> {
    encoded: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let taken = self
            .at
            .checked_add(length)
            .and_then(|end| self.encoded.get(self.at..end));
        let taken = taken.ok_or(Unreadable {
            at: self.at,
            what: "it ends early",
        })?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were asked for"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<String, Unreadable> {
        let at = self.at;
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Unreadable {
            at,
            what: "a text is not UTF-8",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn message(topic: &str, key: Option<&[u8]>) -> Outgoing {
        Outgoing {
            topic: topic.into(),
            partition: 3,
            key: key.map(Into::into),
            headers: vec![("ce_id".into(), "ü".into()), (String::new(), String::new())],
            payload: vec![0, 1, 255],
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let messages = vec![message("a", None), message("b", Some(b"")), message("c", Some(b"key"))];
        assert_eq!(decode(&encode(&messages)).unwrap(), messages);
        assert_eq!(decode(&encode(&[])).unwrap(), vec![]);
    }

    #[test]
    fn every_cut_is_noticed() {
        let encoded = encode(&[message("topic", Some(b"key"))]);
        for length in 0..encoded.len() {
            assert!(decode(&encoded[..length]).is_err(), "{length}");
        }
    }
}

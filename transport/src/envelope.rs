//! Packs tasks and results into the protocol's envelopes: each item is encoded once, straight into its envelope.

use std::collections::HashMap;

use serde::Serialize;
use workflows::protocol::{
    ENVELOPE_BYTES_MAX, ENVELOPE_ITEMS_MAX, PROTOCOL_VERSION, RESULTS_TOPIC, Task, TaskResult, tasks_topic,
};

use crate::producer::Outgoing;

/// What closes the list and the envelope.
const TAIL: &[u8] = b"]}";

/// Splits items into envelopes per topic and partition, within the limits on items and bytes.
///
/// Items of one topic and partition keep their order. An item that is larger than an envelope may be goes alone; its
/// producer is told by Kafka that it is too large.
#[derive(Debug)]
pub struct EnvelopePacker {
    head: Vec<u8>,
    open: HashMap<(String, i32), Open>,
    /// In the order in which envelopes were begun.
    begun: u64,
    full: Vec<(u64, Outgoing)>,
}

#[derive(Debug)]
struct Open {
    begun: u64,
    payload: Vec<u8>,
    items: usize,
}

impl EnvelopePacker {
    /// For [`workflows::protocol::TaskEnvelope`]s that are to be answered on this partition.
    pub fn tasks(reply_partition: Option<u32>) -> Self {
        let reply = reply_partition.map_or_else(String::new, |reply| format!("\"reply_partition\":{reply},"));
        Self::with_head(format!("{{\"v\":{PROTOCOL_VERSION},{reply}\"tasks\":["))
    }

    /// For [`workflows::protocol::ResultEnvelope`]s of the worker of this name.
    pub fn results(worker: &str) -> Self {
        let worker = serde_json::Value::from(worker);
        Self::with_head(format!("{{\"v\":{PROTOCOL_VERSION},\"worker\":{worker},\"results\":["))
    }

    fn with_head(head: String) -> Self {
        EnvelopePacker {
            head: head.into_bytes(),
            open: HashMap::new(),
            begun: 0,
            full: Vec::new(),
        }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// If it cannot be encoded as JSON; nothing was added then.
    pub fn push<T: Serialize>(&mut self, topic: &str, partition: i32, item: &T) -> Result<(), serde_json::Error> {
        self.append(topic, partition, |payload| serde_json::to_writer(payload, item))
    }

    /// Adds an item that is JSON already.
    pub fn push_encoded(&mut self, topic: &str, partition: i32, item: &[u8]) {
        let added: Result<(), std::convert::Infallible> = self.append(topic, partition, |payload| {
            payload.extend_from_slice(item);
            Ok(())
        });
        match added {
            Ok(()) => {}
        }
    }

    fn append<E>(
        &mut self,
        topic: &str,
        partition: i32,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        // A map keyed by (&str, i32) would spare this copy, at the price of another index; a batch has few topics and
        // the copy is as long as a topic's name.
        let key = (topic.to_owned(), partition);
        let open = match self.open.get_mut(&key) {
            Some(open) => open,
            None => {
                self.begun += 1;
                self.open
                    .entry(key.clone())
                    .or_insert(Open::new(self.begun, &self.head))
            }
        };
        let before = open.payload.len();
        if open.items > 0 {
            open.payload.push(b',');
        }
        if let Err(error) = write(&mut open.payload) {
            open.payload.truncate(before);
            return Err(error);
        }
        open.items += 1;
        if open.payload.len() + TAIL.len() > ENVELOPE_BYTES_MAX && open.items > 1 {
            // One too many: it begins the next envelope.
            self.begun += 1;
            let mut next = Open::new(self.begun, &self.head);
            next.payload.extend_from_slice(&open.payload[before + 1..]);
            next.items = 1;
            open.payload.truncate(before);
            let full = std::mem::replace(open, next);
            self.full.push((full.begun, full.close(key)));
        } else if open.items == ENVELOPE_ITEMS_MAX
            && let Some(full) = self.open.remove(&key)
        {
            self.full.push((full.begun, full.close(key)));
        }
        Ok(())
    }

    /// The envelopes, in the order in which they were begun.
    pub fn finish(mut self) -> Vec<Outgoing> {
        for (key, open) in self.open {
            if open.items > 0 {
                self.full.push((open.begun, open.close(key)));
            }
        }
        self.full.sort_unstable_by_key(|(begun, _)| *begun);
        self.full.into_iter().map(|(_, outgoing)| outgoing).collect()
    }
}

impl Open {
    fn new(begun: u64, head: &[u8]) -> Self {
        let mut payload = Vec::with_capacity(1_024);
        payload.extend_from_slice(head);
        Open {
            begun,
            payload,
            items: 0,
        }
    }

    fn close(mut self, (topic, partition): (String, i32)) -> Outgoing {
        self.payload.extend_from_slice(TAIL);
        Outgoing {
            topic,
            partition,
            key: None,
            headers: Vec::new(),
            payload: self.payload,
        }
    }
}

/// Packs tasks, each for its queue, into as few messages as the limits allow.
///
/// # Errors
/// If a task cannot be encoded as JSON.
pub fn pack_tasks<'a>(
    tasks: impl IntoIterator<Item = (&'a str, &'a Task)>,
    partitions: u32,
) -> Result<Vec<Outgoing>, serde_json::Error> {
    let mut packer = EnvelopePacker::tasks(None);
    for (queue, task) in tasks {
        packer.push(&tasks_topic(queue), task.token.saga.partition(partitions) as i32, task)?;
    }
    Ok(packer.finish())
}

/// Packs a worker's results into as few messages as the limits allow.
///
/// # Errors
/// If a result cannot be encoded as JSON.
pub fn pack_results<'a>(
    worker: &str,
    results: impl IntoIterator<Item = &'a TaskResult>,
    partitions: u32,
) -> Result<Vec<Outgoing>, serde_json::Error> {
    let mut packer = EnvelopePacker::results(worker);
    for result in results {
        packer.push(RESULTS_TOPIC, result.token.saga.partition(partitions) as i32, result)?;
    }
    Ok(packer.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;
    use workflows::ids::{SagaId, Timestamp};
    use workflows::protocol::{Outcome, ResultEnvelope, Role, TaskEnvelope, Token};

    use super::*;

    fn task(saga: u128, input_bytes: usize) -> Task {
        Task {
            token: Token {
                saga: SagaId(Uuid::from_u128(saga)),
                step: "pay \"now\"".into(),
                role: Role::Run,
                attempt: 1,
                epoch: 1,
            },
            workflow: "booking".into(),
            activity: "payments.charge".into(),
            key: "k".into(),
            input: json!("x".repeat(input_bytes)),
            deadline: Timestamp(5),
            traceparent: None,
        }
    }

    #[test]
    fn keeps_within_three_hundred_items() {
        let tasks: Vec<Task> = (0..750).map(|_| task(7, 10)).collect();
        let packed = pack_tasks(tasks.iter().map(|task| ("seats", task)), 10).unwrap();
        let counts: Vec<usize> = packed
            .iter()
            .map(|outgoing| {
                serde_json::from_slice::<TaskEnvelope>(&outgoing.payload)
                    .unwrap()
                    .tasks
                    .len()
            })
            .collect();
        assert_eq!(counts, vec![300, 300, 150]);
        assert!(
            packed
                .iter()
                .all(|outgoing| outgoing.topic == "sagaline.tasks.seats" && outgoing.partition == 7)
        );
    }

    #[test]
    fn a_worker_may_have_any_name() {
        let result = TaskResult {
            token: task(1, 0).token,
            outcome: Outcome::Heartbeat {},
        };
        let packed = pack_results("a \"b\"\\\n", [&result], 10).unwrap();
        let envelope: ResultEnvelope = serde_json::from_slice(&packed[0].payload).unwrap();
        assert_eq!(
            (envelope.worker.as_str(), envelope.v),
            ("a \"b\"\\\n", PROTOCOL_VERSION)
        );
        assert_eq!(envelope.results, vec![result]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Nothing is lost, repeated or moved before another of its partition, and the limits hold.
        #[test]
        fn packs_everything_in_order(items in prop::collection::vec((0u128..12, prop_oneof![
            8 => 0usize..200, 2 => 100_000usize..400_000]), 0..60)
        ) {
            let tasks: Vec<Task> = items.iter().map(|(saga, bytes)| task(*saga, *bytes)).collect();
            let queue = |saga: u128| if saga.is_multiple_of(2) { "seats" } else { "payments" };
            let packed =
                pack_tasks(items.iter().zip(&tasks).map(|((saga, _), task)| (queue(*saga), task)), 3).unwrap();
            let mut unpacked: HashMap<(String, i32), Vec<Task>> = HashMap::new();
            for outgoing in packed {
                prop_assert!(outgoing.payload.len() <= ENVELOPE_BYTES_MAX);
                let envelope: TaskEnvelope = serde_json::from_slice(&outgoing.payload).unwrap();
                prop_assert!((1..=ENVELOPE_ITEMS_MAX).contains(&envelope.tasks.len()));
                unpacked.entry((outgoing.topic, outgoing.partition)).or_default().extend(envelope.tasks);
            }
            let mut expected: HashMap<(String, i32), Vec<Task>> = HashMap::new();
            for ((saga, _), task) in items.iter().zip(&tasks) {
                let key = (tasks_topic(queue(*saga)), task.token.saga.partition(3) as i32);
                expected.entry(key).or_default().push(task.clone());
            }
            prop_assert_eq!(unpacked, expected);
        }
    }
}

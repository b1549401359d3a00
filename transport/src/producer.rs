//! Sends messages in the order of its callers, and says when the broker has them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};

use crate::config::KafkaConfig;
use crate::delivery::{DeliveringProducer, Delivery};
use crate::error::TransportError;
use crate::in_process;

/// Messages that librdkafka holds for the broker, at most. A message is an envelope of up to three hundred items, so this is
/// minutes of work; whoever has produced more should wait for acknowledgements.
const CLIENT_QUEUE_MESSAGES_MAX: usize = 100_000;
/// The same in kilobytes: bounds the memory an outage can cost.
const CLIENT_QUEUE_KILOBYTES_MAX: usize = 128 * 1_024;
/// Messages that wait for room in librdkafka's queue, at most.
const OVERFLOW_MESSAGES_MAX: usize = 10_000;
/// How often room is looked for.
const OVERFLOW_RETRY: Duration = Duration::from_millis(5);
/// How long a message may wait for the broker's acknowledgement. Longer than any restart; what it still loses comes
/// again from the outbox, or from the uncommitted offset.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(300);

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: String,
    /// Always explicit: every process must choose alike.
    pub partition: i32,
    /// For log compaction and for people; doesn't choose the partition.
    pub key: Option<Vec<u8>>,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The message itself.
    pub payload: Vec<u8>,
}

impl Outgoing {
    pub(crate) fn kafka_headers(&self) -> Option<OwnedHeaders> {
        let all = OwnedHeaders::new_with_capacity(self.headers.len());
        let header = |all: OwnedHeaders, (key, value): &(String, String)| {
            all.insert(Header {
                key,
                value: Some(value.as_bytes()),
            })
        };
        (!self.headers.is_empty()).then(|| self.headers.iter().fold(all, header))
    }
}

/// A cheap handle on one idempotent Kafka producer.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    partitions: u32,
    queue: Mutex<Queue>,
}

struct Queue {
    client: DeliveringProducer,
    /// Messages for which librdkafka had no room. While there are any, later ones go behind them.
    overflow: VecDeque<Waiting>,
    pumping: bool,
}

struct Waiting {
    message: Outgoing,
    enqueued: oneshot::Sender<Result<Delivery, TransportError>>,
}

enum Sent {
    Enqueued(Delivery),
    Overflowed(oneshot::Receiver<Result<Delivery, TransportError>>),
    Refused(TransportError),
}

impl Producer {
    /// A producer for these brokers, which need not be there yet. It sends each message at once: envelopes are batches already,
    /// and waiting to gather more only costs time (measured: DESIGN's table).
    ///
    /// # Errors
    /// If librdkafka refuses the settings.
    pub fn new(config: &KafkaConfig) -> Result<Self, TransportError> {
        Producer::gathering(config, Duration::ZERO)
    }

    /// The same, but messages for one partition that come within this time go to the broker in one request.
    ///
    /// # Errors
    /// If librdkafka refuses the settings.
    pub fn gathering(config: &KafkaConfig, time: Duration) -> Result<Self, TransportError> {
        let mut client_config = config.client();
        client_config
            // Keeps the order within a partition, and avoids repeats, across librdkafka's own retries.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", time.as_millis().to_string())
            .set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string())
            .set("queue.buffering.max.messages", CLIENT_QUEUE_MESSAGES_MAX.to_string())
            .set("queue.buffering.max.kbytes", CLIENT_QUEUE_KILOBYTES_MAX.to_string());
        let client =
            DeliveringProducer::new(&client_config).map_err(TransportError::kafka("creating the Kafka producer"))?;
        let queue = Queue {
            client,
            overflow: VecDeque::new(),
            pumping: false,
        };
        let shared = Shared {
            config: client_config,
            partitions: config.partitions,
            queue: Mutex::new(queue),
        };
        Ok(Producer {
            shared: Arc::new(shared),
        })
    }

    /// Partitions of every topic, by which to choose a message's.
    pub fn partitions(&self) -> u32 {
        self.shared.partitions
    }

    /// Enqueues the message at once, behind all earlier ones; the future resolves once the broker has acknowledged it.
    ///
    /// The message is sent whether or not the future is polled.
    pub fn send(&self, message: Outgoing) -> impl Future<Output = Result<(), TransportError>> + Send + use<> {
        in_process::note_sending();
        acknowledged(message.topic.clone(), self.enqueue(Cow::Owned(message)))
    }

    /// The same, for what nobody waits for: an in-process broker that rests goes on resting.
    pub fn send_at_leisure(
        &self,
        message: Outgoing,
    ) -> impl Future<Output = Result<(), TransportError>> + Send + use<> {
        acknowledged(message.topic.clone(), self.enqueue(Cow::Owned(message)))
    }

    /// The same, for a caller who keeps the message to send it again should this fail.
    pub fn send_copy(&self, message: &Outgoing) -> impl Future<Output = Result<(), TransportError>> + Send + use<> {
        in_process::note_sending();
        acknowledged(message.topic.clone(), self.enqueue(Cow::Borrowed(message)))
    }

    fn enqueue(&self, message: Cow<'_, Outgoing>) -> Sent {
        let mut queue = self.lock();
        if queue.overflow.is_empty() {
            match queue.try_send(&message, &self.shared.config) {
                Ok(delivery) => return Sent::Enqueued(delivery),
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {}
                Err(source) => return Sent::Refused(undelivered(&message.topic, source)),
            }
        }
        if queue.overflow.len() >= OVERFLOW_MESSAGES_MAX {
            let held = queue.overflow.len() + CLIENT_QUEUE_MESSAGES_MAX;
            return Sent::Refused(TransportError::Backlog { held });
        }
        let (sender, receiver) = oneshot::channel();
        queue.overflow.push_back(Waiting {
            message: message.into_owned(),
            enqueued: sender,
        });
        if !queue.pumping {
            queue.pumping = true;
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || shared.pump());
        }
        Sent::Overflowed(receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared.lock()
    }
}

impl Shared {
    /// Moves waiting messages to librdkafka as room is made; ends when none waits.
    fn pump(&self) {
        loop {
            {
                let mut queue = self.lock();
                while let Some(waiting) = queue.overflow.pop_front() {
                    match queue.try_send(&waiting.message, &self.config) {
                        Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => {
                            queue.overflow.push_front(waiting);
                            break;
                        }
                        outcome => {
                            let outcome = outcome.map_err(|source| undelivered(&waiting.message.topic, source));
                            // Whoever asked may have gone; the message is on its way all the same.
                            let _ = waiting.enqueued.send(outcome);
                        }
                    }
                }
                if queue.overflow.is_empty() {
                    queue.pumping = false;
                    return;
                }
            }
            std::thread::sleep(OVERFLOW_RETRY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in the critical sections leaves the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn try_send(&mut self, message: &Outgoing, config: &ClientConfig) -> Result<Delivery, KafkaError> {
        match self.client.send(message) {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::Fatal)) => {
                // An idempotent producer that lost track of its sequence numbers refuses everything from then on.
                tracing::warn!("the Kafka producer has failed for good and is replaced");
                self.client = DeliveringProducer::new(config)?;
                self.client.send(message)
            }
            outcome => outcome,
        }
    }
}

async fn acknowledged(topic: String, sent: Sent) -> Result<(), TransportError> {
    let delivery = match sent {
        Sent::Enqueued(delivery) => delivery,
        Sent::Overflowed(enqueued) => enqueued.await.map_err(|_| TransportError::Closed)??,
        Sent::Refused(error) => return Err(error),
    };
    match delivery.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(undelivered(&topic, source)),
        Err(_) => Err(TransportError::Closed),
    }
}

fn undelivered(topic: &str, source: KafkaError) -> TransportError {
    TransportError::Kafka {
        doing: format!("producing to {topic}"),
        source,
    }
}

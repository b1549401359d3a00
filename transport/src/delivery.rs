//! A librdkafka producer whose deliveries are futures.
//!
//! The crate's own `FutureProducer` does the same, but wakes up ten times a second for nothing, and spins for up to a
//! millisecond each time: two of them take two hundredths of a core of an idle program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::channel::oneshot;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};

use crate::config::QuietContext;
use crate::producer::Outgoing;

/// How long a poll waits for deliveries, which end it at once. A dropped producer is closed within this time.
const POLL: Duration = Duration::from_secs(1);

/// Resolves with what became of a message; cancelled if its producer was closed before.
pub(crate) type Delivery = oneshot::Receiver<Result<(), KafkaError>>;

/// A producer with a thread that reports its deliveries.
pub(crate) struct DeliveringProducer {
    inner: Arc<BaseProducer<Deliveries>>,
    leaving: Arc<AtomicBool>,
}

impl DeliveringProducer {
    pub fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let inner: Arc<BaseProducer<Deliveries>> = Arc::new(config.create_with_context(Deliveries)?);
        let leaving = Arc::new(AtomicBool::new(false));
        let (polled, told) = (Arc::clone(&inner), Arc::clone(&leaving));
        std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                polled.poll(POLL);
            }
        });
        Ok(DeliveringProducer { inner, leaving })
    }

    /// Enqueues a message, or says why it can't be.
    pub fn send(&self, message: &Outgoing) -> Result<Delivery, KafkaError> {
        let (sender, delivery) = oneshot::channel();
        let record = BaseRecord {
            topic: &message.topic,
            partition: Some(message.partition),
            payload: Some(message.payload.as_slice()),
            key: message.key.as_deref(),
            timestamp: None,
            headers: message.kafka_headers(),
            delivery_opaque: Box::new(sender),
        };
        match self.inner.send(record) {
            Ok(()) => Ok(delivery),
            Err((error, _)) => Err(error),
        }
    }
}

impl Drop for DeliveringProducer {
    fn drop(&mut self) {
        // The thread closes the producer as its last owner: whoever drops this, on a runtime perhaps, need not wait for it.
        self.leaving.store(true, Ordering::Relaxed);
    }
}

/// Gives each delivery to whoever waits for it.
struct Deliveries;

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody has to wait.
        let _ = waiting.send(outcome);
    }
}

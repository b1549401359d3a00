//! A librdkafka producer whose deliveries are futures.
//!
//! The crate's own `FutureProducer` does the same, but wakes up ten times a second for nothing, and spins for up to a
//! millisecond each time: two of them take two hundredths of a core of an idle program. And it wakes up for each message,
//! whereas nobody here waits for an acknowledgement to go on: they are gathered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use futures::channel::oneshot;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use crate::config::QuietContext;
use crate::producer::Outgoing;

/// How long acknowledgements are gathered: each look for them costs two or three wake-ups of threads, which are most of what a lone
/// saga costs. Outbox rows and offsets wait for them, and are in no hurry.
const GATHER: Duration = Duration::from_millis(10);
/// How often the client is looked at while no message is on its way: it may have errors to tell.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// Resolves with what became of a message; cancelled if its producer was closed before.
pub(crate) type Delivery = oneshot::Receiver<Result<(), KafkaError>>;

/// A producer with a thread that reports its deliveries.
pub(crate) struct DeliveringProducer {
    inner: Arc<BaseProducer<Deliveries>>,
    reporter: Thread,
}

impl DeliveringProducer {
    pub fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let inner: Arc<BaseProducer<Deliveries>> = Arc::new(config.create_with_context(Deliveries::default())?);
        let reported = Arc::clone(&inner);
        let reporter = std::thread::spawn(move || report(&reported)).thread().clone();
        Ok(DeliveringProducer { inner, reporter })
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
        let deliveries = self.inner.context();
        let before = deliveries.on_their_way.fetch_add(1, Ordering::AcqRel);
        if let Err((error, _)) = self.inner.send(record) {
            deliveries.on_their_way.fetch_sub(1, Ordering::AcqRel);
            return Err(error);
        }
        if before == 0 {
            self.reporter.unpark();
        }
        Ok(delivery)
    }
}

impl Drop for DeliveringProducer {
    fn drop(&mut self) {
        // The thread closes the producer as its last owner: whoever drops this, on a runtime perhaps, need not wait for it.
        self.inner.context().leaving.store(true, Ordering::Release);
        self.reporter.unpark();
    }
}

/// Reports what has been delivered, until the producer is dropped.
fn report(producer: &BaseProducer<Deliveries>) {
    let deliveries = producer.context();
    while !deliveries.leaving.load(Ordering::Acquire) {
        match deliveries.on_their_way.load(Ordering::Acquire) {
            0 => std::thread::park_timeout(IDLE_LOOK),
            _ => std::thread::sleep(GATHER),
        }
        // A poll without a wait gives one event: the deliveries of a request, or an error.
        let mut before = None;
        while before != Some(deliveries.reported.load(Ordering::Relaxed)) {
            before = Some(deliveries.reported.load(Ordering::Relaxed));
            producer.poll(Duration::ZERO);
        }
    }
}

/// Gives each delivery to whoever waits for it.
#[derive(Default)]
struct Deliveries {
    /// Messages that were sent and not reported.
    on_their_way: AtomicUsize,
    /// Messages that were reported.
    reported: AtomicU64,
    leaving: AtomicBool,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        self.on_their_way.fetch_sub(1, Ordering::AcqRel);
        self.reported.fetch_add(1, Ordering::Relaxed);
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody has to wait.
        let _ = waiting.send(outcome);
    }
}

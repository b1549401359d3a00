//! A broker inside this process: librdkafka's mock cluster, for `dev`, tests, and machines without Java.
//!
//! It speaks Kafka's protocol on a port of 127.0.0.1, so that other processes can use it too. It keeps about 5 MB or
//! 100,000 messages a partition, dropping the oldest, and forgets everything when it ends; sagas survive both. It
//! cannot create topics on request, so its owner watches a topic of wishes ([`WISHES_TOPIC`]) and grants them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::config::{KafkaConfig, QuietContext, partitions_of};
use crate::error::TransportError;
use crate::producer::{Outgoing, Producer};

/// Carries the names of topics that clients would like to be created; only this broker has it, so it tells it from others.
pub(crate) const WISHES_TOPIC: &str = "sagaline.in-process.wishes";
/// The mock cluster's word for all of its brokers.
const EVERY_BROKER: i32 = -1;
/// How often the owner looks whether it shall do something else than wait for wishes.
const TURN: Duration = Duration::from_millis(20);
/// The same while it rests, so how late it wakes up at most.
const TURN_RESTING: Duration = Duration::from_millis(100);
/// With nothing sent for so long, a broker that may rests.
const REST_AFTER: Duration = Duration::from_secs(1);
/// How late a resting broker answers, and so how late the first message after a rest may come.
const REST_DELAY: Duration = Duration::from_millis(400);
/// How long the broker's first sign of life may take.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// When a producer of this process last sent something, in milliseconds since the first look at it.
static LAST_SENT_MS: AtomicU64 = AtomicU64::new(0);
static CLOCK: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Notes that a producer of this process sends something: a broker that rests wakes up.
pub(crate) fn note_sending() {
    LAST_SENT_MS.store(CLOCK.elapsed().as_millis() as u64, Ordering::Relaxed);
}

fn quiet_for() -> Duration {
    CLOCK
        .elapsed()
        .saturating_sub(Duration::from_millis(LAST_SENT_MS.load(Ordering::Relaxed)))
}

/// A broker inside this process; gone when dropped, with all it held.
pub struct InProcessBroker {
    brokers: String,
    partitions: u32,
    commands: mpsc::Sender<Command>,
    owner: Option<JoinHandle<()>>,
}

enum Command {
    Create(Vec<String>, mpsc::Sender<Result<(), KafkaError>>),
    SetDown(bool, mpsc::Sender<Result<(), KafkaError>>),
    RestWhenIdle,
    Leave,
}

impl InProcessBroker {
    /// Starts one whose topics will have this many partitions.
    ///
    /// # Errors
    /// If no port can be had, or the broker doesn't answer.
    pub fn start(partitions: u32) -> Result<Self, TransportError> {
        let (commands, orders) = mpsc::channel();
        let (started, starting) = mpsc::channel();
        // The cluster's handle can't be moved between threads, so one thread owns it.
        let owner = std::thread::Builder::new()
            .name("kafka-in-process".into())
            .spawn(move || match Owner::start(partitions) {
                Ok(owner) => {
                    let _ = started.send(Ok(owner.cluster.bootstrap_servers()));
                    owner.run(&orders);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })
            .map_err(|error| TransportError::InProcess(error.to_string()))?;
        let brokers = starting
            .recv_timeout(START_TIMEOUT)
            .map_err(|_| TransportError::InProcess("it does not answer".into()))?
            .map_err(|error| TransportError::InProcess(error.to_string()))?;
        Ok(InProcessBroker {
            brokers,
            partitions,
            commands,
            owner: Some(owner),
        })
    }

    /// `host:port` to connect to.
    pub fn brokers(&self) -> String {
        self.brokers.clone()
    }

    /// How to reach it.
    pub fn config(&self, client_id: &str) -> KafkaConfig {
        KafkaConfig {
            partitions: self.partitions,
            ..KafkaConfig::new(self.brokers.clone(), client_id)
        }
    }

    /// Creates topics; those that are there already stay as they are.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn create_topics(&self, topics: &[String]) -> Result<(), TransportError> {
        self.order(|answer| Command::Create(topics.to_vec(), answer))
    }

    /// Plays an outage: cuts all connections and takes no new ones, until called with `false`.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn set_down(&self, down: bool) -> Result<(), TransportError> {
        self.order(|answer| Command::SetDown(down, answer))
    }

    /// From now on the broker rests while no producer of this process sends anything: it answers 0.4 s late
    /// then, and takes a tenth of a second to wake up. Otherwise each consumer asks it for messages 200 times a second, because it can't hold an empty fetch until a message
    /// comes; half a dozen of them take a tenth of a core.
    pub fn rest_when_idle(&self) {
        // Gone is as good as resting.
        let _ = self.commands.send(Command::RestWhenIdle);
    }

    fn order(
        &self,
        command: impl FnOnce(mpsc::Sender<Result<(), KafkaError>>) -> Command,
    ) -> Result<(), TransportError> {
        let gone = || TransportError::InProcess("it has ended".into());
        let (answer, answered) = mpsc::channel();
        self.commands.send(command(answer)).map_err(|_| gone())?;
        answered
            .recv()
            .map_err(|_| gone())?
            .map_err(TransportError::kafka("ordering the in-process broker"))
    }
}

impl Drop for InProcessBroker {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Leave);
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

/// Asks an in-process broker, wherever it runs, for topics.
pub(crate) async fn request_topics(config: &KafkaConfig, topics: &[String]) -> Result<(), TransportError> {
    let producer = Producer::new(config)?;
    let payload = topics.join("\n").into_bytes();
    let message = Outgoing {
        topic: WISHES_TOPIC.to_owned(),
        partition: 0,
        key: None,
        headers: Vec::new(),
        payload,
    };
    producer.send(message).await
}

struct Owner {
    cluster: MockCluster<'static, DefaultProducerContext>,
    wishes: BaseConsumer<QuietContext>,
    partitions: u32,
    may_rest: bool,
    resting: bool,
}

impl Owner {
    fn start(partitions: u32) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(1)?;
        cluster.create_topic(WISHES_TOPIC, 1, 1)?;
        let wishes: BaseConsumer<QuietContext> = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("client.id", "sagaline-in-process-owner")
            .set("group.id", "sagaline-in-process-owner")
            .set("enable.auto.commit", "false")
            .create_with_context(QuietContext)?;
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(WISHES_TOPIC, 0, Offset::Beginning)?;
        wishes.assign(&assignment)?;
        Ok(Owner {
            cluster,
            wishes,
            partitions,
            may_rest: false,
            resting: false,
        })
    }

    fn run(mut self, orders: &mpsc::Receiver<Command>) {
        loop {
            loop {
                match orders.try_recv() {
                    Ok(Command::Create(topics, answer)) => {
                        let _ = answer.send(topics.iter().try_for_each(|topic| self.create(topic)));
                    }
                    Ok(Command::SetDown(true, answer)) => {
                        let _ = answer.send(self.cluster.broker_down(EVERY_BROKER));
                    }
                    Ok(Command::SetDown(false, answer)) => {
                        let _ = answer.send(self.cluster.broker_up(EVERY_BROKER));
                    }
                    Ok(Command::RestWhenIdle) => self.may_rest = true,
                    Ok(Command::Leave) | Err(mpsc::TryRecvError::Disconnected) => return,
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            self.rest_or_wake();
            let turn = if self.resting { TURN_RESTING } else { TURN };
            match self.wishes.poll(turn) {
                Some(Ok(message)) => self.grant(message.payload().unwrap_or_default()),
                Some(Err(error)) => tracing::debug!(%error, "waiting for wishes"),
                None => {}
            }
        }
    }

    fn rest_or_wake(&mut self) {
        let resting = self.may_rest && quiet_for() >= REST_AFTER;
        if resting == self.resting {
            return;
        }
        let delay = if resting { REST_DELAY } else { Duration::ZERO };
        match self.cluster.broker_round_trip_time(EVERY_BROKER, delay) {
            Ok(()) => self.resting = resting,
            Err(error) => tracing::warn!(%error, "the in-process broker could not change its pace"),
        }
    }

    fn grant(&self, wishes: &[u8]) {
        for topic in String::from_utf8_lossy(wishes).lines() {
            if let Err(error) = self.create(topic) {
                tracing::warn!(topic, %error, "the in-process broker could not create a topic");
            }
        }
    }

    fn create(&self, topic: &str) -> Result<(), KafkaError> {
        match self
            .cluster
            .create_topic(topic, partitions_of(topic, self.partitions) as i32, 1)
        {
            Err(KafkaError::MockCluster(RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            outcome => outcome,
        }
    }
}

//! What is broken while bookings run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::buyers::Progress;
use crate::platform::{PARTITIONS, Platform, Service, connect};

/// What happens in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// SIGKILL to one process after another, until every booking is accepted.
    Kills,
    /// Postgres is shut down as in a crash and started again, several times.
    PostgresRestarts,
    /// The primary is killed and never seen again; its synchronous standby is promoted.
    Promotion,
    /// Kafka is stopped for 20 s; before and after, messages are dropped unread and others repeated.
    KafkaOutage,
}

/// How long Kafka is away.
const OUTAGE: Duration = Duration::from_secs(20);
/// Topics that carry the engine's work.
const TOPICS: [&str; 4] = [
    "sagaline.tasks.seats",
    "sagaline.tasks.payments",
    "sagaline.tasks.notifications",
    "sagaline.results",
];
/// The share of messages that are sent a second time.
const REPEATED_SHARE: f64 = 0.3;
/// Messages read for that, at most.
const MESSAGES_READ_MAX: usize = 5_000;
/// Kills in one test, at least: if the sale is over sooner, the rest comes while bookings still run to their end.
const KILLS_MIN: u32 = 20;

/// Breaks what the story says while bookings are made; says in words what it has done.
pub async fn act(story: Story, platform: &mut Platform, seed: u64, progress: &Progress, bookings: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    match story {
        Story::Kills => kill_processes(platform, &mut random, || progress.accepted() >= bookings).await,
        Story::PostgresRestarts => restart_postgres(platform, &mut random, progress, bookings).await,
        Story::Promotion => promote_standby(platform, progress, bookings).await,
        Story::KafkaOutage => upset_kafka(platform, &mut random, progress, bookings).await,
    }
}

async fn kill_processes(platform: &mut Platform, random: &mut StdRng, is_over: impl Fn() -> bool) -> String {
    let mut kills = std::collections::BTreeMap::<&str, u32>::new();
    while !is_over() || kills.values().sum::<u32>() < KILLS_MIN {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..900))).await;
        let victim = random.random_range(0..platform.services.len());
        let service = &mut platform.services[victim];
        service.kill();
        *kills.entry(service.name).or_default() += 1;
        // Sometimes gone for a while, mostly back at once.
        let absence = if random.random_bool(0.2) {
            1_500
        } else {
            random.random_range(0..100)
        };
        tokio::time::sleep(Duration::from_millis(absence)).await;
        service.start();
    }
    format!("killed {kills:?}")
}

async fn restart_postgres(platform: &mut Platform, random: &mut StdRng, progress: &Progress, bookings: u64) -> String {
    let mut restarts = 0;
    while progress.accepted() < bookings || restarts < 3 {
        tokio::time::sleep(Duration::from_millis(random.random_range(500..4_000))).await;
        tokio::task::block_in_place(|| platform.postgres.restart_immediate()).expect("Postgres recovers");
        restarts += 1;
    }
    format!("restarted Postgres {restarts} times")
}

async fn promote_standby(platform: &mut Platform, progress: &Progress, bookings: u64) -> String {
    reach(progress, bookings / 3).await;
    let standby = platform.standby.as_ref().expect("this story has one");
    let before = progress.accepted();
    tokio::task::block_in_place(|| {
        platform.postgres.kill();
        standby.promote().expect("it takes over");
    });
    platform.pool = connect(standby).await;
    reach(progress, bookings).await;
    format!("promoted the standby after {before} accepted bookings")
}

async fn upset_kafka(platform: &mut Platform, random: &mut StdRng, progress: &Progress, bookings: u64) -> String {
    let gremlin = Gremlin::new(&platform.broker.brokers());
    reach(progress, bookings / 5).await;
    let mut repeated = gremlin.repeat(random).await;
    let mut dropped = drop_tasks(platform, &gremlin).await;

    reach(progress, bookings * 2 / 5).await;
    let before = progress.accepted();
    platform.broker.be_away(OUTAGE).await;
    let accepted = progress.accepted() - before;

    reach(progress, bookings * 3 / 5).await;
    dropped += drop_tasks(platform, &gremlin).await;
    repeated += gremlin.repeat(random).await;
    reach(progress, bookings).await;
    dropped += drop_tasks(platform, &gremlin).await;
    assert!(
        repeated > 0 && dropped > 0,
        "{repeated} messages repeated, {dropped} dropped: neither may be 0"
    );
    format!(
        "Kafka away for {OUTAGE:?} ({accepted} bookings accepted meanwhile), {repeated} messages repeated, {dropped} dropped"
    )
}

/// Drops tasks that no worker has seen: the workers die, tasks pile up, the messages go, the workers come back.
async fn drop_tasks(platform: &mut Platform, gremlin: &Gremlin) -> u64 {
    let workers = || |service: &&mut Service| service.name.starts_with("worker");
    platform.services.iter_mut().filter(workers()).for_each(Service::kill);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let dropped = gremlin.drop_all().await;
    platform.services.iter_mut().filter(workers()).for_each(Service::start);
    dropped
}

/// Meddles with the topics behind everybody's back.
struct Gremlin {
    client: ClientConfig,
}

impl Gremlin {
    fn new(brokers: &str) -> Gremlin {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", brokers)
            .set("group.id", "gremlin")
            .set("enable.auto.commit", "false");
        Gremlin { client }
    }

    /// Sends some of what is in the topics a second time.
    async fn repeat(&self, random: &mut StdRng) -> u64 {
        let messages = tokio::task::block_in_place(|| self.read_all());
        let producer: FutureProducer = self.client.create().unwrap();
        let mut repeated = 0;
        // One at least, whatever chance says.
        let chosen = messages.iter().enumerate();
        let chosen = chosen.filter(|(place, _)| random.random_bool(REPEATED_SHARE) || *place == 0);
        for (_, message) in chosen {
            let record = FutureRecord::<Vec<u8>, [u8]>::to(message.topic())
                .partition(message.partition())
                .payload(message.payload().unwrap_or_default());
            producer
                .send(record, Duration::from_secs(5))
                .await
                .expect("the broker takes a message");
            repeated += 1;
        }
        repeated
    }

    fn read_all(&self) -> Vec<OwnedMessage> {
        let consumer: BaseConsumer = self.client.create().unwrap();
        consumer.assign(&everything(Offset::Beginning)).unwrap();
        let mut messages = Vec::new();
        // Whatever comes until nothing has come for a while; under load that may be never, so there is an end.
        while messages.len() < MESSAGES_READ_MAX {
            // The first one needs a connection, which a busy machine takes its time for.
            let patience = Duration::from_millis(if messages.is_empty() { 15_000 } else { 800 });
            match consumer.poll(patience) {
                Some(Ok(message)) => messages.push(message.detach()),
                Some(Err(error)) => eprintln!("the gremlin meets an error: {error}"),
                None => break,
            }
        }
        messages
    }

    /// Deletes everything that is in the topics, read or not; says how many messages that were.
    async fn drop_all(&self) -> u64 {
        let consumer: BaseConsumer = self.client.create().unwrap();
        let mut messages = 0;
        for topic in TOPICS {
            for partition in 0..PARTITIONS as i32 {
                let (low, high) = watermarks(&consumer, topic, partition);
                messages += (high - low) as u64;
            }
        }
        let admin: AdminClient<DefaultClientContext> = self.client.create().unwrap();
        admin
            .delete_records(&everything(Offset::End), &AdminOptions::new())
            .await
            .expect("the broker deletes");
        messages
    }
}

/// A broker that has just come back may not lead its partitions yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let begun = tokio::time::Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)) {
            Ok(watermarks) => return watermarks,
            Err(error) => assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{topic} {partition}: {error}"
            ),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn everything(offset: Offset) -> TopicPartitionList {
    let mut all = TopicPartitionList::new();
    for topic in TOPICS {
        for partition in 0..PARTITIONS as i32 {
            all.add_partition_offset(topic, partition, offset).unwrap();
        }
    }
    all
}

/// Until so many bookings are accepted, with or without Kafka.
async fn reach(progress: &Progress, accepted: u64) {
    let begun = tokio::time::Instant::now();
    while progress.accepted() < accepted {
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "the sale has stalled at {}",
            progress.accepted()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

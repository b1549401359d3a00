//! What can be set about the engine, and every limit of it, each with the reason for its number.

use std::time::Duration;

use crate::counts::Worth;

/// Sagas in one batch. The prototype's throughput was flat from 500 on; a thousand keeps one commit under about 50 ms.
pub const SAGAS_PER_BATCH_MAX: usize = 1_000;
/// Bytes of inputs and results in one batch: a commit of more would keep everyone else waiting.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events that may wait for their batch; past it callers of the API are told to come back (about 3 s of work).
pub const INBOUND_MAX: usize = 20_000;
/// A second batch runs beside the first only when this many events wait: below it, it would only make both smaller.
pub const SECOND_LANE_BACKLOG_MIN: usize = 300;
/// Batches in flight at once; more than two gained nothing on two cores.
pub const LANES_MAX: usize = 2;
/// After a batch of fewer sagas the next begins at once: they are served as they come.
pub const REST_FROM: usize = 4;
/// After a batch of so many sagas the next begins at once, and when so many events wait: most of 256 sagas, were they all there are.
pub const REST_ENDS_AT: usize = 200;
/// The longest rest after a small batch, else as long as that took: five of them are what it may add to a saga of five transitions.
pub const REST_MAX: Duration = Duration::from_millis(20);
/// Times a batch is read and applied again because somebody else moved one of its sagas, before it is split.
pub const STALE_RETRIES_MAX: u32 = 5;
/// The same for a saga that is alone in its batch: past it something is wrong, and its event is dropped with an error.
pub const ALONE_RETRIES_MAX: u32 = 200;
/// Live sagas whose state is kept in memory, about 4 KB each: as many as callers may wait for, so that whoever waits is told from memory.
pub const CACHED_SAGAS_MAX: usize = WAITERS_MAX;
/// Bytes of messages handed to the Kafka client and not yet acknowledged; past it, messages wait in the outbox table.
pub const UNACKNOWLEDGED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Outbox rows read in one sweep: at about 1 MB a row it bounds the sweep's memory.
pub const OUTBOX_SWEEP_ROWS_MAX: i64 = 20;
/// Timers claimed at once: half a batch, so that an expiry storm leaves room for results.
pub const TIMERS_PER_CLAIM_MAX: i64 = 500;
/// A claimed timer that nobody has dealt with comes back after this long: its claimer died.
pub const TIMER_LEASE: Duration = Duration::from_secs(15);
/// The longest sleep between looks at the timer table: timers set by other replicas are seen after that.
pub const TIMER_POLL_MAX: Duration = Duration::from_millis(500);
/// The shortest interval of the sweep for unanswered attempts.
pub const ATTEMPT_SWEEP_MIN: Duration = Duration::from_secs(1);
/// Overdue attempts found in one sweep.
pub const ATTEMPTS_PER_SWEEP_MAX: i64 = 5_000;
/// Sagas read in one page when everything live is dispatched again.
pub const REDISPATCH_PAGE: i64 = 500;
/// How often it is looked whether operators have paused or limited a queue: a pause is everywhere after that.
pub const QUEUE_LOOK: Duration = Duration::from_secs(1);
/// The same while a queue has a rate limit: what a task waits for its turn, at most, where the rate leaves room.
pub const QUEUE_TICK: Duration = Duration::from_millis(100);
/// A rate limit that was not used up is made up for over so long: some ticks, so that one that comes late costs nothing.
pub const QUEUE_BURST: Duration = Duration::from_millis(500);
/// Held tasks of a queue that are let through at once: half a batch.
pub const TASKS_LET_THROUGH_MAX: i64 = 500;
/// A task that was let through and that nobody has dealt with is let through again after this long: its replica died.
pub const HELD_TASK_LEASE: Duration = Duration::from_secs(15);
/// A queue's unanswered tasks that one replica lets there be, at least, as long as none runs out of time.
pub const UNANSWERED_MIN: usize = 1_000;
/// The same once some have run out of time, until none waits any more.
pub const UNANSWERED_LATE_MIN: usize = 64;
/// A queue is given so much as its workers answer in this time, if that is more: well below any step's own.
pub const AHEAD: Duration = Duration::from_secs(3);
/// How late an answer may come and be counted: workers answer at the deadline, or a second later.
pub const ANSWER_LATE: Duration = Duration::from_secs(3);
/// So many tasks that ran out of time in five seconds, and more than one in twenty, make a queue late.
pub const LATE_TASKS_MIN: usize = 5;
/// With more than one in so many answers to tasks that another replica sent, what is counted here says nothing.
pub const STRANGE_SHARE: usize = 10;
/// Tasks that are remembered until they are answered; past it nothing is limited.
pub const UNANSWERED_KNOWN_MAX: usize = 200_000;
/// How often workers are asked what they do at once, while tasks wait for them.
pub const CONCURRENCY_LOOK: Duration = Duration::from_secs(5);
/// Between two warnings that a queue is full.
pub const FULL_TOLD: Duration = Duration::from_secs(60);
/// For how long it is remembered that a task ran out of time.
pub const LATE_FOR: Duration = Duration::from_secs(60);
/// How often counts are added to their table.
pub const COUNTS_FLUSH: Duration = Duration::from_secs(2);
/// Counts that are kept while Postgres is away: some hours of some workflows.
pub const COUNTS_MAX: usize = 10_000;
/// How long counts are kept: a week and a day, to compare with.
pub const KEEP_COUNTS: Duration = Duration::from_secs(8 * 24 * 3600);
/// How often workers' signs of life are written down.
pub const NOTICES_FLUSH: Duration = Duration::from_secs(2);
/// Workers whose signs of life are kept until then.
pub const NOTICES_MAX: usize = 10_000;
/// A sign of life older than this says nothing any more.
pub const NOTICE_AGE_MAX: Duration = Duration::from_secs(30);
/// How often those who wait for a saga look whether another replica has finished it.
pub const WAIT_POLL: Duration = Duration::from_millis(200);
/// Every how many such looks those sagas are included that are in this replica's memory.
pub const WAIT_POLLS_FOR_OURS: u32 = 10;
/// Sagas read in one such look: at some KB each, what a look may hold in memory. The others are found by the next.
pub const WAIT_READ_MAX: i64 = 2_000;
/// Sagas that can be waited for at once.
pub const WAITERS_MAX: usize = 50_000;
/// Bytes of an idempotency key, business key, signal id or signal name.
pub const KEY_BYTES_MAX: usize = 512;
/// Labels of one saga.
pub const TAGS_MAX: usize = 32;

/// How the engine runs. [`EngineOptions::default`] is meant for production.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Connections of the hot path; the engine makes them itself, with its own session settings.
    pub connections: u32,
    /// Sagas in one batch, at most [`SAGAS_PER_BATCH_MAX`].
    pub sagas_per_batch_max: usize,
    /// Keep live sagas' states in memory (dropped at the first sign of another writer).
    pub cache: bool,
    /// Live sagas kept in memory.
    pub cached_sagas_max: usize,
    /// The consumer group on the results topic; replicas share it.
    pub results_group: String,
    /// `ce_source` of the facts.
    pub event_source: String,
    /// A queue's unanswered tasks that this replica lets there be, at least ([`UNANSWERED_MIN`]).
    pub unanswered_min: usize,
    /// A replica that has been silent for this long is taken for dead, and its outbox rows are published by others.
    pub instance_lease: Duration,
    /// How long ended sagas, with their journals, are kept.
    pub keep_ended: Duration,
    /// How long start keys are kept, at least.
    pub keep_start_keys: Duration,
    /// How long a signal waits for a saga that isn't there.
    pub keep_parked_signals: Duration,
    /// How often retention runs.
    pub retention_interval: Duration,
    /// How long `shutdown` waits for what is under way.
    pub drain_timeout: Duration,
    /// What sagas are worth, for figures; none: nothing.
    pub worth: Option<Worth>,
    /// Where the engine pretends to crash, for tests.
    pub failpoint: Failpoint,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            connections: 6,
            sagas_per_batch_max: SAGAS_PER_BATCH_MAX,
            cache: true,
            cached_sagas_max: CACHED_SAGAS_MAX,
            results_group: "sagaline-orchestrator".to_owned(),
            event_source: "/sagaline".to_owned(),
            unanswered_min: UNANSWERED_MIN,
            instance_lease: Duration::from_secs(10),
            keep_ended: Duration::from_secs(30 * 24 * 3600),
            keep_start_keys: Duration::from_secs(48 * 3600),
            keep_parked_signals: Duration::from_secs(24 * 3600),
            retention_interval: Duration::from_secs(3600),
            drain_timeout: Duration::from_secs(10),
            worth: None,
            failpoint: Failpoint::None,
        }
    }
}

/// A place where an engine pretends to have crashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failpoint {
    /// Nowhere.
    #[default]
    None,
    /// Between a batch's commit and the publishing of its messages: nothing is ever sent.
    BeforePublish,
}

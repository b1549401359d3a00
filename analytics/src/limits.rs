//! Every limit of the analytics, in one place.

use std::time::Duration;

/// Facts written by one statement: some milliseconds' work, and few enough that a crash repeats little.
pub const BATCH_MAX: usize = 1_000;
/// Bytes of a fact's payload. The largest of ours name five hundred seats.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an id, of a user or an event in a fact: an index has to take them.
pub const ID_BYTES_MAX: usize = 400;
/// The largest amount that is added up: as large as the shop takes, so that no sum of them overflows.
pub const CENTS_MAX: i64 = 100_000_000_000_000;
/// How long facts are kept one by one, in days. Later ones than this are not counted any more.
pub const FACTS_KEPT_DAYS: u64 = 90;
/// How far ahead of ours a fact's clock may be, in days: it would have a partition made otherwise.
pub const FACTS_AHEAD_DAYS: u64 = 1;
/// How long roll-ups by minute, and who was active, are kept, in days; those by hour and day stay.
pub const MINUTES_KEPT_DAYS: u64 = 14;
/// Rows of those cleared away by one statement.
pub const CLEARED_MAX: i64 = 10_000;
/// How often what is over is cleared away.
pub const CLEAR_EVERY: Duration = Duration::from_secs(60 * 60);
/// The wait after the store did not take a batch; doubles with each failure…
pub const RETRY_FIRST: Duration = Duration::from_millis(200);
/// …up to this: an operator who starts the store should not have to wait much longer for us.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often finished offsets are committed: what a crash repeats is at most this much, and harmless.
pub const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How long after Kafka reported a problem it is asked again.
pub const KAFKA_PAUSE: Duration = Duration::from_millis(100);
/// How long that may take before facts are taken again.
pub const CLEAR_LIMIT: Duration = Duration::from_secs(60);

/// How long facts are gathered before they are written to ClickHouse, which makes a part of each write and merges it later.
pub const CLICKHOUSE_LINGER: Duration = Duration::from_millis(500);
/// Facts written at once there.
pub const CLICKHOUSE_BATCH_MAX: usize = 10_000;
/// How long a question to ClickHouse may take: somebody waits for it.
pub const CLICKHOUSE_READ_LIMIT: Duration = Duration::from_secs(10);
/// How long a write there may take: nobody waits for it, and a server under load takes its time.
pub const CLICKHOUSE_WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Users' actions that wait to be sent: a second's worth of a rush, some megabytes. What comes above it is lost, and counted.
pub const ACTIONS_WAITING_MAX: usize = 10_000;
/// Actions of one minute that are remembered, so that each is told once; above it some are told twice, which changes no count.
pub const ACTIONS_KNOWN_MAX: usize = 100_000;
/// Actions that were given to the broker and not yet acknowledged: it may be away, and they are no facts of a sale.
pub const ACTIONS_IN_FLIGHT_MAX: usize = 2_000;
/// How long the broker may take with one before it counts as lost.
pub const ACTION_SEND_LIMIT: Duration = Duration::from_secs(10);

/// Steps of a report.
pub const REPORT_STEPS_MAX: i64 = 1_500;
/// Events of a report: a table that people read.
pub const REPORT_EVENTS_MAX: i64 = 20;

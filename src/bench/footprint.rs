//! What sagas leave behind: log, tables, dead rows, and what the broker keeps.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use sqlx::PgPool;
use tokio::task::JoinHandle;

/// How often a long run says how the tables are.
const WATCH_EVERY: Duration = Duration::from_secs(60);

/// Sizes at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of write-ahead log since the server was made.
    pub wal_bytes: i64,
    /// Transactions committed in this database. A statement by itself is one.
    pub transactions: i64,
    /// Bytes of the engine's tables with their indexes.
    pub table_bytes: i64,
    /// Rows in them that nobody can see any more and vacuum has not removed.
    pub dead_tuples: i64,
    /// Bytes of the broker's log, where the broker is ours.
    pub broker_bytes: Option<u64>,
}

/// What sagas left behind. Log and transactions are whoever's wrote meanwhile; on a server of our own, the sagas'.
#[derive(Debug, Serialize)]
pub struct LeftBehind {
    /// Bytes of write-ahead log.
    pub wal_bytes_per_saga: f64,
    /// Bytes of the engine's tables and indexes.
    pub table_bytes_per_saga: f64,
    /// Bytes of the broker's log; none if it isn't ours.
    pub broker_bytes_per_saga: Option<f64>,
    /// Transactions, each of one statement.
    pub transactions_per_saga: f64,
    /// Rows at the end that vacuum had not removed yet.
    pub dead_tuples: i64,
}

impl Footprint {
    /// As things are. `broker` is where our broker keeps its log.
    pub async fn now(pool: &PgPool, broker: Option<&Path>) -> anyhow::Result<Footprint> {
        let (wal_bytes, transactions): (i64, i64) = sqlx::query_as(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, xact_commit \
             from pg_stat_database where datname = current_database()",
        )
        .fetch_one(pool)
        .await
        .context("reading the server's statistics")?;
        let (table_bytes, dead_tuples): (i64, i64) = sqlx::query_as(
            "select coalesce(sum(pg_total_relation_size(relid)), 0)::bigint, coalesce(sum(n_dead_tup), 0)::bigint \
             from pg_stat_user_tables where schemaname = 'saga'",
        )
        .fetch_one(pool)
        .await
        .context("reading the tables' statistics")?;
        Ok(Footprint {
            wal_bytes,
            transactions,
            table_bytes,
            dead_tuples,
            broker_bytes: broker.map(bytes_in),
        })
    }

    /// What so many sagas have left behind since.
    pub fn since(&self, before: &Footprint, sagas: u64) -> LeftBehind {
        let per_saga = |amount: i64| amount as f64 / sagas as f64;
        let broker = self.broker_bytes.zip(before.broker_bytes);
        LeftBehind {
            wal_bytes_per_saga: per_saga(self.wal_bytes - before.wal_bytes),
            table_bytes_per_saga: per_saga(self.table_bytes - before.table_bytes),
            broker_bytes_per_saga: broker.map(|(now, then)| now.saturating_sub(then) as f64 / sagas as f64),
            transactions_per_saga: per_saga(self.transactions - before.transactions),
            dead_tuples: self.dead_tuples,
        }
    }
}

/// Says once a minute how fast it goes and how the tables are, until dropped.
pub struct Watch {
    task: JoinHandle<()>,
}

impl Watch {
    pub fn begin(pool: PgPool) -> Watch {
        Watch {
            task: tokio::spawn(watch(pool)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(pool: PgPool) {
    let began = Instant::now();
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        match Footprint::now(&pool, None).await {
            Ok(now) => eprintln!(
                "bench: after {} s: {} dead rows, {} MB in the engine's tables, {} MB of log",
                began.elapsed().as_secs(),
                now.dead_tuples,
                now.table_bytes / 1_000_000,
                now.wal_bytes / 1_000_000
            ),
            Err(error) => eprintln!("bench: {error:#}"),
        }
    }
}

/// Bytes of all files below; what vanishes meanwhile is not there any more.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            // Index files are as large as they may become, and empty: count what is written.
            Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
            Err(_) => 0,
        })
        .sum()
}

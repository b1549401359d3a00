//! The database's clock, without a round trip: its offset to this process's monotonic clock is measured every few seconds.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use workflows::ids::Timestamp;

/// How often the offset is measured: crystals drift by less than a millisecond in that time.
const SYNC_INTERVAL: Duration = Duration::from_secs(3);

/// Gives the database's time; never goes back.
#[derive(Debug)]
pub struct DatabaseClock {
    base: Instant,
    /// Database time in microseconds at `base`.
    base_micros: AtomicI64,
    last_millis: AtomicI64,
}

impl DatabaseClock {
    /// Measures the offset once.
    pub async fn start(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let clock = DatabaseClock {
            base: Instant::now(),
            base_micros: AtomicI64::new(0),
            last_millis: AtomicI64::new(0),
        };
        clock.sync(pool).await?;
        Ok(clock)
    }

    /// The database's time now.
    pub fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.base.elapsed().as_micros()).unwrap_or(i64::MAX);
        let millis = self.base_micros.load(Ordering::Relaxed).saturating_add(elapsed) / 1_000;
        Timestamp(self.last_millis.fetch_max(millis, Ordering::Relaxed).max(millis))
    }

    /// Notes that the database's clock has reached `at`, e.g. because it says that a timer is due.
    pub fn observe(&self, at: Timestamp) {
        self.last_millis.fetch_max(at.0, Ordering::Relaxed);
    }

    /// Measures the offset again.
    pub async fn sync(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let asked = self.base.elapsed();
        let micros = crate::store::clock_micros(pool).await?;
        let answered = self.base.elapsed();
        // The server read its clock about half-way between question and answer.
        let middle = i64::try_from(((asked + answered) / 2).as_micros()).unwrap_or(i64::MAX);
        self.base_micros.store(micros.saturating_sub(middle), Ordering::Relaxed);
        Ok(())
    }

    /// Keeps measuring until `stop`.
    pub async fn keep(&self, pool: PgPool, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(SYNC_INTERVAL))
            .await
            .is_some()
        {
            // Without an answer the last offset stays good; the failure shows up everywhere else.
            let _ = self.sync(&pool).await;
        }
    }
}

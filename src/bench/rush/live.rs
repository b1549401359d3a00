//! Figures while it runs: a bar on a terminal, a line each second elsewhere; on stderr in any case.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Between two looks at the figures.
const EVERY: Duration = Duration::from_secs(1);

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Counts>);

/// The counts behind it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Buyers who have left.
    pub served: AtomicU64,
    /// Answers.
    pub answered: AtomicU64,
    /// Bookings confirmed.
    pub confirmed: AtomicU64,
    /// Wishes refused.
    pub refused: AtomicU64,
    /// Wishes that wait for their answer.
    pub in_flight: AtomicU64,
}

impl std::ops::Deref for Live {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.0
    }
}

impl Counts {
    fn line(&self, buyers: u64, seats_left: Option<i64>, since: &mut u64) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let answered = of(&self.answered);
        let rate = answered - *since;
        *since = answered;
        format!(
            "{} of {buyers} buyers served; {answered} answers ({rate}/s): {} confirmed, {} refused; {} in flight; {} seats left",
            of(&self.served),
            of(&self.confirmed),
            of(&self.refused),
            of(&self.in_flight),
            seats_left.map_or_else(|| "?".to_owned(), |left| left.to_string()),
        )
    }
}

/// Shows the figures until it is over.
pub async fn show(live: Live, pool: PgPool, event: String, buyers: u64, over: CancellationToken) {
    let bar = ProgressBar::new(buyers);
    bar.set_style(
        ProgressStyle::with_template("[{elapsed_precise}] {bar:30} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let (mut answered, mut seconds) = (0, 0_u64);
    while over.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        seconds += 1;
        // No figure is better than no line.
        let seats_left = available_seats(&pool, &event).await.ok();
        let line = live.line(buyers, seats_left, &mut answered);
        if bar.is_hidden() {
            eprintln!("bench: {seconds:>4} s  {line}");
        } else {
            bar.set_position(live.served.load(Ordering::Relaxed));
            bar.set_message(line);
        }
    }
    bar.finish_and_clear();
}

async fn available_seats(pool: &PgPool, event: &str) -> sqlx::Result<i64> {
    let query = "select count(*) from ticketing.seats where event_id = $1 and status = 'available'";
    sqlx::query_scalar(query).bind(event).fetch_one(pool).await
}

//! What a gateway does beside answering requests: chores, each done again and again until it is told to stop.
//!
//! Any number of gateways run the same chores side by side, so a chore takes its rows for a lease, works on them outside of any
//! transaction, and marks them; whoever dies leaves a lease that ends.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// What is to be done after a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More: what was done was a full batch, so that more is likely waiting.
    AtOnce,
    /// A pause, which being woken ends.
    Pause(Duration),
    /// The same, as there was nothing to do: looks that find nothing one after the other come ever more seldom.
    Idle(Duration),
}

/// So many looks in a row that find nothing are made at their usual pace.
const IDLE_LOOKS: u32 = 10;
/// After those a pause is so many times as long. What this process knows of wakes it; what only the table knows of comes so much later.
const IDLE_PAUSES: u32 = 3;

/// Something to be done again and again.
pub trait Chore: Send {
    /// What the log calls it.
    const NAME: &'static str;

    /// Does a piece of it.
    fn work(&self, app: &App) -> impl Future<Output = Result<Next, sqlx::Error>> + Send;

    /// Before each pause, unless the work has failed.
    fn rest(&mut self, _app: &App, _shutdown: &CancellationToken) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Until there is something to do.
    fn woken(&self, _app: &App) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// How long it waits after work that has failed.
    fn pause(app: &App) -> Duration {
        app.options().inbox_poll_interval
    }
}

/// Does a chore until told to stop.
pub async fn run<C: Chore>(mut chore: C, app: App, shutdown: CancellationToken) {
    // Said once per outage, not once per second.
    let mut is_failing = false;
    let mut idle_looks = 0_u32;
    while !shutdown.is_cancelled() {
        let pause = match chore.work(&app).await {
            Ok(next) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!(chore = C::NAME, "it goes on again");
                }
                idle_looks = if matches!(next, Next::Idle(_)) {
                    idle_looks.saturating_add(1)
                } else {
                    0
                };
                let pause = match next {
                    Next::AtOnce => continue,
                    Next::Idle(pause) if idle_looks > IDLE_LOOKS => pause * IDLE_PAUSES,
                    Next::Pause(pause) | Next::Idle(pause) => pause,
                };
                chore.rest(&app, &shutdown).await;
                pause
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(chore = C::NAME, %error, "it can't be done; will try again");
                }
                C::pause(&app)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = chore.woken(&app), if !is_failing => (),
            () = tokio::time::sleep(pause) => (),
        }
    }
}

/// Something that is done at first, and then again after a while.
pub struct Seldom {
    every: Duration,
    done_at: Option<Instant>,
}

impl Seldom {
    /// Once in so long.
    pub const fn every(every: Duration) -> Seldom {
        Seldom { every, done_at: None }
    }

    /// Whether it is time; then it counts as done.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.done_at.is_none_or(|at| at.elapsed() >= self.every);
        if is_due {
            self.done_at = Some(Instant::now());
        }
        is_due
    }
}

/// Clears two kinds of things away that are over, up to `max` of each at a time, until there are no more.
pub async fn clear_away<F>(what: &str, max: i64, shutdown: &CancellationToken, some: impl Fn() -> F + Send)
where
    F: Future<Output = Result<(u64, u64), sqlx::Error>> + Send,
{
    // A full batch means that more is likely there.
    let is_full = |count: u64| i64::try_from(count).is_ok_and(|count| count >= max);
    loop {
        match some().await {
            Ok((0, 0)) => return,
            Ok((ones, others)) => {
                tracing::info!(what, ones, others, "what is over was cleared away");
                if shutdown.is_cancelled() || !(is_full(ones) || is_full(others)) {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(what, %error, "what is over could not be cleared away; will try again");
                return;
            }
        }
    }
}

/// How long to wait after so many tries: doubles with each, up to `max`.
pub fn backoff(attempts: i32, first: Duration, max: Duration) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    first.saturating_mul(1 << doublings).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_seldom_is_due_at_first_and_after_a_while() {
        let mut hourly = Seldom::every(Duration::from_secs(3_600));
        assert_eq!([hourly.is_due(), hourly.is_due()], [true, false]);
        let mut always = Seldom::every(Duration::ZERO);
        assert_eq!([always.is_due(), always.is_due()], [true, true]);
    }

    #[test]
    fn the_wait_doubles_up_to_its_cap() {
        let (second, max) = (Duration::from_secs(1), Duration::from_secs(300));
        assert_eq!(backoff(0, second, max), second);
        assert_eq!(backoff(1, second, max), second);
        assert_eq!(backoff(4, second, max), Duration::from_secs(8));
        assert_eq!(backoff(i32::MAX, second, max), max);
    }
}

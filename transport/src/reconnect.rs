//! Waiting for something outside that is not there yet: Kafka or Postgres at start.
//!
//! This is the one place that uses the `backoff` crate. It is the project's choice for retries, but no longer maintained
//! (RUSTSEC-2025-0012); all that matters for sagas (durable retries) is the state machine's own arithmetic, and should this crate ever
//! stop building, `backon` can replace it here without anyone noticing.

use std::fmt::Display;
use std::time::Duration;

use backoff::ExponentialBackoff;

/// Wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait: an operator who starts the broker should not have to wait much longer for us.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Calls `attempt` until it succeeds, with growing waits, saying each time what is missing and why.
///
/// It never gives up: a process that ends because its broker is late only crash-loops. Drop the future to stop.
pub async fn retry_until_connected<T, E, F, Fut>(what: &str, mut attempt: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Display,
{
    let policy = ExponentialBackoff {
        initial_interval: FIRST_WAIT,
        max_interval: LONGEST_WAIT,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    loop {
        let outcome = backoff::future::retry_notify(
            policy.clone(),
            || {
                let attempt = attempt();
                async move { attempt.await.map_err(backoff::Error::transient) }
            },
            |error, wait: Duration| {
                let wait_ms = wait.as_millis() as u64;
                tracing::warn!(%error, wait_ms, "{what} is not reachable, trying again");
            },
        )
        .await;
        // The policy has no end, so an error can't come out of it; were it given one, we would begin again.
        if let Ok(value) = outcome {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn goes_on_until_it_succeeds() {
        let calls = AtomicU32::new(0);
        let value = retry_until_connected("a test", || async {
            match calls.fetch_add(1, Ordering::Relaxed) {
                0..2 => Err("not yet"),
                call => Ok(call),
            }
        })
        .await;
        assert_eq!(value, 2);
    }
}

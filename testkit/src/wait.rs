//! Waiting for a condition, with a limit.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause between two looks; it grows up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Waits until `condition` holds; panics with `what` when it doesn't within `limit`.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + limit;
    let mut pause = PAUSE_MIN;
    while !condition().await {
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_looks_again_until_the_condition_holds() {
        let mut looks = 0;
        eventually("three looks", Duration::from_secs(5), async || {
            looks += 1;
            looks == 3
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "not within 10ms: never")]
    async fn it_gives_up_at_the_limit() {
        eventually("never", Duration::from_millis(10), async || false).await;
    }
}

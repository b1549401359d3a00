//! What the transport's tests share.

#![allow(clippy::unwrap_used, dead_code)]

use std::time::{Duration, Instant};

use transport::Outgoing;

/// A message that says `n`.
pub fn message(topic: &str, partition: i32, n: i32) -> Outgoing {
    let payload = n.to_string().into_bytes();
    Outgoing {
        topic: topic.to_owned(),
        partition,
        key: None,
        headers: Vec::new(),
        payload,
    }
}

/// Waits until the condition holds, half a minute at most.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "waited too long until {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

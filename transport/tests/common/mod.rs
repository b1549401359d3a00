//! What the transport's tests share.

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

//! The SQL of the notifications, as far as it is the gateway's.

pub mod messages;
pub mod preferences;

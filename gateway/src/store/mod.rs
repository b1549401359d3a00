//! All of the gateway's SQL: it reads events and seats, and owns the webhook inbox.

pub mod availability;
pub mod events;
pub mod inbox;

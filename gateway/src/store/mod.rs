//! All of the gateway's SQL: it reads events and seats, and owns the webhook inbox and the waiting rooms.

pub mod availability;
pub mod events;
pub mod inbox;
pub mod outbox;
pub mod waiting;

//! Refunds of confirmed bookings, one by one or because their event was called off, and what a buyer is told of a payment. Each refund is
//! one saga of the refund workflow.
//!
//! Whether seats can be given back is decided by the saga, under the seats' locks; what is checked here before only spares sagas that
//! could not succeed, and says why in the buyer's words. The event's policy is kept here alone: an operator's refund, started by the
//! engine's API, has none.

pub mod cancellation;
pub mod differences;
pub mod payment;
pub mod request;
pub mod routes;
pub mod runner;
pub mod view;

mod store;

pub use store::{Given, next_action, of_booking};

/// How the keys begin under which refunds' sagas are started.
pub const REFUND_KEYS: &str = "refund/";

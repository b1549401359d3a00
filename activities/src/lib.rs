//! What touches the outside: seats, payments, notifications. Each is an activity that workers run, idempotent by its key.

pub mod activity;
pub mod payments;
pub mod seats;
pub mod typed;

pub use activity::{Activity, Announcement, BatchActivity, Handler, Registry, Schemas, TaskContext};
pub use seats::register as register_seats;

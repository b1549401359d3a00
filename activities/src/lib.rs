//! What touches the outside: seats, payments, events that are called off, notifications, mails about accounts. Each is an activity that workers run, idempotent by its key.

pub mod accounts;
pub mod activity;
pub mod events;
mod https;
pub mod notifications;
pub mod payments;
pub mod reference;
pub mod seats;
pub mod typed;

pub use activity::{Activity, Announcement, BatchActivity, Handler, Registry, Schemas, TaskContext};
pub use reference::register as register_reference;
pub use seats::register as register_seats;

//! The ticket workflows, and the benchmark's.

pub mod account;
pub mod alert;
pub mod booking;
pub mod cancellation;
pub mod dispute;
pub mod event;
pub mod metrics;
pub mod notification;
pub mod reconciliation;
pub mod reference;
pub mod refund;
pub mod sweep;

//! The ticket workflows, and the benchmark's.

pub mod account;
pub mod booking;
pub mod event;
pub mod reference;
pub mod sweep;

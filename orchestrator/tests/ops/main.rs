//! The ops port and what is behind it, on real Postgres and the in-process broker: client interface, HTTP API, schedules.
#![allow(clippy::unwrap_used)]

mod api;
mod client;
mod harness;
mod schedules;

//! The engine on real Postgres and a real broker: what goes well, and what goes wrong.

#![allow(clippy::unwrap_used)]

mod events;
mod faults;
mod queues;
mod runs;
mod starts;
mod support;

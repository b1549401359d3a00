//! The gateway over real HTTP and a real Postgres; only the engine is played by [`engine::FakeEngine`].
#![allow(clippy::unwrap_used)]

mod actions;
mod availability;
mod bad_input;
mod bookings;
mod engine;
mod events;
mod limits;
mod live;
mod notifications;
mod organisers;
mod overload;
mod passing;
mod platform;
mod refunds;
mod shop;
mod tickets;
mod users;
mod waiting;
mod webhooks;

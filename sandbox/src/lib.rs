//! A Stripe of our own for `dev`, tests and benchmarks: the endpoints that Sagaline calls, with state.
//!
//! It keeps payment intents, refunds and disputes, honours idempotency keys as Stripe does, knows Stripe's test payment methods
//! ([`cards`]), sends signed webhooks ([`webhook`]), and can be told to be slow, to fail, to refuse and to lose
//! answers ([`Switches`], at run time through `POST /_sandbox/config`). `GET /_sandbox/ledger` is its own account of all
//! the money that moved, which audits compare with what the platform believes.
//!
//! Its answers are held against Stripe's OpenAPI description by a test that runs `stripe-mock`.
//!
//! Beside it there are providers of messages ([`messaging`]).
//!
//! **Memory is bounded**: [`Options::intents_max`] intents of about a kilobyte each (further ones are refused),
//! [`IDEMPOTENCY_KEYS_MAX`] keys of about 300 bytes (the oldest are forgotten early), [`EVENTS_MAX`] events.
//! **What it answered survives** a kill of its process if it has a data directory: each change is written (not synced) to a file before it is
//! answered. Without one, everything is forgotten at exit.

#![recursion_limit = "256"]

mod api;
pub mod cards;
mod chaos;
mod disputes;
mod error;
mod form;
mod gate;
mod journal;
mod ledger;
pub mod messaging;
mod model;
mod render;
mod server;
mod store;
pub mod webhook;

pub use chaos::{Range, Switches, WebhookSwitches};
pub use ledger::{Ledger, LedgerEntry, LedgerTotals};
pub use model::{IntentStatus, RefundStatus};
pub use server::{Handle, Options, SandboxError, Serving, serve, start};

/// Idempotency keys remembered, at most. At 3,000 payments a second and two keys each that is a minute, far more than any
/// client of a sandbox waits before it sends a request again; about 100 MB.
pub const IDEMPOTENCY_KEYS_MAX: usize = 400_000;
/// Events remembered for `GET /v1/events`, at most.
pub const EVENTS_MAX: usize = 10_000;
/// Webhooks waiting for delivery, at most; further ones are dropped and counted.
pub const WEBHOOKS_WAITING_MAX: usize = 100_000;
/// Bytes of one request's body, at most: Stripe's own requests are a few kilobytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

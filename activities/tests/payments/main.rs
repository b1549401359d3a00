//! The payment activities over real HTTP: against the sandbox with a database of their own, and against `stripe-mock`.
#![allow(clippy::unwrap_used)]

mod cards;
mod disputes;
mod fences;
mod interleavings;
mod ledger;
mod parts;
mod reconcile;
mod refunds;
mod shop;
mod stripe_mock;

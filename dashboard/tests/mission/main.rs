//! Mission control through HTTP, over an engine and Postgres.
#![allow(clippy::unwrap_used)]

mod access;
mod acting;
mod api;
mod campaigns;
mod client;
mod control;
mod identity;
mod inbox;
mod openapi;
mod places;
mod queues;
mod reports;
mod sagas;
mod sign_on;
mod together;
mod users;

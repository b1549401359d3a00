//! Mission control through HTTP, over an engine and Postgres.
#![allow(clippy::unwrap_used)]

mod access;
mod acting;
mod api;
mod campaigns;
mod client;
mod control;
mod inbox;
mod openapi;
mod places;
mod queues;
mod sagas;
mod together;
mod users;

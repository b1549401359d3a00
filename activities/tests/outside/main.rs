//! The activities against the real outside: Postgres, SMTP.
#![allow(clippy::unwrap_used)]

mod accounts;
mod buyers;
mod contention;
mod events;
mod model;
mod notifications;
mod reference;
mod returns;
mod seats;
mod support;

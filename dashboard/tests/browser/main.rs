//! Mission control in a browser: headless Chromium through its driver, over an engine, a worker and Postgres.
//!
//! Screenshots of every page, light and dark, are left in `target/tmp/mission-control/`.
#![allow(clippy::unwrap_used)]

mod axe;
mod chrome;
#[path = "../mission/control.rs"]
mod control;
#[path = "../mission/identity.rs"]
mod identity;
mod pages;
mod sign_on;
mod story;
mod worker;

//! Mission control in a browser: headless Chromium through its driver, over an engine, a worker and Postgres.
//!
//! Screenshots of every page, light and dark, are left in `target/tmp/mission-control/`.
#![allow(clippy::unwrap_used)]

mod axe;
mod chrome;
#[path = "../mission/control.rs"]
mod control;
// Its lies are for the tests without a browser.
#[allow(dead_code)]
#[path = "../mission/identity.rs"]
mod identity;
mod pages;
mod sign_on;
mod story;
mod worker;

//! Mission control in a browser: headless Chromium through its driver, over an engine, a worker and Postgres.
//!
//! Screenshots of every page, light and dark, are left in `target/tmp/mission-control/`.
#![allow(clippy::unwrap_used)]

#[path = "../mission/control.rs"]
mod control;
#[path = "../mission/identity.rs"]
mod identity;
mod pages;
mod sign_on;
mod story;
mod together;
mod worker;

use testkit::{Chrome, Keeping};

/// A browser that keeps its pictures in a folder of these pages' own; none: there is none here, which was said.
async fn browser(base: &str) -> Option<Chrome> {
    let keeping = Keeping {
        target: env!("CARGO_TARGET_TMPDIR"),
        screenshots: "mission-control",
    };
    Chrome::start(base, keeping).await
}

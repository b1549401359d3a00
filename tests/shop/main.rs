//! The buyers' site over the whole platform: without a script, by HTTP; and in headless Chromium.
//!
//! Screenshots of every page, light, dark and on a phone, are left in `target/tmp/shop/`.
#![allow(clippy::unwrap_used)]

mod buyer;
mod hall;
mod journeys;
mod looks;
mod lost;
mod organisers;
mod organisers_browser;
mod plain;
#[path = "../running/mod.rs"]
mod running;
mod sessions;
mod wire;

use std::time::Duration;

use testkit::{Chrome, Keeping};

/// How long anything may take that somebody waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// A browser that keeps its pictures; none: there is none here, which was said.
async fn browser(base: &str) -> Option<Chrome> {
    let keeping = Keeping {
        target: env!("CARGO_TARGET_TMPDIR"),
        screenshots: "shop",
    };
    Chrome::start(base, keeping).await
}

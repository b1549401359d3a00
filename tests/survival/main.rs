//! What the platform survives, on real processes: each kind of process killed at random points, Postgres restarted and a standby promoted under
//! load, Kafka away and its messages dropped and repeated. Afterwards every promise is held against the tables and the
//! payment provider's own ledger (`proof.rs`).
//!
//! `SAGALINE_SURVIVAL_BOOKINGS` sets how many bookings each story makes, `SAGALINE_SURVIVAL_SEED` repeats the choices of a
//! run (not the instants: those are the machine's).
#![allow(clippy::unwrap_used)]

mod breakage;
mod buyers;
mod mail;
mod platform;
mod proof;

use std::time::Instant;

use breakage::Story;
use buyers::Progress;
use mail::Mails;
use platform::{Kind, Platform};
use rand::RngExt;
use tokio::sync::Mutex;

/// One story at a time: each wants the whole machine.
static STAGE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_killed_on_apache_kafka() {
    if testkit::require("java") && testkit::require("mvn") {
        survive(Kind::Apache, Story::Kills, 2_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_are_killed_on_the_in_process_broker() {
    survive(Kind::InProcess, Story::Kills, 2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_restarted_under_load() {
    survive(Kind::InProcess, Story::PostgresRestarts, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_promoted_under_load() {
    survive(Kind::InProcess, Story::Promotion, 600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_goes_away_and_loses_and_repeats_messages() {
    if testkit::require("java") && testkit::require("mvn") {
        survive(Kind::Apache, Story::KafkaOutage, 1_000).await;
    }
}

async fn survive(kind: Kind, story: Story, bookings: u64) {
    let _stage = STAGE.lock().await;
    // As in `main`: reqwest wants one even for plain HTTP. An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bookings = setting("SAGALINE_SURVIVAL_BOOKINGS").unwrap_or(bookings);
    let seed = setting("SAGALINE_SURVIVAL_SEED").unwrap_or_else(|| rand::rng().random());
    eprintln!("{story:?} on {kind:?}: {bookings} bookings, SAGALINE_SURVIVAL_SEED={seed}");

    let mails = Mails::default();
    let mut platform = Platform::start(kind, story == Story::Promotion, mails.serve().await).await;
    // Few enough that many are wanted by more than one, and many enough that most buyers get theirs.
    let seats = (bookings * 4).max(100);
    buyers::open_sale(&platform.pool, seats).await;

    let begun = Instant::now();
    let progress = Progress::default();
    let sale = {
        let (gateway, progress) = (platform.gateway_url.clone(), progress.clone());
        tokio::spawn(async move { buyers::book(&gateway, bookings, seats, seed, progress).await })
    };
    let done = breakage::act(story, &mut platform, seed, &progress, bookings).await;
    let accepted = sale.await.expect("the sale ends");
    eprintln!(
        "{story:?} on {kind:?}: {done}; all {bookings} answered after {:.1} s",
        begun.elapsed().as_secs_f64()
    );

    let counts = proof::prove(&platform, &accepted, &mails).await;
    eprintln!(
        "{story:?} on {kind:?}: {counts:?}, at rest after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(
        counts
            .by_status
            .get("completed")
            .is_some_and(|confirmed| *confirmed > bookings / 4),
        "most bookings are confirmed"
    );
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}"))
    })
}

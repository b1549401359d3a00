//! `sagaline bench rush`: an on-sale with far more buyers than seats, through every real process, and an audit of it.

mod audit;
pub mod buyer;
mod caller;
mod calling_off;
mod ledger;
mod listeners;
mod live;
mod overload;
mod platform;
mod report;
mod sale;
mod told;

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::cpu::Usage;
use super::ground::GroundArgs;
use super::memory::Memory;
use super::processes::allow_connections;
use crate::output::Output;
use audit::Audit;
use buyer::{Crowd, Mix};
use listeners::Heard;
use live::Live;
use platform::Platform;
use report::{Measured, Report};
use sale::Sale;
use told::Told;

pub use calling_off::{CancellationArgs, run as cancellation};
pub use overload::{OverloadArgs, run as overload};

/// Seats and buyers of the sale before the sale: enough that every process has its connections and has met each kind of
/// work, few enough to take a moment.
const WARM_UP_SEATS: u32 = 400;
/// See above.
const WARM_UP_BUYERS: u64 = 200;
/// Buyers of the warm-up at once.
const WARM_UP_CONCURRENCY: u32 = 32;

/// How to run the rush.
#[derive(Debug, Args)]
pub struct RushArgs {
    /// Seats on sale.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(20..=200_000))]
    pub seats: u32,
    /// Buyers, each of whom wants one to four seats.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=5_000_000))]
    pub buyers: u64,
    /// Buyers with an open request at once; the others queue, and nobody pauses.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub concurrency: u32,
    /// How often one buyer asks for seats, at most: again after a refusal that names free seats, or a declined card.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub tries: u32,
    /// How long seats are held for a buyer who has not paid.
    #[arg(long, default_value = "20s", value_name = "TIME", value_parser = hold)]
    pub hold: Duration,
    /// What the payment provider itself takes for a payment, in milliseconds.
    #[arg(long, default_value = "200-800", value_name = "FROM-TO")]
    pub payment_ms: Span,
    /// Connections that follow the live stream of seats all the while.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub listeners: u32,
    /// Repeats a run's choices: who wants which seats, and how each buyer pays.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub fleet: Fleet,
    #[command(flatten)]
    pub ground: GroundArgs,
}

/// How many processes there are of each kind.
#[derive(Clone, Copy, Debug, Args)]
pub struct Fleet {
    /// Orchestrator processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub orchestrators: u32,
    /// Worker processes of each kind: seats, payments, notifications.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub workers: u32,
}

impl RushArgs {
    /// A platform without a rush: no crowd, and a payment provider that answers at once.
    fn quiet(seats: u32, hold: Duration, fleet: Fleet, ground: &GroundArgs) -> RushArgs {
        RushArgs {
            seats,
            buyers: 1,
            concurrency: 1,
            tries: 1,
            hold,
            payment_ms: Span { from: 0, to: 0 },
            listeners: 0,
            seed: 1,
            fleet,
            ground: ground.clone(),
        }
    }
}

/// The shortest hold: within it a payment that is never answered must be looked up, else each such booking expires.
const HOLD_MIN: Duration = Duration::from_secs(8);

fn hold(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(hold) if hold >= HOLD_MIN => Ok(hold),
        Ok(_) => Err(format!("it must be at least {HOLD_MIN:?}")),
        Err(error) => Err(format!("{error}; write it as in 20s or 15m")),
    }
}

/// From–to, inclusive, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least.
    pub from: u64,
    /// The most.
    pub to: u64,
}

/// The longest payment that makes sense: the engine gives up an attempt after [`platform::PAYMENT_ATTEMPT_MAX`].
const PAYMENT_MS_MAX: u64 = 5_000;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match text.split_once('-').map(|(from, to)| (number(from), number(to))) {
            Some((Some(from), Some(to))) if from <= to && to <= PAYMENT_MS_MAX => Ok(Span { from, to }),
            _ => Err(format!(
                "write it as in 200-800: from, to, at most {PAYMENT_MS_MAX} milliseconds"
            )),
        }
    }
}

/// Runs the rush and prints what it found. Fails if the audit does.
pub async fn run(args: &RushArgs, output: Output) -> anyhow::Result<()> {
    // A caller has a second connection while it submits twice.
    allow_connections(2 * u64::from(args.concurrency) + u64::from(args.listeners));
    conclude(run_on_platform(args), output).await
}

/// What a benchmark has found.
trait Findings: Serialize {
    /// For people.
    fn table(&self) -> String;

    /// What must not be.
    fn problems(&self) -> &[String];
}

/// Runs a benchmark to its end, or until somebody interrupts it: dropped either way, its platform takes everything down that is ours.
/// Prints what it found, and fails if that is what must not be.
async fn conclude<F: Findings>(running: impl Future<Output = anyhow::Result<F>>, output: Output) -> anyhow::Result<()> {
    let stop = crate::shutdown::on_signal()?;
    let found = tokio::select! {
        found = running => found?,
        () = stop.cancelled() => bail!("interrupted"),
    };
    super::print(output, || found.table(), &found)?;
    if !found.problems().is_empty() {
        bail!("found what must not be: {}", found.problems().join("; "));
    }
    Ok(())
}

async fn run_on_platform(args: &RushArgs) -> anyhow::Result<Report> {
    let say = |line: &str| eprintln!("bench: {line}");
    let platform = Platform::start(args, &say).await?;
    let run = Uuid::now_v7().simple().to_string();

    say("warming up");
    let sale = Sale::open(&platform.ground.pool, &format!("warm-up-{run}"), WARM_UP_SEATS).await?;
    let crowd = Crowd::new(args.seed, WARM_UP_SEATS, Mix::Untroubled)?;
    let shop = platform.shop(WARM_UP_CONCURRENCY, args);
    let told = caller::serve(&shop, sale, crowd, WARM_UP_BUYERS, &Live::default())
        .await
        .context("warming up")?;
    if told.failed > 0 {
        let why = told.failures.join("; ");
        bail!("warming up: {why}; the ends of the logs:\n{}", platform.log_tails());
    }

    // Only now: the warm-up shall tell whether the platform works, quickly.
    platform.slow_payments(args).await?;
    let sale = Sale::open(&platform.ground.pool, &format!("rush-{run}"), args.seats).await?;
    let crowd = Crowd::new(args.seed, args.seats, Mix::Rush)?;
    let deadlocks_before = audit::deadlocks(&platform.ground.pool).await?;
    say(&format!(
        "{} buyers for {} seats, {} at once",
        args.buyers, args.seats, args.concurrency
    ));
    let (told, measured) = rush(args, &platform, &sale, crowd).await?;

    say("waiting until the last holds have run out");
    let begun = std::time::Instant::now();
    let mut problems = told.problems();
    if let Err(why) = audit::wait_for_rest(&platform.ground.pool, &sale.event, args.hold).await {
        problems.push(format!("{why:#}"));
    }
    let settled_s = begun.elapsed().as_secs_f64();
    let memory_peak_mb = measured.memory.finish(&platform.processes()).await;
    say("auditing");
    let ledger = ledger::read(platform.sandbox_address).await?;
    let audit = Audit::run(&platform.ground.pool, &sale, &told, &ledger, deadlocks_before).await?;
    problems.extend(audit.problems.iter().cloned());
    if measured.heard.lost > 0 {
        problems.push(format!("{} live streams ended early", measured.heard.lost));
    }
    if !problems.is_empty() {
        eprintln!("bench: the ends of the logs:\n{}", platform.log_tails());
    }
    Ok(Report::new(
        args,
        platform.ground.broker_name(),
        &told,
        &audit,
        &ledger,
        Measured {
            memory_peak_mb,
            settled_s,
            mails: platform.mails.total(),
            usage: measured.usage,
            heard: measured.heard,
        },
        problems,
    ))
}

/// What was measured around the callers.
struct Running {
    memory: Memory,
    usage: Usage,
    heard: Heard,
}

/// All buyers, while figures are shown.
async fn rush(args: &RushArgs, platform: &Platform, sale: &Sale, crowd: Crowd) -> anyhow::Result<(Told, Running)> {
    let listeners = platform.listeners(&sale.event, args.listeners).await?;
    let live = Live::default();
    let over = CancellationToken::new();
    let memory = Memory::watch(&platform.ground.groups(), over.clone());
    let shown = tokio::spawn(live::show(
        live.clone(),
        platform.ground.pool.clone(),
        sale.event.clone(),
        args.buyers,
        over.clone(),
    ));
    let before = Usage::now(&platform.groups());
    let shop = platform.shop(args.concurrency, args);
    let told = caller::serve(&shop, sale.clone(), crowd, args.buyers, &live).await;
    let usage = Usage::now(&platform.groups()).since(&before);
    over.cancel();
    shown.await.context("showing the figures")?;
    let heard = listeners.close().await;
    let running = Running { memory, usage, heard };
    Ok((told?, running))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_or_refused_with_an_example() {
        assert_eq!("200-800".parse(), Ok(Span { from: 200, to: 800 }));
        assert_eq!("0-0".parse(), Ok(Span { from: 0, to: 0 }));
        for wrong in ["", "200", "800-200", "-1-3", "0-60000"] {
            assert!(wrong.parse::<Span>().unwrap_err().contains("200-800"), "{wrong}");
        }
    }
}

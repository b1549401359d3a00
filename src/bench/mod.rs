//! `sagaline bench`: measurements that check what they have measured.

mod check;
mod client;
mod cpu;
mod footprint;
mod ground;
mod history;
mod limit;
mod listeners;
mod lists;
mod load;
mod memory;
mod processes;
mod report;
pub mod rush;
mod saga;
mod stage;

use clap::{Args, Subcommand};

use ground::GroundArgs;

use crate::output::{self, Output};

/// A benchmark to run.
#[derive(Debug, Subcommand)]
pub enum Benchmark {
    /// The reference workload through real processes: load over HTTP, orchestrator, Kafka, worker, and back.
    ///
    /// Each saga reserves a seat (SQL), charges (nothing; every 20th fails for good), confirms (SQL) and notifies
    /// (nothing); a failed charge releases the seat. The last line printed is the result as JSON; the exit status says
    /// whether the tables agree with it. A database that is given has its schema `bench` dropped and made anew.
    Saga(SagaArgs),
    /// An on-sale: far more buyers than seats, through the gateway, the engine, every worker and the Stripe sandbox.
    ///
    /// Buyers choose one to four seats, the popular ones first, ask for others when they are refused, and pay; some
    /// cards are declined, some payments are never answered, some buyers submit twice or leave. At the end tables and
    /// the sandbox's ledger are audited. The last line printed is the result as JSON; the exit status says whether the
    /// audit agrees.
    Rush(rush::RushArgs),
    /// Many times more bookings a second than the platform can do: what is still confirmed, and how the rest is sent away.
    ///
    /// The peak is looked for first; then wishes arrive on a clock at a multiple of it, with the waiting room off.
    Overload(rush::OverloadArgs),
    /// An event with many confirmed bookings is called off, while the payment provider turns a share of the refunds away.
    ///
    /// At the end the sandbox's own ledger is audited: every buyer has the money back exactly once. The last line printed is the result as
    /// JSON; the exit status says whether the audit agrees.
    Cancellation(rush::CancellationArgs),
    /// What Postgres must do for the reference workload: its rows, written by a bare set-based loop.
    Limit(LimitArgs),
    /// Postgres' own time for each list page of mission control, over as many sagas as years leave behind.
    ///
    /// Fills a database by a few set-based statements, then asks for the first, the second and a deep page of each search, and prints what `explain
    /// (analyze)` says. The last line printed is the result as JSON. A database that is given must be an empty one.
    Lists(lists::ListsArgs),
    /// Many who follow the live figures over WebSockets, some of whom read nothing: what they cost, and how soon all know.
    ///
    /// A gateway alone, without a database. The exit status says whether all who read were told each value within a second of each other, and
    /// whether the gateway kept little for each.
    Listeners(listeners::ListenersArgs),
}

/// How to run the reference workload.
#[derive(Debug, Args)]
pub struct SagaArgs {
    /// Sagas to measure.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(20..=10_000_000))]
    pub sagas: u64,
    /// Sagas in flight: callers that each start the next when their last one has ended.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub concurrency: u32,
    /// Orchestrator processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub orchestrators: u32,
    /// Worker processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub workers: u32,
    /// Ended sagas, with their journals, that are in the tables when the measurement begins.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=50_000_000))]
    pub ended: u64,
    /// Afterwards, write the same rows by a bare loop in batches as large as the engine's were, and print the ratio.
    #[arg(long)]
    pub limit: bool,
    #[command(flatten)]
    pub ground: GroundArgs,
}

/// How to write the reference workload's rows.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Sagas to write.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(20..=10_000_000))]
    pub sagas: u64,
    /// Sagas a statement.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub batch: u64,
    /// Connections that write at the same time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub lanes: u32,
    /// A database to use; left out, a Postgres server of our own. Its schema `bench` is dropped and made anew.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

/// Runs a benchmark.
pub async fn run(benchmark: Benchmark, output: Output) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Saga(args) => saga::run(&args, output).await,
        Benchmark::Rush(args) => rush::run(&args, output).await,
        Benchmark::Overload(args) => rush::overload(&args, output).await,
        Benchmark::Cancellation(args) => rush::cancellation(&args, output).await,
        Benchmark::Limit(args) => limit::run(&args, output).await,
        Benchmark::Lists(args) => lists::run(&args, output).await,
        Benchmark::Listeners(args) => listeners::run(&args, output).await,
    }
}

/// Prints a result: the table unless JSON alone is wanted, and in any case the JSON as the last line.
fn print<R: serde::Serialize>(output: Output, table: impl FnOnce() -> String, result: &R) -> anyhow::Result<()> {
    if output == Output::Table {
        output::print_text(&table())?;
    }
    output::print_text(&serde_json::to_string(result)?)
}

//! The `sagaline` program: parse, run, exit code.
//!
//! This is the composition root. Everything the platform consists of lives in its own crate; here the parts are given
//! their settings and put together, one module per subcommand.

mod bench;
mod cli;
mod commands;
mod connect;
mod entrance;
mod health;
mod logging;
mod messaging;
mod output;
mod platform;
mod settings;
mod shutdown;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

/// The system's allocator costs the batcher about a tenth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Something went wrong.
const FAILURE: u8 = 1;
/// The request itself was wrong: unknown flags (clap's own code), or settings that can't be used.
const USAGE: u8 = 2;
/// Whoever asked may not do this.
const NOT_ALLOWED: u8 = 4;

fn main() -> ExitCode {
    // One provider for every TLS client in the process; an error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        // Told to leave while it waited for Postgres: it did as it was told.
        Err(error) if error.is::<connect::Stopped>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<settings::Problems>() {
                USAGE
            } else if error.is::<commands::control::NotAllowed>() {
                NOT_ALLOWED
            } else {
                FAILURE
            })
        }
    }
}

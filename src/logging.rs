//! Logs, on stderr: for people or, a JSON object a line, for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, in `tracing`'s filter syntax.
const FILTER_VARIABLE: &str = "SAGALINE_LOG";

/// The form of logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// A JSON object a line.
    Json,
}

/// Sends what the process reports to stderr, by `default_filter` unless [`FILTER_VARIABLE`] says otherwise.
pub fn init(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default_filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).compact().init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).init(),
    }
}

//! `sagaline audit trail` and `sagaline audit export`: who did what, and why.

use std::io::Write;

use clap::{Args, ValueEnum};
use workflows::ids::{SagaId, Timestamp};

use super::arguments;
use super::control::{self, Column};
use crate::cli::{AuditCommand, Global};

const TRAIL: &[Column] = &[
    ("ID", "/id"),
    ("AT", "/at"),
    ("WHO", "/operator"),
    ("WHAT", "/action"),
    ("SAGA", "/saga"),
    ("WHY", "/reason"),
    ("OUTCOME", "/outcome"),
];
/// Entries of one answer, at most.
const PAGE_MAX: usize = 500;

/// Which entries.
#[derive(Clone, Debug, Args)]
pub struct Filter {
    /// Of this operator.
    #[arg(long, value_name = "OPERATOR")]
    who: Option<String>,
    /// Of this action, as the trail writes it: `retry`, `campaign start`, …
    #[arg(long)]
    action: Option<String>,
    /// About this saga.
    #[arg(long)]
    saga: Option<SagaId>,
    /// Since then: an instant, or a time ago such as 15m.
    #[arg(long, value_name = "WHEN", value_parser = arguments::instant)]
    since: Option<Timestamp>,
    /// Before then.
    #[arg(long, value_name = "WHEN", value_parser = arguments::instant)]
    until: Option<Timestamp>,
}

/// The form of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For spreadsheets.
    #[default]
    Csv,
    /// An array.
    Json,
}

impl Filter {
    fn query(self) -> Vec<(&'static str, String)> {
        let pairs = [
            ("who", self.who),
            ("action", self.action),
            ("saga", self.saga.map(|saga| saga.to_string())),
            ("since", self.since.map(|at| at.to_rfc3339())),
            ("until", self.until.map(|at| at.to_rfc3339())),
        ];
        pairs
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .collect()
    }
}

/// Does it.
pub async fn run(global: &Global, command: AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::Trail { limit, filter, server } => {
            let mut query = filter.query();
            query.push(("limit", limit.clamp(1, PAGE_MAX).to_string()));
            let items = server.client(global)?.list("/audit", &query, "before", limit).await?;
            control::print_items(global.output, TRAIL, &items)
        }
        AuditCommand::Export { format, filter, server } => {
            let mut query = filter.query();
            let format = match format {
                Format::Csv => "csv",
                Format::Json => "json",
            };
            query.push(("format", format.to_owned()));
            let mut stdout = std::io::stdout();
            let client = server.client(global)?;
            client
                .download("/audit/export", &query, |part| Ok(stdout.write_all(part)?))
                .await?;
            Ok(stdout.flush()?)
        }
    }
}

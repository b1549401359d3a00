//! What goes to stdout: a table for people, JSON for programs. Everything else goes to stderr.

use std::io::{ErrorKind, Write};

use chrono::SecondsFormat;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use workflows::ids::Timestamp;

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

/// A row of a table.
pub trait Row: Serialize {
    /// The columns' headings.
    const HEADINGS: &'static [&'static str];

    /// The columns' texts.
    fn cells(&self) -> Vec<String>;
}

/// Prints a list; an empty one is `[]` as JSON and nothing as JSON lines.
pub fn print_list<T: Row>(output: Output, items: &[T]) -> anyhow::Result<()> {
    match output {
        Output::Json => print_text(&serde_json::to_string_pretty(items)?),
        Output::Jsonl => items
            .iter()
            .try_for_each(|item| print_text(&serde_json::to_string(item)?)),
        Output::Table => print_text(&table(T::HEADINGS, items.iter().map(Row::cells))),
    }
}

/// Prints one thing: as JSON, or as what `text` makes of it.
pub fn print_one<T: Serialize>(output: Output, item: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match output {
        Output::Json => print_text(&serde_json::to_string_pretty(item)?),
        Output::Jsonl => print_text(&serde_json::to_string(item)?),
        Output::Table => print_text(&text(item)),
    }
}

/// Prints a text and ends the line.
pub fn print_text(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end_matches('\n'))?;
    stdout.flush()?;
    Ok(())
}

/// A table without lines, as other command lines print theirs.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table
        .to_string()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// An instant for people: RFC 3339 without the milliseconds.
pub fn instant(at: Timestamp) -> String {
    at.to_datetime().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The reader of our output has left (`sagaline saga list | head`): no error worth a word.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

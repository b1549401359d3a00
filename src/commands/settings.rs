//! `sagaline settings`: every setting, where it can be set, and what it is now.

use serde::Serialize;

use crate::cli::Global;
use crate::output::{self, Row};
use crate::settings::{CATALOG, Settings};

#[derive(Serialize)]
struct Line {
    key: &'static str,
    variable: &'static str,
    value: Option<String>,
    about: &'static str,
}

impl Row for Line {
    const HEADINGS: &'static [&'static str] = &["SETTING", "VARIABLE", "VALUE", "ABOUT"];

    fn cells(&self) -> Vec<String> {
        let value = self.value.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.key.to_owned(),
            self.variable.to_owned(),
            value,
            self.about.to_owned(),
        ]
    }
}

/// Prints the settings.
pub fn run(global: &Global) -> anyhow::Result<()> {
    let settings = Settings::load(global.config.clone(), Vec::new())?;
    let line = |entry: &crate::settings::Entry| Line {
        key: entry.key,
        variable: entry.variable,
        value: settings.shown(entry.key),
        about: entry.about,
    };
    output::print_list(global.output, &CATALOG.iter().map(line).collect::<Vec<_>>())
}

//! Where settings come from, and collecting what is wrong with them.

use std::collections::HashMap;
use std::path::PathBuf;

use config::{Config, File, FileFormat, Value, ValueKind};

use super::catalog::{self, CATALOG};
use super::{Flags, Problems};

/// The file that is read when none is named and it is there.
const FILE_DEFAULT: &str = "sagaline.toml";

/// The texts of all settings that are set, each with where it was set.
pub(super) struct Sources {
    found: HashMap<&'static str, Found>,
    problems: Vec<String>,
}

struct Found {
    text: String,
    place: String,
}

impl Sources {
    /// Reads the three places; a file that was named must be there.
    pub(super) fn read(
        file: Option<PathBuf>,
        flags: Flags,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Sources, Problems> {
        let named = file.is_some();
        let path = file.unwrap_or_else(|| FILE_DEFAULT.into());
        let mut sources = Sources {
            found: HashMap::new(),
            problems: Vec::new(),
        };
        let source = File::from(path.clone()).format(FileFormat::Toml).required(named);
        match Config::builder().add_source(source).build() {
            Ok(config) => sources.add_table(&path.display().to_string(), "", config.cache.kind),
            Err(error) => sources.problems.push(format!("{}: {error}", path.display())),
        }
        for entry in CATALOG {
            // An empty variable is an unset one: that is how Compose passes what isn't set.
            if let Some(text) = variable(entry.variable).filter(|text| !text.trim().is_empty()) {
                sources.found.insert(
                    entry.key,
                    Found {
                        text,
                        place: entry.variable.to_owned(),
                    },
                );
            }
        }
        for (key, text) in flags {
            let place = format!("the flag for {key}");
            sources.found.insert(catalog::of(key).key, Found { text, place });
        }
        Ok(sources)
    }

    fn add_table(&mut self, file: &str, prefix: &str, kind: ValueKind) {
        let ValueKind::Table(table) = kind else { return };
        let mut entries: Vec<(String, Value)> = table.into_iter().collect();
        entries.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, value) in entries {
            let key = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}.{name}")
            };
            if matches!(value.kind, ValueKind::Table(_)) {
                self.add_table(file, &key, value.kind);
                continue;
            }
            match (CATALOG.iter().find(|entry| entry.key == key), value.into_string()) {
                (Some(entry), Ok(text)) => {
                    self.found.insert(
                        entry.key,
                        Found {
                            text,
                            place: format!("{key} in {file}"),
                        },
                    );
                }
                (Some(_), Err(_)) => self
                    .problems
                    .push(format!("{key} in {file}: it must be a text or a number")),
                (None, _) => self.problems.push(format!("{key} in {file}: there is no such setting")),
            }
        }
    }

    /// A setting that may be left out.
    pub(super) fn optional<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let found = self.found.get(key)?;
        match parse(found.text.trim()) {
            Ok(value) => Some(value),
            Err(problem) => {
                // The text of a secret is left out of the complaint: it may be right but for a slip.
                let text = if catalog::of(key).secret {
                    String::new()
                } else {
                    format!(" ({:?})", found.text)
                };
                self.problems.push(format!("{}{text}: {problem}", found.place));
                None
            }
        }
    }

    /// A setting with a default.
    pub(super) fn required<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let default = catalog::of(key)
            .default
            .expect("settings read with `required` have a default in the catalog");
        let default = parse(default).expect("the catalog's defaults are valid, as a test shows");
        self.optional(key, parse).unwrap_or(default)
    }

    /// Complains about a setting that others make necessary, and that is not there.
    pub(super) fn need(&mut self, key: &str) {
        if !self.found.contains_key(key) {
            self.problems.push(catalog::is_missing(key));
        }
    }

    /// Complains about settings that don't go together.
    pub(super) fn complain(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The settings, if nothing was wrong.
    pub(super) fn finish<T>(self, settings: T) -> Result<T, Problems> {
        if self.problems.is_empty() {
            Ok(settings)
        } else {
            Err(Problems(self.problems))
        }
    }
}

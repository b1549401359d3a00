//! The file that what the sandbox answered survives in: one JSON object a line, the last one about a thing counts.
//!
//! Lines are written before the answer goes out, but not synced: they survive the process, not the machine.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disputes::Dispute;
use crate::model::{Intent, Refund, Stored};

const FILE: &str = "stripe-sandbox.jsonl";

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    Intent(Intent),
    Refund(Refund),
    Dispute(Dispute),
    Key(String, Stored),
}

/// The open file.
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    pending: Vec<u8>,
}

impl Journal {
    /// What the file in `directory` says, in order. A last line that was cut off by a kill is left out: its answer never went out.
    pub fn read(directory: &Path) -> io::Result<Vec<Line>> {
        let file = match File::open(directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::new(file);
        let mut lines = Vec::new();
        let mut text = String::new();
        while reader.read_line(&mut text)? > 0 {
            if text.ends_with('\n') {
                let line = serde_json::from_str(&text).map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", lines.len() + 1))
                })?;
                lines.push(line);
            }
            text.clear();
        }
        Ok(lines)
    }

    /// Begins the file anew with `lines` (so that it does not grow from start to start) and opens it for more.
    pub fn begin(directory: &Path, lines: impl Iterator<Item = Line>) -> io::Result<Journal> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(FILE);
        let fresh = directory.join(format!("{FILE}.new"));
        let mut writer = BufWriter::new(File::create(&fresh)?);
        for line in lines {
            serde_json::to_writer(&mut writer, &line)?;
            writer.write_all(b"\n")?;
        }
        writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        std::fs::rename(&fresh, &path)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Journal {
            file,
            path,
            pending: Vec::new(),
        })
    }

    /// Adds a line to those that [`Journal::commit`] writes.
    pub fn push(&mut self, line: &Line) {
        serde_json::to_writer(&mut self.pending, line).expect("lines are plain data");
        self.pending.push(b'\n');
    }

    /// Writes what was pushed, at once.
    pub fn commit(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if let Err(error) = self.file.write_all(&self.pending) {
            tracing::error!(path = %self.path.display(), %error, "the sandbox cannot write its journal; payments will not survive a restart");
        }
        self.pending.clear();
    }
}

//! The data directory: what is in it, and throwing it away.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Says whose directory it is, so that `--fresh` never empties somebody else's.
const MARKER: &str = "sagaline-dev";

/// The data directory.
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// Makes the directory if it isn't there, and empties it if `fresh` asks for it.
    pub fn open(dir: &Path, fresh: bool) -> anyhow::Result<Place> {
        let root = std::path::absolute(dir).with_context(|| format!("resolving {}", dir.display()))?;
        let place = Place { root };
        let marked = place.root.join(MARKER).exists();
        if place.root.exists() && !marked && !is_empty(&place.root)? {
            bail!(
                "{} has files that are not Sagaline's; choose another --data-dir, or empty it yourself",
                place.root.display()
            );
        }
        std::fs::create_dir_all(&place.root).with_context(|| format!("making {}", place.root.display()))?;
        std::fs::write(
            place.root.join(MARKER),
            "The data of `sagaline dev`. Delete the folder to begin anew.\n",
        )
        .with_context(|| format!("writing into {}", place.root.display()))?;
        if fresh {
            // Postgres' directory is emptied by who starts it: a server may still run on it.
            place.remove(&place.stripe())?;
            place.remove(&place.mailbox())?;
        }
        Ok(place)
    }

    /// Postgres' cluster.
    pub fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The Stripe sandbox's ledger.
    pub fn stripe(&self) -> PathBuf {
        self.root.join("stripe")
    }

    /// Mails, one file each.
    pub fn mailbox(&self) -> PathBuf {
        self.root.join("mailbox")
    }

    fn remove(&self, path: &Path) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn is_empty(dir: &Path) -> anyhow::Result<bool> {
    let mut entries = dir.read_dir().with_context(|| format!("reading {}", dir.display()))?;
    Ok(entries.next().is_none())
}

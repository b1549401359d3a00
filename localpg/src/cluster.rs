//! The cluster on disk: made by `initdb`, given to its user, locked by its owner.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::account::Account;
use crate::binaries::Binaries;
use crate::{Error, Progress, SUPERUSER};

/// What every server gets unless told otherwise. Durability is as in production; memory is a guest's.
pub const DEFAULT_SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("fsync", "on"),
    ("shared_buffers", "128MB"),
    // Engine, workers, gateway and a few psql sessions, with room for tests that start several of each.
    ("max_connections", "200"),
    ("wal_compression", "on"),
    // Fewer, longer checkpoints: a burst of bookings isn't paid for with full-page images every five minutes.
    ("checkpoint_timeout", "15min"),
    ("checkpoint_completion_target", "0.9"),
    ("max_wal_size", "2GB"),
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_checkpoints", "off"),
];

/// A cluster: where, whose, and by which binaries.
pub(crate) struct Cluster {
    pub(crate) data_dir: PathBuf,
    pub(crate) account: Account,
    pub(crate) binaries: Binaries,
}

/// Held by the process that uses a cluster; the system lets go of it when that process ends, however it ends.
pub(crate) struct Lock {
    _file: File,
}

impl Cluster {
    pub(crate) fn new(data_dir: PathBuf, account: Account, binaries: Binaries) -> Self {
        Cluster {
            data_dir,
            account,
            binaries,
        }
    }

    /// The server's log, beside the data.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.data_dir.with_extension("log")
    }

    /// Refuses a directory that another living process uses.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let path = self.data_dir.with_extension("lock");
        let parent = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(Error::io(format!("making {}", parent.display())))?;
        let file = File::create(&path).map_err(Error::io(format!("making {}", path.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse {
                dir: self.data_dir.clone(),
            }),
            Err(std::fs::TryLockError::Error(error)) => Err(Error::io(format!("locking {}", path.display()))(error)),
        }
    }

    /// Removes the data.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match std::fs::remove_dir_all(&self.data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("removing {}", self.data_dir.display()))(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the cluster, unless it is there already.
    pub(crate) fn prepare(&self, standby_of: Option<&str>, progress: &Progress) -> Result<(), Error> {
        if let Some(found) = major_of(&self.data_dir) {
            return if found == self.binaries.major {
                self.account.own(&self.data_dir)
            } else {
                let dir = self.data_dir.clone();
                Err(Error::OtherMajor {
                    dir,
                    found,
                    available: self.binaries.major,
                })
            };
        }
        progress(&format!(
            "initialising PostgreSQL {} in {}",
            self.binaries.major,
            self.data_dir.display()
        ));
        // Made beside its place and moved there once complete: a killed initdb leaves nothing that looks like a cluster.
        let draft = self.data_dir.with_extension("new");
        let _ = std::fs::remove_dir_all(&draft);
        std::fs::create_dir_all(&draft)
            .and_then(|()| std::fs::set_permissions(&draft, Permissions::from_mode(0o700)))
            .map_err(Error::io(format!("making {}", draft.display())))?;
        self.account.own(&draft)?;
        match standby_of {
            None => self.initdb(&draft)?,
            Some(primary) => self.copy(primary, &draft)?,
        }
        let _ = std::fs::remove_dir(&self.data_dir);
        std::fs::rename(&draft, &self.data_dir).map_err(Error::io(format!(
            "moving the new cluster to {}",
            self.data_dir.display()
        )))
    }

    fn initdb(&self, dir: &Path) -> Result<(), Error> {
        let dir = dir.as_os_str();
        let user = OsStr::new(SUPERUSER);
        let fixed = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"].map(OsStr::new);
        let arguments = ["--pgdata".as_ref(), dir, "--username".as_ref(), user];
        self.call("initdb", &[&arguments[..], &fixed[..]].concat())
    }

    /// A copy of a running server that will follow it.
    fn copy(&self, primary: &str, dir: &Path) -> Result<(), Error> {
        let fixed = [
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ]
        .map(OsStr::new);
        let arguments = [
            "--dbname".as_ref(),
            primary.as_ref(),
            "--pgdata".as_ref(),
            dir.as_os_str(),
        ];
        self.call("pg_basebackup", &[&arguments[..], &fixed[..]].concat())
    }

    pub(crate) fn promote(&self) -> Result<(), Error> {
        let dir = self.data_dir.as_os_str();
        self.call(
            "pg_ctl",
            &["promote".as_ref(), "--wait".as_ref(), "--pgdata".as_ref(), dir],
        )
    }

    fn call(&self, program: &str, arguments: &[&OsStr]) -> Result<(), Error> {
        let output = self
            .account
            .command(self.binaries.dir.join(program))
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io(format!("running {program}")))?;
        if output.status.success() {
            return Ok(());
        }
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Err(Error::Program {
            program: program.to_owned(),
            output: text,
        })
    }
}

/// The major version that made the cluster in `dir`; none: there is no cluster.
pub(crate) fn major_of(dir: &Path) -> Option<u32> {
    std::fs::read_to_string(dir.join("PG_VERSION"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

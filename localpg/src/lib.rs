//! A PostgreSQL server of one's own: started in a directory, stopped with its owner.
//!
//! For `sagaline dev`, the benchmark and the tests; production brings its own database. The server listens on
//! 127.0.0.1 alone, without a Unix socket, and trusts every local connection: good enough for a developer's machine,
//! where whoever can connect can read the files as well, and for nothing else.
//!
//! PostgreSQL refuses to run as root, so under root another user runs it (see [`account`](mod@account)).
//! The server dies with us, however we die, where `setpriv` is installed; elsewhere the next start finds the
//! orphan by its `postmaster.pid` and stops it first.

pub mod account;
mod binaries;
mod cluster;
mod leftover;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use binaries::{Binaries, MAJOR_MIN};
pub use server::Server;

use account::Account;
use cluster::{Cluster, Lock};

/// How long the server may take to be ready. Recovery after a kill under load has to fit.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How often a free port is tried again when somebody takes it before the server does.
const PORT_ATTEMPTS_MAX: usize = 3;
/// The database user everybody is.
const SUPERUSER: &str = "postgres";

/// Told what is being done, a line at a time.
pub type Progress = Arc<dyn Fn(&str) + Send + Sync>;

/// What to start.
#[derive(Clone)]
pub struct Options {
    /// Where the cluster lives; made if it isn't there.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; 0 takes a free one, another one at each start.
    pub port: u16,
    /// Remove what is in `data_dir` first.
    pub fresh: bool,
    /// Server settings on top of (and over) [`cluster::DEFAULT_SETTINGS`].
    pub settings: Vec<(String, String)>,
    /// Told what is being done.
    pub progress: Progress,
    /// Use the server binaries in this directory and look for no others.
    pub bin_dir: Option<PathBuf>,
    /// The URL of a running server whose standby this is to be, if the cluster isn't there yet. For tests.
    pub standby_of: Option<String>,
}

impl Options {
    /// Options for a cluster in `data_dir` on a free port.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Options {
            data_dir: data_dir.into(),
            port: 0,
            fresh: false,
            settings: Vec::new(),
            progress: Arc::new(|_| ()),
            bin_dir: None,
            standby_of: None,
        }
    }

    /// With one more server setting.
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process could not be handled.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No binaries, and none could be fetched.
    #[error(
        "no PostgreSQL server of version {MAJOR_MIN} or later is installed (looked at `pg_config --bindir`, \
         /usr/lib/postgresql and PATH), and fetching one failed: {reason}. Install one (Debian: `apt install \
         postgresql`), or set DATABASE_URL to a running server"
    )]
    NoBinaries {
        /// Why fetching failed.
        reason: String,
    },
    /// The cluster was made by another major version.
    #[error(
        "the data in {} belongs to PostgreSQL {found}, but only PostgreSQL {available} is installed: install \
         version {found}, or remove the data (`--fresh`)", dir.display()
    )]
    OtherMajor {
        /// The cluster.
        dir: PathBuf,
        /// Its version.
        found: u32,
        /// The version at hand.
        available: u32,
    },
    /// Someone else uses the directory.
    #[error("{} is in use by another running process; stop that one, or choose another data directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Root, and nobody else to run the server as.
    #[error("PostgreSQL can't run as root and there is no other user to run it as (tried SUDO_USER, postgres, nobody)")]
    NoAccount,
    /// A program of PostgreSQL's failed.
    #[error("{program} failed:\n{output}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        output: String,
    },
    /// The server left, or did not come up in time.
    #[error("PostgreSQL did not start: {reason}. The end of its log {}:\n{log}", log_file.display())]
    NotReady {
        /// What happened.
        reason: String,
        /// Where the log is.
        log_file: PathBuf,
        /// Its last lines.
        log: String,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}

/// A running server. Dropped, it shuts down (fast) and is waited for.
pub struct LocalPostgres {
    cluster: Cluster,
    server: Option<Server>,
    port: u16,
    options: Options,
    _lock: Lock,
}

impl LocalPostgres {
    /// Finds (or fetches) binaries, makes the cluster if need be, puts out of the way what an earlier, killed owner
    /// left, and starts the server. Returns once it takes connections.
    pub async fn start(options: Options) -> Result<LocalPostgres, Error> {
        let account = Account::choose()?;
        let data_dir = account.usable_dir(&absolute(&options.data_dir)?, &options.progress);
        let wanted = cluster::major_of(&data_dir).filter(|_| !options.fresh);
        let binaries = match &options.bin_dir {
            Some(dir) => Binaries::at(dir)?,
            None => Binaries::find_or_fetch(wanted, &account, &options.progress).await?,
        };
        let blocking = move || Self::start_blocking(options, account, data_dir, binaries);
        tokio::task::spawn_blocking(blocking).await.unwrap_or_else(|error| {
            Err(Error::Io {
                what: "starting PostgreSQL".into(),
                source: std::io::Error::other(error),
            })
        })
    }

    fn start_blocking(
        options: Options,
        account: Account,
        data_dir: PathBuf,
        binaries: Binaries,
    ) -> Result<LocalPostgres, Error> {
        let cluster = Cluster::new(data_dir, account, binaries);
        let lock = cluster.lock()?;
        leftover::stop(&cluster.data_dir, &options.progress)?;
        if options.fresh {
            cluster.remove()?;
        }
        cluster.prepare(options.standby_of.as_deref(), &options.progress)?;
        (options.progress)("starting PostgreSQL");
        let (server, port) = launch(&cluster, options.port, &options.settings)?;
        Ok(LocalPostgres {
            cluster,
            server: Some(server),
            port,
            options,
            _lock: lock,
        })
    }

    /// The URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The postmaster's process id; none while stopped.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// Where the cluster really is (not where it was asked for, if the server's user can't get there).
    pub fn data_dir(&self) -> &Path {
        &self.cluster.data_dir
    }

    /// Fast shutdown: clients are cut off, everything is written, the server leaves.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Immediate shutdown: as a crash, but orderly enough that nothing is left running. For tests.
    pub fn stop_immediate(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop_immediate();
        }
    }

    /// SIGKILL to the postmaster; its children notice and leave. For tests.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts again after [`stop`](Self::stop), [`stop_immediate`](Self::stop_immediate) or [`kill`](Self::kill), on
    /// the same port.
    pub fn resume(&mut self) -> Result<(), Error> {
        if self.server.is_none() {
            leftover::stop(&self.cluster.data_dir, &self.options.progress)?;
            let (server, port) = launch(&self.cluster, self.port, &self.options.settings)?;
            (self.server, self.port) = (Some(server), port);
        }
        Ok(())
    }

    /// Makes a standby a server of its own, and returns once it takes writes. For tests.
    ///
    /// # Errors
    /// If it is no standby, or doesn't get there.
    pub fn promote(&self) -> Result<(), Error> {
        self.cluster.promote()
    }

    /// A crash and a recovery, on the same port. For tests.
    pub fn restart_immediate(&mut self) -> Result<(), Error> {
        self.stop_immediate();
        self.resume()
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the server, with another port if 0 was asked for and somebody else took the one chosen.
fn launch(cluster: &Cluster, port: u16, settings: &[(String, String)]) -> Result<(Server, u16), Error> {
    let mut attempt = 1;
    loop {
        let chosen = if port == 0 { free_port()? } else { port };
        match Server::launch(cluster, chosen, settings, READY_LIMIT) {
            Ok(server) => return Ok((server, chosen)),
            Err(_) if port == 0 && attempt < PORT_ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn free_port() -> Result<u16, Error> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("looking for a free port"))?;
    Ok(listener
        .local_addr()
        .map_err(Error::io("looking for a free port"))?
        .port())
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io(format!("resolving {}", path.display())))
}

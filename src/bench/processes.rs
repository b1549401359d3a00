//! Child processes of the benchmark: our own binary, as it runs in production.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a child may take to leave after SIGTERM before it is killed: longer than its own drain.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);
/// How long a child may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at a child.
const POLL: Duration = Duration::from_millis(20);
/// Where a service says that it can work.
pub const READY_PATH: &str = "/health/ready";
/// What children log: what goes wrong.
pub const LOG_LEVEL: &str = "warn,rdkafka=error,librdkafka=error";
/// Lines of a child's log that are shown when it fails.
const LOG_LINES_SHOWN: usize = 20;

/// A running child; asked to leave, then made to, when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `sagaline <arguments>` with these variables and a log file in `dir`.
    pub fn start(dir: &Path, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Process> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let child = Command::new(std::env::current_exe().context("finding our own binary")?)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A group of its own: Ctrl-C is for us, who stop everything in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Process {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `http://<address><path>` answers 200.
    pub async fn wait_ready(&mut self, address: SocketAddr, path: &str) -> anyhow::Result<()> {
        let until = Instant::now() + READY_LIMIT;
        let url = format!("http://{address}{path}");
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} has ended with {status}; the end of its log:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            match reqwest::get(&url).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(_) | Err(_) if Instant::now() < until => tokio::time::sleep(POLL).await,
                Ok(response) => bail!("{} says {} after {READY_LIMIT:?}", self.name, response.status()),
                Err(error) => bail!("{} does not answer after {READY_LIMIT:?}: {error}", self.name),
            }
        }
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Kills it, without a chance to finish anything.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    fn stop(&mut self) -> std::io::Result<ExitStatus> {
        // Not yet waited for, so the id can't be anybody else's.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let until = Instant::now() + LEAVE_LIMIT;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.stop();
        }
    }
}

/// The ends of these processes' logs, for a run that failed.
pub fn log_tails<'a>(processes: impl IntoIterator<Item = &'a Process>) -> String {
    let tails = processes.into_iter().map(Process::log_tail);
    tails
        .filter(|tail| !tail.is_empty())
        .collect::<Vec<_>>()
        .join("\n---\n")
}

/// An address on 127.0.0.1 that was free a moment ago.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?)
}

/// Open files that the load needs beside its connections.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// Raises our own limit on open files as far as it may go: each caller has a connection.
pub fn allow_connections(connections: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = connections + FILES_BESIDE_CONNECTIONS;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_err() {
        tracing::warn!(soft, wanted, "the limit on open files could not be raised");
    }
}

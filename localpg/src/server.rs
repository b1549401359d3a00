//! The server's process, from its start to its end.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;
use crate::cluster::{Cluster, DEFAULT_SETTINGS};

/// How long a fast shutdown may take before it is made an immediate one.
const FAST_LIMIT: Duration = Duration::from_secs(30);
/// How long an immediate shutdown may take before the postmaster is killed.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(10);
/// How often a starting server's state is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Lines of the log shown with an error.
const LOG_LINES_SHOWN: usize = 15;

/// A running postmaster.
///
/// A thread of its own starts it and waits for it: `setpriv --pdeathsig` means the death of the *thread* that started
/// the process, so that must be one that lives as long as we do, not one of a pool that comes and goes.
pub struct Server {
    pid: u32,
    // In a mutex only so that a server can be shared between threads.
    ended: Mutex<mpsc::Receiver<std::io::Result<ExitStatus>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the server and waits until it takes connections.
    pub(crate) fn launch(
        cluster: &Cluster,
        port: u16,
        settings: &[(String, String)],
        limit: Duration,
    ) -> Result<Server, Error> {
        let log_file = cluster.log_file();
        let command = command(cluster, port, settings, &log_file)?;
        let server = Server::spawn(command)?;
        match server.wait_ready(&cluster.data_dir, limit) {
            Ok(()) => Ok(server),
            Err(reason) => {
                server.stop_immediate();
                Err(Error::NotReady {
                    reason,
                    log: tail(&log_file),
                    log_file,
                })
            }
        }
    }

    fn spawn(mut command: Command) -> Result<Server, Error> {
        let (started, start) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("postgres".into())
            .spawn(move || {
                let child = command.spawn();
                drop(command);
                let mut child: Child = match child {
                    Ok(child) => {
                        let _ = started.send(Ok(child.id()));
                        child
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                let _ = ending.send(child.wait());
            })
            .map_err(Error::io("starting a thread for PostgreSQL"))?;
        let pid = start
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("its thread is gone")))
            .map_err(Error::io("starting postgres"))?;
        Ok(Server {
            pid,
            ended: Mutex::new(ended),
            thread: Some(thread),
        })
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The eighth line of `postmaster.pid` says how far the server is.
    fn wait_ready(&self, data_dir: &Path, limit: Duration) -> Result<(), String> {
        let pid_file = data_dir.join("postmaster.pid");
        let until = Instant::now() + limit;
        while Instant::now() < until {
            match self.ended_within(POLL) {
                Ok(Ok(status)) => return Err(format!("it ended with {}", describe(status))),
                Ok(Err(error)) => return Err(format!("it can't be waited for: {error}")),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err("its thread is gone".into()),
                Err(mpsc::RecvTimeoutError::Timeout) => (),
            }
            let Ok(text) = std::fs::read_to_string(&pid_file) else {
                continue;
            };
            let mut lines = text.lines();
            let ours = lines.next().is_some_and(|pid| pid.trim() == self.pid.to_string());
            if ours
                && lines
                    .nth(6)
                    .is_some_and(|status| ["ready", "standby"].contains(&status.trim()))
            {
                return Ok(());
            }
        }
        Err(format!("it was not ready after {} s", limit.as_secs()))
    }

    /// Fast shutdown, then immediate, then kill; returns when the process is gone.
    pub fn stop(mut self) {
        self.end(&[(Signal::SIGINT, FAST_LIMIT), (Signal::SIGQUIT, IMMEDIATE_LIMIT)]);
    }

    /// Immediate shutdown, as in a crash.
    pub fn stop_immediate(mut self) {
        self.end(&[(Signal::SIGQUIT, IMMEDIATE_LIMIT)]);
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.end(&[]);
    }

    fn end(&mut self, signals: &[(Signal, Duration)]) {
        for (signal, limit) in signals {
            self.signal(*signal);
            match self.ended_within(*limit) {
                Err(mpsc::RecvTimeoutError::Timeout) => (),
                Ok(_) | Err(mpsc::RecvTimeoutError::Disconnected) => return self.join(),
            }
        }
        self.signal(Signal::SIGKILL);
        self.join();
    }

    fn ended_within(&self, limit: Duration) -> Result<std::io::Result<ExitStatus>, mpsc::RecvTimeoutError> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(limit)
    }

    fn signal(&self, signal: Signal) {
        // An error means that it is gone already; not yet waited for, its pid can't be anybody else's.
        let _ = kill(Pid::from_raw(self.pid as i32), signal);
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end(&[(Signal::SIGINT, FAST_LIMIT), (Signal::SIGQUIT, IMMEDIATE_LIMIT)]);
        }
    }
}

fn command(cluster: &Cluster, port: u16, settings: &[(String, String)], log_file: &Path) -> Result<Command, Error> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_file)
        .map_err(Error::io(format!("opening {}", log_file.display())))?;
    let errors = log.try_clone().map_err(Error::io("opening the log twice"))?;
    let postgres = cluster.binaries.dir.join("postgres");
    let mut command = if has_setpriv() {
        let mut command = cluster.account.command("setpriv");
        command.args(["--pdeathsig", "INT", "--"]).arg(postgres);
        command
    } else {
        cluster.account.command(postgres)
    };
    command.arg("-D").arg(&cluster.data_dir).arg("-p").arg(port.to_string());
    let defaults = DEFAULT_SETTINGS.iter().map(|(name, value)| (*name, *value));
    for (name, value) in defaults.chain(settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
        .current_dir("/")
        // A group of its own: Ctrl-C in a terminal is for us, who stop the server once everything else is done.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    Ok(command)
}

/// Whether util-linux's `setpriv` is there and knows `--pdeathsig` (busybox's may not).
fn has_setpriv() -> bool {
    Command::new("setpriv")
        .args(["--pdeathsig", "INT", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".into(),
    }
}

/// The end of the log.
fn tail(log_file: &Path) -> String {
    let text = std::fs::read(log_file)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

//! What a killed owner left: a server still running on our data, or the pid file of one that is gone.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, Progress};

/// How long a fast shutdown may take before it is made an immediate one.
const FAST_LIMIT: Duration = Duration::from_secs(20);
/// How long an immediate shutdown may take before the processes are killed.
const IMMEDIATE_LIMIT: Duration = Duration::from_secs(10);
/// How often a process is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Stops a server that still runs on `data_dir` without an owner, and removes a pid file that names no such server.
///
/// The caller holds the directory's lock, so a server found here has no living owner.
pub(crate) fn stop(data_dir: &Path, progress: &Progress) -> Result<(), Error> {
    let pid_file = data_dir.join("postmaster.pid");
    let Some(pid) = read_pid(&pid_file) else { return Ok(()) };
    if is_postgres_on(pid, data_dir) {
        progress(&format!(
            "stopping the PostgreSQL (pid {pid}) that an earlier run left behind"
        ));
        stop_process(pid);
    }
    // A later process may have been given the dead server's pid, which PostgreSQL would take for a living server.
    if !is_postgres_on(pid, data_dir) && read_pid(&pid_file) == Some(pid) {
        std::fs::remove_file(&pid_file).map_err(Error::io(format!("removing {}", pid_file.display())))?;
    }
    Ok(())
}

fn read_pid(pid_file: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file).ok()?;
    text.lines()
        .next()?
        .trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 1)
        .map(Pid::from_raw)
}

/// Whether the process is a postmaster of that directory. Where there is no `/proc`, a living process is taken for one.
fn is_postgres_on(pid: Pid, data_dir: &Path) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return false;
    }
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        // A zombie has no command line: it only waits for its parent to look at it.
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            text.contains("postgres") && text.split('\0').any(|argument| Path::new(argument) == data_dir)
        }
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

fn stop_process(pid: Pid) {
    for (signal, limit) in [(Signal::SIGINT, FAST_LIMIT), (Signal::SIGQUIT, IMMEDIATE_LIMIT)] {
        if kill(pid, signal).is_err() {
            return;
        }
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if kill(pid, None) == Err(Errno::ESRCH) {
                return;
            }
            std::thread::sleep(POLL);
        }
    }
    let _ = kill(pid, Signal::SIGKILL);
}

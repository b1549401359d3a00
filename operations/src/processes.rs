//! Workers as processes of this machine, children of this one: for `dev` and for tests.
//!
//! A keeper starts what is missing, stops what is too many, and starts again what has died. Children have a pipe to this process and leave when
//! it closes, so none outlives it, however it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::scaler::{ScaleError, Scaler};

/// Processes of one target, at most, whatever is asked for: they share a machine.
pub const PROCESSES_MAX: u32 = 20;
/// How often it is looked whether all are there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a target rests when one of its processes has died, so that a broken one isn't started all the time.
const REST: Duration = Duration::from_secs(5);
/// How long a process may finish what is under way.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);

/// How workers are started.
#[derive(Clone)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, before the queue's name.
    pub arguments: Vec<String>,
    /// Its settings.
    pub variables: Vec<(String, String)>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Settings are secrets.
        f.debug_struct("Program")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

type Wanted = BTreeMap<String, u32>;

/// Starts and stops them.
pub struct Processes {
    wanted: watch::Sender<Wanted>,
    running: watch::Receiver<Wanted>,
    keeper: std::sync::Mutex<Option<JoinHandle<()>>>,
    leave: mpsc::Sender<()>,
}

impl Processes {
    /// With nothing running yet.
    pub fn start(program: Program) -> Processes {
        let (wanted, asked) = watch::channel(Wanted::new());
        let (tell, running) = watch::channel(Wanted::new());
        let (leave, left) = mpsc::channel(1);
        let keeper = tokio::spawn(
            Keeper {
                program,
                children: BTreeMap::new(),
                rests: BTreeMap::new(),
            }
            .run(asked, tell, left),
        );
        Processes {
            wanted,
            running,
            keeper: std::sync::Mutex::new(Some(keeper)),
            leave,
        }
    }

    /// How many of each run, as it changes.
    pub fn running(&self) -> watch::Receiver<Wanted> {
        self.running.clone()
    }

    /// Has them finish what is under way, and leave.
    pub async fn stop(&self) {
        // Full: it was told already.
        let _ = self.leave.try_send(());
        let keeper = self
            .keeper
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper {
            // Its end by panic would have been logged; its children see their pipes close.
            let _ = keeper.await;
        }
    }
}

#[async_trait]
impl Scaler for Processes {
    async fn set(&self, target: &str, replicas: u32) -> Result<(), ScaleError> {
        if replicas > PROCESSES_MAX {
            return Err(ScaleError::Refused(format!(
                "at most {PROCESSES_MAX} processes of a kind run on one machine"
            )));
        }
        self.wanted.send_modify(|wanted| {
            wanted.insert(target.to_owned(), replicas);
        });
        Ok(())
    }
}

struct Keeper {
    program: Program,
    children: BTreeMap<String, Vec<Child>>,
    /// Until when a target rests.
    rests: BTreeMap<String, Instant>,
}

impl Keeper {
    async fn run(
        mut self,
        mut asked: watch::Receiver<Wanted>,
        tell: watch::Sender<Wanted>,
        mut left: mpsc::Receiver<()>,
    ) {
        let mut leaving = Vec::new();
        loop {
            let wanted = asked.borrow_and_update().clone();
            for (target, replicas) in &wanted {
                self.reap(target);
                let surplus = self.adjust(target, *replicas as usize);
                leaving.extend(surplus.into_iter().map(|child| tokio::spawn(leave(child))));
            }
            leaving.retain(|leaving| !leaving.is_finished());
            let running: Wanted = self
                .children
                .iter()
                .map(|(target, children)| (target.clone(), children.len() as u32))
                .collect();
            tell.send_if_modified(|known| std::mem::replace(known, running.clone()) != running);
            tokio::select! {
                _ = left.recv() => break,
                changed = asked.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        let all = std::mem::take(&mut self.children).into_values().flatten();
        leaving.extend(all.map(|child| tokio::spawn(leave(child))));
        for leaving in leaving {
            // Its end by panic would have been logged.
            let _ = leaving.await;
        }
    }

    /// Takes note of those that have ended by themselves.
    fn reap(&mut self, target: &str) {
        let children = self.children.entry(target.to_owned()).or_default();
        let before = children.len();
        children.retain_mut(|child| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                tracing::warn!(target, %status, "a worker has ended; another one will be started");
                false
            }
            Err(error) => {
                tracing::warn!(target, %error, "a worker can't be looked at; another one will be started");
                false
            }
        });
        if children.len() < before {
            self.rests.insert(target.to_owned(), Instant::now() + REST);
        }
    }

    /// Starts what is missing; gives what is too many, the newest.
    fn adjust(&mut self, target: &str, replicas: usize) -> Vec<Child> {
        let children = self.children.entry(target.to_owned()).or_default();
        let surplus = children.split_off(replicas.min(children.len()));
        let rests = self.rests.get(target).is_some_and(|until| Instant::now() < *until);
        while !rests && children.len() < replicas {
            match spawn(&self.program, target) {
                Ok(child) => children.push(child),
                Err(error) => {
                    tracing::error!(target, %error, "a worker can't be started; will try again");
                    self.rests.insert(target.to_owned(), Instant::now() + REST);
                    break;
                }
            }
        }
        surplus
    }
}

fn spawn(program: &Program, target: &str) -> std::io::Result<Child> {
    let queue = target.strip_prefix("worker-").unwrap_or(target);
    Command::new(&program.path)
        .args(&program.arguments)
        .arg(queue)
        .envs(program.variables.iter().map(|(name, value)| (name, value)))
        // What it is told to leave by, should we be killed.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A group of its own: Ctrl-C is for us.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Asks a child to leave, then makes it.
async fn leave(mut child: Child) {
    // Waiting would close it, and be a second reason to leave: at once.
    let _pipe = child.stdin.take();
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // Not yet waited for, so the id can't be anybody else's.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
    }
    if tokio::time::timeout(LEAVE_LIMIT, child.wait()).await.is_err() {
        tracing::warn!("a worker did not leave within {LEAVE_LIMIT:?}, and is killed");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "it can't be killed");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sleepers() -> Program {
        Program {
            path: "sh".into(),
            arguments: ["-c", "exec cat", "sh"].map(str::to_owned).to_vec(),
            variables: Vec::new(),
        }
    }

    async fn reaches(processes: &Processes, target: &str, replicas: u32) {
        let mut running = processes.running();
        let there = running.wait_for(|running| running.get(target).copied().unwrap_or_default() == replicas);
        tokio::time::timeout(Duration::from_secs(20), there)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn processes_come_and_go_and_come_again_when_they_die() {
        let processes = Processes::start(sleepers());
        processes.set("worker-a", 3).await.unwrap();
        reaches(&processes, "worker-a", 3).await;
        processes.set("worker-b", 1).await.unwrap();
        reaches(&processes, "worker-b", 1).await;
        processes.set("worker-a", 1).await.unwrap();
        reaches(&processes, "worker-a", 1).await;
        processes.set("worker-a", 0).await.unwrap();
        reaches(&processes, "worker-a", 0).await;
        processes.stop().await;
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_is_started_again_after_a_rest() {
        let folder = tempfile::tempdir().unwrap();
        let starts = folder.path().join("starts");
        let mut program = sleepers();
        program.arguments[1] = "echo begun >> \"$STARTS\"; exit 3".to_owned();
        program.variables = vec![("STARTS".to_owned(), starts.display().to_string())];
        let processes = Processes::start(program);
        processes.set("worker-a", 1).await.unwrap();
        let begun = Instant::now();
        testkit::eventually("it was started twice", Duration::from_secs(60), async || {
            std::fs::read_to_string(&starts).is_ok_and(|starts| starts.lines().count() >= 2)
        })
        .await;
        assert!(begun.elapsed() >= REST, "{:?}", begun.elapsed());
        processes.stop().await;
    }

    #[tokio::test]
    async fn a_machine_has_its_limit() {
        let processes = Processes::start(sleepers());
        let refused = processes.set("worker-a", PROCESSES_MAX + 1).await;
        assert!(matches!(refused, Err(ScaleError::Refused(_))), "{refused:?}");
        processes.stop().await;
    }
}

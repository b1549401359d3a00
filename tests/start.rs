//! Processes whose Postgres is not there yet: they say so, live, aren't ready, try again, and leave when told to.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::eventually;

/// How long a process may take to say or do something simple on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A process, killed when dropped.
struct Process(Child);

impl Process {
    /// SIGTERM, and it leaves with success.
    async fn leaves(&mut self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        eventually("it leaves", LIMIT, async || self.0.try_wait().unwrap().is_some()).await;
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program with a database that nobody serves (port 1) and a broker likewise.
fn start(arguments: &[&str], stderr: Stdio) -> Process {
    // The TLS library wants one to be named, even where no TLS is spoken.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let child = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args(arguments)
        .args(["--database-url", "postgres://me:hunter2@127.0.0.1:1/shop"])
        .env("KAFKA_BROKERS", "127.0.0.1:1")
        .env_remove("SAGALINE_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn();
    Process(child.unwrap())
}

async fn status(url: &str) -> Option<u16> {
    reqwest::get(url).await.ok().map(|response| response.status().as_u16())
}

#[tokio::test]
async fn an_orchestrator_without_postgres_waits_and_says_so() {
    let base = format!("http://127.0.0.1:{}", free_port());
    let mut process = start(
        &["orchestrator", "--listen", base.trim_start_matches("http://")],
        Stdio::piped(),
    );
    let stderr = BufReader::new(process.0.stderr.take().unwrap());
    let (tell, told) = tokio::sync::oneshot::channel();
    // Reads to the end, so that the process never blocks on a full pipe.
    let rest = tokio::task::spawn_blocking(move || {
        let mut lines = stderr.lines().map_while(Result::ok);
        let _ = tell.send(lines.find(|line| line.contains("is not reachable, trying again")));
        lines.collect::<Vec<_>>().concat()
    });
    eventually("it lives", LIMIT, async || {
        status(&format!("{base}/health/live")).await == Some(200)
    })
    .await;
    assert_eq!(status(&format!("{base}/health/ready")).await, Some(503));
    assert_eq!(status(&format!("{base}/v1/sagas")).await, Some(503));

    let told = tokio::time::timeout(LIMIT, told)
        .await
        .expect("it says what it waits for")
        .unwrap()
        .unwrap();
    assert!(
        told.contains("Postgres at postgres://me:***@127.0.0.1:1/shop"),
        "{told}"
    );
    process.leaves().await;
    assert!(!rest.await.unwrap().contains("hunter2"));
}

#[tokio::test]
async fn a_gateway_without_postgres_lives_and_is_not_ready() {
    let base = format!("http://127.0.0.1:{}", free_port());
    let mut process = start(
        &["gateway", "--listen", base.trim_start_matches("http://")],
        Stdio::null(),
    );
    eventually("it lives", LIMIT, async || {
        status(&format!("{base}/health/live")).await == Some(200)
    })
    .await;
    assert_eq!(status(&format!("{base}/health/ready")).await, Some(503));
    process.leaves().await;
}

//! Processes whose Postgres is not there yet: they say so, live, aren't ready, try again, and leave when told to; what they say of what they depend on. And
//! gateways that need none.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::eventually;
use transport::InProcessBroker;

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

/// Users and events as processes of their own, behind one that passes on: killing one closes its routes, and no others.
#[tokio::test]
async fn a_service_that_runs_apart_is_killed_and_the_others_go_on() {
    let [users, events, front] = [free_port(), free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let gateway =
        |listen: &str, more: &[&str]| start(&[&["gateway", "--listen", listen], more].concat(), Stdio::null());
    let mut user_service = gateway(&users, &["--services", "users"]);
    let mut event_service = gateway(&events, &["--services", "events"]);
    let urls = format!("users=http://{users},events=http://{events}");
    // What is elsewhere isn't served here; of the rest nothing is.
    let rest = "bookings,payments,tickets,notifications,analytics";
    let rest: Vec<String> = rest
        .split(',')
        .map(|service| format!("{service}=http://127.0.0.1:1"))
        .collect();
    let urls = format!("{urls},{}", rest.join(","));
    let mut passing = gateway(&front, &["--service-urls", &urls]);
    let at_front = async |path: &str| status(&format!("http://{front}{path}")).await;
    // Both answer these without their database.
    eventually("users answer through the front", LIMIT, async || {
        at_front("/users/me").await == Some(401)
    })
    .await;
    eventually("events answer through the front", LIMIT, async || {
        at_front("/events?nonsense=1").await == Some(400)
    })
    .await;
    assert_eq!(at_front("/bookings/1").await, Some(503), "nobody is there");
    // It needs no database itself.
    assert_eq!(at_front("/health/ready").await, Some(200));
    assert_eq!(status(&format!("http://{events}/users/me")).await, Some(404));

    user_service.0.kill().unwrap();
    user_service.0.wait().unwrap();
    eventually("the users' routes are closed", LIMIT, async || {
        at_front("/users/me").await == Some(503)
    })
    .await;
    assert_eq!(at_front("/events?nonsense=1").await, Some(400));
    let again = gateway(&users, &["--services", "users"]);
    eventually("they are back", LIMIT, async || {
        at_front("/users/me").await == Some(401)
    })
    .await;
    passing.leaves().await;
    event_service.leaves().await;
    drop(again);
}

async fn ready(base: &str) -> Option<(u16, Value)> {
    let response = reqwest::get(format!("{base}/health/ready")).await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}

#[tokio::test]
async fn a_worker_without_postgres_says_what_it_has_not_reached() {
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let mut process = start(
        &["worker", "--queues", "seats", "--ops-port", &port.to_string()],
        Stdio::null(),
    );
    eventually("it lives", LIMIT, async || {
        status(&format!("{base}/health/live")).await == Some(200)
    })
    .await;
    let (status, standing) = ready(&base).await.unwrap();
    assert_eq!((status, &standing["ready"]), (503, &Value::Bool(false)));
    let dependencies = &standing["dependencies"];
    assert_eq!(dependencies["database"]["problem"], "not reached yet", "{standing}");
    for down in ["kafka", "queues"] {
        assert_eq!(dependencies[down]["state"], "down", "{standing}");
    }
    process.leaves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_of_each_dependency_how_it_is() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let database = testkit::migrated_database().await;
    let broker = InProcessBroker::start(2).unwrap();
    let provider = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let child = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args(["worker", "--queues", "payments", "--ops-port", &port.to_string()])
        .env("DATABASE_URL", &database.url)
        .env("KAFKA_BROKERS", broker.config("test").brokers)
        .env("SAGALINE_KAFKA_PARTITIONS", "2")
        .env("STRIPE_API_KEY", "sk_test_health")
        .env("STRIPE_BASE_URL", format!("http://{}", provider.local_addr().unwrap()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut process = Process(child.unwrap());
    eventually("it is ready", LIMIT, async || {
        ready(&base).await.is_some_and(|(status, _)| status == 200)
    })
    .await;
    let (_, standing) = ready(&base).await.unwrap();
    for up in ["database", "kafka", "queues", "payments"] {
        let found = &standing["dependencies"][up];
        assert!(
            found["state"] == "up" && found["latencyMs"].is_number(),
            "{up}: {standing}"
        );
    }
    assert_eq!(standing["degraded"], false, "{standing}");
    // Without the provider it goes on: what it has begun waits.
    drop(provider);
    eventually("the provider's absence is noticed", LIMIT, async || {
        let (status, standing) = ready(&base).await.unwrap();
        assert_eq!(status, 200, "{standing}");
        standing["degraded"] == true && standing["dependencies"]["payments"]["state"] == "down"
    })
    .await;
    process.leaves().await;
}

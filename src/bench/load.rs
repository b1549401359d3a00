//! The load: callers in a closed loop over HTTP, each on a connection of its own.
//!
//! A caller starts its next saga when its last one has settled (`Prefer: wait`), so "in flight" is exact and a slow
//! system isn't buried in requests. The client is bare hyper: what the load costs is taken from the system's cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hyper::StatusCode;
use serde::Deserialize;
use uuid::Uuid;
use workflows::state::Status;

use super::client::Connection;
use super::report::quantile_ms;

/// Wait for the outcome for as long as the API allows, and tell nothing else.
const PREFER: &str = "wait=60, return=minimal";
/// No saga of the benchmark takes this long unless something is broken.
const SAGA_TIME_MAX: Duration = Duration::from_secs(120);
/// Callers that have a connection each. Both ends need a file for each, and many systems allow a process 20,000.
pub const OWN_CONNECTIONS_MAX: u32 = 8_192;
/// Failures that are written out; the rest are only counted.
const FAILURES_SHOWN_MAX: usize = 5;

/// What the callers have seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Sagas that ended `completed` or `compensated`.
    pub ended: Vec<Ended>,
    /// Requests that failed, or sagas that ended otherwise.
    pub failed: u64,
    /// The first of those, in words.
    pub failures: Vec<String>,
    /// From sending the start to having the outcome, in microseconds, ascending.
    pub latencies_us: Vec<u32>,
    /// From the first start to the last outcome.
    pub wall: Duration,
}

/// A saga that ended as it may.
#[derive(Debug)]
pub struct Ended {
    /// Its number.
    pub n: u64,
    /// Its id.
    pub id: Uuid,
    /// Completed; else compensated.
    pub confirmed: bool,
}

impl Seen {
    /// The latency in milliseconds that this share (0 to 1) of the sagas kept within.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        quantile_ms(&self.latencies_us, share)
    }

    fn add(&mut self, other: Seen) {
        self.ended.extend(other.ended);
        self.failed += other.failed;
        self.latencies_us.extend(other.latencies_us);
        let room = FAILURES_SHOWN_MAX.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }
}

/// Runs sagas `1..=sagas` on seats `<prefix>-<n>`, `concurrency` in flight, spread over the orchestrators.
pub async fn run(targets: &[SocketAddr], prefix: &'static str, sagas: u64, concurrency: u32) -> anyhow::Result<Seen> {
    let next = Arc::new(AtomicU64::new(1));
    let callers = connect(targets, concurrency.min(u32::try_from(sagas).unwrap_or(u32::MAX))).await?;
    let begun = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|caller| tokio::spawn(caller.call_until(next.clone(), prefix, sagas)))
        .collect();
    let mut seen = Seen::default();
    for task in tasks {
        seen.add(task.await.context("a caller panicked")?);
    }
    seen.wall = begun.elapsed();
    seen.latencies_us.sort_unstable();
    Ok(seen)
}

/// Callers on connections of their own, while a process may have so many open files; else many share one.
async fn connect(targets: &[SocketAddr], callers: u32) -> anyhow::Result<Vec<Caller>> {
    let connections = if callers > OWN_CONNECTIONS_MAX {
        Connection::open_shares(targets, callers).await?
    } else {
        let mut own = Vec::with_capacity(callers as usize);
        for target in targets.iter().cycle().take(callers as usize) {
            own.push(Connection::open(*target).await?);
        }
        own
    };
    Ok(connections
        .into_iter()
        .map(|connection| Caller { connection })
        .collect())
}

struct Caller {
    connection: Connection,
}

#[derive(Deserialize)]
struct Answer {
    id: Uuid,
    status: Status,
}

impl Caller {
    async fn call_until(mut self, next: Arc<AtomicU64>, prefix: &'static str, sagas: u64) -> Seen {
        let mut seen = Seen::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n > sagas {
                return seen;
            }
            let begun = Instant::now();
            let answer = match tokio::time::timeout(SAGA_TIME_MAX, self.call(prefix, n)).await {
                Ok(answer) => answer,
                Err(_) => Err(anyhow::anyhow!("no answer within {} s", SAGA_TIME_MAX.as_secs())),
            };
            let latency = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
            seen.latencies_us.push(latency);
            match answer {
                Ok(Answer {
                    id,
                    status: Status::Completed,
                }) => seen.ended.push(Ended { n, id, confirmed: true }),
                Ok(Answer {
                    id,
                    status: Status::Compensated,
                }) => seen.ended.push(Ended {
                    n,
                    id,
                    confirmed: false,
                }),
                Ok(Answer { id, status }) => seen.note(format!("saga {n} ({id}) is {}", status.as_str())),
                Err(error) => {
                    seen.note(format!("saga {n}: {error:#}"));
                    if self.connection.reopen().await.is_err() {
                        return seen;
                    }
                }
            }
        }
    }

    async fn call(&mut self, prefix: &str, n: u64) -> anyhow::Result<Answer> {
        let body = format!(r#"{{"workflow":"reference","input":{{"seatId":"{prefix}-{n}","n":{n}}}}}"#);
        let headers = [("prefer", PREFER)];
        let answer = self.connection.post("/v1/sagas", &headers, body).await?;
        if !matches!(
            answer.status,
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED
        ) {
            bail!("HTTP {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        serde_json::from_slice(&answer.body).context("the answer is not a saga")
    }
}

impl Seen {
    fn note(&mut self, failure: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_SHOWN_MAX {
            self.failures.push(failure);
        }
    }
}

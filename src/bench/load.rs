//! The load: callers in a closed loop over HTTP, each on a connection of its own.
//!
//! A caller starts its next saga when its last one has settled (`Prefer: wait`), so "in flight" is exact and a slow
//! system isn't buried in requests. The client is bare hyper: what the load costs is taken from the system's cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use uuid::Uuid;
use workflows::state::Status;

/// Wait for the outcome for as long as the API allows.
const PREFER: &str = "wait=60";
/// No saga of the benchmark takes this long unless something is broken.
const SAGA_TIME_MAX: Duration = Duration::from_secs(120);
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
        let Some(last) = self.latencies_us.len().checked_sub(1) else {
            return 0.0;
        };
        let rank = ((self.latencies_us.len() as f64 * share).ceil() as usize)
            .saturating_sub(1)
            .min(last);
        f64::from(self.latencies_us[rank]) / 1_000.0
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
    let mut callers = Vec::new();
    for caller in 0..concurrency.min(u32::try_from(sagas).unwrap_or(u32::MAX)) {
        let target = targets[caller as usize % targets.len()];
        callers.push(Caller::connect(target).await?);
    }
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

struct Caller {
    target: SocketAddr,
    host: HeaderValue,
    connection: SendRequest<Full<Bytes>>,
}

#[derive(Deserialize)]
struct Answer {
    id: Uuid,
    status: Status,
}

impl Caller {
    async fn connect(target: SocketAddr) -> anyhow::Result<Caller> {
        let host = HeaderValue::from_str(&target.to_string())?;
        Ok(Caller {
            target,
            host,
            connection: open(target).await?,
        })
    }

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
                    match open(self.target).await {
                        Ok(connection) => self.connection = connection,
                        Err(_) => return seen,
                    }
                }
            }
        }
    }

    async fn call(&mut self, prefix: &str, n: u64) -> anyhow::Result<Answer> {
        let body = format!(r#"{{"workflow":"reference","input":{{"seatId":"{prefix}-{n}","n":{n}}}}}"#);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/sagas")
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(HeaderName::from_static("prefer"), HeaderValue::from_static(PREFER))
            .body(Full::new(Bytes::from(body)))?;
        self.connection.ready().await?;
        let response = self.connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !matches!(status, StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED) {
            bail!("HTTP {status}: {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body).context("the answer is not a saga")
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

async fn open(target: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("connecting to {target}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends with the connection; its errors reach the caller through the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let seen = Seen {
            latencies_us: (1..=100).map(|ms| ms * 1_000).collect(),
            ..Seen::default()
        };
        assert_eq!(seen.quantile_ms(0.5), 50.0);
        assert_eq!(seen.quantile_ms(0.99), 99.0);
        assert_eq!(seen.quantile_ms(1.0), 100.0);
        assert_eq!(Seen::default().quantile_ms(0.5), 0.0);
    }
}

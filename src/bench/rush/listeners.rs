//! Buyers who only look: they follow the seats' live stream while the others buy.
//!
//! Bare sockets, so that thousands of them take little from the machine that is measured; past what a process may have open
//! files, many share an HTTP/2 connection, as the tabs of a browser do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::client::Connection;
use crate::bench::load::OWN_CONNECTIONS_MAX;
use crate::bench::memory::resident_kb;

/// Listeners that share one of our own addresses: one address has about 28,000 ports for connections of its own, less those
/// of the callers. Any address of 127.0.0.0/8 is ours.
const PER_ADDRESS: u32 = 20_000;
/// Connections opened at a time.
const OPENED_AT_ONCE: usize = 64;
/// How long one may take to be opened and answered.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a response's head, at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// Open listeners.
pub struct Listeners {
    tasks: JoinSet<()>,
    counts: Arc<Counts>,
    over: CancellationToken,
    open: u32,
    gateway_kb_each: f64,
}

#[derive(Default)]
struct Counts {
    updates: AtomicU64,
    reloads: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    fn add(&self, (updates, reloads): (u64, u64)) {
        self.updates.fetch_add(updates, Ordering::Relaxed);
        self.reloads.fetch_add(reloads, Ordering::Relaxed);
    }
}

/// What the listeners saw.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Listeners.
    pub listeners: u32,
    /// Frames that told of seats, all listeners together.
    pub updates: u64,
    /// Frames that told to get the list again.
    pub reloads: u64,
    /// Listeners whose stream ended early.
    pub lost: u64,
    /// What each has added to the gateway's resident memory, in kilobytes.
    pub gateway_kb_each: f64,
}

impl Listeners {
    /// Opens this many, each answered.
    pub async fn open(gateway: SocketAddr, gateway_pid: u32, event: &str, wanted: u32) -> anyhow::Result<Listeners> {
        let (counts, over) = (Arc::new(Counts::default()), CancellationToken::new());
        let before_kb = resident_kb(gateway_pid);
        let path = format!("/events/{event}/seats/live");
        let shared = if wanted > OWN_CONNECTIONS_MAX {
            Connection::open_shares(&[gateway], wanted)
                .await
                .context("connecting the listeners")?
        } else {
            Vec::new()
        };
        let mut shared = shared.into_iter();
        let opened = stream::iter(0..wanted).map(|number| {
            let (connection, path, counts) = (shared.next(), path.as_str(), &counts);
            let opening = async move {
                match connection {
                    Some(connection) => open_shared(connection, path).await,
                    None => open(gateway, number, path, counts).await,
                }
            };
            async {
                tokio::time::timeout(OPEN_LIMIT, opening)
                    .await
                    .context("not answered in time")?
            }
        });
        let opened: Vec<Listener> = opened
            .buffer_unordered(OPENED_AT_ONCE)
            .try_collect()
            .await
            .context("opening the listeners")?;
        let added_kb = resident_kb(gateway_pid).saturating_sub(before_kb);
        let mut tasks = JoinSet::new();
        for listener in opened {
            let (counts, over) = (counts.clone(), over.clone());
            tasks.spawn(async move {
                if over.run_until_cancelled(listener.listen(&counts)).await.is_some() {
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Listeners {
            tasks,
            counts,
            over,
            open: wanted,
            gateway_kb_each: if wanted == 0 {
                0.0
            } else {
                added_kb as f64 / f64::from(wanted)
            },
        })
    }

    /// Closes them, and says what they have heard.
    pub async fn close(self) -> Heard {
        self.over.cancel();
        self.tasks.join_all().await;
        Heard {
            listeners: self.open,
            updates: self.counts.updates.load(Ordering::Relaxed),
            reloads: self.counts.reloads.load(Ordering::Relaxed),
            lost: self.counts.lost.load(Ordering::Relaxed),
            gateway_kb_each: self.gateway_kb_each,
        }
    }
}

/// One who listens.
struct Listener {
    source: Source,
    scanner: Scanner,
}

enum Source {
    Socket(TcpStream),
    /// One of many streams of a connection.
    Stream(Incoming),
}

impl Listener {
    /// Until the stream ends.
    async fn listen(self, counts: &Counts) {
        match self.source {
            Source::Socket(socket) => listen(socket, self.scanner, counts).await,
            Source::Stream(stream) => listen_shared(stream, self.scanner, counts).await,
        }
    }
}

async fn open_shared(mut connection: Connection, path: &str) -> anyhow::Result<Listener> {
    let response = connection.stream(path).await?;
    ensure!(
        response.status().is_success(),
        "GET {path} answers {}",
        response.status()
    );
    Ok(Listener {
        source: Source::Stream(response.into_body()),
        scanner: Scanner::default(),
    })
}

async fn open(gateway: SocketAddr, number: u32, path: &str, counts: &Counts) -> anyhow::Result<Listener> {
    let address = u8::try_from(2 + number / PER_ADDRESS).context("more listeners than our addresses have ports")?;
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, address), 0).into())?;
    let mut stream = socket.connect(gateway).await.context("connecting")?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {gateway}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            bail!("the gateway's answer can't be read");
        }
    };
    let status = head
        .split(|byte| *byte == b' ')
        .nth(1)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    match status.as_ref() {
        "200" => {}
        "404" => bail!("this gateway has no live stream of seats (GET {path} answers 404): run without --listeners"),
        status => bail!("GET {path} answers {status} to listener {}", number + 1),
    }
    let mut scanner = Scanner::default();
    counts.add(scanner.scan(&head[end..]));
    Ok(Listener {
        source: Source::Socket(stream),
        scanner,
    })
}

async fn listen_shared(mut stream: Incoming, mut scanner: Scanner, counts: &Counts) {
    while let Some(Ok(frame)) = stream.frame().await {
        if let Some(data) = frame.data_ref() {
            counts.add(scanner.scan(data));
        }
    }
}

async fn listen(stream: TcpStream, mut scanner: Scanner, counts: &Counts) {
    while stream.readable().await.is_ok() {
        // Not kept while waiting: there are many of us.
        let mut chunk = [0; CHUNK];
        match stream.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => {
                counts.add(scanner.scan(&chunk[..length]));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// What each frame begins with, before its kind.
const FRAME: &[u8] = b"event: ";

/// Counts frames in a stream that comes in pieces.
#[derive(Default)]
struct Scanner {
    /// Bytes of [`FRAME`] seen in a row.
    seen: usize,
}

impl Scanner {
    /// Updates and reloads in a piece.
    fn scan(&mut self, bytes: &[u8]) -> (u64, u64) {
        let (mut updates, mut reloads) = (0, 0);
        for byte in bytes {
            if self.seen == FRAME.len() {
                updates += u64::from(*byte == b's');
                reloads += u64::from(*byte == b'r');
                self.seen = 0;
            } else if *byte == FRAME[self.seen] {
                self.seen += 1;
            } else {
                self.seen = usize::from(*byte == FRAME[0]);
            }
        }
        (updates, reloads)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::http::header;
    use axum::routing::get;
    use testkit::eventually;

    use super::*;

    /// A gateway that says where the listener stands, tells of seats twice, wants the list to be got again, and goes on.
    async fn gateway() -> SocketAddr {
        const FRAMES: [&str; 4] = [
            "event: position\nid: 1\ndata: {}\n\n",
            "event: seats\nid: 2\ndata: {\"sold\":[\"S1\"]}\n\n",
            "event: seats\nid: 3\ndata: {\"sold\":[\"S2\"]}\n\n",
            "event: reload\nid: 4\ndata: {}\n\n",
        ];
        let live = || async {
            let frames =
                stream::iter(FRAMES.map(|frame| Ok::<_, std::io::Error>(Bytes::from_static(frame.as_bytes()))));
            let body = Body::from_stream(frames.chain(stream::pending()));
            ([(header::CONTENT_TYPE, "text/event-stream")], body)
        };
        let router = Router::new().route("/events/e/seats/live", get(live));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[tokio::test]
    async fn listeners_hear_what_the_gateway_says() {
        let listeners = Listeners::open(gateway().await, std::process::id(), "e", 20)
            .await
            .unwrap();
        let heard = |counts: &Counts| {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            (of(&counts.updates), of(&counts.reloads))
        };
        eventually("everybody has heard everything", Duration::from_secs(10), async || {
            heard(&listeners.counts) == (40, 20)
        })
        .await;
        let heard = listeners.close().await;
        assert_eq!(
            (heard.listeners, heard.updates, heard.reloads, heard.lost),
            (20, 40, 20, 0)
        );
    }

    #[tokio::test]
    async fn a_gateway_without_a_live_stream_is_told_as_such() {
        let error = Listeners::open(gateway().await, std::process::id(), "f", 1)
            .await
            .err()
            .unwrap();
        assert!(format!("{error:#}").contains("run without --listeners"), "{error:#}");
    }

    #[test]
    fn frames_are_counted_wherever_the_pieces_are_cut() {
        let text = b"event: position\nid: 1\n\n:\n\nevent: seats\ndata: {}\n\n5\r\nevent: seats\n\nevent: reload\n\n";
        for size in 1..text.len() {
            let mut scanner = Scanner::default();
            let counts = text.chunks(size).map(|piece| scanner.scan(piece));
            let sum = counts.fold((0, 0), |sum, found| (sum.0 + found.0, sum.1 + found.1));
            assert_eq!(sum, (2, 1), "in pieces of {size}");
        }
    }
}

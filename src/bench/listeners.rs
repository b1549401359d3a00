//! `sagaline bench listeners`: many who follow `/ws/metrics`, and some of them who don't read what they are told.
//!
//! Bare sockets that read the WebSocket's frames themselves, so that ten thousand take little from the machine that is measured.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::memory::resident_kb;
use super::print;
use super::processes::{LOG_LEVEL, Process, allow_connections, free_address};
use crate::output::Output;

/// Where the gateway says that it runs: it needs nothing else for this.
const LIVE_PATH: &str = "/health/live";
/// Connections opened at a time.
const OPENED_AT_ONCE: usize = 64;
/// How long one may take to be opened and answered.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Listeners that share one of our own addresses, which has about 28,000 ports.
const PER_ADDRESS: u32 = 20_000;
/// Bytes of the answer's head, at most.
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// Bytes read at a time: a few values.
const CHUNK: usize = 2 * 1024;
/// Seconds without a value, at most: those at the ends of the measurement don't count as whole.
const MISSED_MAX: u64 = 3;
/// Within this everybody shall have been told the same.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// The most that the gateway may keep for each, in kilobytes: hyper's and the WebSocket's buffers, and the connection.
const KB_EACH_MAX: f64 = 64.0;

/// How many listen, and for how long.
#[derive(Clone, Debug, Args)]
pub struct ListenersArgs {
    /// Who listen.
    #[arg(long, default_value_t = 10_000)]
    listeners: u32,
    /// Those of them who read nothing.
    #[arg(long, default_value_t = 500)]
    silent: u32,
    /// For how long, once all are there.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Heard {
    listeners: u32,
    silent: u32,
    seconds: f64,
    /// Values that were told meanwhile.
    values: usize,
    /// From when the first was told a value until the last was, at most and in the median, in milliseconds.
    spread_ms_max: f64,
    spread_ms_median: f64,
    /// Listeners who read and were told each value, at least.
    told_min: u32,
    /// Listeners who were hung up on.
    lost: u32,
    /// What each listener has added to the gateway's resident memory, in kilobytes.
    gateway_kb_each: f64,
    /// The gateway's resident memory at the end.
    gateway_mb: f64,
}

/// When a value came to the first and to the last, and to how many.
struct Told {
    first: Instant,
    last: Instant,
    listeners: u32,
}

type Values = Arc<Mutex<HashMap<u64, Told>>>;

/// Measures.
pub async fn run(args: &ListenersArgs, output: Output) -> anyhow::Result<()> {
    ensure!(
        args.silent < args.listeners,
        "somebody has to read: fewer --silent than --listeners"
    );
    allow_connections(u64::from(args.listeners) * 2);
    let folder = std::env::temp_dir().join(format!("sagaline-listeners-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let measured = measure(args, &folder).await;
    // The log is in what went wrong, if anything did.
    let _ = std::fs::remove_dir_all(&folder);
    let heard = measured?;
    print(output, || table(&heard), &heard)?;
    let readers = heard.listeners - heard.silent;
    ensure!(heard.lost == 0, "{} listeners were hung up on", heard.lost);
    ensure!(
        heard.values as u64 + MISSED_MAX >= args.seconds,
        "{} values were told in {} seconds; there is one a second, and the analytics are away",
        heard.values,
        args.seconds
    );
    ensure!(
        heard.told_min == readers,
        "not all {readers} who read were told everything"
    );
    ensure!(
        Duration::from_secs_f64(heard.spread_ms_max / 1_000.0) <= TOLD_WITHIN,
        "the last was told more than a second after the first"
    );
    ensure!(
        heard.gateway_kb_each <= KB_EACH_MAX,
        "the gateway keeps more than {KB_EACH_MAX} kB for each"
    );
    Ok(())
}

async fn measure(args: &ListenersArgs, folder: &std::path::Path) -> anyhow::Result<Heard> {
    let address = free_address()?;
    let variables = [
        // What is told of the analytics is null then, and as long.
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing"),
        ("SAGALINE_RATE_LIMITS", "off"),
        ("SAGALINE_USER_ACTIONS", "false"),
        ("SAGALINE_LOG", LOG_LEVEL),
    ];
    let mut gateway = Process::start(
        folder,
        "gateway",
        &["gateway", "--listen", &address.to_string()],
        &variables,
    )?;
    gateway.wait_ready(address, LIVE_PATH).await?;
    let before_kb = resident_kb(gateway.pid());
    let opened = stream::iter(0..args.listeners).map(|number| async move {
        let opening = tokio::time::timeout(OPEN_LIMIT, open(address, number)).await;
        opening.context("not answered in time")?
    });
    let opened: Vec<(TcpStream, Vec<u8>)> = opened
        .buffer_unordered(OPENED_AT_ONCE)
        .try_collect()
        .await
        .with_context(|| format!("opening the listeners; the gateway's log:\n{}", gateway.log_tail()))?;

    let (values, over): (Values, _) = (Values::default(), CancellationToken::new());
    let mut readers = JoinSet::new();
    let mut silent = Vec::new();
    for (number, (socket, rest)) in (0..args.listeners).zip(opened) {
        if number < args.silent {
            silent.push(socket);
            continue;
        }
        let (values, over) = (values.clone(), over.clone());
        readers.spawn(async move { over.run_until_cancelled(listen(socket, rest, &values)).await.is_some() });
    }
    // What came while they were coming was not told to all.
    tokio::time::sleep(TOLD_WITHIN * 2).await;
    lock(&values).clear();
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let seconds = began.elapsed().as_secs_f64();
    let (each_kb, all_kb) = (
        resident_kb(gateway.pid()).saturating_sub(before_kb),
        resident_kb(gateway.pid()),
    );
    // The last value may be on its way.
    let last_begun = Instant::now().checked_sub(TOLD_WITHIN).unwrap_or(began);
    tokio::time::sleep(TOLD_WITHIN * 2).await;
    over.cancel();
    let ended = readers.join_all().await;
    drop(silent);
    let known = std::mem::take(&mut *lock(&values));
    // One that began to be told before the others were forgotten is told of in part.
    let earliest = began + TOLD_WITHIN / 2;
    let whole: Vec<Told> = known
        .into_values()
        .filter(|told| (earliest..last_begun).contains(&told.first))
        .collect();
    let mut spreads: Vec<f64> = whole
        .iter()
        .map(|told| (told.last - told.first).as_secs_f64() * 1_000.0)
        .collect();
    spreads.sort_by(f64::total_cmp);
    Ok(Heard {
        listeners: args.listeners,
        silent: args.silent,
        seconds,
        values: whole.len(),
        spread_ms_max: spreads.last().copied().unwrap_or_default(),
        spread_ms_median: spreads.get(spreads.len() / 2).copied().unwrap_or_default(),
        told_min: whole.iter().map(|told| told.listeners).min().unwrap_or_default(),
        lost: ended.into_iter().filter(|was_lost| *was_lost).count() as u32,
        gateway_kb_each: each_kb as f64 / f64::from(args.listeners),
        gateway_mb: all_kb as f64 / 1_024.0,
    })
}

fn lock(values: &Values) -> std::sync::MutexGuard<'_, HashMap<u64, Told>> {
    values.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket that was upgraded, and what came behind the answer.
async fn open(gateway: SocketAddr, number: u32) -> anyhow::Result<(TcpStream, Vec<u8>)> {
    let address = u8::try_from(2 + number / PER_ADDRESS).context("more listeners than our addresses have ports")?;
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, address), 0).into())?;
    let mut stream = socket.connect(gateway).await.context("connecting")?;
    // The key is an example's (RFC 6455): what the server makes of it, nobody looks at.
    let request = format!(
        "GET /ws/metrics HTTP/1.1\r\nhost: {gateway}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
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
    if !head.starts_with(b"HTTP/1.1 101 ") {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        bail!(
            "listener {} is answered {:?}",
            number + 1,
            String::from_utf8_lossy(line)
        );
    }
    Ok((stream, head[end..].to_vec()))
}

/// Reads until the stream ends.
async fn listen(mut socket: TcpStream, mut unread: Vec<u8>, values: &Values) {
    loop {
        while let Some((text, length)) = frame(&unread) {
            note(text, values);
            unread.drain(..length);
        }
        unread.reserve(CHUNK);
        match socket.read_buf(&mut unread).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// What the first frame says, and how long it is; none: it isn't there as a whole. A server's frames have no mask, and these fit 16 bits of length.
fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (begin, length) = match bytes {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, length, ..] if *length < 126 => (2, usize::from(*length)),
        _incomplete => return None,
    };
    Some((bytes.get(begin..begin + length)?, begin + length))
}

fn note(text: &[u8], values: &Values) {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let now = Instant::now();
    let mut values = lock(values);
    let told = values.entry(hasher.finish()).or_insert(Told {
        first: now,
        last: now,
        listeners: 0,
    });
    told.last = now;
    told.listeners += 1;
}

fn table(heard: &Heard) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{name:<34}{value:>12}");
    };
    line("listeners", heard.listeners.to_string());
    line("of them reading nothing", heard.silent.to_string());
    line("seconds", format!("{:.0}", heard.seconds));
    line("values told", heard.values.to_string());
    line("told to, at least", heard.told_min.to_string());
    line(
        "from the first to the last, median",
        format!("{:.0} ms", heard.spread_ms_median),
    );
    line(
        "from the first to the last, at most",
        format!("{:.0} ms", heard.spread_ms_max),
    );
    line("hung up on", heard.lost.to_string());
    line("gateway's memory for each", format!("{:.1} kB", heard.gateway_kb_each));
    line("gateway's memory", format!("{:.0} MB", heard.gateway_mb));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn frames_are_read_wherever_the_pieces_are_cut() {
        let long = vec![b'x'; 300];
        let mut bytes = vec![0x81, 2, b'a', b'b', 0x81, 126, 1, 44];
        bytes.extend(&long);
        for cut in 0..bytes.len() {
            let (mut unread, mut found) = (bytes[..cut].to_vec(), Vec::new());
            for rest in [&bytes[cut..], &[][..]] {
                while let Some((text, length)) = frame(&unread) {
                    found.push(text.to_vec());
                    unread.drain(..length);
                }
                unread.extend(rest);
            }
            assert_eq!(found, [b"ab".to_vec(), long.clone()], "cut at {cut}");
        }
    }
}

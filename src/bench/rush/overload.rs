//! `sagaline bench overload`: many times more bookings a second than the platform can do, with the waiting room off.
//!
//! First the peak is looked for, by callers who each ask again when they are answered. Then wishes arrive on a clock at a
//! multiple of it, whether or not the ones before have been answered: what is confirmed meanwhile is the goodput. Every wish is
//! for a seat that nobody else asks for, so nothing is refused but for want of room.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::audit;
use super::buyer::Card;
use super::platform::Platform;
use super::sale::Sale;
use super::{Findings, Fleet, RushArgs, conclude};
use crate::bench::client::{Answer, Connection};
use crate::bench::cpu::Usage;
use crate::bench::ground::GroundArgs;
use crate::bench::processes::allow_connections;
use crate::bench::report::quantile_ms;
use crate::output::Output;

/// Callers in the search for the peak, one step after the other: each doubles what is in flight.
const STEPS: [u32; 5] = [32, 64, 128, 256, 512];
/// How much of a phase a step of that search takes.
const STEP_SHARE: u32 = 4;
/// Connections the arrivals share; who finds none free is not sent, and counted: the load itself would be the bottleneck.
const CONNECTIONS_MAX: usize = 6_000;
/// How often arrivals are sent off.
const TICK: Duration = Duration::from_millis(5);
/// Who is let in waits for the outcome.
const PREFER: &str = "wait=30";
/// Longer than that, and than the gateway's own limit.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long seats are held: what is let in is paid within it.
const HOLD: Duration = Duration::from_secs(60);

/// How to overload.
#[derive(Debug, Args)]
pub struct OverloadArgs {
    /// How long wishes arrive, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..=600))]
    pub seconds: u32,
    /// How many times the peak arrives.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub factor: u32,
    /// Seats on sale: as many as may be asked for at once, and be sold.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub seats: u32,
    #[command(flatten)]
    pub fleet: Fleet,
    #[command(flatten)]
    pub ground: GroundArgs,
}

/// The result of `bench overload`. Explained in docs/performance.md.
#[derive(Debug, Serialize)]
struct Report {
    broker: &'static str,
    orchestrators: u32,
    workers: u32,
    /// The best step of the search, and how many callers it had.
    peak_per_s: f64,
    peak_callers: u32,
    /// What arrived, and what of it could not be sent for want of connections.
    offered_per_s: f64,
    not_sent: u64,
    /// Confirmed while wishes arrived.
    goodput_per_s: f64,
    goodput_of_peak: f64,
    confirmed_p50_ms: f64,
    confirmed_p99_ms: f64,
    refused: u64,
    refused_p50_ms: f64,
    refused_p99_ms: f64,
    /// Refusals that did not say when to come again; must be 0.
    without_retry_after: u64,
    failed: u64,
    seats_sold: u64,
    deadlocks: u64,
    cpu_s: BTreeMap<&'static str, f64>,
    ok: bool,
    problems: Vec<String>,
}

/// Runs it and prints what it found.
pub async fn run(args: &OverloadArgs, output: Output) -> anyhow::Result<()> {
    allow_connections(CONNECTIONS_MAX as u64);
    conclude(run_on_platform(args), output).await
}

async fn run_on_platform(args: &OverloadArgs) -> anyhow::Result<Report> {
    let say = |line: &str| eprintln!("bench: {line}");
    let rush = RushArgs::quiet(args.seats, HOLD, args.fleet, &args.ground);
    let platform = Platform::start(&rush, &say).await?;
    let pool = &platform.ground.pool;
    let run = Uuid::now_v7().simple().to_string();
    let sale = Sale::open(pool, &format!("overload-{run}"), args.seats).await?;
    let deadlocks_before = audit::deadlocks(pool).await?;
    let shop = Arc::new(Shop::new(platform.shop(1, &rush).gateway, sale));
    let phase = Duration::from_secs(u64::from(args.seconds));

    let mut peak = (0.0, 0);
    for callers in STEPS {
        let rate = closed_loop(&shop, callers, phase / STEP_SHARE).await?;
        say(&format!("{callers} callers: {rate:.0} bookings/s"));
        if rate > peak.0 {
            peak = (rate, callers);
        }
    }
    let (peak_per_s, peak_callers) = peak;
    if peak_per_s <= 0.0 {
        bail!("nothing was confirmed; the ends of the logs:\n{}", platform.log_tails());
    }
    let calm = shop.take_seen();
    say(&format!(
        "{:.0} wishes/s for {} s",
        peak_per_s * f64::from(args.factor),
        args.seconds
    ));
    let before = Usage::now(&platform.groups());
    let offered = arrivals(&shop, peak_per_s * f64::from(args.factor), phase).await;
    let usage = Usage::now(&platform.groups()).since(&before);
    let mut seen = shop.take_seen();
    seen.confirmed_us.sort_unstable();
    seen.refused_us.sort_unstable();

    let mut problems = Vec::new();
    if let Err(why) = audit::wait_for_rest(pool, &shop.sale.event, HOLD).await {
        problems.push(format!("{why:#}"));
    }
    let sold = audit::count(pool, audit::SOLD_SEATS, &shop.sale.event).await?;
    let told = (calm.confirmed_us.len() + seen.confirmed_us.len()) as u64;
    let failed = calm.failed + seen.failed;
    if failed > 0 {
        problems.push(format!(
            "{failed} wishes failed, as in: {}",
            seen.or_first_failure(&calm)
        ));
    }
    if sold < told {
        problems.push(format!(
            "{told} buyers were told of a confirmed booking, {sold} seats are sold"
        ));
    }
    if seen.without_retry_after > 0 {
        problems.push(format!(
            "{} refusals did not say when to come again",
            seen.without_retry_after
        ));
    }
    let deadlocks = audit::deadlocks(pool).await? - deadlocks_before;
    if deadlocks > 0 {
        problems.push(format!("{deadlocks} deadlocks"));
    }
    let goodput_per_s = offered.confirmed as f64 / offered.wall.as_secs_f64();
    Ok(Report {
        broker: platform.ground.broker_name(),
        orchestrators: args.fleet.orchestrators,
        workers: args.fleet.workers,
        peak_per_s,
        peak_callers,
        offered_per_s: offered.sent as f64 / offered.wall.as_secs_f64(),
        not_sent: offered.not_sent,
        goodput_per_s,
        goodput_of_peak: goodput_per_s / peak_per_s,
        confirmed_p50_ms: quantile_ms(&seen.confirmed_us, 0.5),
        confirmed_p99_ms: quantile_ms(&seen.confirmed_us, 0.99),
        refused: seen.refused_us.len() as u64,
        refused_p50_ms: quantile_ms(&seen.refused_us, 0.5),
        refused_p99_ms: quantile_ms(&seen.refused_us, 0.99),
        without_retry_after: seen.without_retry_after,
        failed,
        seats_sold: sold,
        deadlocks,
        cpu_s: usage.seconds(),
        ok: problems.is_empty(),
        problems,
    })
}

/// The shop, and what became of the wishes.
struct Shop {
    gateway: SocketAddr,
    sale: Sale,
    /// Seats that nobody has asked for, or that were not given for want of room.
    seats: Mutex<Vec<u32>>,
    idle: Mutex<Vec<Connection>>,
    opened: AtomicU64,
    number: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    confirmed_us: Vec<u32>,
    refused_us: Vec<u32>,
    without_retry_after: u64,
    failed: u64,
    failure: Option<String>,
}

impl Seen {
    fn or_first_failure(&self, before: &Seen) -> String {
        before
            .failure
            .clone()
            .or_else(|| self.failure.clone())
            .unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Booking {
    status: String,
}

/// What a wish came to.
enum Outcome {
    Confirmed,
    NoRoom,
    Failed,
}

impl Shop {
    fn new(gateway: SocketAddr, sale: Sale) -> Shop {
        let seats = (0..u32::try_from(sale.seats()).unwrap_or(u32::MAX)).rev().collect();
        Shop {
            gateway,
            sale,
            seats: Mutex::new(seats),
            idle: Mutex::default(),
            opened: AtomicU64::new(0),
            number: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    fn take_seen(&self) -> Seen {
        std::mem::take(&mut *locked(&self.seen))
    }

    /// A connection that nobody uses, or a new one; none: there are enough.
    async fn connection(&self) -> Option<anyhow::Result<Connection>> {
        let idle = locked(&self.idle).pop();
        if let Some(idle) = idle {
            return Some(Ok(idle));
        }
        let opened = self.opened.fetch_add(1, Ordering::Relaxed);
        if opened >= CONNECTIONS_MAX as u64 {
            self.opened.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Connection::open(self.gateway).await)
    }

    fn give_back(&self, connection: Connection) {
        locked(&self.idle).push(connection);
    }

    /// Asks for one seat, once.
    async fn wish(&self, connection: &mut Connection) -> Outcome {
        let Some(rank) = locked(&self.seats).pop() else {
            return self.failed("all seats are sold: run with more --seats".to_owned());
        };
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let body = self.sale.wish(number, &[rank], Card::Good);
        let key = format!("{}-{number}", self.sale.event);
        let headers = [("idempotency-key", key.as_str()), ("prefer", PREFER)];
        let begun = Instant::now();
        let answer = tokio::time::timeout(ANSWER_MAX, connection.post("/bookings", &headers, body)).await;
        let took_us = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        match answer {
            Ok(Ok(answer)) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                locked(&self.seats).push(rank);
                let mut seen = locked(&self.seen);
                seen.refused_us.push(took_us);
                seen.without_retry_after += u64::from(!answer.headers.contains_key(RETRY_AFTER));
                Outcome::NoRoom
            }
            Ok(Ok(answer)) if is_confirmed(&answer) => {
                let mut seen = locked(&self.seen);
                seen.confirmed_us.push(took_us);
                Outcome::Confirmed
            }
            Ok(Ok(answer)) => self.failed(format!(
                "HTTP {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )),
            Ok(Err(error)) => self.broken(connection, format!("{error:#}")).await,
            Err(_) => self.broken(connection, "no answer in time".to_owned()).await,
        }
    }

    async fn broken(&self, connection: &mut Connection, why: String) -> Outcome {
        match connection.reopen().await {
            Ok(()) => self.failed(why),
            Err(error) => self.failed(format!("{why}; {error:#}")),
        }
    }

    fn failed(&self, why: String) -> Outcome {
        let mut seen = locked(&self.seen);
        seen.failed += 1;
        seen.failure.get_or_insert(why);
        Outcome::Failed
    }
}

/// Nothing here is left half done by a panic.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_confirmed(answer: &Answer) -> bool {
    answer.status.is_success()
        && serde_json::from_slice::<Booking>(&answer.body).is_ok_and(|booking| booking.status == "confirmed")
}

/// Bookings confirmed a second with so many callers. Who is sent away comes again after a moment, as it was told to.
async fn closed_loop(shop: &Arc<Shop>, callers: u32, time: Duration) -> anyhow::Result<f64> {
    let (over, confirmed, tasks) = (
        CancellationToken::new(),
        Arc::new(AtomicU64::new(0)),
        TaskTracker::new(),
    );
    for _ in 0..callers {
        let mut connection = shop.connection().await.context("there are enough connections")??;
        let (shop, over, confirmed) = (shop.clone(), over.clone(), confirmed.clone());
        tasks.spawn(async move {
            while !over.is_cancelled() {
                match shop.wish(&mut connection).await {
                    Outcome::Confirmed if !over.is_cancelled() => {
                        confirmed.fetch_add(1, Ordering::Relaxed);
                    }
                    Outcome::Confirmed => {}
                    Outcome::NoRoom => {
                        over.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1)))
                            .await;
                    }
                    Outcome::Failed => break,
                }
            }
            shop.give_back(connection);
        });
    }
    let begun = Instant::now();
    tokio::time::sleep(time).await;
    over.cancel();
    let wall = begun.elapsed();
    tasks.close();
    tasks.wait().await;
    Ok(confirmed.load(Ordering::Relaxed) as f64 / wall.as_secs_f64())
}

/// What arrived.
struct Offered {
    sent: u64,
    not_sent: u64,
    /// Confirmed while wishes arrived.
    confirmed: u64,
    wall: Duration,
}

/// Sends wishes off on a clock, whatever becomes of them, and waits for the last answers.
async fn arrivals(shop: &Arc<Shop>, per_s: f64, time: Duration) -> Offered {
    let (over, confirmed, tasks) = (
        CancellationToken::new(),
        Arc::new(AtomicU64::new(0)),
        TaskTracker::new(),
    );
    let not_sent = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut due_before = 0;
    let mut clock = tokio::time::interval(TICK);
    while begun.elapsed() < time {
        clock.tick().await;
        let due = (begun.elapsed().as_secs_f64() * per_s) as u64;
        for _ in due_before..due {
            let (shop, over, confirmed, not_sent) = (shop.clone(), over.clone(), confirmed.clone(), not_sent.clone());
            tasks.spawn(async move {
                let mut connection = match shop.connection().await {
                    Some(Ok(connection)) => connection,
                    Some(Err(error)) => {
                        shop.failed(format!("{error:#}"));
                        return;
                    }
                    None => {
                        not_sent.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                };
                if matches!(shop.wish(&mut connection).await, Outcome::Confirmed) && !over.is_cancelled() {
                    confirmed.fetch_add(1, Ordering::Relaxed);
                }
                shop.give_back(connection);
            });
        }
        due_before = due;
    }
    over.cancel();
    let (wall, confirmed) = (begun.elapsed(), confirmed.load(Ordering::Relaxed));
    tasks.close();
    tasks.wait().await;
    let not_sent = not_sent.load(Ordering::Relaxed);
    Offered {
        sent: due_before - not_sent,
        not_sent,
        confirmed,
        wall,
    }
}

impl Findings for Report {
    fn problems(&self) -> &[String] {
        &self.problems
    }

    fn table(&self) -> String {
        [
            format!(
                "{:>12}  {:.0} bookings/s with {} callers",
                "peak", self.peak_per_s, self.peak_callers
            ),
            format!(
                "{:>12}  {:.0} wishes/s ({} could not be sent)",
                "offered", self.offered_per_s, self.not_sent
            ),
            format!(
                "{:>12}  {:.0} bookings/s, {:.0} % of the peak; p50 {:.0} ms, p99 {:.0} ms",
                "goodput",
                self.goodput_per_s,
                100.0 * self.goodput_of_peak,
                self.confirmed_p50_ms,
                self.confirmed_p99_ms
            ),
            format!(
                "{:>12}  {} with 503 and Retry-After; p50 {:.1} ms, p99 {:.1} ms",
                "sent away", self.refused, self.refused_p50_ms, self.refused_p99_ms
            ),
        ]
        .join("\n")
    }
}

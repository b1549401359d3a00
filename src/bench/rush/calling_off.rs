//! `sagaline bench cancellation`: an event with many confirmed bookings is called off while the payment provider turns a share of the
//! refunds away. In the end every buyer has the money back exactly once, by the provider's own ledger.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _};
use orchestrator::client::{EngineClient as _, HttpClient, StartRequest};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;
use workflows::tickets::{booking, cancellation};

use super::platform::Platform;
use super::sale::Sale;
use super::{Findings, Fleet, RushArgs, audit, conclude, ledger};
use crate::bench::client::Connection;
use crate::bench::ground::GroundArgs;
use crate::bench::processes::allow_connections;
use crate::output::Output;

/// Bookings that are begun by one request.
const BOOKINGS_TOGETHER: usize = 100;
/// Such requests at once.
const REQUESTS_AT_ONCE: usize = 4;
/// How long nothing may move before it is given up: longer than the longest wait between two attempts.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const POLL: Duration = Duration::from_millis(250);
/// How long seats are held: nobody is in a hurry here.
const HOLD: Duration = Duration::from_secs(900);
/// Mails of one booking: its confirmation, and that the event does not take place.
const MAILS_EACH: u64 = 2;

/// How to call an event off.
#[derive(Debug, Args)]
pub struct CancellationArgs {
    /// Confirmed bookings of the event.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub bookings: u32,
    /// Bookings that are begun and not confirmed yet, at most.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub open: u32,
    /// The share of requests for a refund that the payment provider answers with 429.
    #[arg(long, default_value_t = 0.3, value_parser = share)]
    pub rate_limited: f64,
    /// Kill gateway, orchestrators and the workers that give money back once a third is done, and start others.
    #[arg(long)]
    pub kill: bool,
    #[command(flatten)]
    pub fleet: Fleet,
    #[command(flatten)]
    pub ground: GroundArgs,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..0.95).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("it must be a number from 0 to 0.95".to_owned()),
    }
}

/// The result of `bench cancellation`. Explained in docs/payments.md.
#[derive(Debug, Serialize)]
struct Report {
    broker: &'static str,
    bookings: u32,
    rate_limited: f64,
    killed: bool,
    /// From the event's end of sale to the last buyer's money.
    cancellation_s: f64,
    refunds_per_s: f64,
    /// From the command until the saga had noticed that all was done: it looks ever more seldom.
    noticed_s: f64,
    /// From the command to a buyer's money: half of them, and nearly all.
    refunded_p50_s: f64,
    refunded_p99_s: f64,
    /// Requests for refunds, and how many of them were turned away.
    asked: i64,
    turned_away: i64,
    /// By the provider's ledger, of the buyers that paid.
    refunded_once: u64,
    refunded_twice: u64,
    not_refunded: u64,
    refunded_cents: i64,
    /// Our ledger's account of what the provider holds for us: must be 0.
    provider_cents: i64,
    mails: u64,
    deadlocks: u64,
    ok: bool,
    problems: Vec<String>,
}

/// Runs it and prints what it found.
pub async fn run(args: &CancellationArgs, output: Output) -> anyhow::Result<()> {
    allow_connections(64);
    conclude(run_on_platform(args), output).await
}

async fn run_on_platform(args: &CancellationArgs) -> anyhow::Result<Report> {
    let say = |line: &str| eprintln!("bench: {line}");
    let mut platform = Platform::start(&RushArgs::quiet(args.bookings, HOLD, args.fleet, &args.ground), &say).await?;
    let pool = platform.ground.pool.clone();
    let run = Uuid::now_v7();
    let began_at: chrono::DateTime<chrono::Utc> = sqlx::query_scalar("select now()").fetch_one(&pool).await?;
    let sale = Sale::open(&pool, &format!("cancellation-{}", run.simple()), args.bookings).await?;
    let deadlocks_before = audit::deadlocks(&pool).await?;
    let engine = HttpClient::new(&format!("http://{}", platform.engine_address()))?;

    say(&format!("{} bookings are made", args.bookings));
    let booked = book(&engine, &pool, &sale, args).await;
    booked.with_context(|| format!("making bookings; the ends of the logs:\n{}", platform.log_tails()))?;
    rate_limit(platform.sandbox_address, args.rate_limited).await?;

    say("the event is called off");
    let began = Instant::now();
    let request = StartRequest {
        workflow: cancellation::NAME.to_owned(),
        input: json!({"eventId": sale.event, "reason": "the benchmark"}),
        idempotency_key: Some(format!("event-cancellation/{}", sale.event)),
        ..StartRequest::default()
    };
    engine.start(request).await.context("calling the event off")?;
    if args.kill {
        await_count(&pool, REFUNDED, &sale.event, i64::from(args.bookings / 3)).await?;
        say("gateway, orchestrators and workers are killed");
        platform.kill_and_replace().await?;
    }
    let finished = await_count(&pool, FINISHED, &sale.event, 1).await;
    let noticed_s = began.elapsed().as_secs_f64();
    let mut problems = Vec::new();
    if let Err(why) = finished {
        problems.push(format!("{why:#}"));
        eprintln!("bench: the ends of the logs:\n{}", platform.log_tails());
    }
    let mails_due = MAILS_EACH * u64::from(args.bookings);
    await_mails(&platform, mails_due).await;

    say("auditing");
    let audit = Audit::run(&pool, platform.sandbox_address, &sale, run, began_at).await?;
    let mails = platform.mails.total();
    let deadlocks = audit::deadlocks(&pool).await? - deadlocks_before;
    problems.extend(audit.problems(args, mails, mails_due, deadlocks));
    Ok(Report {
        broker: platform.ground.broker_name(),
        bookings: args.bookings,
        rate_limited: args.rate_limited,
        killed: args.kill,
        cancellation_s: audit.last_s,
        refunds_per_s: f64::from(args.bookings) / audit.last_s.max(f64::EPSILON),
        noticed_s,
        refunded_p50_s: audit.p50_s,
        refunded_p99_s: audit.p99_s,
        asked: audit.asked,
        turned_away: audit.turned_away,
        refunded_once: audit.once,
        refunded_twice: audit.twice,
        not_refunded: audit.never,
        refunded_cents: audit.cents,
        provider_cents: audit.provider_cents,
        mails,
        deadlocks,
        ok: problems.is_empty(),
        problems,
    })
}

/// Books one seat for each buyer, `open` of them at a time.
async fn book(engine: &HttpClient, pool: &PgPool, sale: &Sale, args: &CancellationArgs) -> anyhow::Result<()> {
    let requests: Vec<StartRequest> = (0..args.bookings).map(|rank| start(sale, rank)).collect();
    let mut booked = 0;
    for wave in requests.chunks(args.open as usize) {
        let batches = wave
            .chunks(BOOKINGS_TOGETHER)
            .map(|batch| begin(engine, batch.to_vec()));
        futures::stream::iter(batches)
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        booked += wave.len() as i64;
        await_count(pool, CONFIRMED, &sale.event, booked).await?;
    }
    Ok(())
}

/// Under keys, so that what was not taken for want of room is sent again.
async fn begin(engine: &HttpClient, batch: Vec<StartRequest>) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match engine.start_bulk(batch.clone()).await {
            Ok(started) if started.iter().all(Result::is_ok) => return Ok(()),
            Ok(_) | Err(_) if Instant::now() < until => tokio::time::sleep(POLL).await,
            Ok(started) => match started.into_iter().find_map(Result::err) {
                Some(error) => return Err(anyhow::Error::new(error)),
                None => return Ok(()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

fn start(sale: &Sale, rank: u32) -> StartRequest {
    StartRequest {
        workflow: booking::NAME.to_owned(),
        input: json!({
            "userId": format!("buyer-{rank}"), "eventId": sale.event, "seatIds": [Sale::seat_id(rank)],
            "totalCents": sale.cents(rank), "currency": "usd", "paymentMethod": "pm_card_visa",
            "email": format!("buyer-{rank}@example.com"),
            "event": {"name": "The tour", "venue": "Stadium", "date": "soon"},
        }),
        idempotency_key: Some(format!("bench/{}/{rank}", sale.event)),
        ..StartRequest::default()
    }
}

const CONFIRMED: &str = "select count(*) from ticketing.holds where event_id = $1 and status = 'confirmed'";
const REFUNDED: &str = "select count(*) from ticketing.refunds where event_id = $1 and refunded_at is not null";
const FINISHED: &str =
    "select count(*) from ticketing.event_cancellations where event_id = $1 and finished_at is not null";
/// Requests for refunds too: a buyer whose refunds are turned away again and again waits for ever longer, and longer than the patience in all.
const MOVED: &str = "select count(*) + count(r.refunded_at) + coalesce(sum(p.asked), 0)::int8
    from ticketing.refunds r left join ticketing.payment_refunds p on p.refund_id = r.refund_id where r.event_id = $1";
const HELD_SEATS: &str = "select count(*) from ticketing.seats where event_id = $1 and status <> 'available'";

/// Waits until a count is what it must become; as long as something moves.
async fn await_count(pool: &PgPool, query: &'static str, event: &str, wanted: i64) -> anyhow::Result<()> {
    let count = async |query: &'static str| -> sqlx::Result<i64> {
        sqlx::query_scalar(query).bind(event).fetch_one(pool).await
    };
    let (mut seen, mut since) = ((0, 0), Instant::now());
    loop {
        let now = (count(query).await?, count(MOVED).await?);
        if now.0 >= wanted {
            return Ok(());
        }
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        ensure!(
            since.elapsed() < PATIENCE,
            "{} of {wanted}, and nothing moves any more: {query}",
            now.0
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Mails don't hold anything up, so they may come later; what is missing then is a problem.
async fn await_mails(platform: &Platform, due: u64) {
    let (mut seen, mut since) = (0, Instant::now());
    while platform.mails.total() < due && since.elapsed() < PATIENCE / 4 {
        if platform.mails.total() != seen {
            (seen, since) = (platform.mails.total(), Instant::now());
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn rate_limit(sandbox: SocketAddr, share: f64) -> anyhow::Result<()> {
    let mut connection = Connection::open(sandbox).await?;
    let switches = json!({"rate_limit_rate": share});
    let answer = connection.post("/_sandbox/config", &[], switches.to_string()).await?;
    ensure!(
        answer.status.is_success(),
        "the sandbox refuses its switches: {}",
        answer.status
    );
    Ok(())
}

/// What became of the money.
struct Audit {
    p50_s: f64,
    p99_s: f64,
    last_s: f64,
    asked: i64,
    turned_away: i64,
    once: u64,
    twice: u64,
    never: u64,
    cents: i64,
    provider_cents: i64,
    held_seats: i64,
}

impl Audit {
    async fn run(
        pool: &PgPool,
        sandbox: SocketAddr,
        sale: &Sale,
        run: Uuid,
        began_at: chrono::DateTime<chrono::Utc>,
    ) -> anyhow::Result<Audit> {
        let ledger = ledger::read(sandbox).await?;
        let (mut once, mut twice, mut never, mut cents) = (0, 0, 0, 0);
        for payment in ledger
            .payments
            .values()
            .flatten()
            .filter(|payment| payment.captured > 0)
        {
            cents += payment.refunded;
            match payment.refunds() {
                1 if payment.kept() == 0 => once += 1,
                0 | 1 => never += 1,
                _ => twice += 1,
            }
        }
        let (p50_s, p99_s, last_s): (f64, f64, f64) = sqlx::query_as(
            "select coalesce(percentile_cont(0.5) within group (order by s), 0),
                    coalesce(percentile_cont(0.99) within group (order by s), 0),
                    coalesce(max(s), 0)
             from (select extract(epoch from r.refunded_at - c.began_at)::float8 as s
                   from ticketing.refunds r join ticketing.event_cancellations c on c.event_id = r.event_id
                   where r.event_id = $1 and r.refunded_at is not null) waited",
        )
        .bind(&sale.event)
        .fetch_one(pool)
        .await?;
        let (asked, turned_away): (i64, i64) = sqlx::query_as(
            "select coalesce(sum(asked), 0)::int8, coalesce(sum(refused), 0)::int8
             from ticketing.payment_refunds where refund_id >= $1",
        )
        .bind(run)
        .fetch_one(pool)
        .await?;
        let provider_cents = sqlx::query_scalar(
            "select coalesce(sum(amount_cents), 0)::int8 from ticketing.ledger_entries
             where at >= $1 and account = 'provider'",
        );
        Ok(Audit {
            p50_s,
            p99_s,
            last_s,
            asked,
            turned_away,
            once,
            twice,
            never,
            cents,
            provider_cents: provider_cents.bind(began_at).fetch_one(pool).await?,
            held_seats: sqlx::query_scalar(HELD_SEATS).bind(&sale.event).fetch_one(pool).await?,
        })
    }

    fn problems(&self, args: &CancellationArgs, mails: u64, mails_due: u64, deadlocks: u64) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let (once, bookings) = (self.once, u64::from(args.bookings));
        must(
            once == bookings,
            format!("{once} of {bookings} buyers were refunded once"),
        );
        must(
            self.twice == 0,
            format!("{} buyers were refunded more than once", self.twice),
        );
        must(self.never == 0, format!("{} buyers were not refunded", self.never));
        must(
            self.provider_cents == 0,
            format!("by our ledger the provider still has {} cents", self.provider_cents),
        );
        must(self.held_seats == 0, format!("{} seats are not free", self.held_seats));
        // At least once each: a killed worker, or a cut connection, may send one again.
        must(mails >= mails_due, format!("{mails} of {mails_due} mails were sent"));
        must(deadlocks == 0, format!("{deadlocks} deadlocks"));
        problems
    }
}

impl Findings for Report {
    fn problems(&self) -> &[String] {
        &self.problems
    }

    fn table(&self) -> String {
        let rows = [
            ("bookings", self.bookings.to_string()),
            ("refunded once", self.refunded_once.to_string()),
            (
                "refunded twice, or never",
                format!("{}, {}", self.refunded_twice, self.not_refunded),
            ),
            ("requests, turned away", format!("{}, {}", self.asked, self.turned_away)),
            ("took", format!("{:.1} s", self.cancellation_s)),
            ("refunds", format!("{:.0}/s", self.refunds_per_s)),
            (
                "half, nearly all after",
                format!("{:.1} s, {:.1} s", self.refunded_p50_s, self.refunded_p99_s),
            ),
            ("mails", self.mails.to_string()),
        ];
        rows.map(|(name, value)| format!("{name:<26}{value}")).join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_or_refused() {
        assert_eq!(share("0.3"), Ok(0.3));
        for wrong in ["1", "-0.1", "x", "NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}

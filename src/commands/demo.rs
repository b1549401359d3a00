//! `sagaline demo traffic`: believable buyers at a running platform, by its public API alone, so that its pages and figures live.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::rush::buyer::{Buyer, Card, Crowd, Mix};
use crate::cli::Global;
use crate::{output, shutdown};

/// The most buyers a second: more is a benchmark's job.
const RATE_MAX: f64 = 1_000.0;
/// Buyers in the shop at a time; whoever comes while it is full goes away.
const BUYERS_MAX: usize = 10_000;
/// Of those who come, so many only look.
const ONLY_LOOK: f64 = 0.4;
/// Of those who have bought, so many give their tickets back: else the shop is soon empty.
const GIVE_BACK: f64 = 0.7;
/// Wishes of a buyer, at most.
const TRIES: u32 = 3;
/// How long a buyer looks at an event, at most.
const LOOKS_FOR: Duration = Duration::from_secs(3);
/// How long a buyer keeps tickets that are given back, at most.
const KEEPS_FOR: Duration = Duration::from_secs(60);
/// How long a buyer waits for the outcome; who leaves while the bank asks, only for a moment.
const OUTCOME_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at a booking.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a buyer stays away when told to come again, at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// A request that takes this long will not be answered.
const REQUEST_MAX: Duration = Duration::from_secs(45);
/// How often the list of events is read again.
const EVENTS_EVERY: Duration = Duration::from_secs(10);
/// How often figures are shown.
const FIGURES_EVERY: Duration = Duration::from_secs(1);
/// How long those in the shop are waited for at the end.
const CLOSING: Duration = Duration::from_secs(10);
/// What buyers' devices call themselves.
const DEVICES: [&str; 5] = [
    "Mozilla/5.0 (iPhone; demo) Safari",
    "Mozilla/5.0 (Android; demo) Chrome",
    "Mozilla/5.0 (Windows; demo) Edge",
    "Mozilla/5.0 (Macintosh; demo) Safari",
    "Mozilla/5.0 (X11; demo) Firefox",
];

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum DemoCommand {
    /// Send believable buyers: some only look, some have a bad card, some give their tickets back. Until Ctrl-C.
    Traffic(Traffic),
}

/// `sagaline demo traffic`.
#[derive(Clone, Debug, Args)]
pub struct Traffic {
    /// Buyers who come each second, on average.
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    rate: f64,
    /// For how long, as in 10m; left out: until Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// The shop.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000")]
    shop: Url,
    /// The same seed brings the same buyers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if rate > 0.0 && rate <= RATE_MAX {
        Ok(rate)
    } else {
        Err(format!(
            "it must be above 0 and at most {RATE_MAX}: sagaline bench rush brings more"
        ))
    }
}

/// Does what the command line says.
pub async fn run(global: &Global, command: &DemoCommand) -> anyhow::Result<()> {
    let DemoCommand::Traffic(traffic) = command;
    let stop = shutdown::on_signal()?;
    let figures = send(traffic, stop).await?;
    output::print_one(global.output, &figures, Figures::to_string)
}

/// What became of the buyers.
#[derive(Debug, Default)]
struct Counts([AtomicU64; Left::ALL.len()]);

/// How a buyer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Looked,
    NothingFree,
    Bought,
    GaveBack,
    NotPaid,
    Refused,
    PutOff,
    Full,
    Failed,
}

impl Left {
    const ALL: [Left; 9] = [
        Left::Looked,
        Left::NothingFree,
        Left::Bought,
        Left::GaveBack,
        Left::NotPaid,
        Left::Refused,
        Left::PutOff,
        Left::Full,
        Left::Failed,
    ];
}

/// The figures at one time.
#[derive(Debug, Serialize)]
struct Figures {
    /// Buyers who left.
    buyers: u64,
    /// Who only looked.
    looked: u64,
    /// Who found nothing to buy.
    nothing_free: u64,
    /// Who bought and kept it.
    bought: u64,
    /// Who bought and gave it back.
    gave_back: u64,
    /// Whose card was no good, or who left before they had paid.
    not_paid: u64,
    /// Who were too late for each seat they asked for.
    refused: u64,
    /// Whom the shop told to come again more often than they would.
    put_off: u64,
    /// Who found the shop full: so many are in it already.
    full: u64,
    /// To whom something else happened.
    failed: u64,
}

impl Counts {
    fn note(&self, left: Left) {
        self.0[left as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn figures(&self) -> Figures {
        let of = |left: Left| self.0[left as usize].load(Ordering::Relaxed);
        Figures {
            buyers: Left::ALL.into_iter().map(of).sum(),
            looked: of(Left::Looked),
            nothing_free: of(Left::NothingFree),
            bought: of(Left::Bought),
            gave_back: of(Left::GaveBack),
            not_paid: of(Left::NotPaid),
            refused: of(Left::Refused),
            put_off: of(Left::PutOff),
            full: of(Left::Full),
            failed: of(Left::Failed),
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} buyers left: {} bought, {} bought and gave back, {} only looked, {} did not pay, {} were too late, {} found nothing free",
            self.buyers, self.bought, self.gave_back, self.looked, self.not_paid, self.refused, self.nothing_free
        )?;
        if self.put_off > 0 {
            write!(f, ", {} were put off (SAGALINE_RATE_LIMITS)", self.put_off)?;
        }
        if self.full > 0 {
            write!(f, ", {} found the shop full", self.full)?;
        }
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        Ok(())
    }
}

/// An event that is on sale.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_id: String,
    status: String,
    #[serde(default)]
    seats_per_order_max: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct EventPage {
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    sections: Vec<Section>,
}

#[derive(Debug, Deserialize)]
struct Section {
    section: String,
    available: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    seat_ids: Vec<String>,
    breakdown: Breakdown,
}

#[derive(Debug, Deserialize)]
struct Breakdown {
    total: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Booking {
    booking_id: String,
    status: String,
}

async fn send(traffic: &Traffic, stop: CancellationToken) -> anyhow::Result<Figures> {
    let http = Client::builder()
        .timeout(REQUEST_MAX)
        .build()
        .context("making an HTTP client")?;
    // Never the same twice, though the buyers are: another run's requests are no repetitions.
    let run = uuid::Uuid::now_v7().simple().to_string();
    let shop = Shop {
        http,
        base: traffic.shop.clone(),
        run: run.into(),
    };
    let mut events = shop
        .events()
        .await
        .with_context(|| format!("asking {} what is on sale; does `sagaline dev` run?", traffic.shop))?;
    ensure!(!events.is_empty(), "nothing is on sale at {}", traffic.shop);
    // Seats are chosen by the shop's advice, so how many there are is all the same.
    let crowd = Crowd::new(traffic.seed, 100, Mix::Rush)?;
    let mut random = StdRng::seed_from_u64(traffic.seed);
    let counts = Arc::new(Counts::default());
    let room = Arc::new(Semaphore::new(BUYERS_MAX));
    let shown = tokio::spawn(show(counts.clone(), room.clone(), stop.clone()));
    let (begun, mut read) = (Instant::now(), Instant::now());
    let mut buyers = JoinSet::new();
    let mut next = tokio::time::Instant::now();
    for number in 1_u64.. {
        // Independent of each other: the gaps between them are exponentially distributed.
        next += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / traffic.rate);
        let over = traffic.time.is_some_and(|time| begun.elapsed() >= time);
        if over || stop.run_until_cancelled(tokio::time::sleep_until(next)).await.is_none() {
            break;
        }
        if read.elapsed() >= EVENTS_EVERY {
            read = Instant::now();
            // If it can't be had: the one from before is good enough.
            events = shop.events().await.unwrap_or(events);
        }
        while buyers.try_join_next().is_some() {}
        let Ok(place) = room.clone().try_acquire_owned() else {
            counts.note(Left::Full);
            continue;
        };
        let Some(event) = events.get(random.random_range(0..events.len().max(1))).cloned() else {
            counts.note(Left::NothingFree);
            continue;
        };
        let (shop, counts, mut buyer) = (shop.clone(), counts.clone(), crowd.buyer(number));
        buyers.spawn(async move {
            let left = shop.serve(&mut buyer, &event).await.unwrap_or_else(|error| {
                tracing::warn!(buyer = buyer.number, "{error:#}");
                Left::Failed
            });
            counts.note(left);
            drop(place);
        });
    }
    let closing = async { while buyers.join_next().await.is_some() {} };
    // Those who are still there leave as they are; what they have begun goes on without them.
    let _ = tokio::time::timeout(CLOSING, closing).await;
    stop.cancel();
    shown.await.context("showing the figures")?;
    Ok(counts.figures())
}

async fn show(counts: Arc<Counts>, room: Arc<Semaphore>, stop: CancellationToken) {
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("[{elapsed_precise}] {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    while stop
        .run_until_cancelled(tokio::time::sleep(FIGURES_EVERY))
        .await
        .is_some()
    {
        let inside = BUYERS_MAX - room.available_permits();
        bar.set_message(format!("{inside} in the shop; {}", counts.figures()));
    }
    bar.finish_and_clear();
}

#[derive(Clone)]
struct Shop {
    http: Client,
    base: Url,
    run: Arc<str>,
}

/// An answer that is no failure.
enum Answer<T> {
    Good(T),
    /// Somebody else was faster, or there is no more of it.
    Taken,
    /// Come again.
    PutOff,
}

impl Shop {
    async fn events(&self) -> anyhow::Result<Vec<Event>> {
        let page: EventPage = self
            .http
            .get(self.at(&["events"]))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let on_sale = |event: &Event| event.status == "on_sale";
        Ok(page.events.into_iter().filter(on_sale).collect())
    }

    /// A path of the shop, each part of it escaped.
    fn at(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Sends a request until it is answered, as somebody at an address of their own: a platform that trusts us as it does a proxy gives each their
    /// own budget.
    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        buyer: &Buyer,
        request: RequestBuilder,
    ) -> anyhow::Result<Answer<T>> {
        let [.., b, c, d] = buyer.number.to_be_bytes();
        // Addresses that are for tests of networks (RFC 2544), each in another network than the one before: visitors are told apart by that.
        let address = format!("198.{}.{d}.{c}", 18 + (b & 1));
        let device = DEVICES[buyer.number as usize % DEVICES.len()];
        let request = request
            .header("x-forwarded-for", address)
            .header(header::USER_AGENT, device);
        for _ in 0..TRIES {
            let again = request.try_clone().context("a request that can't be repeated")?;
            let answer = again.send().await?;
            match answer.status() {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    tokio::time::sleep(retry_after(&answer)).await;
                }
                StatusCode::CONFLICT | StatusCode::FORBIDDEN => return Ok(Answer::Taken),
                status if status.is_success() => return Ok(Answer::Good(answer.json().await?)),
                status => {
                    let (path, text) = (answer.url().path().to_owned(), answer.text().await.unwrap_or_default());
                    bail!("{path}: {status}: {}", text.chars().take(300).collect::<String>())
                }
            }
        }
        Ok(Answer::PutOff)
    }

    async fn serve(&self, buyer: &mut Buyer, event: &Event) -> anyhow::Result<Left> {
        let id = event.event_id.as_str();
        let detail: Detail = match self.ask(buyer, self.http.get(self.at(&["events", id]))).await? {
            Answer::Good(detail) => detail,
            Answer::Taken => return Ok(Left::NothingFree),
            Answer::PutOff => return Ok(Left::PutOff),
        };
        tokio::time::sleep(LOOKS_FOR.mul_f64(buyer.whim())).await;
        if buyer.whim() < ONLY_LOOK {
            return Ok(Left::Looked);
        }
        let free: Vec<&Section> = detail.sections.iter().filter(|section| section.available > 0).collect();
        for attempt in 1..=TRIES {
            let at = (buyer.whim() * free.len() as f64) as usize;
            let Some(section) = free.get(at) else {
                return Ok(Left::NothingFree);
            };
            let most = event.seats_per_order_max.unwrap_or(u32::MAX).max(1);
            let mut seats = self.at(&["events", id, "seats"]);
            seats.query_pairs_mut().append_pair("section", &section.section);
            if let Answer::PutOff = self.ask::<Value>(buyer, self.http.get(seats)).await? {
                return Ok(Left::PutOff);
            }
            let wish = json!({"count": buyer.wanted().min(most), "section": section.section});
            let request = self.http.post(self.at(&["events", id, "best-available"])).json(&wish);
            let offer: Offer = match self.ask(buyer, request).await? {
                Answer::Good(offer) => offer,
                Answer::Taken => continue,
                Answer::PutOff => return Ok(Left::PutOff),
            };
            let checkout = self
                .http
                .post(self.at(&["events", id, "quote"]))
                .json(&json!({"seatIds": offer.seat_ids}));
            match self.ask::<Value>(buyer, checkout).await? {
                Answer::Good(_) => {}
                Answer::Taken => continue,
                Answer::PutOff => return Ok(Left::PutOff),
            }
            let booking = match self.book(buyer, id, offer, attempt).await? {
                Answer::Good(booking) => booking,
                Answer::Taken => continue,
                Answer::PutOff => return Ok(Left::PutOff),
            };
            match self.outcome(buyer, booking).await? {
                Some(booking) if booking.status == "confirmed" => return self.keep(buyer, &booking).await,
                Some(booking) if booking.status == "rejected" => {}
                Some(_) | None => return Ok(Left::NotPaid),
            }
        }
        Ok(Left::Refused)
    }

    async fn book(&self, buyer: &Buyer, event: &str, offer: Offer, attempt: u32) -> anyhow::Result<Answer<Booking>> {
        let wait = if buyer.card == Card::Abandoned {
            "wait=2"
        } else {
            "wait=10"
        };
        let request = self
            .http
            .post(self.at(&["bookings"]))
            .header(
                "idempotency-key",
                format!("demo-{}-{}-{attempt}", self.run, buyer.number),
            )
            .header("prefer", wait)
            .json(&json!({
                "userId": format!("visitor_{}", buyer.number),
                "email": format!("visitor-{}@example.com", buyer.number),
                "eventId": event,
                "seatIds": offer.seat_ids,
                "totalAmount": offer.breakdown.total,
                "paymentMethod": buyer.card.payment_method(),
            }));
        self.ask(buyer, request).await
    }

    /// The booking once it is decided; none: the buyer did not wait for that.
    async fn outcome(&self, buyer: &Buyer, mut booking: Booking) -> anyhow::Result<Option<Booking>> {
        let until = Instant::now() + OUTCOME_WITHIN;
        while matches!(booking.status.as_str(), "initiated" | "reserved" | "paying") {
            if buyer.card == Card::Abandoned || Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let request = self.http.get(self.at(&["bookings", &booking.booking_id]));
            if let Answer::Good(seen) = self.ask(buyer, request).await? {
                booking = seen;
            }
        }
        Ok(Some(booking))
    }

    async fn keep(&self, buyer: &mut Buyer, booking: &Booking) -> anyhow::Result<Left> {
        if buyer.whim() >= GIVE_BACK {
            return Ok(Left::Bought);
        }
        tokio::time::sleep(KEEPS_FOR.mul_f64(buyer.whim())).await;
        let path = self.at(&["bookings", &booking.booking_id, "refund"]);
        match self.ask::<Value>(buyer, self.http.post(path)).await? {
            Answer::Good(_) => Ok(Left::GaveBack),
            // It is too late for that.
            Answer::Taken | Answer::PutOff => Ok(Left::Bought),
        }
    }
}

fn retry_after(answer: &Response) -> Duration {
    let seconds = answer.headers().get(header::RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(LOOK_EVERY, Duration::from_secs).min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_limits() {
        assert!(rate("0.5").is_ok() && rate("1000").is_ok());
        for wrong in ["0", "-1", "1001", "NaN", "inf", "fast", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_way_to_leave_is_counted_and_told() {
        let counts = Counts::default();
        for left in Left::ALL {
            counts.note(left);
        }
        let figures = counts.figures();
        assert_eq!(figures.buyers, 9);
        let told = serde_json::to_value(&figures).expect("figures are plain data");
        let told = told
            .as_object()
            .expect("an object")
            .values()
            .filter(|value| **value == 1)
            .count();
        assert_eq!(told, Left::ALL.len());
    }
}

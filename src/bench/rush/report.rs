//! What a rush found, for people and as one line of JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::audit::Audit;
use super::buyer::Card;
use super::ledger::Ledger;
use super::listeners::Heard;
use super::told::{Booking, Told};
use super::{Findings, RushArgs};
use crate::bench::cpu::Usage;
use crate::bench::report::quantile_ms;

/// What was measured around the callers.
pub struct Measured {
    /// By process.
    pub memory_peak_mb: BTreeMap<String, f64>,
    /// From the last answer until everything rested.
    pub settled_s: f64,
    /// Mails that the mail server took, the warm-up's included.
    pub mails: u64,
    /// CPU time.
    pub usage: Usage,
    /// By those who only looked.
    pub heard: Heard,
}

/// The result of `bench rush`, without the warm-up. Explained in docs/performance.md.
#[derive(Debug, Serialize)]
pub struct Report {
    broker: &'static str,
    seats: u32,
    buyers: u64,
    concurrency: u32,
    tries: u32,
    seed: u64,
    orchestrators: u32,
    workers: u32,
    wall_s: f64,
    settled_s: f64,
    seats_sold: u64,
    seats_free: u64,
    seats_held: u64,
    oversold: u64,
    deadlocks: u64,
    bookings: u64,
    confirmed: u64,
    rejected: u64,
    compensated: u64,
    cancelled: u64,
    refused_at_once: u64,
    bookings_per_s: f64,
    refusals_per_s: f64,
    book_p50_ms: f64,
    book_p95_ms: f64,
    book_p99_ms: f64,
    book_without_payment_p50_ms: f64,
    book_without_payment_p95_ms: f64,
    book_without_payment_p99_ms: f64,
    admitted_without_payment_p50_ms: f64,
    admitted_without_payment_p95_ms: f64,
    admitted_without_payment_p99_ms: f64,
    first_wish_to_confirmed_p50_ms: f64,
    first_wish_to_confirmed_p99_ms: f64,
    refusal_p50_ms: f64,
    refusal_p95_ms: f64,
    refusal_p99_ms: f64,
    buyers_with_seats: u64,
    buyers_sold_out: u64,
    buyers_refused: u64,
    buyers_unpaid: u64,
    buyers_away: u64,
    buyers_failed: u64,
    double_submits: u64,
    deferred: u64,
    payment_success_first: f64,
    payment_success: f64,
    captured_cents: i64,
    refunded_cents: i64,
    mailed: u64,
    mails: u64,
    listeners: u32,
    listener_updates: u64,
    listener_reloads: u64,
    listeners_lost: u64,
    gateway_kb_per_listener: f64,
    memory_peak_mb: BTreeMap<String, f64>,
    cpu_s: BTreeMap<&'static str, f64>,
    other_cpu_s: f64,
    steal_s: f64,
    /// Whether the audit found nothing.
    pub ok: bool,
    /// What it found.
    pub problems: Vec<String>,
}

impl Report {
    /// Puts it together.
    pub fn new(
        args: &RushArgs,
        broker: &'static str,
        told: &Told,
        audit: &Audit,
        ledger: &Ledger,
        measured: Measured,
        problems: Vec<String>,
    ) -> Report {
        let wall_s = told.wall.as_secs_f64();
        let book_us = sorted(told.confirmed().map(|booking| booking.took_us));
        let own_us = sorted(
            told.confirmed()
                .filter_map(|booking| without_payment_us(booking, ledger)),
        );
        let admitted_us = sorted(told.confirmed().filter_map(|booking| {
            without_payment_us(booking, ledger).map(|took_us| took_us.saturating_sub(booking.deferred_us))
        }));
        let first_us = &told.first_to_last_us;
        Report {
            broker,
            seats: args.seats,
            buyers: args.buyers,
            concurrency: args.concurrency,
            tries: args.tries,
            seed: args.seed,
            orchestrators: args.fleet.orchestrators,
            workers: args.fleet.workers,
            wall_s,
            settled_s: measured.settled_s,
            seats_sold: audit.seat_count("sold"),
            seats_free: audit.seat_count("available"),
            seats_held: audit.seat_count("held"),
            oversold: audit.oversold,
            deadlocks: audit.deadlocks,
            bookings: audit.sagas.values().sum(),
            confirmed: audit.saga_count("completed"),
            rejected: audit.saga_count("rejected"),
            compensated: audit.saga_count("compensated"),
            cancelled: audit.saga_count("cancelled"),
            refused_at_once: told.refused_at_once,
            bookings_per_s: book_us.len() as f64 / wall_s,
            refusals_per_s: told.refusals() as f64 / wall_s,
            book_p50_ms: quantile_ms(&book_us, 0.50),
            book_p95_ms: quantile_ms(&book_us, 0.95),
            book_p99_ms: quantile_ms(&book_us, 0.99),
            book_without_payment_p50_ms: quantile_ms(&own_us, 0.50),
            book_without_payment_p95_ms: quantile_ms(&own_us, 0.95),
            book_without_payment_p99_ms: quantile_ms(&own_us, 0.99),
            admitted_without_payment_p50_ms: quantile_ms(&admitted_us, 0.50),
            admitted_without_payment_p95_ms: quantile_ms(&admitted_us, 0.95),
            admitted_without_payment_p99_ms: quantile_ms(&admitted_us, 0.99),
            first_wish_to_confirmed_p50_ms: quantile_ms(first_us, 0.50),
            first_wish_to_confirmed_p99_ms: quantile_ms(first_us, 0.99),
            refusal_p50_ms: quantile_ms(&told.refusals_us, 0.50),
            refusal_p95_ms: quantile_ms(&told.refusals_us, 0.95),
            refusal_p99_ms: quantile_ms(&told.refusals_us, 0.99),
            buyers_with_seats: told.happy,
            buyers_sold_out: told.sold_out,
            buyers_refused: told.refused,
            buyers_unpaid: told.unpaid,
            buyers_away: told.away,
            buyers_failed: told.failed,
            double_submits: told.twice,
            deferred: told.deferred,
            payment_success_first: share(told.paid_first(ledger), told.payers),
            payment_success: share(told.happy, told.payers),
            captured_cents: audit.captured_cents,
            refunded_cents: audit.refunded_cents,
            mailed: audit.mailed,
            mails: measured.mails,
            listeners: measured.heard.listeners,
            listener_updates: measured.heard.updates,
            listener_reloads: measured.heard.reloads,
            listeners_lost: measured.heard.lost,
            gateway_kb_per_listener: measured.heard.gateway_kb_each,
            memory_peak_mb: measured.memory_peak_mb,
            cpu_s: measured.usage.seconds(),
            other_cpu_s: measured.usage.other_ms() / 1_000.0,
            steal_s: measured.usage.steal_ms / 1_000.0,
            ok: problems.is_empty(),
            problems,
        }
    }
}

impl Findings for Report {
    fn problems(&self) -> &[String] {
        &self.problems
    }

    fn table(&self) -> String {
        let mut lines = Vec::new();
        let mut line = |name: &str, text: String| lines.push(format!("{name:>12}  {text}"));
        line("broker", self.broker.to_owned());
        line(
            "load",
            format!(
                "{} buyers, {} at once, for {} seats, in {:.1} s; at rest after {:.1} s more",
                self.buyers, self.concurrency, self.seats, self.wall_s, self.settled_s
            ),
        );
        line(
            "seats",
            format!(
                "{} sold, {} free, {} held; {} oversold; {} deadlocks",
                self.seats_sold, self.seats_free, self.seats_held, self.oversold, self.deadlocks
            ),
        );
        line(
            "rate",
            format!(
                "{:.0} bookings/s, {:.0} refusals/s",
                self.bookings_per_s, self.refusals_per_s
            ),
        );
        line(
            "to book",
            format!(
                "p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms",
                self.book_p50_ms, self.book_p95_ms, self.book_p99_ms
            ),
        );
        line(
            "",
            format!(
                "p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms without the payment provider's own time",
                self.book_without_payment_p50_ms, self.book_without_payment_p95_ms, self.book_without_payment_p99_ms
            ),
        );
        line(
            "to refuse",
            format!(
                "p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms; {} at once, {} by a booking",
                self.refusal_p50_ms, self.refusal_p95_ms, self.refusal_p99_ms, self.refused_at_once, self.rejected
            ),
        );
        line(
            "buyers",
            format!(
                "{} have seats, {} found all sold out, {} gave up, {} could not pay, {} went away, {} failed",
                self.buyers_with_seats,
                self.buyers_sold_out,
                self.buyers_refused,
                self.buyers_unpaid,
                self.buyers_away,
                self.buyers_failed
            ),
        );
        line(
            "bookings",
            format!(
                "{} confirmed, {} rejected, {} compensated, {} cancelled; {} submitted twice; put off {} times",
                self.confirmed, self.rejected, self.compensated, self.cancelled, self.double_submits, self.deferred
            ),
        );
        line(
            "payments",
            format!(
                "{:.2} % of the payers paid, {:.2} % at first",
                self.payment_success * 100.0,
                self.payment_success_first * 100.0
            ),
        );
        if self.listeners > 0 {
            line(
                "listeners",
                format!(
                    "{} with {:.1} kB each in the gateway: {} updates, {} told to reload, {} lost",
                    self.listeners,
                    self.gateway_kb_per_listener,
                    self.listener_updates,
                    self.listener_reloads,
                    self.listeners_lost
                ),
            );
        }
        for (at, (name, spent)) in self.cpu_s.iter().enumerate() {
            line(if at == 0 { "CPU" } else { "" }, format!("{name:<22} {spent:>8.2} s"));
        }
        line(
            "",
            format!("{:.2} s elsewhere, {:.2} s stolen", self.other_cpu_s, self.steal_s),
        );
        for (at, (name, peak)) in self.memory_peak_mb.iter().enumerate() {
            line(
                if at == 0 { "memory peak" } else { "" },
                format!("{name:<22} {peak:>8.1} MB"),
            );
        }
        for problem in &self.problems {
            line("WRONG", problem.clone());
        }
        lines.join("\n")
    }
}

fn sorted(latencies_us: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut latencies_us: Vec<u32> = latencies_us.collect();
    latencies_us.sort_unstable();
    latencies_us
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A booking's time less what the provider itself let it wait. Only where the buyer's card simply works: what a payment
/// that is never answered, or asked for twice, cost is nobody's own time alone.
fn without_payment_us(booking: &Booking, ledger: &Ledger) -> Option<u32> {
    match (booking.card, ledger.payments.get(&booking.id)?.as_slice()) {
        (Card::Good, [payment]) => {
            let waited_us = u32::try_from(payment.waited_ms.saturating_mul(1_000)).unwrap_or(u32::MAX);
            Some(booking.took_us.saturating_sub(waited_us))
        }
        _ => None,
    }
}

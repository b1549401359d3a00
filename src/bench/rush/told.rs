//! What the buyers were told.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::buyer::Card;
use super::ledger::Ledger;

/// Failures that are written out; the rest are only counted.
const FAILURES_SHOWN_MAX: usize = 5;

/// What a booking came to, in the words of the shop's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Paid and sold.
    Confirmed,
    /// The seats were not to be had.
    Rejected,
    /// Not paid.
    Cancelled,
    /// Not paid in time.
    Expired,
    /// The buyer left while the payment was under way.
    Left,
}

/// A booking that a buyer was told of.
#[derive(Debug)]
pub struct Booking {
    /// Its id.
    pub id: Uuid,
    /// What the buyer was told.
    pub end: End,
    /// How it was paid.
    pub card: Card,
    /// The buyer's first booking that came as far as paying.
    pub is_first_payment: bool,
    /// The seats by rank, if it was confirmed.
    pub seats: Vec<u32>,
    /// From sending the wish to having the answer.
    pub took_us: u32,
    /// The part of it in which the wish was put off (503, or a connection that broke).
    pub deferred_us: u32,
}

/// How a buyer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// With seats.
    Happy,
    /// There was nothing free any more.
    SoldOut,
    /// Refused each time.
    Refused,
    /// The payment failed, and the last try with it.
    Unpaid,
    /// In the middle of paying.
    Away,
}

/// All that a caller's, or everybody's, buyers were told.
#[derive(Debug, Default)]
pub struct Told {
    /// Bookings.
    pub bookings: Vec<Booking>,
    /// Refusals that needed no booking: the shop knew that the seats were gone.
    pub refused_at_once: u64,
    /// How long refusals took, of either kind.
    pub refusals_us: Vec<u32>,
    /// Of buyers who got seats: from their first wish to the answer that made them happy.
    pub first_to_last_us: Vec<u32>,
    /// Buyers who left with seats.
    pub happy: u64,
    /// Because nothing was free.
    pub sold_out: u64,
    /// After so many refusals.
    pub refused: u64,
    /// Since they could not pay.
    pub unpaid: u64,
    /// In the middle of paying.
    pub away: u64,
    /// Buyers who held seats, and wanted to pay for them.
    pub payers: u64,
    /// Wishes that were submitted twice at once.
    pub twice: u64,
    /// Answers that asked to come again later.
    pub deferred: u64,
    /// Buyers who could not be served.
    pub failed: u64,
    /// The first of those, in words.
    pub failures: Vec<String>,
    /// From the first request to the last answer.
    pub wall: Duration,
}

impl Told {
    /// A buyer has left.
    pub fn leaves(&mut self, how: Leaves) {
        match how {
            Leaves::Happy => self.happy += 1,
            Leaves::SoldOut => self.sold_out += 1,
            Leaves::Refused => self.refused += 1,
            Leaves::Unpaid => self.unpaid += 1,
            Leaves::Away => self.away += 1,
        }
    }

    /// A buyer could not be served.
    pub fn fails(&mut self, why: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_SHOWN_MAX {
            self.failures.push(why);
        }
    }

    /// With what another caller's buyers were told.
    pub fn add(&mut self, other: Told) {
        self.bookings.extend(other.bookings);
        self.refused_at_once += other.refused_at_once;
        self.refusals_us.extend(other.refusals_us);
        self.first_to_last_us.extend(other.first_to_last_us);
        self.happy += other.happy;
        self.sold_out += other.sold_out;
        self.refused += other.refused;
        self.unpaid += other.unpaid;
        self.away += other.away;
        self.payers += other.payers;
        self.twice += other.twice;
        self.deferred += other.deferred;
        self.failed += other.failed;
        let room = FAILURES_SHOWN_MAX.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }

    /// Bookings that were told confirmed.
    pub fn confirmed(&self) -> impl Iterator<Item = &Booking> {
        self.bookings.iter().filter(|booking| booking.end == End::Confirmed)
    }

    /// Payers whose first payment was made, and not asked for again.
    pub fn paid_first(&self, ledger: &Ledger) -> u64 {
        let first = self.confirmed().filter(|booking| booking.is_first_payment);
        let payments = first.filter_map(|booking| ledger.payments.get(&booking.id));
        payments.filter(|payments| payments.len() == 1).count() as u64
    }

    /// Refusals, whether they needed a booking or not.
    pub fn refusals(&self) -> u64 {
        self.refusals_us.len() as u64
    }

    /// What must not have happened.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.failures.clone();
        if self.failed > problems.len() as u64 {
            problems.push(format!("{} buyers could not be served", self.failed));
        }
        problems
    }
}

/// Microseconds since then.
pub fn micros_since(begun: Instant) -> u32 {
    u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX)
}

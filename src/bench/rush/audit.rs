//! The independent audit: what buyers were told, what the tables say, and what the payment provider's ledger says, held
//! together. It shares no code with the engine and the activities: plain SQL and arithmetic.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sqlx::PgPool;
use uuid::Uuid;

use super::ledger::Ledger;
use super::sale::Sale;
use super::told::{End, Told};

/// How long after the last hold has run out everything may take to come to rest.
const REST_AFTER_HOLD_MAX: Duration = Duration::from_secs(120);
/// Between two looks at whether everything rests.
const POLL: Duration = Duration::from_millis(250);
/// Examples named with a problem.
const EXAMPLES_MAX: usize = 3;

/// What the audit found.
#[derive(Debug, Default)]
pub struct Audit {
    /// Seats by status.
    pub seats: BTreeMap<String, u64>,
    /// Sagas of the sale by status.
    pub sagas: BTreeMap<String, u64>,
    /// Promised seats that are not the promised booking's.
    pub oversold: u64,
    /// Deadlocks that the database broke meanwhile.
    pub deadlocks: u64,
    /// Confirmations that were mailed.
    pub mailed: u64,
    /// Cents taken.
    pub captured_cents: i64,
    /// Cents given back.
    pub refunded_cents: i64,
    /// Everything that is not as it must be; empty is what one wants.
    pub problems: Vec<String>,
}

/// Waits until no booking is open, no seat is held, no buyer untold and no message unsent.
pub async fn wait_for_rest(pool: &PgPool, event: &str, hold: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + hold + REST_AFTER_HOLD_MAX;
    loop {
        let open = count(pool, OPEN_SAGAS, event).await?;
        let held = count(pool, HELD_SEATS, event).await?;
        let untold = count(pool, UNTOLD, event).await?;
        let unsent = outbox_rows(pool).await?;
        if (open, held, untold, unsent) == (0, 0, 0, 0) {
            return Ok(());
        }
        if Instant::now() >= until {
            bail!(
                "no rest: {open} bookings are open, {held} seats are held, {untold} buyers are not told, {unsent} rows are in the outbox"
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Deadlocks in this database since it was made.
pub async fn deadlocks(pool: &PgPool) -> anyhow::Result<u64> {
    let query = "select deadlocks from pg_stat_database where datname = current_database()";
    let deadlocks: i64 = sqlx::query_scalar(query)
        .fetch_one(pool)
        .await
        .context("counting deadlocks")?;
    Ok(u64::try_from(deadlocks)?)
}

impl Audit {
    /// Holds everything together, once everything rests.
    pub async fn run(
        pool: &PgPool,
        sale: &Sale,
        told: &Told,
        ledger: &Ledger,
        deadlocks_before: u64,
    ) -> anyhow::Result<Audit> {
        let event = &sale.event;
        let seats = seats(pool, event).await.context("reading the seats")?;
        let sagas = sagas(pool, event).await.context("reading the bookings")?;
        let payments = payments(pool, event).await.context("reading the payments")?;
        let mut audit = Audit {
            deadlocks: deadlocks(pool).await?.saturating_sub(deadlocks_before),
            mailed: count(pool, MAILED, event).await?,
            ..Audit::default()
        };
        audit.count(&seats, &sagas);
        audit.seats_add_up(sale);
        audit.holds_agree(pool, event).await?;
        audit.everyone_was_told_the_truth(told, &sagas, &seats);
        audit.money_agrees(&seats, &sagas, &payments, ledger);
        let confirmed = audit.saga_count("completed");
        audit.expect("confirmations mailed", confirmed, audit.mailed);
        audit.expect("sagas that have not ended", 0, count(pool, OPEN_SAGAS, event).await?);
        audit.expect("deadlocks", 0, audit.deadlocks);
        Ok(audit)
    }

    /// Seats with this status.
    pub fn seat_count(&self, status: &str) -> u64 {
        self.seats.get(status).copied().unwrap_or_default()
    }

    /// Sagas with this status.
    pub fn saga_count(&self, status: &str) -> u64 {
        self.sagas.get(status).copied().unwrap_or_default()
    }

    fn count(&mut self, seats: &[Seat], sagas: &HashMap<Uuid, String>) {
        for seat in seats {
            *self.seats.entry(seat.status.clone()).or_default() += 1;
        }
        for status in sagas.values() {
            *self.sagas.entry(status.clone()).or_default() += 1;
        }
    }

    /// Every seat is sold or free.
    fn seats_add_up(&mut self, sale: &Sale) {
        let (sold, free) = (self.seat_count("sold"), self.seat_count("available"));
        self.expect("seats sold or free", sale.seats(), sold + free);
        self.expect("seats still held", 0, self.seat_count("held"));
    }

    /// Each sold seat is in one confirmed hold, its booking's; each seat of a confirmed hold is sold to its booking.
    async fn holds_agree(&mut self, pool: &PgPool, event: &str) -> anyhow::Result<()> {
        let unheld = count(pool, SOLD_WITHOUT_HOLD, event).await?;
        self.expect("sold seats that no confirmed hold of their booking names", 0, unheld);
        let unsold = count(pool, CONFIRMED_BUT_NOT_SOLD, event).await?;
        self.expect("seats of confirmed holds that are not sold to their booking", 0, unsold);
        let shared = count(pool, CONFIRMED_TWICE, event).await?;
        self.expect("seats that more than one confirmed hold names", 0, shared);
        let held = count(pool, OPEN_HOLDS, event).await?;
        self.expect("holds that nobody confirmed or released", 0, held);
        Ok(())
    }

    /// What each buyer was told came true, and there is no booking but those that somebody was told of.
    fn everyone_was_told_the_truth(&mut self, told: &Told, sagas: &HashMap<Uuid, String>, seats: &[Seat]) {
        let known: HashSet<Uuid> = told.bookings.iter().map(|booking| booking.id).collect();
        self.expect("bookings told once", told.bookings.len() as u64, known.len() as u64);
        // A double submit that made two bookings has made one that nobody was told of.
        let untold = sagas.keys().filter(|id| !known.contains(id));
        self.none("bookings that nobody was told of", untold);
        let untrue = told.bookings.iter().filter(|booking| {
            let status = sagas.get(&booking.id).map(String::as_str);
            match booking.end {
                End::Confirmed => status != Some("completed"),
                End::Rejected => status != Some("rejected"),
                // Whoever left never paid.
                End::Cancelled | End::Expired | End::Left => !matches!(status, Some("compensated" | "cancelled")),
            }
        });
        let untrue = untrue.map(|booking| (booking.id, booking.end, sagas.get(&booking.id)));
        self.none("bookings that ended otherwise than their buyer was told", untrue);
        let owners: HashMap<&str, Uuid> = seats
            .iter()
            .filter_map(|seat| (seat.status == "sold").then_some((seat.id.as_str(), seat.booking?)))
            .collect();
        let promised = told
            .confirmed()
            .flat_map(|booking| booking.seats.iter().map(|rank| (booking.id, Sale::seat_id(*rank))));
        let oversold: Vec<_> = promised
            .filter(|(booking, seat)| owners.get(seat.as_str()) != Some(booking))
            .collect();
        self.oversold = oversold.len() as u64;
        self.none("promised seats that are not sold to their booking", oversold);
    }

    /// Each confirmed booking has paid the price of its seats once, by our books and by the provider's; of nobody else
    /// anything is kept.
    fn money_agrees(
        &mut self,
        seats: &[Seat],
        sagas: &HashMap<Uuid, String>,
        payments: &HashMap<Uuid, Vec<BookedPayment>>,
        ledger: &Ledger,
    ) {
        let mut prices: HashMap<Uuid, i64> = HashMap::new();
        for seat in seats.iter().filter(|seat| seat.status == "sold") {
            if let Some(booking) = seat.booking {
                *prices.entry(booking).or_default() += seat.price_cents;
            }
        }
        let confirmed: HashSet<Uuid> = sagas
            .iter()
            .filter_map(|(id, status)| (status == "completed").then_some(*id))
            .collect();
        self.none(
            "sold seats of bookings that are not confirmed",
            prices.keys().filter(|booking| !confirmed.contains(booking)),
        );
        let price = |booking: &Uuid| prices.get(booking).copied().unwrap_or_default();
        self.none(
            "confirmed bookings without a seat that costs something",
            confirmed.iter().filter(|booking| price(booking) <= 0),
        );

        let none = Vec::new();
        let booked = |booking: &Uuid| -> Vec<i64> {
            let of_booking = payments.get(booking).unwrap_or(&none).iter();
            let kept = of_booking.filter(|payment| payment.status == "succeeded");
            kept.map(|payment| payment.amount_cents - payment.refunded_cents)
                .collect()
        };
        let captured = |booking: &Uuid| -> Vec<i64> {
            let of_booking = ledger.payments.get(booking).into_iter().flatten();
            of_booking
                .map(super::ledger::Payment::kept)
                .filter(|kept| *kept != 0)
                .collect()
        };
        for (books, kept) in [
            ("our books", &booked as &dyn Fn(&Uuid) -> Vec<i64>),
            ("the provider's ledger", &captured),
        ] {
            let wrong = confirmed.iter().filter(|booking| kept(booking) != [price(booking)]);
            let wrong = wrong.map(|booking| (booking, price(booking), kept(booking)));
            self.none(&format!("confirmed bookings not paid exactly once by {books}"), wrong);
            let others = sagas.keys().filter(|booking| !confirmed.contains(booking));
            let others = others.filter(|booking| !kept(booking).is_empty());
            self.none(&format!("others whose money is kept by {books}"), others);
        }
        let unsettled = payments
            .iter()
            .filter(|(_, payments)| payments.iter().any(BookedPayment::is_open))
            .map(|(booking, _)| booking);
        self.none("bookings with a payment that is not settled", unsettled);
        self.expect("payments at the provider that name no booking", 0, ledger.nobodys);
        for payment in sagas
            .keys()
            .filter_map(|booking| ledger.payments.get(booking))
            .flatten()
        {
            self.captured_cents += payment.captured;
            self.refunded_cents += payment.refunded;
        }
        self.expect_money(
            "cents kept",
            prices.values().sum(),
            self.captured_cents - self.refunded_cents,
        );
    }

    fn expect(&mut self, what: &str, expected: u64, found: u64) {
        if expected != found {
            self.problems
                .push(format!("{what}: expected {expected}, found {found}"));
        }
    }

    fn expect_money(&mut self, what: &str, expected: i64, found: i64) {
        if expected != found {
            self.problems
                .push(format!("{what}: expected {expected}, found {found}"));
        }
    }

    fn none<T: std::fmt::Debug>(&mut self, what: &str, found: impl IntoIterator<Item = T>) {
        let mut found = found.into_iter();
        let examples: Vec<T> = found.by_ref().take(EXAMPLES_MAX).collect();
        if !examples.is_empty() {
            let count = examples.len() + found.count();
            self.problems
                .push(format!("{what}: expected 0, found {count}, such as {examples:?}"));
        }
    }
}

/// A seat as the table has it.
#[derive(Debug, sqlx::FromRow)]
struct Seat {
    #[sqlx(rename = "seat_id")]
    id: String,
    status: String,
    #[sqlx(rename = "booking_id")]
    booking: Option<Uuid>,
    price_cents: i64,
}

/// A payment as our own table has it.
#[derive(Debug, sqlx::FromRow)]
struct BookedPayment {
    booking_id: Uuid,
    status: String,
    amount_cents: i64,
    refunded_cents: i64,
}

impl BookedPayment {
    fn is_open(&self) -> bool {
        !matches!(self.status.as_str(), "succeeded" | "refunded" | "failed" | "canceled")
    }
}

const OPEN_SAGAS: &str = "select count(*) from saga.sagas where business_key = $1 and ended_at is null";
/// Seats that were sold.
pub const SOLD_SEATS: &str = "select count(*) from ticketing.seats where event_id = $1 and status = 'sold'";
const HELD_SEATS: &str = "select count(*) from ticketing.seats where event_id = $1 and status = 'held'";
const OPEN_HOLDS: &str = "select count(*) from ticketing.holds where event_id = $1 and status = 'held'";
const SOLD_WITHOUT_HOLD: &str = "select count(*) from ticketing.seats s \
    where s.event_id = $1 and s.status = 'sold' and not exists ( \
        select 1 from ticketing.holds h \
        where h.event_id = s.event_id and h.booking_id = s.booking_id and h.status = 'confirmed' \
          and s.seat_id = any(h.seat_ids))";
const CONFIRMED_BUT_NOT_SOLD: &str = "select count(*) from ticketing.holds h \
    cross join lateral unnest(h.seat_ids) as wanted (seat_id) \
    left join ticketing.seats s on s.event_id = h.event_id and s.seat_id = wanted.seat_id \
    where h.event_id = $1 and h.status = 'confirmed' \
      and (s.status is distinct from 'sold' or s.booking_id is distinct from h.booking_id)";
const CONFIRMED_TWICE: &str = "select count(*) from ( \
    select wanted.seat_id from ticketing.holds h cross join lateral unnest(h.seat_ids) as wanted (seat_id) \
    where h.event_id = $1 and h.status = 'confirmed' group by wanted.seat_id having count(*) > 1) as shared";
const MAILED: &str = "select count(distinct n.booking_id) from ticketing.notifications n \
    join saga.sagas s on s.id = n.booking_id where s.business_key = $1 and s.workflow = 'booking' \
      and n.channel = 'email' and n.status in ('sent', 'delivered')";
const UNTOLD: &str = "select count(*) from ticketing.notifications n \
    join saga.sagas s on s.id = n.booking_id where s.business_key = $1 and n.status = 'queued'";

/// What a query of one event counts.
pub async fn count(pool: &PgPool, query: &'static str, event: &str) -> anyhow::Result<u64> {
    let number: i64 = sqlx::query_scalar(query)
        .bind(event)
        .fetch_one(pool)
        .await
        .context("auditing")?;
    Ok(u64::try_from(number)?)
}

async fn outbox_rows(pool: &PgPool) -> anyhow::Result<i64> {
    let query = "select count(*) from saga.outbox";
    sqlx::query_scalar(query)
        .fetch_one(pool)
        .await
        .context("looking into the outbox")
}

async fn seats(pool: &PgPool, event: &str) -> sqlx::Result<Vec<Seat>> {
    let query = "select seat_id, status, booking_id, price_cents from ticketing.seats where event_id = $1";
    sqlx::query_as(query).bind(event).fetch_all(pool).await
}

async fn sagas(pool: &PgPool, event: &str) -> sqlx::Result<HashMap<Uuid, String>> {
    let query = "select id, status from saga.sagas where business_key = $1";
    let rows: Vec<(Uuid, String)> = sqlx::query_as(query).bind(event).fetch_all(pool).await?;
    Ok(rows.into_iter().collect())
}

async fn payments(pool: &PgPool, event: &str) -> sqlx::Result<HashMap<Uuid, Vec<BookedPayment>>> {
    let query = "select p.booking_id, p.status, p.amount_cents, p.refunded_cents from ticketing.payments p \
                 join saga.sagas s on s.id = p.booking_id where s.business_key = $1";
    let rows: Vec<BookedPayment> = sqlx::query_as(query).bind(event).fetch_all(pool).await?;
    let mut payments: HashMap<Uuid, Vec<BookedPayment>> = HashMap::new();
    for row in rows {
        payments.entry(row.booking_id).or_default().push(row);
    }
    Ok(payments)
}

#[cfg(test)]
mod tests;

//! The proof: what buyers were promised, what the tables say, what the payment provider says, all held together.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;
use workflows::definition::Definition;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::state::State;
use workflows::{Compiled, rebuild};

use crate::buyers::{Accepted, PRICE_CENTS};
use crate::mail::Mails;
use crate::platform::Platform;

/// How long everything may take to come to rest once nothing breaks any more: holds run out within 90 s.
const REST_LIMIT: Duration = Duration::from_secs(240);

/// How it ended.
#[derive(Debug, Default)]
pub struct Counts {
    pub by_status: BTreeMap<String, u64>,
    pub seats_sold: u64,
    pub captured_cents: i64,
    pub refunded_cents: i64,
    pub journal_entries: u64,
}

/// Waits until every accepted booking is final, and proves that all is as it must be.
pub async fn prove(platform: &Platform, accepted: &[Accepted], mails: &Mails) -> Counts {
    let statuses = wait_until_final(platform, accepted).await;
    let all_told = async || untold(&platform.pool).await == 0;
    testkit::eventually("every message is sent", REST_LIMIT, all_told).await;
    let mut counts = Counts::default();
    for status in statuses.values() {
        *counts.by_status.entry(status.clone()).or_default() += 1;
    }
    let confirmed: Vec<&Accepted> = accepted
        .iter()
        .filter(|booking| statuses[&booking.id] == "completed")
        .collect();
    counts.seats_sold = prove_seats(&platform.pool, &confirmed).await;
    prove_money(platform, accepted, &confirmed, &mut counts).await;
    counts.journal_entries = prove_journals(&platform.pool).await;
    prove_nothing_is_left(&platform.pool).await;
    for booking in &confirmed {
        if let Some(email) = &booking.email
            && mails.taken_for(email) == 0
        {
            let story = journal_of(&platform.pool, booking.id).await;
            panic!(
                "booking {} was confirmed and {email} was not told:\n{story}",
                booking.id
            );
        }
    }
    counts
}

/// Each booking's status, all of them final.
async fn wait_until_final(platform: &Platform, accepted: &[Accepted]) -> HashMap<Uuid, String> {
    let ids: Vec<Uuid> = accepted.iter().map(|booking| booking.id).collect();
    let begun = tokio::time::Instant::now();
    loop {
        let query = "select id, status, ended_at is not null from saga.sagas where id = any($1)";
        let rows: Vec<(Uuid, String, bool)> = sqlx::query_as(query)
            .bind(&ids)
            .fetch_all(&platform.pool)
            .await
            .expect("Postgres answers");
        let open: Vec<_> = rows.iter().filter(|(_, _, ended)| !ended).collect();
        if open.is_empty() {
            assert_eq!(rows.len(), ids.len(), "every accepted booking has a saga of its own");
            return rows.into_iter().map(|(id, status, _)| (id, status)).collect();
        }
        if begun.elapsed() > REST_LIMIT {
            panic!(
                "{} bookings do not end, the first: {:?}\n{}",
                open.len(),
                &open[..open.len().min(5)],
                platform.log_tails()
            );
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Messages that are not sent yet: their sagas begin when their bookings have ended.
async fn untold(pool: &PgPool) -> i64 {
    let query = "select (select count(*) from ticketing.notifications where status = 'queued' or tell_at is not null)
                      + (select count(*) from saga.sagas where workflow = 'notification' and ended_at is null)";
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}

/// What happened to a booking, a line for each entry of its journal.
async fn journal_of(pool: &PgPool, booking: Uuid) -> String {
    let query = "select format('%s %s %s %s %s', seq, to_char(at, 'HH24:MI:SS.MS'), kind, step, event)
                 from saga.journal where saga_id = $1 order by seq";
    let entries: Vec<String> = sqlx::query_scalar(query).bind(booking).fetch_all(pool).await.unwrap();
    entries.join("\n")
}

/// Seats: sold to the confirmed bookings and to nobody else, the others free.
async fn prove_seats(pool: &PgPool, confirmed: &[&Accepted]) -> u64 {
    let query = "select seat_id, status, booking_id from ticketing.seats where status <> 'available'";
    let rows: Vec<(String, String, Option<Uuid>)> = sqlx::query_as(query).fetch_all(pool).await.unwrap();
    let taken: HashMap<&str, (&str, Option<Uuid>)> = rows
        .iter()
        .map(|(seat, status, booking)| (seat.as_str(), (status.as_str(), *booking)))
        .collect();
    for booking in confirmed {
        for seat in &booking.seats {
            assert_eq!(
                taken.get(seat.as_str()),
                Some(&("sold", Some(booking.id))),
                "seat {seat} of a confirmed booking"
            );
        }
    }
    let promised: usize = confirmed.iter().map(|booking| booking.seats.len()).sum();
    assert_eq!(
        taken.len(),
        promised,
        "seats that are not free, and seats of confirmed bookings"
    );
    promised as u64
}

#[derive(Deserialize)]
struct Ledger {
    intents: Vec<Intent>,
}

#[derive(Deserialize)]
struct Intent {
    amount: i64,
    captured: i64,
    refunded: i64,
    metadata: HashMap<String, String>,
}

/// Money: each confirmed booking paid once, in full; of everybody else nothing was kept.
async fn prove_money(platform: &Platform, accepted: &[Accepted], confirmed: &[&Accepted], counts: &mut Counts) {
    let url = format!("{}/_sandbox/ledger", platform.stripe_url);
    let ledger: Ledger = reqwest::get(url).await.unwrap().json().await.unwrap();
    let mut kept: HashMap<Uuid, Vec<&Intent>> = HashMap::new();
    for intent in &ledger.intents {
        counts.captured_cents += intent.captured;
        counts.refunded_cents += intent.refunded;
        let booking: Uuid = intent.metadata["bookingId"].parse().unwrap();
        assert!(
            accepted.iter().any(|known| known.id == booking),
            "money of {booking}, which nobody was promised"
        );
        if intent.captured != intent.refunded {
            kept.entry(booking).or_default().push(intent);
        }
    }
    for booking in confirmed {
        let intents = kept.remove(&booking.id).unwrap_or_default();
        let amounts: Vec<_> = intents
            .iter()
            .map(|intent| (intent.amount, intent.captured, intent.refunded))
            .collect();
        let price = booking.seats.len() as i64 * PRICE_CENTS;
        assert_eq!(
            amounts,
            [(price, price, 0)],
            "confirmed booking {} is paid exactly once",
            booking.id
        );
    }
    let others: Vec<_> = kept.keys().collect();
    assert!(
        others.is_empty(),
        "money kept of bookings that were not confirmed: {others:?}"
    );
}

/// Journals: folded, they give each saga's state.
async fn prove_journals(pool: &PgPool) -> u64 {
    let definitions: Vec<(i64, Value)> = sqlx::query_as("select id, body from saga.definitions")
        .fetch_all(pool)
        .await
        .unwrap();
    let definitions: HashMap<i64, Compiled> = definitions
        .into_iter()
        .map(|(id, body)| {
            let definition: Definition = serde_json::from_value(body).unwrap();
            (id, Compiled::new(definition).expect("a stored definition is valid"))
        })
        .collect();
    // One snapshot of both: a result that comes late, or once more, is noted even after the end.
    let mut snapshot = pool.begin_with("begin isolation level repeatable read").await.unwrap();
    let query =
        "select saga_id, (extract(epoch from at) * 1000)::bigint, event from saga.journal order by saga_id, seq";
    let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(query).fetch_all(&mut *snapshot).await.unwrap();
    let mut journals: HashMap<Uuid, Vec<(Timestamp, Event)>> = HashMap::new();
    for (saga, at, event) in &rows {
        journals
            .entry(*saga)
            .or_default()
            .push((Timestamp(*at), serde_json::from_str(event).unwrap()));
    }
    let query = "select id, definition_id, state from saga.sagas";
    let sagas: Vec<(Uuid, i64, String)> = sqlx::query_as(query).fetch_all(&mut *snapshot).await.unwrap();
    for (id, definition, state) in sagas {
        let journal = journals[&id].iter().map(|(at, event)| (*at, event));
        let rebuilt = rebuild(&definitions[&definition], SagaId(id), journal).unwrap();
        let stored = State::decode(&state).unwrap();
        assert_eq!(
            rebuilt,
            Some(stored),
            "saga {id}: what its journal leads to, and its state"
        );
    }
    rows.len() as u64
}

/// The outbox is empty, no hold is open, and the database never had to break a deadlock.
async fn prove_nothing_is_left(pool: &PgPool) {
    let begun = tokio::time::Instant::now();
    loop {
        let rows: i64 = sqlx::query_scalar("select count(*) from saga.outbox")
            .fetch_one(pool)
            .await
            .unwrap();
        if rows == 0 {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{rows} rows stay in the outbox"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let holds = "select count(*) from ticketing.holds where status = 'held'";
    let holds: i64 = sqlx::query_scalar(holds).fetch_one(pool).await.unwrap();
    assert_eq!(holds, 0, "holds that nobody confirmed or released");
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    let deadlocks: i64 = sqlx::query_scalar(deadlocks).fetch_one(pool).await.unwrap();
    assert_eq!(deadlocks, 0, "deadlocks");
}

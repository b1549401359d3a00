//! Who sits where: claims, sales and releases of seats, all or none of a booking's seats at a time, never one seat twice.
//!
//! Tasks come in whole batches and are worked off in a constant number of statements, whatever the size of the batch:
//! look without locking (most claims of a rush are for seats that are gone), lock what is still hoped for, decide in
//! memory in order of arrival ([`plan`], pure), write.
//!
//! **No deadlock by construction.** Every transaction locks the rows of `ticketing.seats` first, in one statement, in
//! the order (event_id, seat_id); then, where the event limits what each buyer may have, the buyers' rows of
//! `ticketing.event_buyers`, likewise; after that it touches only rows of `ticketing.holds`. A hold changes only under
//! the locks of all of its seats, so nobody ever waits for a hold that someone else is about to change; new holds
//! are inserted in the order (event_id, booking_id).
//!
//! **Idempotent by booking.** What a booking has been given is written in its hold; whoever asks again reads it there. A
//! released hold stays as a tombstone that keeps late claims of the same booking out.

pub mod audit;
pub mod confirm;
pub mod contract;
pub mod release;
pub mod reserve;
pub mod returns;
pub mod seed;
pub mod sweep;

mod plan;
pub(crate) mod store;

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::PgPool;

pub use audit::audit;
pub use sweep::sweep_expired_holds;

use crate::activity::Registry;
use crate::typed::{Failure, Typed, TypedBatch};

/// The queue of the seat activities.
pub const QUEUE: &str = "seats";
/// Seats of one booking, at most. The shop allows fewer; this bounds a task's share of a batch.
pub const SEATS_PER_BOOKING_MAX: usize = 100;
/// Free seats offered in place of those that are gone, at most.
pub const ALTERNATIVES_MAX: usize = 20;
/// Tasks of one transaction, at most, so that nobody waits for its locks for more than some milliseconds.
const TASKS_PER_TRANSACTION_MAX: usize = 500;
/// Characters of an id, at most.
const ID_CHARS_MAX: usize = 200;

/// Registers `seats.reserve`, `seats.release`, `seats.confirm`, `seats.return` and `seats.sweep`.
pub fn register(registry: &mut Registry, pool: PgPool) {
    registry
        .batch(QUEUE, Arc::new(TypedBatch(reserve::Reserve::new(pool.clone()))))
        .batch(QUEUE, Arc::new(TypedBatch(release::Release::new(pool.clone()))))
        .batch(QUEUE, Arc::new(TypedBatch(confirm::Confirm::new(pool.clone()))))
        .batch(QUEUE, Arc::new(TypedBatch(returns::ReturnSeats::new(pool.clone()))))
        .single(QUEUE, Arc::new(Typed(sweep::Sweep::new(pool))));
}

/// Answers a batch's requests, in their order: those that are valid are worked on together, so many in one transaction.
async fn answer_all<R, O, W>(
    pool: &PgPool,
    requests: Vec<Result<R, Failure>>,
    what: &str,
    work: W,
) -> Vec<Result<O, Failure>>
where
    W: for<'a> Fn(&'a PgPool, &'a [&'a R]) -> BoxFuture<'a, Result<Vec<Result<O, Failure>>, store::StoreError>>,
{
    let valid: Vec<&R> = requests.iter().flatten().collect();
    let mut answers = Vec::with_capacity(valid.len());
    for batch in valid.chunks(TASKS_PER_TRANSACTION_MAX) {
        match work(pool, batch).await {
            Ok(some) => answers.extend(some),
            Err(error) => {
                tracing::warn!(tasks = batch.len(), %error, "{what} failed");
                answers.extend(batch.iter().map(|_| Err(unanswered(&error))));
            }
        }
    }
    let mut answers = answers.into_iter();
    let mut answer = |_: R| answers.next().expect("one answer for each valid request");
    requests
        .into_iter()
        .map(|request| request.and_then(&mut answer))
        .collect()
}

/// What a task is told when Postgres did not answer as it should. Its transaction may or may not have been committed,
/// and an earlier attempt's too, so nobody can tell; the task is repeated, and finds out.
fn unanswered(error: &store::StoreError) -> Failure {
    Failure::Unknown {
        message: format!("the seats' database did not answer: {error}"),
    }
}

/// A claim that met another task of the same booking in mid-flight.
fn raced() -> Failure {
    Failure::retryable(crate::typed::INTERNAL, "another task of the same booking was under way")
}

/// Checks what Postgres or common sense would refuse, so that one bad task can't fail its whole batch.
fn check_ids(event_id: &str, seat_ids: &[String]) -> Result<(), Failure> {
    check_id(event_id).map_err(|problem| Failure::invalid_input("/eventId", problem))?;
    if seat_ids.len() > SEATS_PER_BOOKING_MAX {
        let problem = format!(
            "{} seats, but a booking has at most {SEATS_PER_BOOKING_MAX}",
            seat_ids.len()
        );
        return Err(Failure::invalid_input("/seatIds", problem));
    }
    let mut seen = std::collections::HashSet::with_capacity(seat_ids.len());
    for (index, seat_id) in seat_ids.iter().enumerate() {
        let pointer = format!("/seatIds/{index}");
        check_id(seat_id).map_err(|problem| Failure::invalid_input(&pointer, problem))?;
        if !seen.insert(seat_id.as_str()) {
            return Err(Failure::invalid_input(
                &pointer,
                format!("the seat {seat_id} is named twice"),
            ));
        }
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        Err("must not be empty".to_owned())
    } else if id.chars().count() > ID_CHARS_MAX {
        Err(format!("has more than {ID_CHARS_MAX} characters"))
    } else if id.chars().any(char::is_control) {
        Err("contains a control character".to_owned())
    } else {
        Ok(())
    }
}

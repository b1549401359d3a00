//! The reference workload's activities (`bench saga`): one seat row for each saga, in `bench.seats (id text primary key, status
//! text, booking_id text)`, which the bench command makes. The booking is the saga.
//!
//! Every statement locks its rows in the order of their ids before it writes, so batches that meet never deadlock.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::activity::{Registry, TaskContext};
use crate::typed::{Failure, TypedBatch, TypedBatchActivity};

/// The queue of the reference activities.
pub const QUEUE: &str = "reference";
/// Another saga has the seat, or there is none of that id. Permanent.
pub const SEAT_UNAVAILABLE: &str = "seat_unavailable";
/// Every so many-th charge is declined, for good.
pub const DECLINED_EVERY: u64 = 20;
/// See above. Permanent.
pub const DECLINED: &str = "declined";

/// Registers `reference.reserve`, `.charge`, `.confirm`, `.notify` and `.release`.
pub fn register(registry: &mut Registry, pool: PgPool) {
    registry
        .batch(QUEUE, Arc::new(TypedBatch(Reserve(pool.clone()))))
        .batch(QUEUE, Arc::new(TypedBatch(Charge)))
        .batch(QUEUE, Arc::new(TypedBatch(Confirm(pool.clone()))))
        .batch(QUEUE, Arc::new(TypedBatch(Notify)))
        .batch(QUEUE, Arc::new(TypedBatch(Release(pool))));
}

/// What each of them needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// The saga's seat.
    pub seat_id: String,
    /// The saga's number.
    pub n: u64,
}

/// What each of them gives: nothing but that it is done.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Done {}

type Answer = Result<Done, Failure>;

/// `reference.reserve`: takes the seat if it is free. Of two that want it in one batch, either may get it.
pub struct Reserve(PgPool);

#[async_trait]
impl TypedBatchActivity for Reserve {
    type Input = Input;
    type Output = Done;
    const NAME: &'static str = "reference.reserve";
    const CODES: &'static [&'static str] = &[SEAT_UNAVAILABLE];

    async fn run_batch(&self, tasks: Vec<(TaskContext, Input)>) -> Vec<Answer> {
        let query = "with wanted as (
                 select s.id, w.booking_id, s.booking_id as holder
                 from unnest($1::text[], $2::text[]) as w (id, booking_id)
                 join bench.seats s on s.id = w.id
                 where s.status = 'available' or s.booking_id = w.booking_id
                 order by s.id
                 for update of s
             ), taken as (
                 update bench.seats s
                 set status = 'held', booking_id = w.booking_id
                 from wanted w
                 where s.id = w.id and w.holder is null
                 returning s.id, s.booking_id
             )
             select id, booking_id from taken
             union all
             select id, booking_id from wanted where holder = booking_id";
        answer_owners(&self.0, query, tasks).await
    }
}

/// `reference.confirm`: the saga's seat is sold.
pub struct Confirm(PgPool);

#[async_trait]
impl TypedBatchActivity for Confirm {
    type Input = Input;
    type Output = Done;
    const NAME: &'static str = "reference.confirm";
    const CODES: &'static [&'static str] = &[SEAT_UNAVAILABLE];

    async fn run_batch(&self, tasks: Vec<(TaskContext, Input)>) -> Vec<Answer> {
        let query = "with owned as (
                 select s.id
                 from unnest($1::text[], $2::text[]) as w (id, booking_id)
                 join bench.seats s on s.id = w.id and s.booking_id = w.booking_id
                 order by s.id
                 for update of s
             )
             update bench.seats s
             set status = 'sold'
             from owned
             where s.id = owned.id
             returning s.id, s.booking_id";
        answer_owners(&self.0, query, tasks).await
    }
}

/// `reference.release`: the saga's seat, if it has one, is free.
pub struct Release(PgPool);

#[async_trait]
impl TypedBatchActivity for Release {
    type Input = Input;
    type Output = Done;
    const NAME: &'static str = "reference.release";
    const CODES: &'static [&'static str] = &[];

    async fn run_batch(&self, tasks: Vec<(TaskContext, Input)>) -> Vec<Answer> {
        let query = "with owned as (
                 select s.id
                 from unnest($1::text[], $2::text[]) as w (id, booking_id)
                 join bench.seats s on s.id = w.id and s.booking_id = w.booking_id
                 order by s.id
                 for update of s
             )
             update bench.seats s
             set status = 'available', booking_id = null
             from owned
             where s.id = owned.id
             returning s.id, ''";
        match owners(&self.0, query, &tasks).await {
            Ok(_) => tasks.iter().map(|_| Ok(Done {})).collect(),
            Err(error) => tasks.iter().map(|_| Err(unanswered(&error))).collect(),
        }
    }
}

/// `reference.charge`: takes no money, and fails for every [`DECLINED_EVERY`]-th saga.
pub struct Charge;

#[async_trait]
impl TypedBatchActivity for Charge {
    type Input = Input;
    type Output = Done;
    const NAME: &'static str = "reference.charge";
    const CODES: &'static [&'static str] = &[DECLINED];

    async fn run_batch(&self, tasks: Vec<(TaskContext, Input)>) -> Vec<Answer> {
        let charge = |(_, input): (TaskContext, Input)| {
            if input.n.is_multiple_of(DECLINED_EVERY) {
                Err(Failure::permanent(DECLINED, "every twentieth is"))
            } else {
                Ok(Done {})
            }
        };
        tasks.into_iter().map(charge).collect()
    }
}

/// `reference.notify`: tells nobody.
pub struct Notify;

#[async_trait]
impl TypedBatchActivity for Notify {
    type Input = Input;
    type Output = Done;
    const NAME: &'static str = "reference.notify";
    const CODES: &'static [&'static str] = &[];

    async fn run_batch(&self, tasks: Vec<(TaskContext, Input)>) -> Vec<Answer> {
        tasks.into_iter().map(|_| Ok(Done {})).collect()
    }
}

/// Runs the statement and answers each task by whether its saga owns its seat now.
async fn answer_owners(pool: &PgPool, query: &'static str, tasks: Vec<(TaskContext, Input)>) -> Vec<Answer> {
    let owners = match owners(pool, query, &tasks).await {
        Ok(owners) => owners,
        Err(error) => return tasks.iter().map(|_| Err(unanswered(&error))).collect(),
    };
    let owners: HashSet<(&str, &str)> = owners.iter().map(|(id, owner)| (id.as_str(), owner.as_str())).collect();
    let answer = |(context, input): &(TaskContext, Input)| {
        let booking = context.saga.to_string();
        if owners.contains(&(input.seat_id.as_str(), booking.as_str())) {
            Ok(Done {})
        } else {
            let message = format!("the seat {} is not to be had", input.seat_id);
            Err(Failure::permanent(SEAT_UNAVAILABLE, message))
        }
    };
    tasks.iter().map(answer).collect()
}

async fn owners(
    pool: &PgPool,
    query: &'static str,
    tasks: &[(TaskContext, Input)],
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let seats: Vec<&str> = tasks.iter().map(|(_, input)| input.seat_id.as_str()).collect();
    let bookings: Vec<String> = tasks.iter().map(|(context, _)| context.saga.to_string()).collect();
    sqlx::query_as(query).bind(seats).bind(bookings).fetch_all(pool).await
}

fn unanswered(error: &sqlx::Error) -> Failure {
    Failure::Unknown {
        message: format!("the bench's database did not answer: {error}"),
    }
}

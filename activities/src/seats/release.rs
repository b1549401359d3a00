//! `seats.release`: give up what a booking holds or bought, and keep it from coming back.

use async_trait::async_trait;
use futures::FutureExt;
use sqlx::PgPool;
use uuid::Uuid;

use super::contract::{ReleaseInput, ReleaseReason, Released};
use super::plan::{self, Claim, HoldKey, Release as Plan, SeatKey};
use super::store::{self, StoreError};
use super::{answer_all, check_ids, raced};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedBatchActivity};

/// `seats.release`.
pub struct Release {
    pool: PgPool,
}

impl Release {
    /// On this database.
    pub fn new(pool: PgPool) -> Self {
        Release { pool }
    }
}

type Answer = Result<Released, Failure>;

#[async_trait]
impl TypedBatchActivity for Release {
    type Input = ReleaseInput;
    type Output = Released;
    const NAME: &'static str = "seats.release";
    const CODES: &'static [&'static str] = &[];

    async fn run_batch(&self, tasks: Vec<(TaskContext, ReleaseInput)>) -> Vec<Answer> {
        let requests: Vec<_> = tasks.into_iter().map(|(_, input)| request(input)).collect();
        answer_all(&self.pool, requests, Self::NAME, |pool, batch| {
            release(pool, batch).boxed()
        })
        .await
    }
}

fn request(input: ReleaseInput) -> Result<(Claim, ReleaseReason), Failure> {
    check_ids(&input.event_id, &input.seat_ids)?;
    Ok((
        Claim::new(input.event_id, input.booking_id, input.seat_ids),
        input.reason,
    ))
}

async fn release(pool: &PgPool, requests: &[&(Claim, ReleaseReason)]) -> Result<Vec<Answer>, StoreError> {
    let requests: Vec<(&Claim, ReleaseReason)> = requests.iter().map(|(claim, reason)| (claim, *reason)).collect();
    let claims: Vec<&Claim> = requests.iter().map(|(claim, _)| *claim).collect();
    let mut transaction = pool.begin().await?;
    let seats = store::lock_seats(&mut transaction, &claims).await?;
    let holds = store::read_holds(&mut *transaction, &claims).await?;
    let plan = plan::release(&requests, &seats, &holds);

    let mut given_up: Vec<(&HoldKey, ReleaseReason)> = Vec::new();
    let mut freed: Vec<(SeatKey, Uuid)> = Vec::new();
    let mut tombstones: Vec<(&HoldKey, ReleaseReason)> = Vec::new();
    for ((claim, reason), decided) in requests.iter().zip(&plan) {
        match decided {
            Plan::Free { seats, .. } => {
                given_up.push((&claim.hold, *reason));
                freed.extend(seats.iter().map(|seat| (seat.clone(), claim.booking_id())));
            }
            Plan::Again { rename: true, .. } => given_up.push((&claim.hold, *reason)),
            Plan::Bury => tombstones.push((&claim.hold, *reason)),
            Plan::Again { rename: false, .. } | Plan::RepeatOf(_) | Plan::Raced => {}
        }
    }
    if !given_up.is_empty() {
        store::release_holds(&mut transaction, &given_up, &freed).await?;
    }
    let buried = if tombstones.is_empty() {
        Default::default()
    } else {
        store::bury(&mut transaction, &tombstones).await?
    };
    transaction.commit().await?;
    metrics::counter!("sagaline_seats_released_total").increment(freed.len() as u64);

    let mut answers: Vec<Answer> = Vec::with_capacity(plan.len());
    for (claim, decided) in claims.iter().zip(plan) {
        answers.push(match decided {
            Plan::Free { had, .. } | Plan::Again { had, .. } => Ok(Released { released: had }),
            Plan::Bury if buried.contains(&claim.hold) => Ok(Released { released: Vec::new() }),
            Plan::RepeatOf(first) => answers[first].clone(),
            Plan::Bury | Plan::Raced => Err(raced()),
        });
    }
    Ok(answers)
}

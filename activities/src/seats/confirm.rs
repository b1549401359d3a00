//! `seats.confirm`: the seats that a booking holds are sold to it. It has paid, so this tries hard: a hold that the
//! safety net has swept is taken up again if all of its seats are still free.

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::contract::{ConfirmInput, Confirmed, HOLD_RELEASED, NOT_RESERVED, SEATS_LOST, rfc3339};
use super::plan::{self, Claim, Confirmation, Hold, Holds};
use super::store::{self, StoreError, buyers};
use super::{answer_all, check_ids, raced};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedBatchActivity};

/// `seats.confirm`.
pub struct Confirm {
    pool: PgPool,
}

impl Confirm {
    /// On this database.
    pub fn new(pool: PgPool) -> Self {
        Confirm { pool }
    }
}

type Answer = Result<Confirmed, Failure>;

#[async_trait]
impl TypedBatchActivity for Confirm {
    type Input = ConfirmInput;
    type Output = Confirmed;
    const NAME: &'static str = "seats.confirm";
    const CODES: &'static [&'static str] = &[SEATS_LOST, HOLD_RELEASED, NOT_RESERVED];

    async fn run_batch(&self, tasks: Vec<(TaskContext, ConfirmInput)>) -> Vec<Answer> {
        let requests: Vec<Result<Claim, Failure>> = tasks.into_iter().map(|(_, input)| request(input)).collect();
        answer_all(&self.pool, requests, Self::NAME, |pool, batch| {
            confirm(pool, batch).boxed()
        })
        .await
    }
}

fn request(input: ConfirmInput) -> Result<Claim, Failure> {
    check_ids(&input.event_id, &input.seat_ids)?;
    if input.seat_ids.is_empty() {
        return Err(Failure::invalid_input("/seatIds", "must name at least one seat"));
    }
    Ok(Claim::new(input.event_id, input.booking_id, input.seat_ids))
}

/// Seats that a hold had lost are not sold again for an event that was called off since: whoever looks after its bookings may be done.
async fn keep_out(
    connection: &mut PgConnection,
    claims: &[&Claim],
    holds: &Holds,
    plan: &mut [Confirmation],
) -> Result<(), StoreError> {
    let comes_back = |(claim, decided): (&&Claim, &Confirmation)| {
        let is_over = matches!(holds.get(&claim.hold), Some(Hold::Released { .. }));
        is_over && matches!(decided, Confirmation::Sell { .. })
    };
    let back: Vec<bool> = claims.iter().zip(plan.iter()).map(comes_back).collect();
    if !back.contains(&true) {
        return Ok(());
    }
    let events: Vec<&str> = claims.iter().map(|claim| claim.hold.event_id.as_str()).collect();
    let called_off = store::called_off(connection, &events).await?;
    for ((claim, decided), _) in claims.iter().zip(plan).zip(back).filter(|(_, back)| *back) {
        if called_off.contains(&claim.hold.event_id) {
            *decided = Confirmation::Lost {
                seat_ids: claim.seat_ids.clone(),
            };
        }
    }
    Ok(())
}

async fn confirm(pool: &PgPool, claims: &[&Claim]) -> Result<Vec<Answer>, StoreError> {
    let mut transaction = pool.begin().await?;
    let seats = store::lock_seats(&mut transaction, claims).await?;
    let holds = store::read_holds(&mut *transaction, claims).await?;
    let returning = plan::returning_buyers(claims, &holds);
    let allowances = if returning.is_empty() {
        Default::default()
    } else {
        buyers::lock(&mut transaction, &returning).await?;
        buyers::allowances(&mut *transaction, &returning).await?
    };
    let mut plan = plan::confirm(claims, &seats, &holds, &allowances);
    keep_out(&mut transaction, claims, &holds, &mut plan).await?;
    let sellers: Vec<&Claim> = claims
        .iter()
        .zip(&plan)
        .filter(|(_, decided)| matches!(decided, Confirmation::Sell { .. }))
        .map(|(claim, _)| *claim)
        .collect();
    let sold_at = if sellers.is_empty() {
        None
    } else {
        Some(store::sell_seats(&mut transaction, &sellers).await?)
    };
    transaction.commit().await?;
    metrics::counter!("sagaline_bookings_sold_total").increment(sellers.len() as u64);

    let mut answers: Vec<Answer> = Vec::with_capacity(plan.len());
    for decided in plan {
        answers.push(match decided {
            Confirmation::Sell { confirmation_number } => {
                let sold_at = rfc3339(sold_at.expect("there is a seller"));
                Ok(Confirmed {
                    confirmation_number,
                    sold_at,
                })
            }
            Confirmation::Repeat {
                confirmation_number,
                at,
            } => Ok(Confirmed {
                confirmation_number,
                sold_at: rfc3339(at),
            }),
            Confirmation::RepeatOf(first) => answers[first].clone(),
            Confirmation::Lost { seat_ids } => {
                let message = format!("the hold was over, and {} went to somebody else", seat_ids.join(", "));
                Err(Failure::permanent(SEATS_LOST, message).with(json!({ "lost": seat_ids })))
            }
            Confirmation::OverLimit(allowance) => {
                let message = format!(
                    "the hold was over, and the buyer has {} of the {} seats that the event allows each",
                    allowance.has, allowance.max
                );
                Err(Failure::permanent(SEATS_LOST, message))
            }
            Confirmation::Released => Err(Failure::permanent(HOLD_RELEASED, "the hold was given up on purpose")),
            Confirmation::NotReserved => Err(Failure::permanent(NOT_RESERVED, "the booking never held these seats")),
            Confirmation::Raced => Err(raced()),
        });
    }
    Ok(answers)
}

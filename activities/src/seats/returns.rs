//! `seats.return`: seats that were sold come back for sale. The refund's one guard: under the seats' locks it is decided what a
//! booking can still give back, and what that is worth; the money follows.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::plan::{Claim, Hold, Holder, SeatKey, Seats};
use super::store::returns::{RefundKey, Return};
use super::store::{self, StoreError, returns};
use super::{answer_all, check_ids, raced};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedBatchActivity};

/// The booking isn't confirmed, has given back these seats before, never had them, or has used their tickets. Permanent.
pub const NOT_REFUNDABLE: &str = "not_refundable";

/// What `seats.return` needs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReturnInput {
    /// The refund: the same one returns seats once.
    pub refund_id: Uuid,
    /// Whose seats.
    pub booking_id: Uuid,
    /// The event.
    pub event_id: String,
    /// These; empty: all that the booking still has.
    #[serde(default)]
    pub seat_ids: Vec<String>,
    /// Only if nobody was let in to them: buyers don't give back what they have used, organisers may.
    #[serde(default)]
    pub unless_admitted: bool,
}

/// What `seats.return` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Returned {
    /// The seats that are free again.
    pub seat_ids: Vec<String>,
    /// What they are worth, in minor units.
    pub amount_cents: i64,
    /// Seats that the booking has left.
    pub seats_left: i32,
}

/// `seats.return`.
pub struct ReturnSeats {
    pool: PgPool,
}

impl ReturnSeats {
    /// On this database.
    pub fn new(pool: PgPool) -> Self {
        ReturnSeats { pool }
    }
}

type Answer = Result<Returned, Failure>;

struct Request {
    claim: Claim,
    key: RefundKey,
    unless_admitted: bool,
}

#[async_trait]
impl TypedBatchActivity for ReturnSeats {
    type Input = ReturnInput;
    type Output = Returned;
    const NAME: &'static str = "seats.return";
    const CODES: &'static [&'static str] = &[NOT_REFUNDABLE];

    async fn run_batch(&self, tasks: Vec<(TaskContext, ReturnInput)>) -> Vec<Answer> {
        let requests: Vec<Result<Request, Failure>> = tasks.into_iter().map(|(_, input)| request(input)).collect();
        answer_all(&self.pool, requests, Self::NAME, |pool, batch| {
            give_back(pool, batch).boxed()
        })
        .await
    }
}

fn request(input: ReturnInput) -> Result<Request, Failure> {
    check_ids(&input.event_id, &input.seat_ids)?;
    let key = RefundKey {
        event_id: input.event_id.clone(),
        booking_id: input.booking_id,
        refund_id: input.refund_id,
    };
    Ok(Request {
        claim: Claim::new(input.event_id, input.booking_id, input.seat_ids),
        key,
        unless_admitted: input.unless_admitted,
    })
}

async fn give_back(pool: &PgPool, requests: &[&Request]) -> Result<Vec<Answer>, StoreError> {
    let claims: Vec<&Claim> = requests.iter().map(|request| &request.claim).collect();
    let keys: Vec<&RefundKey> = requests.iter().map(|request| &request.key).collect();
    let mut transaction = pool.begin().await?;
    let seats = store::lock_seats(&mut transaction, &claims).await?;
    let holds = store::read_holds(&mut *transaction, &claims).await?;
    let before = returns::read(&mut *transaction, &keys).await?;
    let before: BTreeMap<&RefundKey, &Return> = before.iter().map(|it| (&it.key, it)).collect();
    // Doors lock the seats too: whoever was let in by now is seen, and nobody is let in by these tickets until the commit.
    let watched: BTreeSet<Uuid> = requests
        .iter()
        .filter(|it| it.unless_admitted)
        .map(|it| it.key.booking_id)
        .collect();
    let sold = seats.iter().filter_map(|(key, seat)| match seat.holder {
        Holder::SoldTo(booking) if watched.contains(&booking) => Some((key.clone(), booking)),
        _ => None,
    });
    let admitted = returns::admitted(&mut transaction, &sold.collect::<Vec<_>>()).await?;

    // Two refunds of one booking are decided one after the other, so the second has to come again.
    let mut at_it = BTreeSet::new();
    let mut given: Vec<Return> = Vec::new();
    let mut answers: Vec<Answer> = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match before.get(&request.key) {
            Some(done) => Ok(answer(done)),
            None if !at_it.insert(&request.claim.hold) => Err(raced()),
            None => match decide(request, holds.get(&request.claim.hold), &seats, &admitted) {
                Ok(it) => {
                    let returned = answer(&it);
                    given.push(it);
                    Ok(returned)
                }
                Err(failure) => Err(failure),
            },
        });
    }
    if !given.is_empty() {
        returns::give_back(&mut transaction, &given).await?;
    }
    transaction.commit().await?;
    metrics::counter!("sagaline_bookings_returned_total").increment(given.len() as u64);
    Ok(answers)
}

fn answer(it: &Return) -> Returned {
    Returned {
        seat_ids: it.seat_ids.clone(),
        amount_cents: it.amount_cents,
        seats_left: it.seats_left,
    }
}

/// What a booking gives back, and what for.
fn decide(
    request: &Request,
    hold: Option<&Hold>,
    seats: &Seats,
    admitted: &BTreeSet<SeatKey>,
) -> Result<Return, Failure> {
    let refuse = |message: &str| Failure::permanent(NOT_REFUNDABLE, message);
    let (has, total_cents) = match hold {
        Some(Hold::Confirmed { seat_ids, terms, .. }) => (seat_ids, terms.total_cents),
        Some(Hold::Released { .. }) => {
            return Err(refuse("the booking has no seats any more: they were given back before"));
        }
        Some(Hold::Held { .. }) => return Err(refuse("the booking isn't confirmed yet")),
        None => return Err(refuse("there is no such booking")),
    };
    let wanted = match request.claim.seat_ids.as_slice() {
        [] => has,
        some => some,
    };
    let missing: Vec<&String> = wanted.iter().filter(|seat| !has.contains(seat)).collect();
    if !missing.is_empty() {
        let message = "the booking doesn't have these seats, or not any more";
        return Err(refuse(message).with(json!({ "seatIds": missing })));
    }
    let seat = |seat_id: &String| SeatKey {
        event_id: request.key.event_id.clone(),
        seat_id: seat_id.clone(),
    };
    let used = wanted.iter().filter(|seat_id| admitted.contains(&seat(seat_id)));
    let used: Vec<&String> = used.collect();
    if request.unless_admitted && !used.is_empty() {
        let message = "tickets were used at the door";
        return Err(refuse(message).with(json!({ "seatIds": used })));
    }
    let mut price_cents = 0_i64;
    for seat_id in wanted {
        match seats.get(&seat(seat_id)) {
            Some(locked) if locked.holder.is(request.key.booking_id) => {
                price_cents = price_cents.saturating_add(locked.price_cents);
            }
            Some(_) => return Err(refuse("the booking lists a seat that is somebody else's")),
            // The hold came, or changed, after the seats were locked.
            None => return Err(raced()),
        }
    }
    let seats_left = has.len() - wanted.len();
    Ok(Return {
        key: request.key.clone(),
        seat_ids: wanted.to_vec(),
        // The last seats take what is left of the price with them, whatever was taken for fees or has become of prices since.
        amount_cents: if seats_left == 0 {
            total_cents
        } else {
            price_cents.min(total_cents)
        },
        seats_left: i32::try_from(seats_left).unwrap_or(i32::MAX),
    })
}

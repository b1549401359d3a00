//! The safety net under the sagas' own timers: holds that should have been given up long ago are.
//!
//! A saga gives its hold up by itself, and only once its payment is settled; so the net waits for a grace period before it
//! assumes that the saga won't. What it frees by mistake, `seats.confirm` takes up again if it can.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use super::contract::ReleaseReason;
use super::plan::{Claim, Hold, HoldKey, Holds, SeatKey, Seats};
use super::store::{self, StoreError};
use super::unanswered;
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedActivity};

/// How long past its end a hold is left alone, if nothing else is said: time for a slow payment to be settled.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// Holds of one transaction.
const HOLDS_PER_TRANSACTION: u32 = 500;

/// Gives up to `limit` holds up that ended more than `grace` ago; says how many. Holds that somebody works on are left
/// for the next time.
pub async fn sweep_expired_holds(pool: &PgPool, grace: Duration, limit: u32) -> Result<u64, StoreError> {
    let overdue = store::overdue_holds(pool, grace.as_secs_f64(), i64::from(limit)).await?;
    if overdue.is_empty() {
        return Ok(0);
    }
    let claims: Vec<&Claim> = overdue.iter().collect();
    let mut transaction = pool.begin().await?;
    let seats = store::lock_idle_seats(&mut transaction, &claims).await?;
    let holds = store::read_holds(&mut *transaction, &claims).await?;
    let Abandoned {
        holds: given_up,
        seats: freed,
    } = abandoned(&claims, &seats, &holds);
    if !given_up.is_empty() {
        store::release_holds(&mut transaction, &given_up, &freed).await?;
    }
    transaction.commit().await?;
    if !given_up.is_empty() {
        tracing::warn!(
            holds = given_up.len(),
            seats = freed.len(),
            "swept holds that their sagas had left"
        );
    }
    metrics::counter!("sagaline_holds_swept_total").increment(given_up.len() as u64);
    Ok(given_up.len() as u64)
}

/// What is to be freed.
struct Abandoned<'a> {
    holds: Vec<(&'a HoldKey, ReleaseReason)>,
    seats: Vec<(SeatKey, Uuid)>,
}

/// Those that are still held, and locked whole.
fn abandoned<'a>(claims: &[&'a Claim], seats: &Seats, holds: &Holds) -> Abandoned<'a> {
    let (mut given_up, mut freed) = (Vec::new(), Vec::new());
    for claim in claims {
        let held = matches!(holds.get(&claim.hold), Some(Hold::Held { .. }));
        if held && claim.seats().all(|seat| seats.contains_key(&seat)) {
            let mine = |seat: &SeatKey| seats[seat].holder.is(claim.booking_id());
            freed.extend(claim.seats().filter(mine).map(|seat| (seat, claim.booking_id())));
            given_up.push((&claim.hold, ReleaseReason::Expired));
        }
    }
    Abandoned {
        holds: given_up,
        seats: freed,
    }
}

/// What `seats.sweep` needs.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SweepInput {
    /// How long past its end a hold is left alone; left out, [`GRACE_DEFAULT`].
    pub grace_seconds: Option<u32>,
}

/// What `seats.sweep` gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Holds given up.
    pub holds: u64,
}

/// `seats.sweep`, for a schedule.
pub struct Sweep {
    pool: PgPool,
}

impl Sweep {
    /// On this database.
    pub fn new(pool: PgPool) -> Self {
        Sweep { pool }
    }
}

#[async_trait]
impl TypedActivity for Sweep {
    type Input = SweepInput;
    type Output = Swept;
    const NAME: &'static str = "seats.sweep";
    const CODES: &'static [&'static str] = &[];

    /// Sweeps until nothing is left or nobody waits any more.
    async fn run(&self, context: &TaskContext, input: SweepInput) -> Result<Swept, Failure> {
        let grace = input
            .grace_seconds
            .map_or(GRACE_DEFAULT, |seconds| Duration::from_secs(u64::from(seconds)));
        let mut holds = 0;
        while !context.cancelled.is_cancelled() {
            let swept = sweep_expired_holds(&self.pool, grace, HOLDS_PER_TRANSACTION).await;
            let swept = swept.map_err(|error| unanswered(&error))?;
            holds += swept;
            if swept < u64::from(HOLDS_PER_TRANSACTION) {
                break;
            }
            context.heartbeat();
        }
        Ok(Swept { holds })
    }
}

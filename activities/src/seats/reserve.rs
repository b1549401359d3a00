//! `seats.reserve`: hold all of a booking's seats for a time, or none.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use futures::FutureExt;
use serde_json::json;
use sqlx::PgPool;

use super::contract::{
    EVENT_CLOSED, HOLD_RELEASED, OverLimit, ReserveInput, Reserved, SEAT_LIMIT, SEAT_UNAVAILABLE, UNKNOWN_EVENT,
    UNKNOWN_SEAT, Unavailable, rfc3339,
};
use super::plan::{self, Allowance, BuyerKey, Claim, Holder, Reservation, Terms};
use super::store::places::{self, Place};
use super::store::{self, NewHold, SeenSeat, StoreError, buyers};
use super::{ALTERNATIVES_MAX, answer_all, check_id, check_ids, raced};
use crate::activity::TaskContext;
use crate::typed::{Failure, TypedBatchActivity};

/// Seconds of a hold, at most: a week. Longer is a mistake in somebody's arithmetic.
const HOLD_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;
/// Fees and taxes of one booking, at most: far beyond any, and far from overflowing a sum.
const CHARGES_CENTS_MAX: i64 = 100_000_000_000_000;
/// Sections searched for free seats, for one batch: claims in others are offered what their event's search finds.
const PLACES_MAX: usize = 16;
/// Free seats read around a place. More than one claim is offered, so that not all losers rush to the same ones.
const FREE_SEATS_PER_PLACE: i64 = 3 * ALTERNATIVES_MAX as i64;

/// `seats.reserve`.
pub struct Reserve {
    pool: PgPool,
}

impl Reserve {
    /// On this database.
    pub fn new(pool: PgPool) -> Self {
        Reserve { pool }
    }
}

type Answer = Result<Reserved, Failure>;

struct Request {
    claim: Claim,
    hold_seconds: u32,
    charges_cents: i64,
}

#[async_trait]
impl TypedBatchActivity for Reserve {
    type Input = ReserveInput;
    type Output = Reserved;
    const NAME: &'static str = "seats.reserve";
    const CODES: &'static [&'static str] = &[
        SEAT_UNAVAILABLE,
        UNKNOWN_EVENT,
        UNKNOWN_SEAT,
        EVENT_CLOSED,
        SEAT_LIMIT,
        HOLD_RELEASED,
    ];

    async fn run_batch(&self, tasks: Vec<(TaskContext, ReserveInput)>) -> Vec<Answer> {
        let requests: Vec<Result<Request, Failure>> = tasks.into_iter().map(|(_, input)| request(input)).collect();
        answer_all(&self.pool, requests, Self::NAME, |pool, batch| {
            reserve(pool, batch).boxed()
        })
        .await
    }
}

fn request(input: ReserveInput) -> Result<Request, Failure> {
    check_ids(&input.event_id, &input.seat_ids)?;
    if input.seat_ids.is_empty() {
        return Err(Failure::invalid_input("/seatIds", "must name at least one seat"));
    }
    if let Some(user_id) = &input.user_id {
        check_id(user_id).map_err(|problem| Failure::invalid_input("/userId", problem))?;
    }
    if input.hold_seconds == 0 || input.hold_seconds > HOLD_SECONDS_MAX {
        return Err(Failure::invalid_input(
            "/holdSeconds",
            format!("must be 1 to {HOLD_SECONDS_MAX}"),
        ));
    }
    if !(0..=CHARGES_CENTS_MAX).contains(&input.charges_cents) {
        return Err(Failure::invalid_input(
            "/chargesCents",
            format!("must be 0 to {CHARGES_CENTS_MAX}"),
        ));
    }
    let claim = Claim::new(input.event_id, input.booking_id, input.seat_ids).of_buyer(input.user_id);
    Ok(Request {
        claim,
        hold_seconds: input.hold_seconds,
        charges_cents: input.charges_cents,
    })
}

/// Decides a batch: look, lock what is hoped for, decide, write; then tell the losers what else there is.
async fn reserve(pool: &PgPool, requests: &[&Request]) -> Result<Vec<Answer>, StoreError> {
    let claims: Vec<&Claim> = requests.iter().map(|request| &request.claim).collect();
    let seen = Seen::new(store::see_seats(pool, &claims).await?);
    let mut answers: Vec<Option<Answer>> = vec![None; requests.len()];

    for (answer, claim) in answers.iter_mut().zip(&claims) {
        if let Some(max) = seen.order_max(claim).filter(|max| claim.seat_ids.len() as i64 > *max) {
            *answer = Some(Err(over_limit(claim, Allowance { max, has: 0 })));
        }
        if claim.user_id.is_none() && seen.is_limited(claim) {
            let problem = "must be given: the event limits how many seats each buyer may have";
            *answer = Some(Err(Failure::invalid_input("/userId", problem)));
        }
    }
    let hopeful: Vec<usize> = (0..requests.len())
        .filter(|index| answers[*index].is_none() && seen.is_hopeful(claims[*index]))
        .collect();
    if !hopeful.is_empty() {
        let hopeful_requests: Vec<&Request> = hopeful.iter().map(|index| requests[*index]).collect();
        for (index, answer) in hopeful.into_iter().zip(take(pool, &hopeful_requests, &seen).await?) {
            answers[index] = answer;
        }
    }

    let losers: Vec<usize> = (0..requests.len()).filter(|index| answers[*index].is_none()).collect();
    if !losers.is_empty() {
        let losing: Vec<&Claim> = losers.iter().map(|index| claims[*index]).collect();
        for (index, answer) in losers.into_iter().zip(refuse(pool, &losing, &seen).await?) {
            answers[index] = Some(answer);
        }
    }
    Ok(answers
        .into_iter()
        .map(|answer| answer.expect("a winner or a loser"))
        .collect())
}

/// Takes what can be taken, in one transaction. No answer: somebody else was faster.
async fn take(pool: &PgPool, requests: &[&Request], seen: &Seen) -> Result<Vec<Option<Answer>>, StoreError> {
    let claims: Vec<&Claim> = requests.iter().map(|request| &request.claim).collect();
    let limited = claims.iter().filter(|claim| seen.is_limited(claim));
    let limited: BTreeSet<BuyerKey> = limited.filter_map(|claim| claim.buyer()).collect();
    let mut transaction = pool.begin().await?;
    let seats = store::lock_free_seats(&mut transaction, &claims).await?;
    let allowances = if limited.is_empty() {
        Default::default()
    } else {
        buyers::lock(&mut transaction, &limited).await?;
        buyers::allowances(&mut *transaction, &limited).await?
    };
    let holds = store::read_holds(&mut *transaction, &claims).await?;
    let plan = plan::reserve(&claims, &seats, &holds, &allowances);

    let new_hold = |(request, decided): (&&'_ Request, &Reservation)| match decided {
        Reservation::Win { total_cents } => Some((request.hold_seconds, total_cents + request.charges_cents)),
        _ => None,
    };
    let mut winners = Vec::new();
    for (index, pair) in requests.iter().zip(&plan).enumerate() {
        if let Some((hold_seconds, total_cents)) = new_hold(pair) {
            let confirmation_number = confirmation_number();
            winners.push(NewHold {
                claim: claims[index],
                hold_seconds,
                total_cents,
                confirmation_number,
            });
        }
    }
    let placed = if winners.is_empty() {
        Default::default()
    } else {
        store::place_holds(&mut transaction, &winners).await?
    };
    transaction.commit().await?;
    metrics::counter!("sagaline_seat_holds_total").increment(placed.len() as u64);

    let answer = |decided: &Reservation| match decided {
        Reservation::Win { .. } => Some(Err(raced())),
        Reservation::Repeat(terms) => Some(Ok(reserved(terms))),
        Reservation::Released => Some(Err(released())),
        Reservation::OtherSeats => Some(Err(other_seats())),
        Reservation::Lose | Reservation::OverLimit(_) | Reservation::RepeatOf(_) => None,
    };
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(plan.len());
    for (claim, decided) in claims.iter().zip(&plan) {
        let given = match (decided, placed.get(&claim.hold)) {
            (Reservation::Win { .. }, Some(plan::Hold::Held { terms, .. })) => Some(Ok(reserved(terms))),
            (Reservation::RepeatOf(first), _) => answers[*first].clone(),
            (Reservation::OverLimit(allowance), _) => Some(Err(over_limit(claim, *allowance))),
            (decided, _) => answer(decided),
        };
        answers.push(given);
    }
    Ok(answers)
}

/// Tells those who got nothing why, and what else there is.
async fn refuse(pool: &PgPool, claims: &[&Claim], seen: &Seen) -> Result<Vec<Answer>, StoreError> {
    // A booking that was here before gets its answer from its hold, even if its seats have gone to others since.
    let holds = store::read_holds(pool, claims).await?;
    let before = |claim: &&Claim| holds.get(&claim.hold).map(|hold| plan::reserve_again(claim, hold));
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(claims.len());
    for claim in claims {
        answers.push(match before(claim) {
            Some(Reservation::Repeat(terms)) => Some(Ok(reserved(&terms))),
            Some(Reservation::Released) => Some(Err(released())),
            Some(_) => Some(Err(other_seats())),
            None => seen.unknown(claim).map(Err),
        });
    }
    let unavailable: Vec<&Claim> = claims
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_none())
        .map(|(claim, _)| *claim)
        .collect();
    let mut offers = offers(pool, &unavailable, seen).await?.into_iter();
    let mut offer = |claim: &Claim| {
        let available = offers.next().expect("an offer for each of them");
        let message = format!(
            "at least one of the seats {} belongs to somebody else",
            claim.seat_ids.join(", ")
        );
        let details = Unavailable {
            requested: claim.seat_ids.clone(),
            available,
        };
        Err(Failure::permanent(SEAT_UNAVAILABLE, message).with(json!(details)))
    };
    Ok(claims
        .iter()
        .zip(answers)
        .map(|(claim, answer)| answer.unwrap_or_else(|| offer(claim)))
        .collect())
}

/// Free seats for each claim, near what it wanted. Searched once for each section, for the whole batch.
async fn offers(pool: &PgPool, claims: &[&Claim], seen: &Seen) -> Result<Vec<Vec<String>>, StoreError> {
    let mut places: Vec<Place> = Vec::new();
    for claim in claims {
        let place = seen.place(claim);
        if places.len() < PLACES_MAX && !places.contains(&place) {
            places.push(place);
        }
    }
    let mut near: HashMap<&Place, Vec<String>> = HashMap::new();
    let mut elsewhere: HashMap<&str, Vec<String>> = HashMap::new();
    if !places.is_empty() {
        for (place, same_section, seat_id) in places::free_seats_around(pool, &places, FREE_SEATS_PER_PLACE).await? {
            let place = &places[place];
            let found = if same_section {
                near.entry(place).or_default()
            } else {
                elsewhere.entry(place.event_id.as_str()).or_default()
            };
            found.push(seat_id);
        }
    }
    let offer = |claim: &&Claim| {
        // Each booking begins elsewhere in the list.
        let start = claim.booking_id().as_u128() as usize;
        let turned = |seats: Option<&Vec<String>>| {
            let seats = seats.map(Vec::as_slice).unwrap_or_default();
            let start = start.checked_rem(seats.len()).unwrap_or(0);
            seats[start..]
                .iter()
                .chain(&seats[..start])
                .cloned()
                .collect::<Vec<_>>()
        };
        let place = seen.place(claim);
        let mut offered = turned(near.get(&place));
        let near_by: HashSet<String> = offered.iter().cloned().collect();
        let far = turned(elsewhere.get(place.event_id.as_str()))
            .into_iter()
            .filter(|seat| !near_by.contains(seat));
        offered.extend(far);
        offered.truncate(ALTERNATIVES_MAX);
        offered
    };
    Ok(claims.iter().map(offer).collect())
}

/// The wanted seats as they were before anything was locked.
struct Seen {
    seats: HashMap<String, HashMap<String, (SeenSeat, Option<Holder>)>>,
}

impl Seen {
    fn new(rows: Vec<SeenSeat>) -> Self {
        let mut seats: HashMap<String, HashMap<String, _>> = HashMap::new();
        for row in rows {
            // A row that contradicts itself is nobody's seat to claim.
            let holder = row.holder().ok().flatten();
            seats
                .entry(row.event_id.clone())
                .or_default()
                .insert(row.seat_id.clone(), (row, holder));
        }
        Seen { seats }
    }

    fn of(&self, claim: &Claim) -> impl Iterator<Item = &(SeenSeat, Option<Holder>)> {
        let event = self.seats.get(&claim.hold.event_id);
        claim.seat_ids.iter().filter_map(move |seat_id| event?.get(seat_id))
    }

    /// Each of its seats is free (and on sale) or already its own.
    fn is_hopeful(&self, claim: &Claim) -> bool {
        let open = |seat: &SeenSeat, holder: Option<Holder>| match holder {
            Some(Holder::Nobody) => seat.on_sale(),
            Some(holder) => holder.is(claim.booking_id()),
            None => false,
        };
        self.of(claim).filter(|(seat, holder)| open(seat, *holder)).count() == claim.seat_ids.len()
    }

    /// What is unknown about it, or closed.
    fn unknown(&self, claim: &Claim) -> Option<Failure> {
        let event_id = &claim.hold.event_id;
        if self.of(claim).any(|(seat, _)| seat.event_status.is_none()) {
            return Some(Failure::permanent(
                UNKNOWN_EVENT,
                format!("there is no event {event_id}"),
            ));
        }
        let unknown: Vec<&String> = self
            .of(claim)
            .filter(|(_, holder)| holder.is_none())
            .map(|(seat, _)| &seat.seat_id)
            .collect();
        if !unknown.is_empty() {
            let names = unknown.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("the event {event_id} has no seat {names}");
            return Some(Failure::permanent(UNKNOWN_SEAT, message).with(json!({ "unknown": unknown })));
        }
        let closed = self.of(claim).any(|(seat, _)| !seat.on_sale());
        closed.then(|| Failure::permanent(EVENT_CLOSED, format!("the event {event_id} is not on sale")))
    }

    /// Its event limits what each buyer may have.
    fn is_limited(&self, claim: &Claim) -> bool {
        self.of(claim).any(|(seat, _)| seat.seats_per_buyer_max.is_some())
    }

    /// How many seats its event allows in one booking. One that has its seats is never asked again.
    fn order_max(&self, claim: &Claim) -> Option<i64> {
        if self
            .of(claim)
            .any(|(_, holder)| holder.is_some_and(|holder| holder.is(claim.booking_id())))
        {
            return None;
        }
        self.of(claim)
            .find_map(|(seat, _)| seat.seats_per_order_max)
            .map(i64::from)
    }

    /// Where its first seat is.
    fn place(&self, claim: &Claim) -> Place {
        let section = self
            .of(claim)
            .find_map(|(seat, _)| seat.section.clone())
            .unwrap_or_default();
        Place {
            event_id: claim.hold.event_id.clone(),
            section,
        }
    }
}

fn reserved(terms: &Terms) -> Reserved {
    Reserved {
        reserved_at: rfc3339(terms.reserved_at),
        expires_at: rfc3339(terms.expires_at),
        total_cents: terms.total_cents,
    }
}

fn released() -> Failure {
    Failure::permanent(
        HOLD_RELEASED,
        "this booking's hold was given up; it can't be taken again",
    )
}

fn over_limit(claim: &Claim, allowance: Allowance) -> Failure {
    let Allowance { max, has } = allowance;
    let wanted = claim.seat_ids.len();
    let message = format!("the event allows each buyer {max} seats; this one has {has} and wants {wanted} more");
    let details = OverLimit {
        requested: claim.seat_ids.clone(),
        max,
        has,
    };
    Failure::permanent(SEAT_LIMIT, message).with(json!(details))
}

fn other_seats() -> Failure {
    Failure::invalid_input("/seatIds", "this booking holds other seats already")
}

/// Ten letters and digits that can't be mistaken for each other (Crockford's base 32): 50 bits of chance, so that of a
/// million bookings of one event hardly one has to draw again.
fn confirmation_number() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut bits: u64 = rand::random();
    let mut letter = || {
        let letter = char::from(ALPHABET[(bits % 32) as usize]);
        bits /= 32;
        letter
    };
    let mut part = || (0..5).map(|_| letter()).collect::<String>();
    format!("SL-{}-{}", part(), part())
}

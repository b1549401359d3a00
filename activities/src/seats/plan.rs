//! What becomes of each task, given the locked seats and the holds: pure, so that every case can be tested.
//!
//! Tasks are decided in order of arrival; what an earlier one takes is gone for the later ones.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::contract::ReleaseReason;

/// A seat's name. Ordered as the rows are locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SeatKey {
    pub event_id: String,
    pub seat_id: String,
}

/// A hold's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct HoldKey {
    pub event_id: String,
    pub booking_id: Uuid,
}

/// Who has a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    HeldBy(Uuid),
    SoldTo(Uuid),
    /// The organiser keeps it.
    House,
}

impl Holder {
    /// Nobody, or this booking.
    pub fn admits(self, booking_id: Uuid) -> bool {
        match self {
            Holder::Nobody => true,
            Holder::House => false,
            Holder::HeldBy(holder) | Holder::SoldTo(holder) => holder == booking_id,
        }
    }

    /// This booking, one way or the other.
    pub fn is(self, booking_id: Uuid) -> bool {
        self != Holder::Nobody && self.admits(booking_id)
    }
}

/// A seat under lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LockedSeat {
    pub holder: Holder,
    pub price_cents: i64,
}

/// What a hold was given with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub reserved_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub total_cents: i64,
    pub confirmation_number: String,
    /// Whose it is, if that is known.
    pub user_id: Option<String>,
}

/// A buyer of an event. Ordered as the rows are locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct BuyerKey {
    pub event_id: String,
    pub user_id: String,
}

/// What an event allows a buyer, and what they have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    pub max: i64,
    pub has: i64,
}

impl Allowance {
    fn admits(self, seats: usize) -> bool {
        i64::try_from(seats).is_ok_and(|seats| self.has + seats <= self.max)
    }
}

/// The allowances of buyers under lock; those of events without a limit are missing.
pub(super) type Allowances = BTreeMap<BuyerKey, Allowance>;

/// Where a hold stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Held {
        seat_ids: Vec<String>,
        terms: Terms,
    },
    Confirmed {
        seat_ids: Vec<String>,
        terms: Terms,
        at: DateTime<Utc>,
    },
    /// Without terms (and seats) if there never was anything to release.
    Released {
        seat_ids: Vec<String>,
        terms: Option<Terms>,
        reason: ReleaseReason,
    },
}

impl Hold {
    pub fn seat_ids(&self) -> &[String] {
        match self {
            Hold::Held { seat_ids, .. } | Hold::Confirmed { seat_ids, .. } | Hold::Released { seat_ids, .. } => {
                seat_ids
            }
        }
    }
}

/// Seats by name.
pub(super) type Seats = BTreeMap<SeatKey, LockedSeat>;
/// Holds by name.
pub(super) type Holds = BTreeMap<HoldKey, Hold>;

/// A booking and the seats that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub hold: HoldKey,
    pub seat_ids: Vec<String>,
    /// Who claims, where that matters.
    pub user_id: Option<String>,
}

impl Claim {
    pub fn new(event_id: String, booking_id: Uuid, seat_ids: Vec<String>) -> Self {
        Claim {
            hold: HoldKey { event_id, booking_id },
            seat_ids,
            user_id: None,
        }
    }

    pub fn of_buyer(self, user_id: Option<String>) -> Self {
        Claim { user_id, ..self }
    }

    pub fn buyer(&self) -> Option<BuyerKey> {
        self.user_id.as_ref().map(|user_id| self.buyer_named(user_id))
    }

    fn buyer_named(&self, user_id: &str) -> BuyerKey {
        BuyerKey {
            event_id: self.hold.event_id.clone(),
            user_id: user_id.to_owned(),
        }
    }

    pub fn booking_id(&self) -> Uuid {
        self.hold.booking_id
    }

    pub fn seats(&self) -> impl Iterator<Item = SeatKey> {
        let key = |seat_id: &String| SeatKey {
            event_id: self.hold.event_id.clone(),
            seat_id: seat_id.clone(),
        };
        self.seat_ids.iter().map(key)
    }

    fn names_the_seats_of(&self, hold: &Hold) -> bool {
        let named: BTreeSet<&String> = self.seat_ids.iter().collect();
        named == hold.seat_ids().iter().collect()
    }
}

/// What becomes of a `seats.reserve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reservation {
    /// It gets its seats, for this much.
    Win { total_cents: i64 },
    /// It has them already.
    Repeat(Terms),
    /// An earlier task of the same batch and booking wins; it gets the same answer.
    RepeatOf(usize),
    /// Somebody else has one of them.
    Lose,
    /// The seats are free, but the buyer would have too many.
    OverLimit(Allowance),
    /// Its hold was given up.
    Released,
    /// It holds other seats.
    OtherSeats,
}

/// What the booking's hold, if it has one, says to a claim.
pub(super) fn reserve_again(claim: &Claim, hold: &Hold) -> Reservation {
    match hold {
        Hold::Released { .. } => Reservation::Released,
        Hold::Held { .. } | Hold::Confirmed { .. } if !claim.names_the_seats_of(hold) => Reservation::OtherSeats,
        Hold::Held { terms, .. } | Hold::Confirmed { terms, .. } => Reservation::Repeat(terms.clone()),
    }
}

/// Decides claims. `seats` are the locked ones: a seat that is missing belongs to somebody else.
pub(super) fn reserve(claims: &[&Claim], seats: &Seats, holds: &Holds, allowances: &Allowances) -> Vec<Reservation> {
    let mut allowances = allowances.clone();
    let mut winners: BTreeMap<&HoldKey, usize> = BTreeMap::new();
    let mut taken: BTreeSet<SeatKey> = BTreeSet::new();
    let mut decide = |(index, claim): (usize, &&'_ Claim)| {
        if let Some(hold) = holds.get(&claim.hold) {
            return reserve_again(claim, hold);
        }
        if let Some(winner) = winners.get(&claim.hold) {
            let same = claims[*winner].seat_ids.iter().collect::<BTreeSet<_>>() == claim.seat_ids.iter().collect();
            return if same {
                Reservation::RepeatOf(*winner)
            } else {
                Reservation::OtherSeats
            };
        }
        let price = |seat: SeatKey| {
            let free = seats
                .get(&seat)
                .filter(|locked| locked.holder == Holder::Nobody && !taken.contains(&seat));
            free.map(|locked| locked.price_cents)
        };
        match claim.seats().map(price).sum::<Option<i64>>() {
            Some(total_cents) => {
                if let Some(allowance) = claim.buyer().and_then(|buyer| allowances.get_mut(&buyer)) {
                    if !allowance.admits(claim.seat_ids.len()) {
                        return Reservation::OverLimit(*allowance);
                    }
                    allowance.has += claim.seat_ids.len() as i64;
                }
                taken.extend(claim.seats());
                winners.insert(&claims[index].hold, index);
                Reservation::Win { total_cents }
            }
            None => Reservation::Lose,
        }
    };
    claims.iter().enumerate().map(&mut decide).collect()
}

/// What becomes of a `seats.release`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// The hold is given up and these seats, which it still has, are free.
    Free { seats: Vec<SeatKey>, had: Vec<String> },
    /// It was given up before. `rename`: by the safety net, and now for a reason.
    Again { had: Vec<String>, rename: bool },
    /// There is nothing to give up; a tombstone is left.
    Bury,
    /// An earlier task of the same batch does it.
    RepeatOf(usize),
    /// The hold came after the seats were locked.
    Raced,
}

/// Decides releases.
pub(super) fn release(claims: &[(&Claim, ReleaseReason)], seats: &Seats, holds: &Holds) -> Vec<Release> {
    let mut first: BTreeMap<&HoldKey, usize> = BTreeMap::new();
    let mut decide = |(index, (claim, reason)): (usize, &(&'_ Claim, ReleaseReason))| {
        if let Some(earlier) = first.get(&claim.hold) {
            return Release::RepeatOf(*earlier);
        }
        first.insert(&claims[index].0.hold, index);
        let Some(hold) = holds.get(&claim.hold) else {
            return Release::Bury;
        };
        let had = hold.seat_ids().to_vec();
        match hold {
            Hold::Released { reason: before, .. } => Release::Again {
                had,
                rename: *before == ReleaseReason::Expired && before != reason,
            },
            Hold::Held { .. } | Hold::Confirmed { .. } => {
                let mine = Claim {
                    hold: claim.hold.clone(),
                    seat_ids: had.clone(),
                    user_id: None,
                };
                if mine.seats().any(|seat| !seats.contains_key(&seat)) {
                    return Release::Raced;
                }
                let still_mine = |seat: &SeatKey| seats[seat].holder.is(claim.booking_id());
                Release::Free {
                    seats: mine.seats().filter(still_mine).collect(),
                    had,
                }
            }
        }
    };
    claims.iter().enumerate().map(&mut decide).collect()
}

/// What becomes of a `seats.confirm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// The seats are sold to it.
    Sell { confirmation_number: String },
    /// They were before.
    Repeat {
        confirmation_number: String,
        at: DateTime<Utc>,
    },
    /// An earlier task of the same batch and booking sells them.
    RepeatOf(usize),
    /// The hold is gone, and these seats belong to others.
    Lost { seat_ids: Vec<String> },
    /// The hold is gone, and its buyer has so many other seats by now that these would be too many.
    OverLimit(Allowance),
    /// The hold was given up on purpose, not by time.
    Released,
    /// There never was a hold on these seats.
    NotReserved,
    /// The hold came after the seats were locked.
    Raced,
}

/// The buyers of those of the claims whose holds are gone but may be taken up again.
pub(super) fn returning_buyers(claims: &[&Claim], holds: &Holds) -> BTreeSet<BuyerKey> {
    let buyer = |claim: &&Claim| match holds.get(&claim.hold) {
        Some(Hold::Released { terms: Some(terms), .. }) => {
            terms.user_id.as_ref().map(|user_id| claim.buyer_named(user_id))
        }
        _ => None,
    };
    claims.iter().filter_map(buyer).collect()
}

/// Decides confirmations. `allowances` are those of the returning buyers.
pub(super) fn confirm(claims: &[&Claim], seats: &Seats, holds: &Holds, allowances: &Allowances) -> Vec<Confirmation> {
    let mut allowances = allowances.clone();
    let mut sellers: BTreeMap<&HoldKey, usize> = BTreeMap::new();
    let mut taken: BTreeSet<SeatKey> = BTreeSet::new();
    let mut decide = |(index, claim): (usize, &&'_ Claim)| {
        if let Some(seller) = sellers.get(&claim.hold) {
            return Confirmation::RepeatOf(*seller);
        }
        let Some(hold) = holds.get(&claim.hold) else {
            return Confirmation::NotReserved;
        };
        let terms = match hold {
            Hold::Released {
                reason: ReleaseReason::PaymentFailed | ReleaseReason::Cancelled,
                ..
            } => {
                return Confirmation::Released;
            }
            _ if !claim.names_the_seats_of(hold) => return Confirmation::NotReserved,
            Hold::Confirmed { terms, at, .. } => {
                return Confirmation::Repeat {
                    confirmation_number: terms.confirmation_number.clone(),
                    at: *at,
                };
            }
            Hold::Released { terms: None, .. } => return Confirmation::NotReserved,
            Hold::Held { terms, .. } | Hold::Released { terms: Some(terms), .. } => terms,
        };
        if claim.seats().any(|seat| !seats.contains_key(&seat)) {
            return Confirmation::Raced;
        }
        let lost = |seat: &SeatKey| taken.contains(seat) || !seats[seat].holder.admits(claim.booking_id());
        let lost: Vec<String> = claim.seats().filter(lost).map(|seat| seat.seat_id).collect();
        if !lost.is_empty() {
            return Confirmation::Lost { seat_ids: lost };
        }
        if let (Hold::Released { .. }, Some(user_id)) = (hold, &terms.user_id)
            && let Some(allowance) = allowances.get_mut(&claim.buyer_named(user_id))
        {
            if !allowance.admits(claim.seat_ids.len()) {
                return Confirmation::OverLimit(*allowance);
            }
            allowance.has += claim.seat_ids.len() as i64;
        }
        taken.extend(claim.seats());
        sellers.insert(&claims[index].hold, index);
        Confirmation::Sell {
            confirmation_number: terms.confirmation_number.clone(),
        }
    };
    claims.iter().enumerate().map(&mut decide).collect()
}

#[cfg(test)]
mod tests;

//! What becomes of tasks, case by case.
#![allow(clippy::unwrap_used)]

use super::*;

const EVENT: &str = "e";

fn booking(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn claim(number: u128, seat_ids: &[&str]) -> Claim {
    Claim::new(
        EVENT.into(),
        booking(number),
        seat_ids.iter().map(|id| (*id).to_owned()).collect(),
    )
}

fn seats(rows: &[(&str, Holder)]) -> Seats {
    let row = |(seat_id, holder): &(&str, Holder)| {
        let key = SeatKey {
            event_id: EVENT.into(),
            seat_id: (*seat_id).to_owned(),
        };
        (
            key,
            LockedSeat {
                holder: *holder,
                price_cents: 100,
            },
        )
    };
    rows.iter().map(row).collect()
}

fn terms(number: u128) -> Terms {
    let reserved_at = DateTime::from_timestamp(1_000, 0).unwrap();
    let expires_at = DateTime::from_timestamp(1_900, 0).unwrap();
    Terms {
        reserved_at,
        expires_at,
        total_cents: 100,
        confirmation_number: format!("N{number}"),
        user_id: Some("u".to_owned()),
    }
}

fn holds(rows: &[(u128, Hold)]) -> Holds {
    let key = |number: u128| HoldKey {
        event_id: EVENT.into(),
        booking_id: booking(number),
    };
    rows.iter().map(|(number, hold)| (key(*number), hold.clone())).collect()
}

fn held(number: u128, seat_ids: &[&str]) -> (u128, Hold) {
    let seat_ids = seat_ids.iter().map(|id| (*id).to_owned()).collect();
    (
        number,
        Hold::Held {
            seat_ids,
            terms: terms(number),
        },
    )
}

fn released(number: u128, seat_ids: &[&str], reason: ReleaseReason) -> (u128, Hold) {
    let seat_ids = seat_ids.iter().map(|id| (*id).to_owned()).collect();
    (
        number,
        Hold::Released {
            seat_ids,
            terms: Some(terms(number)),
            reason,
        },
    )
}

#[test]
fn the_first_to_come_gets_all_of_its_seats_or_none() {
    let claims = [
        claim(1, &["A"]),
        claim(2, &["A", "B"]),
        claim(3, &["B", "C"]),
        claim(4, &["C"]),
    ];
    let seats = seats(&[("A", Holder::Nobody), ("B", Holder::Nobody), ("C", Holder::Nobody)]);
    let decided = reserve(&claims.each_ref(), &seats, &Holds::new(), &Allowances::new());
    let expected = [
        Reservation::Win { total_cents: 100 },
        // B stays free for the next: a claim that loses one seat takes none.
        Reservation::Lose,
        Reservation::Win { total_cents: 200 },
        Reservation::Lose,
    ];
    assert_eq!(decided, expected);
}

#[test]
fn the_same_booking_gets_the_same_answer() {
    let claims = [
        claim(1, &["A"]),
        claim(1, &["A"]),
        claim(1, &["B"]),
        claim(2, &["D"]),
        claim(2, &["A"]),
    ];
    let rows = [
        ("A", Holder::Nobody),
        ("B", Holder::Nobody),
        ("D", Holder::HeldBy(booking(2))),
    ];
    let decided = reserve(
        &claims.each_ref(),
        &seats(&rows),
        &holds(&[held(2, &["D"])]),
        &Allowances::new(),
    );
    let expected = [
        Reservation::Win { total_cents: 100 },
        Reservation::RepeatOf(0),
        Reservation::OtherSeats,
        Reservation::Repeat(terms(2)),
        Reservation::OtherSeats,
    ];
    assert_eq!(decided, expected);
}

#[test]
fn a_released_booking_stays_out() {
    let decided = reserve(
        &[&claim(1, &["A"])],
        &seats(&[("A", Holder::Nobody)]),
        &holds(&[released(1, &["A"], ReleaseReason::Expired)]),
        &Allowances::new(),
    );
    assert_eq!(decided, [Reservation::Released]);
}

#[test]
fn a_release_frees_only_its_own_seats() {
    let (one, two) = (claim(1, &["A", "B"]), claim(2, &["B"]));
    let rows = [("A", Holder::HeldBy(booking(1))), ("B", Holder::SoldTo(booking(3)))];
    let claims = [(&one, ReleaseReason::Cancelled), (&two, ReleaseReason::Cancelled)];
    let decided = release(&claims, &seats(&rows), &holds(&[held(1, &["A", "B"])]));
    let freed = SeatKey {
        event_id: EVENT.into(),
        seat_id: "A".into(),
    };
    let had = vec!["A".to_owned(), "B".to_owned()];
    assert_eq!(
        decided,
        [
            Release::Free {
                seats: vec![freed],
                had
            },
            Release::Bury
        ]
    );
}

#[test]
fn a_confirmation_takes_expired_seats_again_if_all_are_free() {
    let claims = [
        claim(1, &["A", "B"]),
        claim(2, &["B"]),
        claim(3, &["C"]),
        claim(4, &["D"]),
    ];
    let rows = [
        ("A", Holder::Nobody),
        ("B", Holder::Nobody),
        ("C", Holder::SoldTo(booking(9))),
        ("D", Holder::Nobody),
    ];
    let known = [
        released(1, &["A", "B"], ReleaseReason::Expired),
        released(2, &["B"], ReleaseReason::Expired),
        released(3, &["C"], ReleaseReason::Expired),
        released(4, &["D"], ReleaseReason::PaymentFailed),
    ];
    let decided = confirm(&claims.each_ref(), &seats(&rows), &holds(&known), &Allowances::new());
    let expected = [
        Confirmation::Sell {
            confirmation_number: "N1".into(),
        },
        Confirmation::Lost {
            seat_ids: vec!["B".into()],
        },
        Confirmation::Lost {
            seat_ids: vec!["C".into()],
        },
        Confirmation::Released,
    ];
    assert_eq!(decided, expected);
}

fn allowed(max: i64, has: i64) -> Allowances {
    let buyer = BuyerKey {
        event_id: EVENT.into(),
        user_id: "u".into(),
    };
    Allowances::from([(buyer, Allowance { max, has })])
}

#[test]
fn claims_of_one_batch_share_the_buyers_allowance() {
    let of = |number, seats: &[&str], user: &str| claim(number, seats).of_buyer(Some(user.to_owned()));
    let claims = [
        of(1, &["A", "B"], "u"),
        of(2, &["C", "D"], "u"),
        of(3, &["C"], "u"),
        of(4, &["D"], "u"),
        of(1, &["A", "B"], "u"),
        of(5, &["D", "E"], "other"),
    ];
    let rows = ["A", "B", "C", "D", "E"].map(|seat| (seat, Holder::Nobody));
    let decided = reserve(&claims.each_ref(), &seats(&rows), &Holds::new(), &allowed(4, 1));
    let expected = [
        Reservation::Win { total_cents: 200 },
        // What is refused takes nothing of the allowance.
        Reservation::OverLimit(Allowance { max: 4, has: 3 }),
        Reservation::Win { total_cents: 100 },
        Reservation::OverLimit(Allowance { max: 4, has: 4 }),
        Reservation::RepeatOf(0),
        // The event limits this one too, but nobody said that they are among those who were counted.
        Reservation::Win { total_cents: 200 },
    ];
    assert_eq!(decided, expected);
}

#[test]
fn a_late_payment_brings_back_no_seats_beyond_the_limit() {
    let claims = [claim(1, &["A"]), claim(2, &["B"]), claim(3, &["C"])];
    let rows = [
        ("A", Holder::Nobody),
        ("B", Holder::Nobody),
        ("C", Holder::HeldBy(booking(3))),
    ];
    let known = holds(&[
        released(1, &["A"], ReleaseReason::Expired),
        released(2, &["B"], ReleaseReason::Expired),
        held(3, &["C"]),
    ]);
    assert_eq!(returning_buyers(&claims.each_ref(), &known).len(), 1);
    let decided = confirm(&claims.each_ref(), &seats(&rows), &known, &allowed(2, 1));
    let sold = |number: u128| Confirmation::Sell {
        confirmation_number: format!("N{number}"),
    };
    let over = Confirmation::OverLimit(Allowance { max: 2, has: 2 });
    assert_eq!(decided, [sold(1), over, sold(3)]);
}

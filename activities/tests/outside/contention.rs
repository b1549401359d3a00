//! Many workers at once over the same seats: nobody gets a seat twice, nobody waits in a circle.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use activities::seats::contract::ReleaseReason;
use activities::seats::sweep_expired_holds;
use futures::future::join_all;
use serde_json::json;
use uuid::Uuid;

use crate::support::{EVENT, Theatre, code, read, reserve_input, run_batch};

/// Cheap, seeded, good enough to shuffle with.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// 40 seats of section S, three of them in any order.
fn some_seats(dice: &mut Dice) -> Vec<String> {
    let mut seats = Vec::new();
    while seats.len() < 3 {
        let seat = format!("{}{}", ['A', 'B', 'C', 'D'][dice.roll(4)], dice.roll(10) + 1);
        if !seats.contains(&seat) {
            seats.push(seat);
        }
    }
    seats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_batches_never_give_a_seat_twice() {
    let theatre = Theatre::with(10).await;
    let workers = (0..8).map(|worker| {
        let registry = theatre.registry.clone();
        tokio::spawn(async move {
            let mut dice = Dice(worker);
            let mut won: Vec<(Uuid, Vec<String>)> = Vec::new();
            for _ in 0..10 {
                let claims: Vec<(Uuid, Vec<String>)> =
                    (0..30).map(|_| (Uuid::now_v7(), some_seats(&mut dice))).collect();
                let input = |(booking, seats): &(Uuid, Vec<String>)| {
                    let seats: Vec<&str> = seats.iter().map(String::as_str).collect();
                    (*booking, reserve_input(*booking, &seats))
                };
                let outcomes = run_batch(&registry, "seats", "seats.reserve", claims.iter().map(input).collect()).await;
                for (claim, outcome) in claims.into_iter().zip(outcomes) {
                    match read::<serde_json::Value>(outcome) {
                        Ok(_) => won.push(claim),
                        Err((code, _)) => assert_eq!(code, "seat_unavailable"),
                    }
                }
                // Give half of them back, so that the fight goes on.
                let back: Vec<(Uuid, Vec<String>)> = won.drain(..won.len() / 2).collect();
                let input = |(booking, seats): &(Uuid, Vec<String>)| {
                    let input =
                        json!({"bookingId": booking, "eventId": EVENT, "seatIds": seats, "reason": "CANCELLED"});
                    (*booking, input)
                };
                let outcomes = run_batch(&registry, "seats", "seats.release", back.iter().map(input).collect()).await;
                for outcome in outcomes {
                    read::<serde_json::Value>(outcome).unwrap();
                }
            }
            won
        })
    });
    let won: Vec<(Uuid, Vec<String>)> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    assert!(!won.is_empty());
    let mut holders: HashMap<String, Uuid> = HashMap::new();
    for (booking, seats) in &won {
        for seat in seats {
            assert_eq!(holders.insert(seat.clone(), *booking), None, "{seat} was given twice");
            assert_eq!(theatre.seat(seat).await, ("held".to_owned(), Some(*booking)));
        }
    }
    theatre.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_booking_from_many_sides_gets_one_answer() {
    let theatre = Theatre::with(10).await;
    for round in 0..10 {
        let booking = Uuid::now_v7();
        let seat = format!("A{}", round % 10 + 1);
        let seats = [seat.as_str()];
        let answers = join_all((0..6).map(|_| theatre.reserve(booking, &seats))).await;
        let first = answers[0].clone().unwrap();
        assert!(
            answers.iter().all(|answer| answer.as_ref() == Ok(&first)),
            "{answers:?}"
        );
        let answers = join_all((0..6).map(|_| theatre.release(booking, &seats, ReleaseReason::Expired))).await;
        assert!(answers.iter().all(Result::is_ok));
    }
    theatre.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whether_claim_or_release_comes_first_nothing_stays_held() {
    let theatre = Theatre::with(10).await;
    for round in 0..30 {
        let booking = Uuid::now_v7();
        let seat = format!("B{}", round % 10 + 1);
        let seats = [seat.as_str()];
        let (claimed, released) = tokio::join!(
            theatre.reserve(booking, &seats),
            theatre.release(booking, &seats, ReleaseReason::Cancelled)
        );
        released.unwrap();
        if claimed.is_err() {
            assert_eq!(code(claimed), "hold_released");
        }
        assert_eq!(theatre.seat(&seat).await, ("available".to_owned(), None));
    }
    theatre.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_confirmation_beats_the_sweep_whoever_comes_first() {
    let theatre = Theatre::with(10).await;
    for round in 0..20 {
        let booking = Uuid::now_v7();
        let seats = [format!("C{}", round % 10 + 1), format!("D{}", round % 10 + 1)];
        let seats: Vec<&str> = seats.iter().map(String::as_str).collect();
        theatre.reserve(booking, &seats).await.unwrap();
        theatre.age(booking).await;
        let (confirmed, swept) = tokio::join!(
            theatre.confirm(booking, &seats),
            sweep_expired_holds(theatre.pool(), Duration::ZERO, 10)
        );
        swept.unwrap();
        confirmed.unwrap();
        assert_eq!(theatre.seat(seats[0]).await, ("sold".to_owned(), Some(booking)));
        theatre
            .release(booking, &seats, ReleaseReason::Cancelled)
            .await
            .unwrap();
    }
    theatre.check().await;
}

/// Not a test of anything but that it ends; prints how fast claims go through.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn how_fast_are_claims() {
    let theatre = Theatre::with(1_000).await;
    for size in [1_usize, 100] {
        let seats: Vec<String> = (0..1_000)
            .map(|seat| format!("{}{}", if size == 1 { 'A' } else { 'B' }, seat + 1))
            .collect();
        let begin = Instant::now();
        for batch in seats.chunks(size).take(50) {
            let input = |seat: &String| {
                let booking = Uuid::now_v7();
                (booking, reserve_input(booking, &[seat.as_str()]))
            };
            let outcomes = run_batch(
                &theatre.registry,
                "seats",
                "seats.reserve",
                batch.iter().map(input).collect(),
            )
            .await;
            assert!(
                outcomes
                    .into_iter()
                    .all(|outcome| read::<serde_json::Value>(outcome).is_ok())
            );
        }
        let claims = seats.chunks(size).take(50).map(<[String]>::len).sum::<usize>();
        println!(
            "batches of {size}: {:.0} claims/s",
            claims as f64 / begin.elapsed().as_secs_f64()
        );
    }
}

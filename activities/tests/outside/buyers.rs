//! What an event allows each buyer, whatever they try at the same time.

use activities::seats::contract::{ReleaseReason, ReserveInput, Reserved};
use activities::seats::sweep_expired_holds;
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

use crate::support::{EVENT, Theatre, code, owned, read, run_batch};

async fn limited(seats: i32) -> Theatre {
    let theatre = Theatre::with(10).await;
    sqlx::query("update ticketing.events set seats_per_buyer_max = $1")
        .bind(seats)
        .execute(theatre.pool())
        .await
        .unwrap();
    theatre
}

fn input(booking: Uuid, user: Option<&str>, seats: &[&str]) -> (Uuid, Value) {
    let input = ReserveInput {
        booking_id: booking,
        event_id: EVENT.into(),
        user_id: user.map(str::to_owned),
        seat_ids: owned(seats),
        hold_seconds: 900,
        charges_cents: 0,
    };
    (booking, json!(input))
}

async fn reserve(theatre: &Theatre, booking: Uuid, user: &str, seats: &[&str]) -> Result<Reserved, (String, Value)> {
    let inputs = vec![input(booking, Some(user), seats)];
    read(
        run_batch(&theatre.registry, "seats", "seats.reserve", inputs)
            .await
            .remove(0),
    )
}

/// Seats in a buyer's hands, counted from the seats themselves.
async fn seats_of(theatre: &Theatre, user: &str) -> i64 {
    let query = "select count(*) from ticketing.seats s join ticketing.holds h using (event_id, booking_id)
                 where s.status <> 'available' and h.user_id = $1";
    sqlx::query_scalar(query)
        .bind(user)
        .fetch_one(theatre.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_held_and_sold_counts_and_what_is_released_does_not() {
    let theatre = limited(4).await;
    let (one, two, three) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let reserved = reserve(&theatre, one, "u", &["A1", "A2"]).await.unwrap();
    theatre.confirm(one, &["A1", "A2"]).await.unwrap();
    reserve(&theatre, two, "u", &["A3"]).await.unwrap();
    let (refused, details) = reserve(&theatre, three, "u", &["A4", "A5"]).await.unwrap_err();
    assert_eq!(refused, "seat_limit");
    assert_eq!(details, json!({"requested": ["A4", "A5"], "max": 4, "has": 3}));
    // Repetitions want nothing more; others have seats of their own.
    assert_eq!(reserve(&theatre, one, "u", &["A1", "A2"]).await.unwrap(), reserved);
    reserve(&theatre, Uuid::now_v7(), "v", &["B1", "B2", "B3", "B4"])
        .await
        .unwrap();
    theatre.release(two, &["A3"], ReleaseReason::Cancelled).await.unwrap();
    reserve(&theatre, three, "u", &["A4", "A5"]).await.unwrap();
    assert_eq!(seats_of(&theatre, "u").await, 4);

    let nobody = vec![input(Uuid::now_v7(), None, &["C1"])];
    let answer = run_batch(&theatre.registry, "seats", "seats.reserve", nobody).await;
    assert_eq!(code(read::<Reserved>(answer[0].clone())), "invalid_input");
    theatre.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_at_the_same_time_stay_within_the_limit() {
    let theatre = limited(4).await;
    // Each worker takes another row's seats, in batches, for the same two buyers in another order.
    let rows = ["A", "B", "C", "D"].into_iter().enumerate();
    let workers = rows.map(|(worker, row)| {
        let registry = theatre.registry.clone();
        tokio::spawn(async move {
            let mut won = 0;
            for first in [1, 3, 5, 7] {
                let seats: Vec<String> = (first..first + 4).map(|number| format!("{row}{number}")).collect();
                let user = |n: usize| if (n + worker).is_multiple_of(2) { "u" } else { "v" };
                let claims = seats.iter().enumerate();
                let inputs = claims.map(|(n, seat)| input(Uuid::now_v7(), Some(user(n)), &[seat.as_str()]));
                for outcome in run_batch(&registry, "seats", "seats.reserve", inputs.collect()).await {
                    match read::<Reserved>(outcome) {
                        Ok(_) => won += 1,
                        Err((code, _)) => {
                            assert!(["seat_limit", "seat_unavailable"].contains(&code.as_str()), "{code}")
                        }
                    }
                }
            }
            won
        })
    });
    let won: i64 = join_all(workers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(won, 8);
    for user in ["u", "v"] {
        assert_eq!(seats_of(&theatre, user).await, 4);
    }
    theatre.check().await;
}

#[tokio::test]
async fn a_payment_that_comes_late_brings_back_nothing_beyond_the_limit() {
    let theatre = limited(2).await;
    let (late, other) = (Uuid::now_v7(), Uuid::now_v7());
    reserve(&theatre, late, "u", &["A1", "A2"]).await.unwrap();
    theatre.age(late).await;
    sweep_expired_holds(theatre.pool(), Duration::ZERO, 10).await.unwrap();
    reserve(&theatre, other, "u", &["B1"]).await.unwrap();
    assert_eq!(code(theatre.confirm(late, &["A1", "A2"]).await), "seats_lost");
    assert_eq!(seats_of(&theatre, "u").await, 1);
    theatre.release(other, &["B1"], ReleaseReason::Cancelled).await.unwrap();
    theatre.confirm(late, &["A1", "A2"]).await.unwrap();
    assert_eq!(seats_of(&theatre, "u").await, 2);
    theatre.check().await;
}

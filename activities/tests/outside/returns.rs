//! Seats that come back for sale, and events that are called off.

use std::time::Duration;

use activities::seats::contract::ReleaseReason;
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;
use workflows::protocol::Outcome;

use crate::support::{EVENT, Theatre, code, read, run_batch};

type Answer = Result<Value, (String, Value)>;

impl Theatre {
    async fn sold(&self, seats: &[&str]) -> Uuid {
        let booking = Uuid::now_v7();
        self.reserve(booking, seats).await.unwrap();
        self.confirm(booking, seats).await.unwrap();
        booking
    }

    async fn give_back(&self, booking: Uuid, refund: Uuid, seats: &[&str]) -> Answer {
        let input = json!({"refundId": refund, "bookingId": booking, "eventId": EVENT, "seatIds": seats});
        let mut outcomes = run_batch(&self.registry, "seats", "seats.return", vec![(refund, input)]).await;
        read(outcomes.remove(0))
    }

    /// As a buyer does: not what was used at the door.
    async fn give_back_unused(&self, booking: Uuid, seats: &[&str]) -> Answer {
        let refund = Uuid::now_v7();
        let input = json!({
            "refundId": refund, "bookingId": booking, "eventId": EVENT, "seatIds": seats, "unlessAdmitted": true,
        });
        let mut outcomes = run_batch(&self.registry, "seats", "seats.return", vec![(refund, input)]).await;
        read(outcomes.remove(0))
    }

    async fn event(&self, activity: &str, input: Value) -> Outcome {
        run_batch(&self.registry, "refunds", activity, vec![(Uuid::now_v7(), input)])
            .await
            .remove(0)
    }
}

#[tokio::test]
async fn seats_come_back_once_and_their_prices_add_up() {
    let theatre = Theatre::with(10).await;
    let booking = theatre.sold(&["A1", "A2", "A3"]).await;
    let (first, rest) = (Uuid::now_v7(), Uuid::now_v7());
    let one = theatre.give_back(booking, first, &["A2"]).await.unwrap();
    assert_eq!(one, json!({"seatIds": ["A2"], "amountCents": 10_000, "seatsLeft": 2}));
    assert_eq!(theatre.give_back(booking, first, &["A2"]).await.unwrap(), one);
    assert_eq!(theatre.seat("A2").await, ("available".into(), None));
    assert_eq!(theatre.seat("A1").await, ("sold".into(), Some(booking)));
    theatre.check().await;

    // Under another name it is another refund, of a seat that is gone.
    let again = theatre.give_back(booking, Uuid::now_v7(), &["A2"]).await.unwrap_err();
    assert_eq!(
        (again.0.as_str(), &again.1["seatIds"]),
        ("not_refundable", &json!(["A2"]))
    );
    // The seat is somebody else's by now; that is nothing to this booking.
    let other = theatre.sold(&["A2"]).await;

    let all = theatre.give_back(booking, rest, &[]).await.unwrap();
    assert_eq!(
        all,
        json!({"seatIds": ["A1", "A3"], "amountCents": 20_000, "seatsLeft": 0})
    );
    assert_eq!(theatre.give_back(booking, rest, &[]).await.unwrap(), all);
    assert_eq!(
        code(theatre.give_back(booking, Uuid::now_v7(), &[]).await),
        "not_refundable"
    );
    assert_eq!(theatre.seat("A2").await, ("sold".into(), Some(other)));
    // Nobody gets it back: neither by a late task of the booking…
    assert_eq!(
        code(theatre.confirm(booking, &["A1", "A2", "A3"]).await),
        "hold_released"
    );
    theatre.release(booking, &[], ReleaseReason::Cancelled).await.unwrap();
    theatre.check().await;
}

#[tokio::test]
async fn of_two_refunds_at_once_one_gets_the_seats() {
    let theatre = Theatre::with(10).await;
    for _ in 0..5 {
        let booking = theatre.sold(&["A1", "A2"]).await;
        let wishes = [vec!["A1", "A2"], vec!["A1"], vec!["A2"], vec![]];
        let answers = join_all(wishes.iter().map(async |seats| {
            // A task that meets another one of the same booking is repeated.
            let refund = Uuid::now_v7();
            loop {
                match theatre.give_back(booking, refund, seats).await {
                    Err((code, _)) if code == "internal" => {}
                    answer => break answer,
                }
            }
        }))
        .await;
        let back: i64 = answers
            .iter()
            .flatten()
            .map(|it| it["amountCents"].as_i64().unwrap())
            .sum();
        assert_eq!(back, 20_000, "{answers:?}");
        theatre.check().await;
    }
}

#[tokio::test]
async fn a_ticket_that_was_used_is_given_back_by_the_organiser_alone() {
    let theatre = Theatre::with(10).await;
    let booking = theatre.sold(&["A1", "A2", "A3"]).await;
    admit(&theatre.database.pool, booking, "A2").await;
    for seats in [vec![], vec!["A1", "A2"]] {
        let (code, details) = theatre.give_back_unused(booking, &seats).await.unwrap_err();
        assert_eq!(
            (code.as_str(), &details["seatIds"]),
            ("not_refundable", &json!(["A2"])),
            "{seats:?}"
        );
    }
    let unused = theatre.give_back_unused(booking, &["A1"]).await.unwrap();
    assert_eq!(unused["seatIds"], json!(["A1"]));
    let rest = theatre.give_back(booking, Uuid::now_v7(), &[]).await.unwrap();
    assert_eq!(rest["seatIds"], json!(["A2", "A3"]));
    theatre.check().await;
}

#[tokio::test]
async fn a_refund_that_meets_a_check_in_waits_and_sees_it() {
    let theatre = Theatre::with(10).await;
    let booking = theatre.sold(&["A1"]).await;
    // A door in the middle of letting somebody in: it has the seat's lock, as the gateway's statement takes it.
    let mut door = theatre.database.pool.begin().await.unwrap();
    sqlx::query("select from ticketing.seats where event_id = $1 and seat_id = 'A1' for share")
        .bind(EVENT)
        .execute(&mut *door)
        .await
        .unwrap();
    let refund = theatre.give_back_unused(booking, &["A1"]);
    let finish = async {
        testkit::eventually(
            "a refund that waits for the door",
            Duration::from_secs(20),
            async || {
                let waiting: i64 = sqlx::query_scalar("select count(*) from pg_locks where not granted")
                    .fetch_one(&theatre.database.pool)
                    .await
                    .unwrap();
                waiting > 0
            },
        )
        .await;
        admit(&mut *door, booking, "A1").await;
        door.commit().await.unwrap();
    };
    let (refund, ()) = tokio::join!(refund, finish);
    assert_eq!(code(refund), "not_refundable");
    assert_eq!(theatre.seat("A1").await, ("sold".into(), Some(booking)));
}

async fn admit(executor: impl sqlx::PgExecutor<'_>, booking: Uuid, seat: &str) {
    sqlx::query(
        "insert into ticketing.check_ins (event_id, booking_id, seat_id, admitted_at, door, scan_id)
         values ($1, $2, $3, now(), 'north', gen_random_uuid())",
    )
    .bind(EVENT)
    .bind(booking)
    .bind(seat)
    .execute(executor)
    .await
    .unwrap();
}

#[tokio::test]
async fn only_confirmed_bookings_give_back() {
    let theatre = Theatre::with(10).await;
    let held = Uuid::now_v7();
    theatre.reserve(held, &["A1"]).await.unwrap();
    let sold = theatre.sold(&["A2"]).await;
    for (booking, seats) in [
        (held, vec!["A1"]),
        (Uuid::now_v7(), vec![]),
        (sold, vec!["A1"]),
        (sold, vec!["Z9"]),
    ] {
        assert_eq!(
            code(theatre.give_back(booking, Uuid::now_v7(), &seats).await),
            "not_refundable"
        );
    }
    assert_eq!(
        code(theatre.give_back(sold, Uuid::now_v7(), &["A2", "A2"]).await),
        "invalid_input"
    );
    theatre.check().await;
}

#[tokio::test]
async fn an_event_that_is_called_off_sells_no_more_seats() {
    let theatre = Theatre::with(10).await;
    let (held, expired) = (Uuid::now_v7(), Uuid::now_v7());
    theatre.reserve(held, &["A1"]).await.unwrap();
    theatre.reserve(expired, &["A3"]).await.unwrap();
    theatre.release(expired, &["A3"], ReleaseReason::Expired).await.unwrap();
    let sold = theatre.sold(&["A2"]).await;
    let saga = Uuid::now_v7();
    let close = json!({"eventId": EVENT, "cancellationId": saga, "reason": "rain"});
    for _ in 0..2 {
        let closed: Value = read(theatre.event("events.close", close.clone()).await).unwrap();
        assert_eq!(closed["status"], "cancelled");
    }
    let other = json!({"eventId": EVENT, "cancellationId": Uuid::now_v7(), "reason": "rain"});
    assert_eq!(
        code::<Value>(read(theatre.event("events.close", other).await)),
        "called_off"
    );
    let nowhere = json!({"eventId": "nowhere", "cancellationId": saga, "reason": "rain"});
    assert_eq!(
        code::<Value>(read(theatre.event("events.close", nowhere).await)),
        "unknown_event"
    );
    assert_eq!(code(theatre.reserve(Uuid::now_v7(), &["A4"]).await), "event_closed");
    // A payment that comes after its hold has ended does not bring it back.
    assert_eq!(code(theatre.confirm(expired, &["A3"]).await), "seats_lost");

    let settle = json!({"eventId": EVENT});
    let Outcome::Pending { details, .. } = theatre.event("events.settle", settle.clone()).await else {
        panic!("there are bookings")
    };
    assert_eq!((&details["bookings"], &details["open"]), (&json!(2), &json!(2)));
    // The one in flight gets through: then it is refunded as well.
    theatre.confirm(held, &["A1"]).await.unwrap();
    theatre.event("events.settle", settle.clone()).await;
    let deeds: Vec<(String, String)> =
        sqlx::query_as("select deed, status from ticketing.event_cancellation_items order by deed, status")
            .fetch_all(theatre.pool())
            .await
            .unwrap();
    assert_eq!(
        deeds,
        [("refund".into(), "due".into()), ("refund".into(), "due".into())]
    );
    for booking in [held, sold] {
        theatre.give_back(booking, Uuid::now_v7(), &[]).await.unwrap();
    }
    let waits = theatre.event("events.settle", settle.clone()).await;
    assert!(
        matches!(waits, Outcome::Pending { .. }),
        "the money isn't back: {waits:?}"
    );
    sqlx::query("update ticketing.refunds set refunded_at = now()")
        .execute(theatre.pool())
        .await
        .unwrap();
    let done: Value = read(theatre.event("events.settle", settle).await).unwrap();
    assert_eq!(done, json!({"bookings": 2, "refundedCents": 20_000}));
    theatre.check().await;
}

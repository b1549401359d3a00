//! What an event's organiser has decided, as it binds claims: when it is sold, how many seats an order has, what the house keeps.

use activities::seats::contract::{ReleaseReason, ReserveInput, Reserved};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{EVENT, Theatre, code, owned, read, run_batch};

async fn set(theatre: &Theatre, change: &'static str) {
    sqlx::query(change).execute(theatre.pool()).await.unwrap();
}

async fn reserve(theatre: &Theatre, seats: &[&str], charges_cents: i64) -> Result<Reserved, (String, Value)> {
    let booking = Uuid::now_v7();
    let input = json!(ReserveInput {
        booking_id: booking,
        event_id: EVENT.into(),
        user_id: None,
        seat_ids: owned(seats),
        hold_seconds: 900,
        charges_cents,
    });
    let answers = run_batch(&theatre.registry, "seats", "seats.reserve", vec![(booking, input)]).await;
    answers.into_iter().map(read).next().unwrap()
}

#[tokio::test]
async fn seats_are_sold_while_the_event_is_on_sale() {
    let theatre = Theatre::with(10).await;
    for change in [
        "update ticketing.events set sale_starts_at = now() + interval '1 minute'",
        "update ticketing.events set sale_starts_at = now() - interval '2 minutes', sale_ends_at = now() - interval '1 second'",
        "update ticketing.events set sale_ends_at = null, status = 'postponed'",
        "update ticketing.events set status = 'cancelled'",
        "update ticketing.events set status = 'draft'",
    ] {
        set(&theatre, change).await;
        assert_eq!(code(reserve(&theatre, &["A1"], 0).await), "event_closed", "{change}");
    }
    set(
        &theatre,
        "update ticketing.events set status = 'on_sale', sale_ends_at = now() + interval '1 minute'",
    )
    .await;
    reserve(&theatre, &["A1"], 0).await.unwrap();
    theatre.check().await;
}

#[tokio::test]
async fn an_order_has_no_more_seats_than_its_event_allows() {
    let theatre = Theatre::with(10).await;
    set(&theatre, "update ticketing.events set seats_per_order_max = 2").await;
    let (code, details) = reserve(&theatre, &["A1", "A2", "A3"], 0).await.unwrap_err();
    assert_eq!((code.as_str(), &details["max"]), ("seat_limit", &json!(2)));
    reserve(&theatre, &["A1", "A2"], 0).await.unwrap();
    theatre.check().await;
}

#[tokio::test]
async fn fees_and_taxes_are_part_of_what_is_owed() {
    let theatre = Theatre::with(10).await;
    let plain = reserve(&theatre, &["A1"], 0).await.unwrap();
    let with = reserve(&theatre, &["A2"], 345).await.unwrap();
    assert_eq!(with.total_cents, plain.total_cents + 345);
    assert_eq!(code(reserve(&theatre, &["A3"], -1).await), "invalid_input");
    assert_eq!(code(reserve(&theatre, &["A3"], i64::MAX).await), "invalid_input");
    theatre.check().await;
}

#[tokio::test]
async fn what_the_house_keeps_nobody_gets() {
    let theatre = Theatre::with(10).await;
    set(
        &theatre,
        "update ticketing.seats set status = 'house' where seat_id = 'A1'",
    )
    .await;
    assert_eq!(code(reserve(&theatre, &["A1", "A2"], 0).await), "seat_unavailable");
    theatre.check().await;
    // A hold that ran out, whose seat the house has taken meanwhile: the payment that comes late doesn't get it back.
    let booking = Uuid::now_v7();
    theatre.reserve(booking, &["A3"]).await.unwrap();
    theatre.release(booking, &["A3"], ReleaseReason::Expired).await.unwrap();
    set(
        &theatre,
        "update ticketing.seats set status = 'house' where seat_id = 'A3'",
    )
    .await;
    assert_eq!(code(theatre.confirm(booking, &["A3"]).await), "seats_lost");
    theatre.check().await;
    set(
        &theatre,
        "update ticketing.seats set status = 'available' where seat_id = 'A3'",
    )
    .await;
    theatre.confirm(booking, &["A3"]).await.unwrap();
    theatre.check().await;
}

//! The contract of the seat activities.

use std::time::Duration;

use activities::seats::contract::ReleaseReason;
use activities::seats::seed::{DEMO_EVENT_ID, EventSeed, seed_demo_event};
use activities::seats::sweep_expired_holds;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{EVENT, Theatre, code, owned, read, reserve_input, run_batch};

fn booking() -> Uuid {
    Uuid::now_v7()
}

#[tokio::test]
async fn a_booking_goes_from_hold_to_sale_and_each_step_can_be_repeated() {
    let theatre = Theatre::with(10).await;
    let (one, seats) = (booking(), ["A1", "A2"]);

    let reserved = theatre.reserve(one, &seats).await.unwrap();
    assert_eq!(reserved.total_cents, 20_000);
    let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap();
    assert_eq!(
        (at(&reserved.expires_at) - at(&reserved.reserved_at)).num_seconds(),
        900
    );
    assert_eq!(theatre.reserve(one, &seats).await.unwrap(), reserved);
    assert_eq!(theatre.reserve(one, &["A2", "A1"]).await.unwrap(), reserved);
    assert_eq!(theatre.seat("A1").await, ("held".into(), Some(one)));

    let confirmed = theatre.confirm(one, &seats).await.unwrap();
    assert_eq!(confirmed.confirmation_number.len(), "SL-00000-00000".len());
    assert_eq!(theatre.confirm(one, &seats).await.unwrap(), confirmed);
    assert_eq!(theatre.reserve(one, &seats).await.unwrap(), reserved);
    assert_eq!(theatre.seat("A2").await, ("sold".into(), Some(one)));
    theatre.check().await;

    let released = theatre.release(one, &seats, ReleaseReason::Cancelled).await.unwrap();
    assert_eq!(released.released, seats);
    assert_eq!(
        theatre.release(one, &seats, ReleaseReason::Cancelled).await.unwrap(),
        released
    );
    assert_eq!(theatre.seat("A1").await, ("available".into(), None));
    theatre.check().await;
}

#[tokio::test]
async fn a_taken_seat_is_refused_with_others_to_choose_from() {
    let theatre = Theatre::with(10).await;
    theatre.reserve(booking(), &["A1"]).await.unwrap();
    let (code, details) = theatre.reserve(booking(), &["A1", "A2"]).await.unwrap_err();
    assert_eq!(code, "seat_unavailable");
    assert_eq!(details["requested"], json!(["A1", "A2"]));
    let available: Vec<&str> = details["available"]
        .as_array()
        .unwrap()
        .iter()
        .map(|seat| seat.as_str().unwrap())
        .collect();
    assert_eq!(available.len(), 20);
    assert!(
        available.iter().all(|seat| !seat.starts_with("T-")),
        "the same section comes first: {available:?}"
    );
    assert!(!available.contains(&"A1"));
    assert_eq!(theatre.seat("A2").await, ("available".into(), None), "all or nothing");
    theatre.check().await;
}

#[tokio::test]
async fn alternatives_come_from_elsewhere_when_the_section_is_gone_and_run_out_in_the_end() {
    let theatre = Theatre::with(2).await;
    theatre
        .reserve(booking(), &["A1", "A2", "B1", "B2", "C1", "C2", "D1"])
        .await
        .unwrap();
    let (_, details) = theatre.reserve(booking(), &["A1"]).await.unwrap_err();
    assert_eq!(details["available"][0], json!("D2"));
    assert_eq!(details["available"].as_array().unwrap().len(), 3);
    theatre.reserve(booking(), &["D2", "T-A-1", "T-A-2"]).await.unwrap();
    let (_, details) = theatre.reserve(booking(), &["T-A-1"]).await.unwrap_err();
    assert_eq!(details["available"], json!([]));
}

#[tokio::test]
async fn what_does_not_exist_and_what_is_malformed_fails_alone() {
    let theatre = Theatre::with(10).await;
    let (good, id) = (booking(), booking());
    let many: Vec<String> = (0..1_000).map(|seat| format!("A{seat}")).collect();
    let with = |field: &str, value: Value| {
        let mut input = reserve_input(id, &["A5"]);
        input[field] = value;
        (id, input)
    };
    let inputs = vec![
        with("eventId", json!("nowhere")),
        with("seatIds", json!(["A5", "Z99"])),
        with("seatIds", json!(["A5", "A5"])),
        with("seatIds", json!([])),
        with("seatIds", json!(many)),
        with("seatIds", json!(["A5", "a\u{0}b"])),
        with("seatIds", json!(["'; drop table ticketing.seats; --"])),
        with("holdSeconds", json!(0)),
        with("holdSeconds", json!("long")),
        (good, reserve_input(good, &["A5"])),
    ];
    let outcomes = run_batch(&theatre.registry, "seats", "seats.reserve", inputs).await;
    let codes: Vec<String> = outcomes
        .into_iter()
        .map(|outcome| read::<Value>(outcome).map_or_else(|(code, _)| code, |_| "ok".into()))
        .collect();
    let bad = "invalid_input";
    assert_eq!(
        codes,
        [
            "unknown_event",
            "unknown_seat",
            bad,
            bad,
            bad,
            bad,
            "unknown_seat",
            bad,
            bad,
            "ok"
        ]
    );

    sqlx::query("update ticketing.events set status = 'closed'")
        .execute(theatre.pool())
        .await
        .unwrap();
    assert_eq!(code(theatre.reserve(booking(), &["A6"]).await), "event_closed");
    assert!(theatre.reserve(good, &["A5"]).await.is_ok(), "who has a hold keeps it");
    theatre.check().await;
}

#[tokio::test]
async fn one_batch_is_decided_in_order_of_arrival() {
    let theatre = Theatre::with(10).await;
    let (one, two, three) = (booking(), booking(), booking());
    let claims: [(Uuid, &[&str]); 5] = [
        (one, &["A1", "A2"]),
        (two, &["A2", "A3"]),
        (three, &["A3"]),
        (one, &["A1", "A2"]),
        (one, &["A9"]),
    ];
    let answers = theatre.reserve_all(&claims).await;
    assert_eq!(answers[0], answers[3], "the same booking, the same answer");
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(code(answers[1].clone()), "seat_unavailable");
    assert_eq!(code(answers[4].clone()), "invalid_input");
    theatre.check().await;
}

#[tokio::test]
async fn a_late_claim_of_a_released_booking_gets_nothing() {
    let theatre = Theatre::with(10).await;
    // Released before it was ever reserved: the release overtook the claim.
    let one = booking();
    assert_eq!(
        theatre
            .release(one, &["A1"], ReleaseReason::Cancelled)
            .await
            .unwrap()
            .released,
        Vec::<String>::new()
    );
    assert_eq!(code(theatre.reserve(one, &["A1"]).await), "hold_released");
    // Reserved, released, and claimed again, while free and when it has gone to another.
    let two = booking();
    theatre.reserve(two, &["A2"]).await.unwrap();
    theatre
        .release(two, &["A2"], ReleaseReason::PaymentFailed)
        .await
        .unwrap();
    assert_eq!(code(theatre.reserve(two, &["A2"]).await), "hold_released");
    theatre.reserve(booking(), &["A2"]).await.unwrap();
    assert_eq!(code(theatre.reserve(two, &["A2"]).await), "hold_released");
    assert_eq!(code(theatre.confirm(two, &["A2"]).await), "hold_released");
    assert_eq!(theatre.seat("A1").await.0, "available");
    theatre.check().await;
}

#[tokio::test]
async fn a_release_leaves_the_seats_of_others_alone() {
    let theatre = Theatre::with(10).await;
    let (one, two) = (booking(), booking());
    theatre.reserve(one, &["A1"]).await.unwrap();
    theatre.reserve(two, &["A2"]).await.unwrap();
    assert_eq!(
        theatre
            .release(two, &["A1"], ReleaseReason::Cancelled)
            .await
            .unwrap()
            .released,
        owned(&["A2"])
    );
    assert_eq!(theatre.seat("A1").await, ("held".into(), Some(one)));
    assert_eq!(
        theatre.seat("A2").await,
        ("available".into(), None),
        "what it had is released, whatever it names"
    );
    assert_eq!(
        theatre
            .release(booking(), &["A1"], ReleaseReason::Expired)
            .await
            .unwrap()
            .released,
        Vec::<String>::new()
    );
    assert_eq!(theatre.seat("A1").await, ("held".into(), Some(one)));
    theatre.check().await;
}

#[tokio::test]
async fn a_paid_booking_gets_its_seats_even_after_its_hold_was_swept_if_they_are_free() {
    let theatre = Theatre::with(10).await;
    let [lucky, unlucky, late, never] = [booking(), booking(), booking(), booking()];
    theatre.reserve(lucky, &["A1", "A2"]).await.unwrap();
    theatre.reserve(unlucky, &["B1", "B2"]).await.unwrap();
    theatre.reserve(late, &["C1"]).await.unwrap();
    for booking in [lucky, unlucky, late] {
        theatre.age(booking).await;
    }
    // Over, but not swept yet.
    theatre.confirm(late, &["C1"]).await.unwrap();

    assert_eq!(
        sweep_expired_holds(theatre.pool(), Duration::from_secs(3 * 3600), 100)
            .await
            .unwrap(),
        0,
        "still in grace"
    );
    assert_eq!(
        sweep_expired_holds(theatre.pool(), Duration::from_secs(60), 100)
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        sweep_expired_holds(theatre.pool(), Duration::from_secs(60), 100)
            .await
            .unwrap(),
        0
    );
    theatre.reserve(booking(), &["B2"]).await.unwrap();
    theatre.check().await;

    let confirmed = theatre.confirm(lucky, &["A1", "A2"]).await.unwrap();
    assert_eq!(theatre.confirm(lucky, &["A1", "A2"]).await.unwrap(), confirmed);
    let (code_, details) = theatre.confirm(unlucky, &["B1", "B2"]).await.unwrap_err();
    assert_eq!((code_.as_str(), details), ("seats_lost", json!({"lost": ["B2"]})));
    assert_eq!(theatre.seat("B1").await.0, "available", "all or nothing");
    assert_eq!(code(theatre.confirm(never, &["D1"]).await), "not_reserved");
    assert_eq!(code(theatre.confirm(lucky, &["A1"]).await), "not_reserved");
    // The saga of the unlucky one ends by itself: from now on no late confirmation can succeed either.
    theatre
        .release(unlucky, &["B1", "B2"], ReleaseReason::PaymentFailed)
        .await
        .unwrap();
    assert_eq!(code(theatre.confirm(unlucky, &["B1", "B2"]).await), "hold_released");
    theatre.check().await;
}

#[tokio::test]
async fn the_sweep_is_an_activity() {
    let theatre = Theatre::with(10).await;
    let one = booking();
    theatre.reserve(one, &["A1"]).await.unwrap();
    theatre.age(one).await;
    let sweep = |input: Value| run_batch(&theatre.registry, "seats", "seats.sweep", vec![(booking(), input)]);
    assert_eq!(
        read::<Value>(sweep(json!({"graceSeconds": 36_000})).await.remove(0)).unwrap(),
        json!({"holds": 0})
    );
    assert_eq!(
        read::<Value>(sweep(json!({})).await.remove(0)).unwrap(),
        json!({"holds": 1})
    );
    theatre.check().await;
}

#[tokio::test]
async fn the_audit_finds_what_is_wrong() {
    let theatre = Theatre::with(10).await;
    let one = booking();
    theatre.reserve(one, &["A1", "A2"]).await.unwrap();
    let steal = "update ticketing.seats set status = 'sold', held_until = null, booking_id = $1 where seat_id = 'A2'";
    sqlx::query(steal)
        .bind(booking())
        .execute(theatre.pool())
        .await
        .unwrap();
    let findings = activities::seats::audit(theatre.pool()).await.unwrap();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!(findings[1].examples, [format!("{EVENT}/A2/{one}")]);
}

#[tokio::test]
async fn the_demo_event_has_20000_seats_and_is_seeded_once() {
    let database = testkit::migrated_database().await;
    let event = EventSeed::demo();
    assert_eq!(seed_demo_event(&database.pool, &event).await.unwrap(), 20_000);
    assert_eq!(seed_demo_event(&database.pool, &event).await.unwrap(), 0);
    let query = "select min(price_cents), max(price_cents), count(*), sum(price_cents) filter (where seat_id in ('A15', 'A16'))::int8
                 from ticketing.seats where event_id = $1";
    let found: (i64, i64, i64, i64) = sqlx::query_as(query)
        .bind(DEMO_EVENT_ID)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(found, (15_000, 50_000, 20_000, 80_000));
}

#[tokio::test]
async fn each_loser_of_a_batch_is_offered_its_own_section_and_others_if_it_is_gone() {
    let theatre = Theatre::with(3).await;
    theatre.reserve(booking(), &["T-A-1", "T-A-2", "T-A-3"]).await.unwrap();
    theatre.reserve(booking(), &["A1"]).await.unwrap();
    let answers = theatre
        .reserve_all(&[(booking(), &["T-A-1"]), (booking(), &["A1"])])
        .await;
    for answer in answers {
        let (_, details) = answer.unwrap_err();
        assert_eq!(details["available"].as_array().unwrap().len(), 11, "{details}");
    }
}

#[tokio::test]
async fn seats_change_without_touching_an_index() {
    let theatre = Theatre::with(10).await;
    for number in 1..=10 {
        let (one, seats) = (booking(), [format!("A{number}"), format!("B{number}")]);
        let seats: Vec<&str> = seats.iter().map(String::as_str).collect();
        theatre.reserve(one, &seats).await.unwrap();
        theatre.confirm(one, &seats).await.unwrap();
        theatre.release(one, &seats, ReleaseReason::Cancelled).await.unwrap();
    }
    // Statistics come in when their connections close.
    theatre.pool().close().await;
    let pool = sqlx::PgPool::connect(&theatre.database.url).await.unwrap();
    let query =
        "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where schemaname = 'ticketing' and relname = 'seats'";
    let mut found = (0_i64, 0_i64);
    let arrived = testkit::eventually("statistics of 60 updates", Duration::from_secs(20), async || {
        found = sqlx::query_as(query).fetch_one(&pool).await.unwrap();
        found.0 >= 60
    });
    arrived.await;
    // Some may find their page full, while something else looks at it; with an index on what changes it would be none.
    assert!(
        found.1 * 2 > found.0,
        "{found:?}: updates, and those that touched no index"
    );
}

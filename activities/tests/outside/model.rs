//! Random stories, told to the activities and to a model small enough to be believed.

use std::collections::BTreeMap;
use std::time::Duration;

use activities::seats::contract::ReleaseReason;
use activities::seats::sweep_expired_holds;
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::Theatre;

const SEATS: [&str; 4] = ["A1", "A2", "B1", "B2"];
const BOOKINGS: usize = 4;

#[derive(Clone, Debug)]
enum Deed {
    Reserve {
        booking: usize,
    },
    Release {
        booking: usize,
        reason: ReleaseReason,
    },
    Confirm {
        booking: usize,
    },
    /// The booking's hold grows old and is swept.
    Sweep {
        booking: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Held,
    Sold,
    Expired,
    Ended,
}

/// Who has what. A booking always wants the same seats.
#[derive(Default)]
struct Model {
    states: BTreeMap<usize, State>,
    seats: BTreeMap<&'static str, usize>,
}

fn wants(booking: usize) -> Vec<&'static str> {
    // Each booking meets its neighbours at one seat.
    vec![SEATS[booking % 4], SEATS[(booking + 1) % 4]]
}

impl Model {
    fn free_for(&self, booking: usize) -> bool {
        wants(booking)
            .iter()
            .all(|seat| self.seats.get(seat).is_none_or(|holder| *holder == booking))
    }

    fn take(&mut self, booking: usize, state: State) {
        self.seats
            .extend(wants(booking).into_iter().map(|seat| (seat, booking)));
        self.states.insert(booking, state);
    }

    fn free(&mut self, booking: usize, state: State) {
        self.seats.retain(|_, holder| *holder != booking);
        self.states.insert(booking, state);
    }

    /// The expected answer: `ok` or a code.
    fn reserve(&mut self, booking: usize) -> &'static str {
        match self.states.get(&booking) {
            Some(State::Held | State::Sold) => "ok",
            Some(State::Expired | State::Ended) => "hold_released",
            None if self.free_for(booking) => {
                self.take(booking, State::Held);
                "ok"
            }
            None => "seat_unavailable",
        }
    }

    fn confirm(&mut self, booking: usize) -> &'static str {
        match self.states.get(&booking) {
            Some(State::Sold) => "ok",
            Some(State::Held | State::Expired) if self.free_for(booking) => {
                self.take(booking, State::Sold);
                "ok"
            }
            Some(State::Held | State::Expired) => "seats_lost",
            Some(State::Ended) => "hold_released",
            None => "not_reserved",
        }
    }

    fn release(&mut self, booking: usize, reason: ReleaseReason, had_seats: bool) {
        let state = match (self.states.get(&booking), reason) {
            (Some(State::Ended), _) => State::Ended,
            (_, ReleaseReason::Expired) if had_seats => State::Expired,
            (_, ReleaseReason::Expired) => State::Expired,
            (_, ReleaseReason::PaymentFailed | ReleaseReason::Cancelled) => State::Ended,
        };
        self.free(booking, state);
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    let reason = prop_oneof![
        Just(ReleaseReason::Expired),
        Just(ReleaseReason::PaymentFailed),
        Just(ReleaseReason::Cancelled)
    ];
    prop_oneof![
        4 => (0..BOOKINGS).prop_map(|booking| Deed::Reserve { booking }),
        2 => ((0..BOOKINGS), reason).prop_map(|(booking, reason)| Deed::Release { booking, reason }),
        3 => (0..BOOKINGS).prop_map(|booking| Deed::Confirm { booking }),
        2 => (0..BOOKINGS).prop_map(|booking| Deed::Sweep { booking }),
    ]
}

async fn tell(theatre: &Theatre, story: Vec<Deed>) {
    let ids: Vec<Uuid> = (0..BOOKINGS).map(|_| Uuid::now_v7()).collect();
    let mut model = Model::default();
    // Bookings that were released before they held anything have no seats to confirm, whatever the reason.
    let mut empty: Vec<usize> = Vec::new();
    for deed in story {
        match deed.clone() {
            Deed::Reserve { booking } => {
                let answer = theatre.reserve(ids[booking], &wants(booking)).await;
                assert_eq!(word(answer), model.reserve(booking), "{deed:?}");
            }
            Deed::Confirm { booking } => {
                let answer = theatre.confirm(ids[booking], &wants(booking)).await;
                let buried = empty.contains(&booking) && model.states.get(&booking) == Some(&State::Expired);
                let expected = if buried { "not_reserved" } else { model.confirm(booking) };
                assert_eq!(word(answer), expected, "{deed:?}");
            }
            Deed::Release { booking, reason } => {
                let known = model.states.contains_key(&booking);
                if !known {
                    empty.push(booking);
                }
                let released = theatre
                    .release(ids[booking], &wants(booking), reason)
                    .await
                    .unwrap()
                    .released;
                assert_eq!(released.len(), if empty.contains(&booking) { 0 } else { 2 }, "{deed:?}");
                model.release(booking, reason, known);
            }
            Deed::Sweep { booking } => {
                let held = model.states.get(&booking) == Some(&State::Held);
                if held {
                    theatre.age(ids[booking]).await;
                    model.free(booking, State::Expired);
                }
                let swept = sweep_expired_holds(theatre.pool(), Duration::ZERO, 10).await.unwrap();
                assert_eq!(swept, u64::from(held), "{deed:?}");
            }
        }
    }
    for seat in SEATS {
        let holder = model.seats.get(seat).map(|booking| ids[*booking]);
        assert_eq!(theatre.seat(seat).await.1, holder, "{seat}");
    }
    theatre.check().await;
    // An empty house for the next story.
    let clear = "delete from ticketing.holds; update ticketing.seats set status = 'available', booking_id = null, held_until = null";
    sqlx::raw_sql(clear).execute(theatre.pool()).await.unwrap();
}

fn word<T>(answer: Result<T, (String, serde_json::Value)>) -> String {
    answer.map_or_else(|(code, _)| code, |_| "ok".to_owned())
}

#[test]
fn every_story_ends_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let theatre = runtime.block_on(Theatre::with(2));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let stories = proptest::collection::vec(deed(), 1..25);
    let outcome = runner.run(&stories, |story| {
        runtime.block_on(async {
            let empty = "delete from ticketing.holds; update ticketing.seats set status = 'available', booking_id = null, held_until = null";
            sqlx::raw_sql(empty).execute(theatre.pool()).await.unwrap();
            tell(&theatre, story).await;
        });
        Ok(())
    });
    outcome.unwrap();
}

//! The cost of one transition of the booking, with its mappings, its effects and the encoding of state, journal entry and
//! task. The floor is 10 µs, with the program's allocator and the state in memory, as the orchestrator has it; that of a saga that must
//! be read first (another replica had it) is measured beside it.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use workflows::effect::Effect;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, TaskResult};
use workflows::state::{State, Status};
use workflows::tickets::{booking, reference};
use workflows::{Compiled, advance, start};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the state comes from.
#[derive(Clone, Copy)]
enum From {
    Memory,
    Store,
}

/// A whole saga, with each state encoded for the store, and decoded if it comes from there.
fn run(definition: &Compiled, input: &serde_json::Value, from: From) -> usize {
    let saga = SagaId(uuid::Uuid::from_u128(42));
    let mut transition = start(definition, saga, input.clone(), None, Timestamp(0)).unwrap();
    let mut transitions = 1;
    loop {
        let text = transition.state.encode();
        let task = transition.effects.iter().find_map(|effect| match effect {
            Effect::Dispatch { task, .. } => Some(task),
            Effect::Publish(_) => None,
        });
        let Some(task) = task else { break };
        black_box(serde_json::to_string(task).unwrap());
        let output = json!({ "reservedAt": "2026-11-22T10:00:00.000Z", "expiresAt": "2026-11-22T10:15:00.000Z" });
        let event = Event::Result(TaskResult {
            token: task.token.clone(),
            outcome: Outcome::Succeeded { output },
        });
        black_box(serde_json::to_string(&event).unwrap());
        // The cache keeps the state too, so the orchestrator advances a copy.
        let state = match from {
            From::Memory => transition.state.clone(),
            From::Store => State::decode(&text).unwrap(),
        };
        black_box(&text);
        transition = advance(definition, saga, state, &event, Timestamp(transitions as i64)).unwrap();
        transitions += 1;
    }
    assert_eq!(transition.state.status(), Status::Completed);
    transitions
}

fn bench(criterion: &mut Criterion) {
    let booking = Compiled::new(booking::definition(&booking::Durations::default())).unwrap();
    let input = json!({
        "userId": "u1", "eventId": "taylor_swift_nyc_2024", "seatIds": ["A15", "A16"], "totalCents": 80_000,
        "currency": "usd", "paymentMethod": "pm_card_visa", "email": "fan@example.com",
        "event": { "name": "The Eras Tour", "venue": "Madison Square Garden", "date": "2024-11-22" },
    });
    criterion.bench_function("booking, 5 transitions", |bencher| {
        bencher.iter(|| run(&booking, &input, From::Memory))
    });
    criterion.bench_function("booking, 5 transitions, each state decoded", |bencher| {
        bencher.iter(|| run(&booking, &input, From::Store))
    });
    let reference = Compiled::new(reference::definition()).unwrap();
    let input = json!({ "seatId": "S-1", "n": 1 });
    criterion.bench_function("reference, 5 transitions", |bencher| {
        bencher.iter(|| run(&reference, &input, From::Memory))
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);

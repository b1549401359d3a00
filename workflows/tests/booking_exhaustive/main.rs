//! Every interleaving of the booking saga with a small world: tasks done, lost, repeated, done late by zombies; results
//! lost, repeated, reordered; time-outs, the hold's end, declines, cancellation, webhooks.
//!
//! The search goes through all choices to a depth of [`DEPTH`] steps (each a task run, a result delivered, time
//! passing, a command or a signal). From every state on the frontier the world then behaves well, and the saga
//! must come to an allowed end with money and seats balanced. Invariants are checked in every state on the way.
#![allow(clippy::unwrap_used)]

mod steps;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use workflows::effect::Effect;
use workflows::event::{Command, CommandEvent, Event, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Task, TaskResult};
use workflows::state::{State, Status};
use workflows::tickets::booking;
use workflows::{Compiled, advance, rebuild, start};

/// Choices on the way to the frontier. One more multiplies the states by about four.
const DEPTH: usize = 8;
/// The same where operators step in: a queue is paused, or the saga goes back.
const OPERATED_DEPTH: usize = 6;
/// Tasks and results that may be repeated on one path.
const REPEATS_MAX: u32 = 1;
/// Steps in which a well-behaved world must come to the end.
const DRAIN_STEPS_MAX: usize = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Seat {
    Free,
    Held,
    Sold,
    /// Somebody else's.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Intent {
    Charged,
    Refunded,
    Canceled,
    /// A definite failure is stored under the key.
    Declined,
}

/// What is outside: the seat, the provider, and messages on their way.
#[derive(Clone, Debug)]
struct World {
    seat: Seat,
    released: bool,
    intents: BTreeMap<String, Intent>,
    tasks: Vec<Task>,
    results: Vec<TaskResult>,
    repeats: u32,
    cancelled: bool,
    signalled: bool,
    rival: bool,
    /// Times that an operator may still let the saga go back, and pause the queues.
    backs: u32,
    pauses: u32,
    /// The queues let nothing through.
    gated: bool,
}

#[derive(Clone)]
struct Node {
    state: State,
    world: World,
    now: Timestamp,
    journal: Vec<(Timestamp, Event)>,
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Choice {
    /// A worker runs a task; its answer arrives on the results' side, or is lost.
    Run {
        task: usize,
        how: How,
        answer_lost: bool,
    },
    /// A task is lost.
    LoseTask(usize),
    /// The broker delivers a task twice.
    RepeatTask(usize),
    Deliver(usize),
    RepeatResult(usize),
    /// Time passes until something is due.
    Wait,
    Cancel,
    Webhook,
    /// Another buyer takes the seat if it is free.
    Rival,
    GoBack(&'static str),
    /// An operator pauses every queue, or resumes them.
    Gate,
    /// A queue lets the first held task through.
    LetThrough,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Well,
    /// A card error that no retry can mend.
    Declined,
    /// A definite failure worth a retry.
    Busy,
    /// The effect happens, the worker can't tell.
    UnknownDone,
    /// It does not happen, the worker can't tell.
    UnknownNot,
}

fn saga() -> SagaId {
    SagaId(uuid::Uuid::from_u128(1))
}

fn failed(code: &str, retryable: bool) -> Outcome {
    let details = json!({ "requested": ["A1"], "available": [] });
    Outcome::Failed {
        code: code.into(),
        message: code.into(),
        retryable,
        details,
    }
}

fn succeeded() -> Outcome {
    Outcome::Succeeded {
        output: json!({ "paymentId": "pi_1", "confirmationNumber": "C1" }),
    }
}

impl World {
    fn seats(&mut self, activity: &str) -> Outcome {
        match (activity, self.seat) {
            ("seats.reserve", _) if self.released => failed("hold_released", false),
            ("seats.reserve", Seat::Other) => failed("seat_unavailable", false),
            ("seats.reserve", Seat::Sold) => succeeded(),
            ("seats.reserve", Seat::Free | Seat::Held) => {
                self.seat = Seat::Held;
                succeeded()
            }
            ("seats.release", seat) => {
                self.released = true;
                if seat != Seat::Other {
                    self.seat = Seat::Free;
                }
                succeeded()
            }
            ("seats.confirm", _) if self.released => failed("hold_released", false),
            ("seats.confirm", Seat::Other) => failed("seats_lost", false),
            ("seats.confirm", Seat::Free | Seat::Held | Seat::Sold) => {
                self.seat = Seat::Sold;
                succeeded()
            }
            (other, _) => panic!("{other}"),
        }
    }

    fn payments(&mut self, activity: &str, key: &str, declined: bool) -> Outcome {
        let intent = self.intents.get(key).copied();
        let mut set = |intent| {
            self.intents.insert(key.to_owned(), intent);
        };
        match (activity, intent) {
            ("payments.charge", Some(Intent::Canceled | Intent::Refunded)) => failed("intent_canceled", false),
            ("payments.charge", Some(Intent::Declined)) => failed("card_declined", false),
            ("payments.charge", Some(Intent::Charged)) => succeeded(),
            ("payments.charge", None) if declined => {
                set(Intent::Declined);
                failed("card_declined", false)
            }
            ("payments.charge", None) => {
                set(Intent::Charged);
                succeeded()
            }
            ("payments.lookup" | "payments.cancel", Some(Intent::Charged)) => succeeded(),
            ("payments.lookup", None) => failed("not_charged", true),
            ("payments.lookup", Some(_)) => failed("card_declined", false),
            ("payments.cancel", _) => {
                set(Intent::Canceled);
                failed("not_charged", false)
            }
            ("payments.refund", Some(Intent::Charged | Intent::Refunded)) => {
                set(Intent::Refunded);
                succeeded()
            }
            ("payments.refund", _) => {
                set(Intent::Canceled);
                succeeded()
            }
            (other, _) => panic!("{other}"),
        }
    }

    fn run(&mut self, task: &Task, how: How) -> Outcome {
        let unknown = || Outcome::Unknown { message: "cut".into() };
        match how {
            How::Busy => failed("rate_limited", true),
            How::UnknownNot => unknown(),
            How::Well | How::Declined | How::UnknownDone => {
                let outcome = match task.activity.split_once('.').unwrap().0 {
                    "seats" => self.seats(&task.activity),
                    "payments" => self.payments(&task.activity, &task.key, how == How::Declined),
                    _notification => succeeded(),
                };
                if how == How::UnknownDone { unknown() } else { outcome }
            }
        }
    }

    fn charged(&self) -> usize {
        self.intents
            .values()
            .filter(|intent| **intent == Intent::Charged)
            .count()
    }
}

#[derive(Default)]
struct Counts {
    states: usize,
    ends: BTreeMap<Status, usize>,
}

fn search(
    definition: &Compiled,
    node: &Node,
    path: &mut Vec<Choice>,
    depth: usize,
    seen: &mut HashSet<(u64, usize)>,
    counts: &mut Counts,
) {
    // A state seen with at least as many choices left needs no second visit; depths differ little, so exact is enough.
    if !seen.insert((node.fingerprint(), path.len())) {
        return;
    }
    counts.states += 1;
    node.check(path);
    let choices = node.choices();
    if path.len() == depth || choices.is_empty() {
        let mut end = node.clone();
        end.drain(definition);
        end.check_end(definition, path);
        *counts.ends.entry(end.state.status()).or_default() += 1;
        return;
    }
    for choice in choices {
        let mut next = node.clone();
        next.go(definition, &choice);
        path.push(choice);
        search(definition, &next, path, depth, seen, counts);
        path.pop();
    }
}

fn begin(definition: &Compiled) -> Node {
    let input = json!({
        "userId": "u1", "eventId": "e1", "seatIds": ["A1"], "totalCents": 35_000, "currency": "usd",
        "paymentMethod": "pm_card_visa", "email": null,
        "event": { "name": "E", "venue": "V", "date": "2026-11-22" },
    });
    let world = World {
        seat: Seat::Free,
        released: false,
        intents: BTreeMap::new(),
        tasks: Vec::new(),
        results: Vec::new(),
        repeats: 0,
        cancelled: false,
        signalled: false,
        rival: false,
        backs: 0,
        pauses: 0,
        gated: false,
    };
    let now = Timestamp(0);
    let transition = start(definition, saga(), input.clone(), None, now).unwrap();
    let journal = vec![(
        now,
        Event::Started {
            input,
            traceparent: None,
        },
    )];
    let mut node = Node {
        state: transition.state,
        world,
        now,
        journal,
    };
    node.take(&transition.effects);
    node
}

/// A booking after so many steps that went well.
fn after(definition: &Compiled, well: usize) -> Node {
    let mut node = begin(definition);
    let run = Choice::Run {
        task: 0,
        how: How::Well,
        answer_lost: false,
    };
    for _ in 0..well {
        node.go(definition, &run);
        node.go(definition, &Choice::Deliver(0));
    }
    node
}

/// Searches on from a node after so many steps.
fn search_from(definition: &Compiled, node: &Node, well: usize, depth: usize) -> Counts {
    let mut counts = Counts::default();
    search(
        definition,
        node,
        &mut Vec::new(),
        depth,
        &mut HashSet::new(),
        &mut counts,
    );
    println!(
        "{} states after {well} steps to depth {depth}, ends: {:?}",
        counts.states, counts.ends
    );
    counts
}

#[test]
fn every_interleaving_ends_with_money_and_seats_balanced() {
    let definition = Compiled::new(booking::definition(&booking::Durations::default())).unwrap();
    let mut counts = Counts::default();
    search(
        &definition,
        &begin(&definition),
        &mut Vec::new(),
        DEPTH,
        &mut HashSet::new(),
        &mut counts,
    );
    println!("{} states to depth {DEPTH}, ends: {:?}", counts.states, counts.ends);
    assert!(counts.states > 10_000, "the search must not silently shrink");
    for status in [
        Status::Completed,
        Status::Compensated,
        Status::Rejected,
        Status::Cancelled,
    ] {
        assert!(counts.ends.contains_key(&status), "no path ends {status:?}");
    }
}

/// Later parts of a booking's life, searched from a payment under way, and from the confirmation.
#[test]
fn every_interleaving_from_the_payment_on_ends_balanced() {
    let definition = Compiled::new(booking::definition(&booking::Durations::default())).unwrap();
    for well in [1, 2] {
        let node = after(&definition, well);
        let counts = search_from(&definition, &node, well, DEPTH);
        assert!(counts.states > 10_000, "the search must not silently shrink");
    }
}

/// An operator pauses the queues once and lets the saga go back once, at any moment, from its beginning and from a payment under way.
#[test]
fn every_interleaving_with_an_operator_ends_balanced() {
    let definition = Compiled::new(booking::definition(&booking::Durations::default())).unwrap();
    let mut went_back = 0;
    for well in [0, 1, 2] {
        let mut node = after(&definition, well);
        (node.world.backs, node.world.pauses) = (1, 1);
        let mut back = node.clone();
        back.go_back(&definition, "reserve");
        went_back += usize::from(back.state.back.is_some());
        let counts = search_from(&definition, &node, well, OPERATED_DEPTH);
        assert!(counts.states > 1_000, "the search must not silently shrink");
    }
    assert!(went_back > 0, "nothing was ever gone back behind");
}

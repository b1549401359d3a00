//! Random interleavings of everything, with answers lost, refused and late: one booking is never paid twice, and a
//! definite failure stays one.

use std::collections::BTreeSet;
use std::time::Duration;

use activities::payments::contract::SAME_KEY_CODES;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sandbox::{Range, Switches};
use workflows::protocol::Outcome;

use crate::shop::{Shop, booking, context, input};

/// Stories told; each takes some hundred milliseconds, most of them spent waiting for answers that never come.
const CASES: u32 = 40;

#[derive(Clone, Copy, Debug)]
enum Act {
    Charge,
    /// A task of an earlier key that comes late.
    LateCharge,
    Lookup,
    Cancel,
    Refund,
}

/// Acts of one story: those in the same group happen at the same time.
fn stories() -> impl Strategy<Value = Vec<Vec<Act>>> {
    let act = prop_oneof![
        4 => Just(Act::Charge),
        2 => Just(Act::LateCharge),
        2 => Just(Act::Lookup),
        1 => Just(Act::Cancel),
        1 => Just(Act::Refund),
    ];
    prop::collection::vec(prop::collection::vec(act, 1..4), 1..6)
}

#[test]
fn nobody_pays_twice_and_never_means_never() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let switches = Switches {
        latency_ms: Range(0, 5),
        error_rate: 0.1,
        rate_limit_rate: 0.1,
        timeout_rate: 0.05,
        lost_answer_rate: 0.15,
        decline_rate: 0.1,
        seed: Some(7),
        ..Switches::default()
    };
    let shop = runtime.block_on(Shop::with(switches, Duration::from_millis(400)));
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let told = runner.run(&stories(), |story| runtime.block_on(tell(&shop, story)));
    runtime.block_on(async { drop(shop) });
    told.unwrap();
}

async fn tell(shop: &Shop, story: Vec<Vec<Act>>) -> Result<(), TestCaseError> {
    let booking = booking();
    let input = input(booking, "pm_card_visa");
    let mut effect: u32 = 1;
    // Keys of which somebody was told that nothing was charged, nor ever will be.
    let mut never: BTreeSet<u32> = BTreeSet::new();
    let mut over = false;
    for group in story {
        let acts = group
            .iter()
            .filter(|act| !over || !matches!(act, Act::Charge))
            .map(|act| {
                let (activity, number) = match act {
                    Act::Charge => ("payments.charge", effect),
                    Act::LateCharge => ("payments.charge", effect.saturating_sub(1).max(1)),
                    Act::Lookup => ("payments.lookup", effect),
                    Act::Cancel => ("payments.cancel", effect),
                    Act::Refund => ("payments.refund", effect),
                };
                let input = input.clone();
                async move { (*act, number, shop.run(activity, &context(booking, number), input).await) }
            });
        for (act, number, outcome) in join_all(acts).await {
            match (act, &outcome) {
                (Act::Refund, Outcome::Succeeded { .. }) => over = true,
                (Act::Refund, _) | (_, Outcome::Succeeded { .. } | Outcome::Unknown { .. }) => {}
                (Act::Lookup, Outcome::Failed { code, .. }) if code == "not_charged" => {}
                (_, Outcome::Failed { code, .. }) if SAME_KEY_CODES.contains(&code.as_str()) => {}
                (_, Outcome::Failed { code, retryable, .. }) => {
                    prop_assert!(code != "invalid_request" && code != "invalid_input", "{:?}", outcome);
                    never.insert(number);
                    over |= !retryable;
                    // As the engine does: a new key only after a definite failure.
                    if number == effect && *retryable {
                        effect += 1;
                    }
                }
                (_, other) => prop_assert!(false, "{:?} gave {:?}", act, other),
            }
        }
    }
    let intents = shop.intents_of(booking);
    let captured: Vec<_> = intents.iter().filter(|intent| intent.captured > 0).collect();
    prop_assert!(captured.len() <= 1, "paid {} times: {:?}", captured.len(), captured);
    for number in never {
        let key = format!("{booking}/pay/{number}");
        let paid = captured.iter().any(|intent| intent.metadata.get("key") == Some(&key));
        prop_assert!(!paid, "{} was said to be never charged, and was", key);
    }
    Ok(())
}

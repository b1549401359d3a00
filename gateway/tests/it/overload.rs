//! More bookings than the back end takes: those in work go on, the others are sent away at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::shop::{self, Answer, LIMIT, Shop, wish};

/// Bookings in work at a time.
const IN_WORK: usize = 8;
/// Ten times as many as fit, and more.
const CROWD: usize = 120;

async fn busy_shop() -> (Shop, Arc<Semaphore>) {
    let shop = shop::open_with(gateway::Options {
        bookings_in_work_max: IN_WORK,
        // The engine stands still here, which is not what this is about.
        booking_start_target: LIMIT,
        ..shop::options()
    })
    .await;
    let gate = Arc::new(Semaphore::new(0));
    *shop.engine.gate.lock().unwrap() = Some(gate.clone());
    (shop, gate)
}

#[tokio::test]
async fn a_crowd_is_sent_away_and_what_is_in_work_gets_done() {
    let (shop, gate) = busy_shop().await;
    let inside: Vec<_> = (0..IN_WORK)
        .map(|_| tokio::spawn(Answer::of(shop.booking(&wish()))))
        .collect();
    let arrived = || shop.engine.arrived.load(Ordering::SeqCst);
    testkit::eventually("the engine has all that fit", LIMIT, async || arrived() == IN_WORK).await;

    // Nothing of the crowd reaches the engine; each is told when to come again.
    let crowd = futures::future::join_all((0..CROWD).map(|_| Answer::of(shop.booking(&wish())))).await;
    for answer in &crowd {
        answer.problem(503, "overloaded");
        let after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=4).contains(&after));
    }
    assert_eq!(arrived(), IN_WORK);
    // What isn't a booking is answered as ever.
    assert_eq!(shop.get("/events/tour").await.status, 200);
    assert_eq!(shop.get("/health/ready").await.status, 200);

    // What is in work gets done, all of it, and then there is room again.
    gate.add_permits(IN_WORK);
    for booking in futures::future::join_all(inside).await {
        assert_eq!(booking.unwrap().status, 202);
    }
    *shop.engine.gate.lock().unwrap() = None;
    assert_eq!(Answer::of(shop.booking(&wish())).await.status, 202);
}

#[tokio::test]
async fn every_turn_of_the_engine_is_used_however_many_knock() {
    let (shop, gate) = busy_shop().await;
    let shop = Arc::new(shop);
    // Buyers who try until they are in: ten times as many as fit.
    let buyers: Vec<_> = (0..IN_WORK * 10)
        .map(|_| {
            let shop = shop.clone();
            tokio::spawn(async move {
                let mut refusals = 0;
                loop {
                    let answer = Answer::of(shop.booking(&wish())).await;
                    match answer.status.as_u16() {
                        202 => return refusals,
                        503 => refusals += 1,
                        other => panic!("{other}: {}", answer.text),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // The engine answers one after the other, and never has to wait for the next: while anybody is left, as many are
    // in work as fit, and never more.
    let arrived = || shop.engine.arrived.load(Ordering::SeqCst);
    for done in 0..buyers.len() {
        let expected = (done + IN_WORK).min(buyers.len());
        testkit::eventually("the room is used", LIMIT, async || arrived() == expected).await;
        gate.add_permits(1);
    }
    let refusals: Vec<usize> = futures::future::join_all(buyers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(refusals.iter().sum::<usize>() > 0);
    assert_eq!(shop.engine.starts().len(), refusals.len());
}

#[tokio::test]
async fn a_busy_engine_makes_the_room_smaller() {
    let shop = shop::open_with(gateway::Options {
        bookings_in_work_max: IN_WORK,
        ..shop::options()
    })
    .await;
    shop.engine.is_busy.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        let answer = Answer::of(shop.booking(&wish())).await;
        answer.problem(503, "overloaded");
    }
    shop.engine.is_busy.store(false, Ordering::SeqCst);
    *shop.engine.gate.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    let before = shop.engine.arrived.load(Ordering::SeqCst);
    let crowd = (0..IN_WORK * 4).map(|_| shop.booking(&wish()).timeout(Duration::from_secs(2)).send());
    let crowd = futures::future::join_all(crowd).await;
    let in_work = shop.engine.arrived.load(Ordering::SeqCst) - before;
    let refused = crowd
        .iter()
        .filter(|it| it.as_ref().is_ok_and(|answer| answer.status() == 503))
        .count();
    // The least that is always tried.
    assert_eq!((in_work, refused), (4, IN_WORK * 4 - 4));
}

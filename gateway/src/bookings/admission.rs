//! How many bookings this gateway has in work at a time: as many as the back end takes without getting slow.
//!
//! Additive increase, multiplicative decrease, as TCP does it: each start that is answered in time lets a little more in, one
//! that takes too long, or that the engine sends away, takes a part of it back. The engine works in batches, so its throughput
//! grows with what is in flight until something is full; then only the time grows, and that is what is measured. Who finds no
//! room waits for a moment in a short queue, then is sent away with 503, before anything was asked of Postgres: refusing
//! costs next to nothing, so what is in work goes on at full speed however many knock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{
    BOOKINGS_DECREASE, BOOKINGS_IN_WORK_INITIAL, BOOKINGS_IN_WORK_MIN, BOOKINGS_INCREASE, BOOKINGS_QUEUE_SHARE,
    BOOKINGS_QUEUE_WAIT, ROOM_SHARE,
};

/// How much the newest start counts in what one takes.
const TOOK_WEIGHT: f64 = 0.05;
/// No start is believed to be quicker, in seconds: nothing goes through a database sooner.
const TOOK_S_MIN: f64 = 0.001;

/// The gate in front of the work that a booking costs. Cheap to clone.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    gauge: Mutex<Gauge>,
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// What the limit is, and how it moves.
struct Gauge {
    limit: f64,
    limit_max: f64,
    /// A start that takes longer says that too much is in work.
    target: Duration,
    /// Work that began before the last decrease says nothing about the limit since.
    decreased_at: Option<Instant>,
    /// Permits there are, taken or not.
    permits: usize,
    in_work: usize,
    /// How long beginning a booking takes, lately.
    took_s: f64,
}

/// What the work showed of the back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing: it ended for reasons of its own.
    None,
    /// A booking was begun.
    Begun,
    /// The engine had too much to do.
    Overloaded,
}

/// Room for one booking, until dropped.
pub struct Admitted {
    admission: Admission,
    permit: Option<OwnedSemaphorePermit>,
    began_at: Instant,
    sign: Sign,
}

impl Gauge {
    /// Learns from work that is done at `now`.
    fn learn(&mut self, began_at: Instant, now: Instant, sign: Sign) {
        if sign == Sign::Begun {
            let took_s = now.duration_since(began_at).as_secs_f64();
            self.took_s += (took_s - self.took_s) * TOOK_WEIGHT;
        }
        let is_late = now.duration_since(began_at) > self.target;
        match sign {
            _ if is_late => self.decrease(began_at, now),
            Sign::Overloaded => self.decrease(began_at, now),
            // Where there was room to spare, being in time says nothing about more.
            Sign::Begun if self.in_work as f64 >= self.limit / 2.0 => {
                self.limit = (self.limit + BOOKINGS_INCREASE / self.limit).min(self.limit_max);
            }
            Sign::Begun | Sign::None => (),
        }
    }

    fn decrease(&mut self, began_at: Instant, now: Instant) {
        if self.decreased_at.is_some_and(|at| began_at < at) {
            return;
        }
        self.decreased_at = Some(now);
        self.limit = (self.limit * BOOKINGS_DECREASE).max(BOOKINGS_IN_WORK_MIN.min(self.limit_max));
    }

    fn limit(&self) -> usize {
        self.limit as usize
    }
}

impl Admission {
    /// How much of what is taken at a time is in work: 0 to 1.
    pub fn load(&self) -> f64 {
        let gauge = self.0.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        (gauge.in_work as f64 / gauge.limit.max(1.0)).min(1.0)
    }

    /// At most `in_work_max` at a time, fewer where starts take longer than `target`.
    pub fn new(in_work_max: usize, target: Duration) -> Admission {
        let limit_max = in_work_max.clamp(1, Semaphore::MAX_PERMITS) as f64;
        let gauge = Gauge {
            limit: BOOKINGS_IN_WORK_INITIAL.min(limit_max),
            limit_max,
            target,
            decreased_at: None,
            permits: 0,
            in_work: 0,
            // Until it is known, as if it were just good enough.
            took_s: target.as_secs_f64(),
        };
        let permits = gauge.limit();
        Admission(Arc::new(Shared {
            gauge: Mutex::new(Gauge { permits, ..gauge }),
            room: Arc::new(Semaphore::new(permits)),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Room for a booking; none: there is too much to do.
    pub async fn admit(&self) -> Option<Admitted> {
        let shared = &self.0;
        let permit = match shared.room.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = Place::in_queue(&shared.waiting, self.gauge().limit() / BOOKINGS_QUEUE_SHARE)?;
                let turn = shared.room.clone().acquire_owned();
                tokio::time::timeout(BOOKINGS_QUEUE_WAIT, turn).await.ok()?.ok()?
            }
        };
        self.gauge().in_work += 1;
        Some(Admitted {
            admission: self.clone(),
            permit: Some(permit),
            began_at: Instant::now(),
            sign: Sign::None,
        })
    }

    /// How many more buyers can be let in, after that time has passed since the last ones were: what the limit allows to be
    /// begun meanwhile (Little's law), or nobody while all room is taken.
    pub fn sustainable(&self, time: Duration) -> u64 {
        if self.0.room.available_permits() == 0 {
            return 0;
        }
        let gauge = self.gauge();
        let per_s = gauge.limit / gauge.took_s.max(TOOK_S_MIN);
        (per_s * time.as_secs_f64() * ROOM_SHARE) as u64
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.0.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn in_queue(waiting: &'a AtomicUsize, places: usize) -> Option<Place<'a>> {
        let place = Place(waiting);
        // Dropped, and so counted out again, if there is none.
        (waiting.fetch_add(1, Ordering::Relaxed) < places).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admitted {
    /// Says what the work has shown; it is done.
    pub fn end(mut self, sign: Sign) {
        self.sign = sign;
    }
}

impl Drop for Admitted {
    /// Also when the client has hung up or was not answered in time.
    fn drop(&mut self) {
        let mut gauge = self.admission.gauge();
        gauge.learn(self.began_at, Instant::now(), self.sign);
        gauge.in_work -= 1;
        let room = &self.admission.0.room;
        let (wanted, permits) = (gauge.limit(), gauge.permits);
        if wanted > permits {
            room.add_permits(wanted - permits);
            gauge.permits = wanted;
        } else if wanted < permits
            && let Some(permit) = self.permit.take()
        {
            // One at a time, as work ends: those in work keep theirs.
            permit.forget();
            gauge.permits -= 1;
        }
        metrics::gauge!("sagaline_gateway_bookings_limit").set(gauge.limit);
        metrics::gauge!("sagaline_gateway_bookings_in_work").set(gauge.in_work as f64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TARGET: Duration = Duration::from_millis(100);
    const IN_TIME: Duration = Duration::from_millis(50);
    const LATE: Duration = Duration::from_millis(150);

    fn gauge() -> Gauge {
        Gauge {
            limit: 100.0,
            limit_max: 120.0,
            target: TARGET,
            decreased_at: None,
            permits: 100,
            in_work: 100,
            took_s: 0.25,
        }
    }

    #[test]
    fn the_limit_grows_while_starts_are_in_time_and_room_is_used() {
        let start = Instant::now();
        let mut gauge = gauge();
        gauge.learn(start, start + IN_TIME, Sign::Begun);
        assert!(gauge.limit > 100.0);
        (0..10_000).for_each(|_| gauge.learn(start, start + IN_TIME, Sign::Begun));
        assert_eq!(gauge.limit, 120.0);
        gauge.limit = 100.0;
        gauge.learn(start, start + IN_TIME, Sign::None);
        gauge.in_work = 10;
        gauge.learn(start, start + IN_TIME, Sign::Begun);
        assert_eq!(gauge.limit, 100.0);
    }

    #[test]
    fn the_limit_shrinks_once_for_all_that_was_in_work_then() {
        let start = Instant::now();
        let mut gauge = gauge();
        (0..100).for_each(|_| gauge.learn(start, start + LATE, Sign::Begun));
        assert_eq!(gauge.limit, 100.0 * BOOKINGS_DECREASE);
        gauge.learn(start + LATE, start + LATE + IN_TIME, Sign::Overloaded);
        assert_eq!(gauge.limit, 100.0 * BOOKINGS_DECREASE * BOOKINGS_DECREASE);
        // However bad it gets, something is tried: otherwise nothing would ever be learned again.
        let mut at = start + LATE;
        for _ in 0..1_000 {
            at += LATE * 2;
            gauge.learn(at, at + LATE, Sign::None);
        }
        assert_eq!(gauge.limit, BOOKINGS_IN_WORK_MIN);
    }

    #[tokio::test]
    async fn no_more_get_in_than_the_limit_and_few_wait() {
        // Nothing is late here.
        let admission = Admission::new(8, Duration::from_secs(3_600));
        let mut inside = Vec::new();
        for _ in 0..8 {
            inside.push(admission.admit().await.unwrap());
        }
        // A crowd: as many as the queue takes wait for a moment, the others are refused at once; none gets in.
        let crowd = futures::future::join_all((0..1_000).map(|_| admission.admit())).await;
        assert!(crowd.iter().all(Option::is_none));
        assert_eq!(admission.0.waiting.load(Ordering::Relaxed), 0);
        // Whoever waits gets the place that becomes free.
        let waiting = tokio::spawn({
            let admission = admission.clone();
            async move { admission.admit().await.is_some() }
        });
        tokio::task::yield_now().await;
        inside.pop().unwrap().end(Sign::Begun);
        assert!(waiting.await.unwrap());
        // The engine has enough: with each that ends one place less, down to the new limit.
        inside.pop().unwrap().end(Sign::Overloaded);
        drop(inside);
        let limit = (8.0 * BOOKINGS_DECREASE) as usize;
        let mut inside = Vec::new();
        while let Some(admitted) = admission.admit().await {
            inside.push(admitted);
        }
        assert_eq!(inside.len(), limit);
    }

    #[tokio::test]
    async fn as_many_are_let_in_as_can_be_begun() {
        let admission = Admission::new(8, Duration::from_millis(250));
        let second = Duration::from_secs(1);
        // Eight at a time, four times a second, and half of that.
        assert_eq!(admission.sustainable(second), 16);
        let mut inside = Vec::new();
        for _ in 0..8 {
            inside.push(admission.admit().await.unwrap());
        }
        assert_eq!(admission.sustainable(second), 0);
        // Starts turn out to be quicker.
        inside.into_iter().for_each(|admitted| admitted.end(Sign::Begun));
        assert!(admission.sustainable(second) > 16);
    }
}

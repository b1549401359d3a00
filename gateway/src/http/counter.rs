//! Counts how often each of many does something, so that nobody does it too often.
//!
//! Each gateway counts for itself, in memory. So many are counted each by themselves; when there are more, whoever else comes is counted in one
//! of a million cells, by a hash that nobody outside can know: two who meet in one share a budget. So memory is bounded, and however many come,
//! nobody is refused because of their number alone.

use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// How often those are forgotten who may do it as often again as if they never had, at most: all of them are looked at.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// Cells for those who find no room of their own: eight bytes each, so 8 MiB once somebody needs them. With a hundred thousand of them under
/// way one in ten shares theirs.
const CELLS: usize = 1 << 20;

/// See above.
pub struct Counter<K: Hash + Eq + Clone> {
    quota: Quota,
    each: DefaultKeyedRateLimiter<K>,
    /// Made when the first one finds no room.
    together: OnceLock<RateLimiter<K, Cells<K>, DefaultClock>>,
    clock: DefaultClock,
    keys_max: usize,
    tidied_at: Mutex<Instant>,
}

impl<K: Hash + Eq + Clone> Counter<K> {
    /// Each may do it as often as the quota says; `keys_max` of them are counted by themselves.
    pub fn new(quota: Quota, keys_max: usize) -> Self {
        Counter {
            quota,
            each: RateLimiter::dashmap(quota),
            together: OnceLock::new(),
            clock: DefaultClock::default(),
            keys_max,
            tidied_at: Mutex::new(Instant::now()),
        }
    }

    /// Somebody does it once more. The error is how long they have to wait.
    pub fn count(&self, key: &K) -> Result<(), Duration> {
        if self.each.len() >= self.keys_max {
            self.tidy();
        }
        let counted = if self.each.len() < self.keys_max {
            self.each.check_key(key)
        } else {
            metrics::counter!("sagaline_gateway_counted_together_total").increment(1);
            let together = || RateLimiter::new(self.quota, Cells::new(CELLS), DefaultClock::default());
            self.together.get_or_init(together).check_key(key)
        };
        counted.map_err(|refused| refused.wait_time_from(self.clock.now()))
    }

    /// Forgets those who may do it as often again as if they never had.
    fn tidy(&self) {
        let mut tidied_at = self.tidied_at.lock().unwrap_or_else(PoisonError::into_inner);
        if tidied_at.elapsed() >= TIDY_EVERY {
            self.each.retain_recent();
            *tidied_at = Instant::now();
        }
    }
}

/// A cell for many.
struct Cells<K> {
    cells: Vec<InMemoryState>,
    hasher: RandomState,
    key: PhantomData<fn(&K)>,
}

impl<K> Cells<K> {
    fn new(count: usize) -> Cells<K> {
        Cells {
            cells: std::iter::repeat_with(InMemoryState::default).take(count).collect(),
            hasher: RandomState::new(),
            key: PhantomData,
        }
    }
}

impl<K: Hash> StateStore for Cells<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let hash = self.hasher.hash_one(key);
        // Both fit: there are as many cells as fit into a `usize`, and the remainder is smaller.
        let cell = (hash % self.cells.len() as u64) as usize;
        self.cells[cell].measure_and_replace(&NotKeyed::NonKey, f)
    }
}

/// By what an address is counted: one customer of a provider has a whole network of IPv6 addresses, so their first 64 bits count.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let high = address.to_bits() >> 64 << 64;
            IpAddr::V6(high.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn each_is_counted_alone_and_whoever_finds_no_room_is_counted_too() {
        let quota = Quota::per_hour(NonZeroU32::new(2).unwrap());
        let counter = Counter::new(quota, 3);
        let runs_out = |key: u32| {
            assert_eq!((counter.count(&key), counter.count(&key)), (Ok(()), Ok(())), "{key}");
            assert!(
                matches!(counter.count(&key), Err(wait) if wait > Duration::from_secs(1_000)),
                "{key}"
            );
        };
        [1, 2].into_iter().for_each(runs_out);
        assert_eq!(counter.count(&3), Ok(()));
        // There is room for no more, and nobody of the first three may be forgotten yet.
        [4, 5].into_iter().for_each(runs_out);
        assert_eq!(counter.each.len(), 3);
    }

    #[test]
    fn a_crowd_that_fills_all_room_locks_nobody_out() {
        let quota = Quota::per_hour(NonZeroU32::new(5).unwrap());
        let counter = Counter::new(quota, 100);
        let crowd = (0..5_000u32).filter(|key| counter.count(key).is_err()).count();
        assert_eq!(crowd, 0, "each of them comes once");
        assert_eq!((counter.each.len(), counter.count(&5_001)), (100, Ok(())));
    }
}

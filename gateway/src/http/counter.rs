//! Counts how often each of many does something, so that nobody does it too often.
//!
//! Each gateway counts for itself, in memory.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// How often those are forgotten who may do it as often again as if they never had, at most: all of them are looked at.
pub const TIDY_EVERY: Duration = Duration::from_secs(1);

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    /// They have done it too often: not before so long.
    Wait(Duration),
    /// So many others do it that this one can't be counted.
    Uncounted,
}

/// See above.
pub struct Counter<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    keys_max: usize,
    tidied_at: Mutex<Instant>,
}

impl<K: Hash + Eq + Clone> Counter<K> {
    /// Each may do it as often as the quota says; `keys_max` of them are remembered.
    pub fn new(quota: Quota, keys_max: usize) -> Self {
        Counter {
            limiter: RateLimiter::dashmap(quota),
            clock: DefaultClock::default(),
            keys_max,
            tidied_at: Mutex::new(Instant::now()),
        }
    }

    /// Somebody does it once more.
    pub fn count(&self, key: &K) -> Result<(), TooMuch> {
        if self.limiter.len() >= self.keys_max {
            self.tidy();
            if self.limiter.len() >= self.keys_max {
                return Err(TooMuch::Uncounted);
            }
        }
        self.limiter
            .check_key(key)
            .map_err(|refused| TooMuch::Wait(refused.wait_time_from(self.clock.now())))
    }

    /// Forgets those who may do it as often again as if they never had.
    fn tidy(&self) {
        let mut tidied_at = self.tidied_at.lock().unwrap_or_else(PoisonError::into_inner);
        if tidied_at.elapsed() >= TIDY_EVERY {
            self.limiter.retain_recent();
            *tidied_at = Instant::now();
        }
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
    fn each_is_counted_alone_and_only_so_many_are() {
        let quota = Quota::per_hour(NonZeroU32::new(2).unwrap());
        let counter = Counter::new(quota, 3);
        for key in [1, 2] {
            assert_eq!((counter.count(&key), counter.count(&key)), (Ok(()), Ok(())));
            assert!(matches!(counter.count(&key), Err(TooMuch::Wait(wait)) if wait > Duration::from_secs(1_000)));
        }
        assert_eq!(counter.count(&3), Ok(()));
        assert_eq!(counter.count(&4), Err(TooMuch::Uncounted));
    }
}

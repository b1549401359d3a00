//! How often one may try: by the address that somebody comes from, and by the account that they want.
//!
//! Each gateway counts for itself, in memory: with several, somebody may try so often at each. That is still far from guessing a password.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};

use crate::limits::{
    ATTEMPT_KEYS_MAX, ATTEMPT_KEYS_TIDY_EVERY, ATTEMPTS_PER_ACCOUNT, ATTEMPTS_PER_ACCOUNT_EVERY, ATTEMPTS_PER_ADDRESS,
    ATTEMPTS_PER_ADDRESS_EVERY, ATTEMPTS_PER_PAIR, ATTEMPTS_PER_PAIR_EVERY, MAILS_PER_ACCOUNT, MAILS_PER_ACCOUNT_EVERY,
};
use crate::problem::{Kind, Problem};

/// What is kept of an e-mail address: as long for a short one as for a long one.
type AccountKey = [u8; 16];

/// Counts attempts.
pub struct Attempts {
    addresses: Counter<IpAddr>,
    /// By the account and the address that it is tried from.
    pairs: Counter<AccountKey>,
    accounts: Counter<AccountKey>,
    mails: Counter<AccountKey>,
}

impl Default for Attempts {
    fn default() -> Self {
        Attempts {
            addresses: Counter::new(ATTEMPTS_PER_ADDRESS, ATTEMPTS_PER_ADDRESS_EVERY),
            pairs: Counter::new(ATTEMPTS_PER_PAIR, ATTEMPTS_PER_PAIR_EVERY),
            accounts: Counter::new(ATTEMPTS_PER_ACCOUNT, ATTEMPTS_PER_ACCOUNT_EVERY),
            mails: Counter::new(MAILS_PER_ACCOUNT, MAILS_PER_ACCOUNT_EVERY),
        }
    }
}

impl Attempts {
    /// Somebody at this address tries something that has to do with secrets.
    pub fn by_address(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        address.map_or(Ok(()), |address| self.addresses.count(&network(address)))
    }

    /// Somebody at this address tries to log in as this account, which may not exist. Few may be tried from one address, and its owner can
    /// still log in from another; of all together more, so that they are no way around that.
    pub fn at_account(&self, email_key: &str, address: Option<IpAddr>) -> Result<(), Problem> {
        let from = address.map_or_else(String::new, |address| network(address).to_string());
        self.pairs.count(&account(&format!("{from} {email_key}")))?;
        self.accounts.count(&account(email_key))
    }

    /// Somebody wants a mail sent to this address, which may be nobody's.
    pub fn mail_to(&self, email_key: &str) -> Result<(), Problem> {
        self.mails.count(&account(email_key))
    }
}

fn account(email_key: &str) -> AccountKey {
    let digest = Sha256::digest(email_key.as_bytes());
    std::array::from_fn(|index| digest[index])
}

/// One customer of a provider has a whole network of IPv6 addresses: its first 64 bits count.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let high = address.to_bits() >> 64 << 64;
            IpAddr::V6(high.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

struct Counter<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    tidied_at: Mutex<Instant>,
}

impl<K: Hash + Eq + Clone> Counter<K> {
    fn new(at_once: NonZeroU32, every: Duration) -> Self {
        let quota = Quota::with_period(every).expect("the limits' periods are not zero");
        Counter {
            limiter: RateLimiter::dashmap(quota.allow_burst(at_once)),
            clock: DefaultClock::default(),
            tidied_at: Mutex::new(Instant::now()),
        }
    }

    fn count(&self, key: &K) -> Result<(), Problem> {
        if self.limiter.len() >= ATTEMPT_KEYS_MAX {
            self.tidy();
            if self.limiter.len() >= ATTEMPT_KEYS_MAX {
                let detail = "too many people try at once; try again shortly";
                return Err(Problem::new(Kind::Overloaded, detail).retry_after(ATTEMPT_KEYS_TIDY_EVERY));
            }
        }
        self.limiter.check_key(key).map_err(|refused| {
            metrics::counter!("sagaline_gateway_attempts_refused_total").increment(1);
            let detail = "too many attempts; try again after the time that Retry-After says";
            Problem::new(Kind::TooManyAttempts, detail).retry_after(refused.wait_time_from(self.clock.now()))
        })
    }

    /// Forgets those who may try as often again as if they never had.
    fn tidy(&self) {
        let mut tidied_at = self.tidied_at.lock().unwrap_or_else(PoisonError::into_inner);
        if tidied_at.elapsed() >= ATTEMPT_KEYS_TIDY_EVERY {
            self.limiter.retain_recent();
            *tidied_at = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn attempts_run_out_for_each_by_themselves() {
        let attempts = Attempts::default();
        let from = |number: u32| Some(IpAddr::V4(number.into()));
        for _ in 0..ATTEMPTS_PER_PAIR.get() {
            attempts.at_account("me@example.com", from(1)).unwrap();
        }
        let refused = attempts.at_account("me@example.com", from(1)).err().unwrap();
        assert_eq!(refused.kind(), Kind::TooManyAttempts);
        attempts.at_account("you@example.com", from(1)).unwrap();
        // Its owner, elsewhere, isn't locked out by one address, only by many.
        for number in ATTEMPTS_PER_PAIR.get()..ATTEMPTS_PER_ACCOUNT.get() {
            attempts.at_account("me@example.com", from(number)).unwrap();
        }
        assert!(attempts.at_account("me@example.com", from(1_000)).is_err());
        for _ in 0..ATTEMPTS_PER_ADDRESS.get() {
            attempts.by_address(Some("2001:db8::1".parse().unwrap())).unwrap();
        }
        assert!(attempts.by_address(Some("2001:db8::2".parse().unwrap())).is_err());
        attempts.by_address(Some("2001:db8:0:1::2".parse().unwrap())).unwrap();
        attempts.by_address(None).unwrap();
    }

    #[test]
    fn an_address_is_the_same_in_both_forms() {
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
    }
}

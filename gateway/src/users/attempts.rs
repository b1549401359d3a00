//! How often one may try: by the address that somebody comes from, and by the account that they want.
//!
//! Each gateway counts for itself, in memory: with several, somebody may try so often at each. That is still far from guessing a password.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use sha2::{Digest, Sha256};

use crate::http::counter::{Counter, network};
use crate::limits::{
    ATTEMPT_KEYS_MAX, ATTEMPTS_PER_ACCOUNT, ATTEMPTS_PER_ACCOUNT_EVERY, ATTEMPTS_PER_ADDRESS,
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
        let quota = |at_once: NonZeroU32, every: Duration| {
            let quota = Quota::with_period(every).expect("the limits' periods are not zero");
            quota.allow_burst(at_once)
        };
        Attempts {
            addresses: Counter::new(
                quota(ATTEMPTS_PER_ADDRESS, ATTEMPTS_PER_ADDRESS_EVERY),
                ATTEMPT_KEYS_MAX,
            ),
            pairs: Counter::new(quota(ATTEMPTS_PER_PAIR, ATTEMPTS_PER_PAIR_EVERY), ATTEMPT_KEYS_MAX),
            accounts: Counter::new(
                quota(ATTEMPTS_PER_ACCOUNT, ATTEMPTS_PER_ACCOUNT_EVERY),
                ATTEMPT_KEYS_MAX,
            ),
            mails: Counter::new(quota(MAILS_PER_ACCOUNT, MAILS_PER_ACCOUNT_EVERY), ATTEMPT_KEYS_MAX),
        }
    }
}

impl Attempts {
    /// Somebody at this address tries something that has to do with secrets.
    pub fn by_address(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        address.map_or(Ok(()), |address| attempt(&self.addresses, &network(address)))
    }

    /// Somebody at this address tries to log in as this account, which may not exist. Few may be tried from one address, and its owner can
    /// still log in from another; of all together more, so that they are no way around that.
    pub fn at_account(&self, email_key: &str, address: Option<IpAddr>) -> Result<(), Problem> {
        let from = address.map_or_else(String::new, |address| network(address).to_string());
        attempt(&self.pairs, &account(&format!("{from} {email_key}")))?;
        attempt(&self.accounts, &account(email_key))
    }

    /// Somebody wants a mail sent to this address, which may be nobody's.
    pub fn mail_to(&self, email_key: &str) -> Result<(), Problem> {
        attempt(&self.mails, &account(email_key))
    }
}

fn account(email_key: &str) -> AccountKey {
    let digest = Sha256::digest(email_key.as_bytes());
    std::array::from_fn(|index| digest[index])
}

/// Somebody tries once more.
fn attempt<K: Hash + Eq + Clone>(counter: &Counter<K>, key: &K) -> Result<(), Problem> {
    counter.count(key).map_err(|wait| {
        metrics::counter!("sagaline_gateway_attempts_refused_total").increment(1);
        let detail = "too many attempts; try again after the time that Retry-After says";
        Problem::new(Kind::TooManyAttempts, detail).retry_after(wait)
    })
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

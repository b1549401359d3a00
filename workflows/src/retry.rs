//! When the next attempt comes.

use std::time::Duration;

use crate::definition::Retry;
use crate::ids::SagaId;

impl Retry {
    /// The wait before retry number `retry` (from 1). The jitter is a function of the saga, the step and the number,
    /// so that a transition can be repeated exactly.
    pub fn delay(&self, retry: u32, saga: SagaId, step: &str) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let cap_ms = self.cap.as_millis() as f64;
        let full_ms = (self.initial.as_millis() as f64 * self.factor.powi(exponent)).min(cap_ms);
        let share = self.jitter * unit_interval(seed(saga, step, retry));
        Duration::from_millis((full_ms * (1.0 - share)) as u64)
    }
}

fn seed(saga: SagaId, step: &str, number: u32) -> u64 {
    // FNV-1a: small, and the same on every platform and in every release.
    let bytes = saga
        .0
        .as_bytes()
        .iter()
        .chain(step.as_bytes())
        .copied()
        .chain(number.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    // FNV's high bits hardly move for short inputs; a finaliser spreads them.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saga() -> SagaId {
        SagaId(uuid::Uuid::from_u128(7))
    }

    #[test]
    fn waits_grow_to_the_cap() {
        let retry = Retry {
            initial: Duration::from_secs(30),
            factor: 2.0,
            cap: Duration::from_secs(100),
            jitter: 0.0,
            ..Retry::default()
        };
        let waits: Vec<u64> = (1..=4).map(|n| retry.delay(n, saga(), "pay").as_secs()).collect();
        assert_eq!(waits, [30, 60, 100, 100]);
        assert_eq!(retry.delay(u32::MAX, saga(), "pay").as_secs(), 100);
    }

    #[test]
    fn jitter_shortens_by_at_most_its_share_and_is_repeatable() {
        let retry = Retry {
            jitter: 0.5,
            initial: Duration::from_secs(10),
            ..Retry::default()
        };
        for number in 1..50 {
            let plain = Retry {
                jitter: 0.0,
                ..retry.clone()
            }
            .delay(number, saga(), "pay");
            let wait = retry.delay(number, saga(), "pay");
            assert!(wait <= plain && wait >= plain / 2, "{wait:?} of {plain:?}");
            assert_eq!(wait, retry.delay(number, saga(), "pay"));
        }
    }
}

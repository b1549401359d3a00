//! The switches that make the sandbox behave as badly as the world does.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// How the sandbox misbehaves; all off by default. Rates are shares of requests that change something, 0 to 1.
/// As JSON for `POST /_sandbox/config`, which changes what it names and leaves the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// How long answers take.
    pub latency_ms: Range,
    /// Answered with a 500, which stays stored under the idempotency key; half of them after the work was done.
    pub error_rate: f64,
    /// Answered with a 429, nothing done, nothing stored.
    pub rate_limit_rate: f64,
    /// Done and never answered.
    pub timeout_rate: f64,
    /// Done, then the connection is cut.
    pub lost_answer_rate: f64,
    /// Confirmations of good cards that are declined all the same.
    pub decline_rate: f64,
    /// How long a payment that is `processing` takes.
    pub processing_ms: u64,
    /// How long an idempotency key is remembered.
    pub idempotency_lifetime_s: u64,
    /// Makes the next decisions repeatable: the generator starts again from it.
    pub seed: Option<u64>,
    /// How webhooks are sent.
    pub webhook: WebhookSwitches,
}

/// How webhooks are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSwitches {
    /// Where to, over plain HTTP; none: nowhere.
    pub url: Option<String>,
    /// Wait before the first delivery.
    pub delay_ms: Range,
    /// Share of events that are sent twice.
    pub duplicate_rate: f64,
    /// Share of events that are held back for [`WebhookSwitches::reorder_ms`], so that later ones overtake them.
    pub reorder_rate: f64,
    /// How long those are held back.
    pub reorder_ms: u64,
    /// Wait before the first repetition of a delivery that was not answered with 2xx; doubles each time, up to an hour.
    pub retry_ms: u64,
    /// Deliveries of one event, at most. With the default wait that is about three days, as Stripe does it.
    pub attempts_max: u32,
}

/// From–to, inclusive, in the unit of its field's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range(pub u64, pub u64);

impl Default for Switches {
    fn default() -> Self {
        Switches {
            latency_ms: Range(0, 0),
            error_rate: 0.0,
            rate_limit_rate: 0.0,
            timeout_rate: 0.0,
            lost_answer_rate: 0.0,
            decline_rate: 0.0,
            processing_ms: 2_000,
            idempotency_lifetime_s: 24 * 60 * 60,
            seed: None,
            webhook: WebhookSwitches::default(),
        }
    }
}

impl Default for WebhookSwitches {
    fn default() -> Self {
        WebhookSwitches {
            url: None,
            delay_ms: Range(0, 0),
            duplicate_rate: 0.0,
            reorder_rate: 0.0,
            reorder_ms: 1_000,
            retry_ms: 1_000,
            attempts_max: 84,
        }
    }
}

/// What becomes of one request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    RateLimited,
    ErrorInstead,
    ErrorAfterwards,
    NeverAnswered,
    Cut,
}

/// The switches with their source of chance.
pub(crate) struct Chaos {
    pub switches: Switches,
    random: StdRng,
}

impl Chaos {
    pub fn new(switches: Switches) -> Self {
        let random = match switches.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => rand::make_rng(),
        };
        Chaos { switches, random }
    }

    /// Changes the switches that `changes` names.
    pub fn change(&mut self, changes: &serde_json::Value) -> Result<(), serde_json::Error> {
        let mut all = serde_json::to_value(&self.switches)?;
        merge(&mut all, changes);
        let switches: Switches = serde_json::from_value(all)?;
        switches.check().map_err(serde::de::Error::custom)?;
        if changes.get("seed").is_some_and(|seed| !seed.is_null()) {
            *self = Chaos::new(switches);
        } else {
            self.switches = switches;
        }
        Ok(())
    }

    pub fn happens(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.random.random::<f64>() < rate
    }

    pub fn within(&mut self, range: Range) -> Duration {
        let millis = if range.1 > range.0 {
            self.random.random_range(range.0..=range.1)
        } else {
            range.0
        };
        Duration::from_millis(millis)
    }

    pub fn fate(&mut self) -> Fate {
        let rates = (
            self.switches.rate_limit_rate,
            self.switches.error_rate,
            self.switches.timeout_rate,
            self.switches.lost_answer_rate,
        );
        if self.happens(rates.0) {
            Fate::RateLimited
        } else if self.happens(rates.1) {
            if self.happens(0.5) {
                Fate::ErrorAfterwards
            } else {
                Fate::ErrorInstead
            }
        } else if self.happens(rates.2) {
            Fate::NeverAnswered
        } else if self.happens(rates.3) {
            Fate::Cut
        } else {
            Fate::Answered
        }
    }

    /// Letters and digits for an id.
    pub fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..count)
            .map(|_| char::from(LETTERS[self.random.random_range(0..LETTERS.len())]))
            .collect()
    }
}

impl Switches {
    /// Says what is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        let rates = [
            ("error_rate", self.error_rate),
            ("rate_limit_rate", self.rate_limit_rate),
            ("timeout_rate", self.timeout_rate),
            ("lost_answer_rate", self.lost_answer_rate),
            ("decline_rate", self.decline_rate),
            ("webhook.duplicate_rate", self.webhook.duplicate_rate),
            ("webhook.reorder_rate", self.webhook.reorder_rate),
        ];
        for (name, rate) in rates {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("{name} must be between 0 and 1, not {rate}"));
            }
        }
        for (name, range) in [
            ("latency_ms", self.latency_ms),
            ("webhook.delay_ms", self.webhook.delay_ms),
        ] {
            if range.0 > range.1 {
                return Err(format!(
                    "{name} must be [from, to] with from ≤ to, not [{}, {}]",
                    range.0, range.1
                ));
            }
        }
        Ok(())
    }
}

fn merge(into: &mut serde_json::Value, changes: &serde_json::Value) {
    match (into, changes) {
        (serde_json::Value::Object(into), serde_json::Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name.clone()).or_insert(serde_json::Value::Null), change);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

//! How many workers there shall be: the most that any alert asks for, within what each kind may have; up at once, down after a while. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::rules::Rule;

/// Kinds of workers, at most.
const TARGETS_MAX: usize = 50;
/// How names of kinds of workers begin; their queue's name follows.
const PREFIX: &str = "worker-";

/// A kind of worker that can be scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `worker-` and its queue: a Deployment's name on Kubernetes.
    pub name: String,
    /// Replicas at least.
    pub min: u32,
    /// Replicas at most.
    pub max: u32,
}

impl Target {
    /// The queue that it works on.
    pub fn queue(&self) -> &str {
        self.name.strip_prefix(PREFIX).unwrap_or(&self.name)
    }
}

/// Everything that can be scaled, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets(pub Vec<Target>);

/// What was last wanted of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Replicas.
    pub replicas: u32,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// The targets of which another number is wanted than was, with that number.
pub fn decide(
    targets: &Targets,
    wanted: &BTreeMap<String, Wanted>,
    firing: &[&Rule],
    cool_down: Duration,
    now: DateTime<Utc>,
) -> Vec<(String, u32)> {
    let mut changes = Vec::new();
    for target in &targets.0 {
        let asked = firing.iter().filter_map(|rule| rule.scale.get(&target.name)).max();
        let goal = asked.copied().unwrap_or(target.min).clamp(target.min, target.max);
        let is_due = match wanted.get(&target.name) {
            // Nothing runs, and nothing is needed.
            None => goal > 0,
            Some(now_wanted) if goal == now_wanted.replicas => false,
            // Beyond its limits, because they were changed: not a moment longer.
            Some(now_wanted) if now_wanted.replicas > target.max => true,
            Some(now_wanted) if goal > now_wanted.replicas => true,
            Some(now_wanted) => (now - now_wanted.since).to_std().is_ok_and(|past| past >= cool_down),
        };
        if is_due {
            changes.push((target.name.clone(), goal));
        }
    }
    changes
}

impl FromStr for Targets {
    type Err = String;

    /// As in `worker-seats=2..10, worker-payments=2..5`.
    fn from_str(text: &str) -> Result<Targets, String> {
        let mut targets: Vec<Target> = Vec::new();
        for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let parsed = text.split_once('=').and_then(|(name, range)| {
                let (min, max) = range.split_once("..")?;
                Some((name, min.parse().ok()?, max.parse().ok()?))
            });
            let (name, min, max): (&str, u32, u32) =
                parsed.ok_or_else(|| format!("{text:?} is not worker-QUEUE=MIN..MAX"))?;
            if name.strip_prefix(PREFIX).is_none_or(str::is_empty) {
                return Err(format!("{name:?} must be {PREFIX} and the name of a queue"));
            }
            if min > max {
                return Err(format!("{name}: at least {min} is more than at most {max}"));
            }
            if targets.iter().any(|known| known.name == name) {
                return Err(format!("{name} is there twice"));
            }
            let name = name.to_owned();
            targets.push(Target { name, min, max });
        }
        if targets.len() > TARGETS_MAX {
            return Err(format!("at most {TARGETS_MAX} kinds of workers"));
        }
        Ok(Targets(targets))
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Target { name, min, max }) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "," };
            write!(f, "{separator}{name}={min}..{max}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const COOL_DOWN: Duration = Duration::from_secs(300);

    fn rule(scale: &str) -> Rule {
        format!("A: active_users > 1 for 0s until < 1 for 0s scale {scale}")
            .parse()
            .unwrap()
    }

    fn decided(wanted: Option<(u32, i64)>, firing: &[&Rule], second: i64) -> Option<u32> {
        let targets: Targets = "worker-seats=2..20".parse().unwrap();
        let at = |second: i64| DateTime::from_timestamp(second, 0).unwrap();
        let wanted = wanted.map(|(replicas, since)| {
            (
                "worker-seats".to_owned(),
                Wanted {
                    replicas,
                    since: at(since),
                },
            )
        });
        let changes = decide(&targets, &wanted.into_iter().collect(), firing, COOL_DOWN, at(second));
        changes.first().map(|(_, replicas)| *replicas)
    }

    #[test]
    fn more_is_wanted_at_once_and_less_after_the_cool_down() {
        let high = rule("worker-seats=10");
        assert_eq!(decided(None, &[], 0), Some(2));
        assert_eq!(decided(Some((2, 0)), &[], 1), None);
        assert_eq!(decided(Some((2, 0)), &[&high], 1), Some(10));
        assert_eq!(decided(Some((10, 1)), &[&high], 1_000), None);
        assert_eq!(decided(Some((10, 1)), &[], 300), None);
        assert_eq!(decided(Some((10, 1)), &[], 301), Some(2));
    }

    #[test]
    fn the_most_that_any_alert_asks_for_within_the_limits() {
        let (high, higher, other) = (
            rule("worker-seats=10"),
            rule("worker-seats=99"),
            rule("worker-payments=5"),
        );
        assert_eq!(decided(Some((2, 0)), &[&other], 1), None);
        assert_eq!(decided(Some((2, 0)), &[&high, &other, &higher], 1), Some(20));
        assert_eq!(decided(Some((2, 0)), &[&rule("worker-seats=0")], 1), None);
        // The limit was lowered since.
        assert_eq!(decided(Some((50, 0)), &[&high], 1), Some(10));
    }

    #[test]
    fn targets_are_read_and_shown_as_they_are_written() {
        let text = "worker-seats=2..10,worker-payments=0..5";
        let targets: Targets = text.parse().unwrap();
        assert_eq!(targets.to_string(), text);
        assert_eq!(targets.0[1].queue(), "payments");
        for (text, problem) in [
            ("seats=1..2", "name of a queue"),
            ("worker-=1..2", "name of a queue"),
            ("worker-seats=3..2", "more than"),
            ("worker-seats=3", "MIN..MAX"),
            ("worker-a=1..2,worker-a=1..2", "twice"),
        ] {
            let error = text.parse::<Targets>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}

//! What is out of the ordinary: rules over metrics, as they are written in the settings, and the judgement of one, which is pure.
//!
//! A rule raises its alert when its metric has been above its threshold for a while, and ends it when the metric has been below another,
//! lower one for a while: a metric that flaps between or across the two changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Rules, at most: each is looked at every few seconds.
const RULES_MAX: usize = 50;

/// What a rule may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Users who did something in the last five minutes, each counted once.
    ActiveUsers,
    /// Messages on the longest of the queues that can be scaled, waiting or in hand.
    QueueLag,
    /// How long messages of the engine have waited to be published, the oldest one's seconds.
    OutboxSeconds,
    /// How long ago the oldest saga that waits for an operator began, in seconds.
    OldestStuckSeconds,
    /// Which part of the payments of the last ten minutes failed, where there are enough to tell.
    PaymentFailureRate,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 5] = [
        Metric::ActiveUsers,
        Metric::QueueLag,
        Metric::OutboxSeconds,
        Metric::OldestStuckSeconds,
        Metric::PaymentFailureRate,
    ];

    /// As rules and facts have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Metric::ActiveUsers => "active_users",
            Metric::QueueLag => "queue_lag",
            Metric::OutboxSeconds => "outbox_seconds",
            Metric::OldestStuckSeconds => "oldest_stuck_seconds",
            Metric::PaymentFailureRate => "payment_failure_rate",
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What its alert is called.
    pub name: String,
    /// What it looks at.
    pub metric: Metric,
    /// Above this it is out of the ordinary…
    pub above: f64,
    /// …once it has been so for so long.
    pub hold: Duration,
    /// Below this it is in order again…
    pub below: f64,
    /// …once it has been so for so long.
    pub recovery: Duration,
    /// How many replicas there shall be of these while it lasts.
    pub scale: BTreeMap<String, u32>,
}

/// The rules, each with a name of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(pub Vec<Rule>);

/// How things stand with a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// All is well.
    #[default]
    Quiet,
    /// Above the threshold, not long enough yet.
    Pending {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// The alert is raised.
    Firing {
        /// Its id.
        alert: Uuid,
    },
    /// The alert is raised, but the metric is below; not long enough yet.
    Recovering {
        /// Its id.
        alert: Uuid,
        /// Since when.
        since: DateTime<Utc>,
    },
}

impl Standing {
    /// The alert that is raised.
    pub fn alert(self) -> Option<Uuid> {
        match self {
            Standing::Quiet | Standing::Pending { .. } => None,
            Standing::Firing { alert } | Standing::Recovering { alert, .. } => Some(alert),
        }
    }
}

/// What a judgement changes, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The alert begins.
    Raised(Uuid),
    /// The alert is over.
    Ended(Uuid),
}

/// How a rule stands now that its metric has this value. A metric that nobody could tell changes nothing. `id`: of the alert, if it begins.
pub fn judge(
    rule: &Rule,
    standing: Standing,
    value: Option<f64>,
    now: DateTime<Utc>,
    id: Uuid,
) -> (Standing, Option<Change>) {
    let Some(value) = value else { return (standing, None) };
    let (is_above, is_below) = (value > rule.above, value < rule.below);
    let is_over = |since: DateTime<Utc>, wait: Duration| (now - since).to_std().is_ok_and(|past| past >= wait);
    match standing {
        Standing::Quiet | Standing::Pending { .. } if !is_above => (Standing::Quiet, None),
        Standing::Quiet if !rule.hold.is_zero() => (Standing::Pending { since: now }, None),
        Standing::Pending { since } if !is_over(since, rule.hold) => (standing, None),
        Standing::Quiet | Standing::Pending { .. } => (Standing::Firing { alert: id }, Some(Change::Raised(id))),
        Standing::Firing { alert } | Standing::Recovering { alert, .. } if !is_below => {
            (Standing::Firing { alert }, None)
        }
        Standing::Firing { alert } if !rule.recovery.is_zero() => (Standing::Recovering { alert, since: now }, None),
        Standing::Recovering { since, .. } if !is_over(since, rule.recovery) => (standing, None),
        Standing::Firing { alert } | Standing::Recovering { alert, .. } => {
            (Standing::Quiet, Some(Change::Ended(alert)))
        }
    }
}

impl FromStr for Rules {
    type Err = String;

    fn from_str(text: &str) -> Result<Rules, String> {
        let mut rules: Vec<Rule> = Vec::new();
        for text in text.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let rule: Rule = text.parse().map_err(|problem| format!("{text:?}: {problem}"))?;
            if rules.iter().any(|known| known.name == rule.name) {
                return Err(format!("two rules are called {}", rule.name));
            }
            rules.push(rule);
        }
        if rules.len() > RULES_MAX {
            return Err(format!("at most {RULES_MAX} rules"));
        }
        Ok(Rules(rules))
    }
}

impl FromStr for Rule {
    type Err = String;

    /// As in `HIGH_LOAD: active_users > 100000 for 30s until < 80000 for 5m scale worker-seats=10 worker-payments=5`.
    fn from_str(text: &str) -> Result<Rule, String> {
        const FORM: &str = "a rule is NAME: METRIC > NUMBER for TIME until < NUMBER for TIME, and may end with scale WORKER=REPLICAS …";
        let (name, rest) = text.split_once(':').ok_or(FORM)?;
        let name = name.trim();
        if name.is_empty()
            || !name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            return Err("its name must be letters, digits and underscores".to_owned());
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [
            metric,
            ">",
            above,
            "for",
            hold,
            "until",
            "<",
            below,
            "for",
            recovery,
            scale @ ..,
        ] = words.as_slice()
        else {
            return Err(FORM.to_owned());
        };
        let known = || Metric::ALL.map(Metric::as_str).join(", ");
        let metric = Metric::ALL.into_iter().find(|known| known.as_str() == *metric);
        let (above, below) = (number(above)?, number(below)?);
        if below > above {
            return Err(format!(
                "it would end below {below}, while it begins above {above}: it would flap"
            ));
        }
        let scale = match scale {
            [] => BTreeMap::new(),
            ["scale", targets @ ..] if !targets.is_empty() => targets
                .iter()
                .map(|target| replicas(target))
                .collect::<Result<_, _>>()?,
            _ => return Err(FORM.to_owned()),
        };
        Ok(Rule {
            name: name.to_owned(),
            metric: metric.ok_or_else(|| format!("its metric must be one of {}", known()))?,
            above,
            hold: time(hold)?,
            below,
            recovery: time(recovery)?,
            scale,
        })
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| format!("{text:?} is no number"))
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("{text:?} is no time such as 30s or 5m"))
}

fn replicas(text: &str) -> Result<(String, u32), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(name, count)| Some((name, count.parse().ok()?)));
    let (name, count) = parsed.ok_or_else(|| format!("{text:?} is not WORKER=REPLICAS"))?;
    Ok((name.to_owned(), count))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_duration;
        let (name, metric) = (&self.name, self.metric.as_str());
        write!(f, "{name}: {metric} > {} for {}", self.above, time(self.hold))?;
        write!(f, " until < {} for {}", self.below, time(self.recovery))?;
        for (number, (target, count)) in self.scale.iter().enumerate() {
            write!(f, "{} {target}={count}", if number == 0 { " scale" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, rule) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{rule}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const HIGH_LOAD: &str =
        "HIGH_LOAD: active_users > 100000 for 30s until < 80000 for 5m scale worker-payments=5 worker-seats=10";

    fn rule() -> Rule {
        HIGH_LOAD.parse().unwrap()
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    /// The seconds at which these values, one a second, raise and end the alert.
    fn changes(rule: &Rule, values: impl IntoIterator<Item = Option<f64>>) -> Vec<(usize, Change)> {
        let mut standing = Standing::Quiet;
        let mut changes = Vec::new();
        for (second, value) in values.into_iter().enumerate() {
            let id = Uuid::from_u128(second as u128);
            let (next, change) = judge(rule, standing, value, at(second as i64), id);
            standing = next;
            changes.extend(change.map(|change| (second, change)));
        }
        changes
    }

    #[test]
    fn rules_are_read_and_shown_as_they_are_written() {
        let text = format!("{HIGH_LOAD}; STUCK: oldest_stuck_seconds > 900 for 0s until < 900 for 1m");
        let rules: Rules = text.parse().unwrap();
        assert_eq!(rules.to_string(), text);
        assert_eq!(rules.0[0].scale["worker-seats"], 10);
        assert_eq!("".parse(), Ok(Rules::default()));
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, problem) in [
            ("HIGH LOAD: queue_lag > 1 for 1s until < 1 for 1s", "letters, digits"),
            ("A: users > 1 for 1s until < 1 for 1s", "must be one of active_users"),
            ("A: queue_lag > 1 for 1s until < 2 for 1s", "flap"),
            ("A: queue_lag > NaN for 1s until < 2 for 1s", "no number"),
            ("A: queue_lag > 1 for ever until < 1 for 1s", "no time"),
            ("A: queue_lag > 1 for 1s", "a rule is NAME"),
            ("A: queue_lag > 1 for 1s until < 1 for 1s scale", "a rule is NAME"),
            ("A: queue_lag > 1 for 1s until < 1 for 1s scale w=-1", "WORKER=REPLICAS"),
            (
                "A: queue_lag > 1 for 1s until < 1 for 1s; A: queue_lag > 2 for 1s until < 1 for 1s",
                "two rules",
            ),
        ] {
            let error = text.parse::<Rules>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn an_alert_begins_after_its_hold_time_and_ends_after_its_recovery() {
        let values = std::iter::repeat_n(Some(120_000.0), 60).chain(std::iter::repeat_n(Some(10.0), 400));
        let changes = changes(&rule(), values);
        let alert = Uuid::from_u128(30);
        assert_eq!(changes, [(30, Change::Raised(alert)), (360, Change::Ended(alert))]);
    }

    #[test]
    fn a_metric_between_the_thresholds_keeps_what_is() {
        let between = std::iter::repeat_n(Some(90_000.0), 1_000);
        assert_eq!(changes(&rule(), between.clone()), []);
        let raised = std::iter::repeat_n(Some(120_000.0), 31).chain(between);
        assert_eq!(changes(&rule(), raised).len(), 1);
    }

    #[test]
    fn a_flapping_metric_changes_nothing() {
        let flaps = |second: usize| if second % 20 < 10 { 200_000.0 } else { 0.0 };
        assert_eq!(changes(&rule(), (0..10_000).map(|second| Some(flaps(second)))), []);
        // Nor once the alert is there.
        let raised = std::iter::repeat_n(Some(120_000.0), 31);
        assert_eq!(
            changes(&rule(), raised.chain((0..10_000).map(|second| Some(flaps(second))))).len(),
            1
        );
    }

    #[test]
    fn a_metric_that_nobody_can_tell_changes_nothing() {
        let mut values = vec![Some(120_000.0); 31];
        values.extend(vec![None; 1_000]);
        assert_eq!(changes(&rule(), values).len(), 1);
    }

    proptest! {
        /// Whatever a metric does, alerts begin and end by turns, and no sooner one after the other than the rule says.
        #[test]
        fn alerts_take_turns_and_their_time(values in proptest::collection::vec(proptest::option::of(0.0..200_000.0_f64), 0..2_000)) {
            let rule = Rule { hold: Duration::from_secs(3), recovery: Duration::from_secs(5), ..rule() };
            let changes = changes(&rule, values);
            for (number, (_, change)) in changes.iter().enumerate() {
                prop_assert_eq!(matches!(change, Change::Raised(_)), number % 2 == 0);
            }
            for pair in changes.windows(2) {
                let wait = if matches!(pair[1].1, Change::Raised(_)) { 3 } else { 5 };
                prop_assert!(pair[1].0 - pair[0].0 >= wait, "{:?}", pair);
            }
        }
    }
}

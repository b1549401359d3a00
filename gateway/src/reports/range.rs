//! The time that a report is about, and how finely.

use analytics::store::{Step, Time};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

use crate::events::routes::moment;
use crate::limits::REPORT_POINTS_MAX;
use crate::problem::Problem;

/// From a step's beginning until a step's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first moment.
    pub from: DateTime<Utc>,
    /// The first moment that is not in it.
    pub to: DateTime<Utc>,
    /// How finely.
    pub step: Step,
}

impl Range {
    /// As the store wants it.
    pub fn time(&self) -> Time {
        Time {
            from: self.from,
            to: self.to,
        }
    }

    /// What was asked for. Left out: the last day, by hour.
    pub fn read(
        from: Option<&str>,
        to: Option<&str>,
        step: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Range, Problem> {
        let step = match step {
            None => Step::Hour,
            Some(name) => [Step::Minute, Step::Hour, Step::Day]
                .into_iter()
                .find(|step| step.as_str() == name)
                .ok_or_else(|| Problem::malformed("?step", "must be `minute`, `hour` or `day`"))?,
        };
        let to = to.map(|to| moment("?to", to)).transpose()?.unwrap_or(now);
        let from = match from {
            Some(from) => moment("?from", from)?,
            None => to - TimeDelta::days(1),
        };
        let length = step.length();
        let floor = |at: DateTime<Utc>| at.duration_trunc(length).unwrap_or(at);
        // The step in which it ends is in it.
        let (from, end) = (floor(from), floor(to));
        let to = if end == to { end } else { end + length };
        if from >= to {
            return Err(Problem::malformed("?from", "must be before `to`"));
        }
        let points = (to - from).num_minutes() / length.num_minutes();
        if points > REPORT_POINTS_MAX {
            let step = step.as_str();
            return Err(Problem::malformed(
                "?from",
                format!(
                    "asks for {points} steps of a {step}; at most {REPORT_POINTS_MAX} are given: ask for less time, or larger steps"
                ),
            ));
        }
        Ok(Range { from, to, step })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_has_whole_steps() {
        let now = at("2027-06-12T19:30:10Z");
        let day = Range::read(None, None, None, now).unwrap_or_else(|_| panic!("it is in order"));
        assert_eq!(
            (day.from, day.to),
            (at("2027-06-11T19:00:00Z"), at("2027-06-12T20:00:00Z"))
        );
        let read = |from, to, step| Range::read(Some(from), Some(to), Some(step), now);
        let whole = read("2027-06-01", "2027-06-12", "day").unwrap_or_else(|_| panic!("it is in order"));
        assert_eq!(
            (whole.from, whole.to),
            (at("2027-06-01T00:00:00Z"), at("2027-06-12T00:00:00Z"))
        );
        assert!(read("2027-06-12", "2027-06-12", "day").is_err());
        assert!(read("2027-06-12", "2027-06-11", "hour").is_err());
        assert!(read("2027-06-01", "2027-06-12", "week").is_err());
        assert!(read("2027-06-01", "2027-06-12", "minute").is_err(), "too many steps");
    }
}

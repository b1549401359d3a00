//! When a cron expression is due in a time zone. Pure.
//!
//! An expression is a pattern of *local* times. What daylight saving does to them:
//! - a local time that is left out (02:30 in the night when 02:00 becomes 03:00) is passed over;
//! - a local time that comes twice fires once, the first time;
//! - but where the hour is `*`, an interval is meant, such as "every five minutes": then every hour that passes
//!   counts, the repeated one too.

use std::str::FromStr;

use chrono::{DateTime, Duration, FixedOffset, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use cron::TimeUnitSpec;
use workflows::ids::Timestamp;

/// Characters of an expression; the longest sensible ones are lists of minutes.
pub const CRON_CHARS_MAX: usize = 255;
/// Local times looked at for one due time. Only a pattern that falls into gaps year after year comes near.
const CANDIDATES_MAX: usize = 10_000;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Calendar {
    schedule: cron::Schedule,
    zone: Tz,
    every_hour: bool,
}

impl Calendar {
    /// Reads an expression of five fields (`minute hour day-of-month month day-of-week`), or six (seconds before), or
    /// seven (a year behind); day of month and day of week must both hold.
    pub fn new(expression: &str, time_zone: &str) -> Result<Calendar, CalendarError> {
        let zone = Tz::from_str(time_zone).map_err(|_| CalendarError::TimeZone {
            time_zone: time_zone.to_owned(),
        })?;
        let refuse = |why: String| CalendarError::Expression {
            expression: expression.to_owned(),
            why,
        };
        if expression.chars().count() > CRON_CHARS_MAX {
            return Err(refuse(format!("it has more than {CRON_CHARS_MAX} characters")));
        }
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let (full, day_of_week) = match fields.as_slice() {
            [_, _, _, _, day_of_week] => (format!("0 {}", fields.join(" ")), day_of_week),
            [_, _, _, _, _, day_of_week] | [_, _, _, _, _, day_of_week, _] => (fields.join(" "), day_of_week),
            _ => {
                return Err(refuse(format!(
                    "it has {} fields: there are five, six or seven",
                    fields.len()
                )));
            }
        };
        // Sunday is 0 in one cron and 1 in another; a ticket sale should not open a day off. Steps (`/2`) are clear.
        let days = day_of_week
            .split(',')
            .map(|item| item.split('/').next().unwrap_or_default());
        if days.into_iter().any(|day| day.contains(|it: char| it.is_ascii_digit())) {
            return Err(refuse(
                "days of the week are written by name (mon-fri), since numbers mean other days elsewhere".to_owned(),
            ));
        }
        let schedule = cron::Schedule::from_str(&full).map_err(|error| refuse(error.to_string()))?;
        let every_hour = schedule.hours().is_all();
        Ok(Calendar {
            schedule,
            zone,
            every_hour,
        })
    }

    /// The first due time after an instant; none: there is none any more.
    pub fn after(&self, instant: Timestamp) -> Option<Timestamp> {
        let instant = instant.to_datetime();
        let next = if self.every_hour {
            self.after_elapsed(instant)
        } else {
            self.after_local(instant)
        };
        next.map(Timestamp::from)
    }

    /// Due times from `from` on, to before `to`, at most `max`.
    pub fn between(&self, from: Timestamp, to: Timestamp, max: usize) -> Vec<Timestamp> {
        let first = self.after(Timestamp(from.0.saturating_sub(1)));
        let due_times = std::iter::successors(first, |due| self.after(*due));
        due_times.take_while(|due| *due < to).take(max).collect()
    }

    /// Each local time once: those left out are passed over, of those that come twice the first counts.
    fn after_local(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = instant.with_timezone(&self.zone).naive_local();
        self.local_times(local).take(CANDIDATES_MAX).find_map(|candidate| {
            let first = match self.zone.from_local_datetime(&candidate) {
                LocalResult::Single(only) => only,
                LocalResult::Ambiguous(first, _) => first,
                LocalResult::None => return None,
            };
            // In the second pass of a repeated hour, its times have already been.
            Some(first.with_timezone(&Utc)).filter(|first| *first > instant)
        })
    }

    /// Each instant whose local time fits, whether that local time was there before or not.
    fn after_elapsed(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let here = self.offset(instant);
        let first = self.instants(instant, here).next()?;
        let there = self.offset(first);
        if there == here {
            return Some(first);
        }
        // The clocks change in between: the answer has either the old offset, or the new one.
        let late = self
            .instants(instant, there)
            .take(CANDIDATES_MAX)
            .find(|at| self.offset(*at) == there);
        let early = self
            .instants(instant, here)
            .take(CANDIDATES_MAX)
            .take_while(|at| late.is_none_or(|late| *at < late));
        let early = early.into_iter().find(|at| self.offset(*at) == here);
        early.or(late)
    }

    /// The pattern's times after a local time, as if no clock ever changed.
    fn local_times(&self, local: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> + '_ {
        self.schedule
            .after(&Utc.from_utc_datetime(&local))
            .map(|at| at.naive_utc())
    }

    /// The pattern's instants after `instant` in a place that always has this offset.
    fn instants(&self, instant: DateTime<Utc>, offset: FixedOffset) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        let shift = Duration::seconds(i64::from(offset.local_minus_utc()));
        self.local_times(instant.naive_utc() + shift)
            .map(move |local| Utc.from_utc_datetime(&(local - shift)))
    }

    fn offset(&self, instant: DateTime<Utc>) -> FixedOffset {
        self.zone.offset_from_utc_datetime(&instant.naive_utc()).fix()
    }
}

/// Why there is no such calendar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The expression can't be read.
    #[error("{expression:?} is not a cron expression such as \"*/5 * * * *\": {why}")]
    Expression {
        /// As given.
        expression: String,
        /// What is wrong.
        why: String,
    },
    /// The zone is not known.
    #[error("{time_zone:?} is not an IANA time zone such as \"Europe/Berlin\"")]
    TimeZone {
        /// As given.
        time_zone: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The due times after `from`, as `zone`'s people read them.
    fn check(expression: &str, zone: &str, from: &str, expect: &[&str]) {
        let calendar = Calendar::new(expression, zone).unwrap();
        let mut at = Timestamp::from(DateTime::parse_from_rfc3339(from).unwrap().to_utc());
        for expected in expect {
            at = calendar.after(at).unwrap();
            let zone = Tz::from_str(zone).unwrap();
            let shown = at
                .to_datetime()
                .with_timezone(&zone)
                .format("%Y-%m-%dT%H:%M:%S%:z")
                .to_string();
            assert_eq!(shown, *expected, "{expression} in {zone} after {from}");
        }
    }

    #[test]
    fn plain_days() {
        check(
            "30 9 * * *",
            "UTC",
            "2026-11-22T09:30:00Z",
            &["2026-11-23T09:30:00+00:00", "2026-11-24T09:30:00+00:00"],
        );
        check(
            "*/15 * * * * *",
            "UTC",
            "2026-11-22T09:30:50Z",
            &["2026-11-22T09:31:00+00:00", "2026-11-22T09:31:15+00:00"],
        );
        check(
            "0 10 * * fri",
            "America/New_York",
            "2026-11-22T00:00:00Z",
            &["2026-11-27T10:00:00-05:00"],
        );
    }

    #[test]
    fn a_local_time_that_is_left_out_is_passed_over() {
        let expect = ["2027-03-13T02:30:00-05:00", "2027-03-15T02:30:00-04:00"];
        check("30 2 * * *", "America/New_York", "2027-03-13T00:00:00Z", &expect);
    }

    #[test]
    fn a_local_time_that_comes_twice_fires_once() {
        let expect = [
            "2026-10-31T01:30:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-02T01:30:00-05:00",
        ];
        check("30 1 * * *", "America/New_York", "2026-10-31T00:00:00Z", &expect);
    }

    #[test]
    fn from_within_the_second_pass_the_next_day_is_next() {
        check(
            "45 1 * * *",
            "America/New_York",
            "2026-11-01T01:30:00-05:00",
            &["2026-11-02T01:45:00-05:00"],
        );
    }

    #[test]
    fn an_interval_goes_on_through_the_repeated_hour() {
        let expect = [
            "2026-11-01T01:00:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T02:00:00-05:00",
        ];
        check("*/30 * * * *", "America/New_York", "2026-11-01T00:30:00-04:00", &expect);
    }

    #[test]
    fn an_interval_goes_on_over_the_hour_that_is_left_out() {
        let expect = [
            "2027-03-14T01:30:00-05:00",
            "2027-03-14T03:00:00-04:00",
            "2027-03-14T03:30:00-04:00",
        ];
        check("*/30 * * * *", "America/New_York", "2027-03-14T01:00:00-05:00", &expect);
    }

    #[test]
    fn half_an_hour_can_repeat_too() {
        let expect = [
            "2027-04-04T01:40:00+11:00",
            "2027-04-04T01:40:00+10:30",
            "2027-04-04T02:40:00+10:30",
        ];
        check(
            "40 * * * *",
            "Australia/Lord_Howe",
            "2027-04-04T00:40:00+11:00",
            &expect,
        );
    }

    #[test]
    fn an_interval_on_a_day_in_another_season_is_found() {
        check(
            "0 * 1 7 *",
            "America/New_York",
            "2027-01-10T00:00:00Z",
            &["2027-07-01T00:00:00-04:00"],
        );
    }

    #[test]
    fn a_past_year_is_never_due() {
        let calendar = Calendar::new("0 0 0 1 1 * 2020", "UTC").unwrap();
        assert_eq!(calendar.after(Timestamp(1_790_000_000_000)), None);
    }

    #[test]
    fn a_range_has_its_beginning_and_not_its_end() {
        let calendar = Calendar::new("0 * * * *", "UTC").unwrap();
        let hour = 3_600_000;
        let found = calendar.between(Timestamp(10 * hour), Timestamp(13 * hour), 100);
        assert_eq!(found, [10, 11, 12].map(|it| Timestamp(it * hour)));
        assert_eq!(calendar.between(Timestamp(10 * hour), Timestamp(13 * hour), 2).len(), 2);
    }

    #[test]
    fn bad_expressions_are_refused_with_a_reason() {
        for (expression, words) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("61 * * * *", "cron expression"),
            ("0 0 * * 1-5", "by name"),
            ("0 0 * * 0", "by name"),
            ("every day at nine o clock please", "cron expression"),
        ] {
            let error = Calendar::new(expression, "UTC").unwrap_err().to_string();
            assert!(error.contains(words), "{expression:?}: {error}");
        }
        assert!(
            Calendar::new("* * * * *", "Mars/Olympus")
                .unwrap_err()
                .to_string()
                .contains("IANA")
        );
        assert!(Calendar::new("0 0 * * */2", "UTC").is_ok());
    }
}

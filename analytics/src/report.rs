//! What counts come to, for those who run the platform: of all events together.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, SecondsFormat, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::fact::{FUNNEL, bucket_seconds};
use crate::limits::{REPORT_EVENTS_MAX, REPORT_STEPS_MAX};
use crate::store::{Count, Step, Store, StoreError, Time, Took};

/// The time that a report is about, in whole steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From the beginning of a step until before that of another.
    pub time: Time,
    /// How finely.
    pub step: Step,
}

impl Range {
    /// The steps from the one in which `from` is to the one in which `to` is.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(from: DateTime<Utc>, to: DateTime<Utc>, step: Step) -> Result<Range, String> {
        let length = step.length();
        let floor = |at: DateTime<Utc>| at.duration_trunc(length).unwrap_or(at);
        let (from, end) = (floor(from), floor(to));
        let to = if end == to { end } else { end + length };
        if from >= to {
            return Err("it must begin before it ends".to_owned());
        }
        let steps = (to - from).num_minutes() / length.num_minutes();
        if steps > REPORT_STEPS_MAX {
            let step = step.as_str();
            return Err(format!(
                "these are {steps} steps of a {step}; at most {REPORT_STEPS_MAX} are told: ask for less time, or larger steps"
            ));
        }
        Ok(Range {
            time: Time { from, to },
            step,
        })
    }

    /// The days that it touches, whole.
    fn days(&self) -> Time {
        let day = TimeDelta::days(1);
        let floor = |at: DateTime<Utc>| at.duration_trunc(day).unwrap_or(at);
        let end = floor(self.time.to);
        Time {
            from: floor(self.time.from),
            to: if end == self.time.to { end } else { end + day },
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Users who did something, each once. Known for two weeks.
    pub active_users: i64,
    /// Bookings begun.
    pub initiated: i64,
    /// Bookings begun, a minute.
    pub bookings_per_minute: f64,
    /// Bookings confirmed.
    pub confirmed: i64,
    /// Bookings cancelled, rejected or run out.
    pub cancelled: i64,
    /// Confirmed of those begun in the same time; none: none was begun.
    pub conversion_rate: Option<f64>,
    /// From a booking's beginning to its confirmation, on average, in seconds.
    pub seconds_to_confirm: Option<f64>,
    /// The same: half of them took no longer; at most 5 % off.
    pub seconds_to_confirm_median: Option<f64>,
    /// The same: 95 % of them took no longer; at most 5 % off.
    pub seconds_to_confirm_p95: Option<f64>,
    /// Payments that were asked for: one a booking.
    pub payments_requested: i64,
    /// Payments that went through, at the first try or a later one.
    pub payments_completed: i64,
    /// Tries that failed.
    pub payments_failed: i64,
    /// Gone through of those asked for in the same time.
    pub payment_success: Option<f64>,
    /// Payments that went through, by currency, in its smallest unit.
    pub revenue_cents: BTreeMap<String, i64>,
    /// What was given back.
    pub refunded_cents: BTreeMap<String, i64>,
    /// Messages that were to be sent, by all channels.
    pub messages: i64,
    /// Messages that arrived.
    pub messages_delivered: i64,
    /// Messages that didn't.
    pub messages_failed: i64,
    /// Arrived of those whose end is known.
    pub delivery_rate: Option<f64>,
}

/// A step of time in which something happened.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Point {
    /// When it begins, RFC 3339.
    pub since: String,
    /// What happened in it.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A step on the way to a ticket.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// `viewed`, `seats`, `checkout`, `booked`, `paid` or `confirmed`.
    pub stage: String,
    /// How many came so far: visitors, each once a day and event; from `booked` on bookings.
    pub count: i64,
    /// Of those of the stage before; none: there were none.
    pub of_previous: Option<f64>,
}

/// An event that people want.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Popular {
    /// The event.
    pub event_id: String,
    /// Times that it was looked at: once a minute and visitor.
    pub views: i64,
    /// What happened with it.
    #[serde(flatten)]
    pub figures: Figures,
}

/// How the platform was, as `analytics.system-metrics` told.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct System {
    /// When, RFC 3339.
    pub at: String,
    /// The metrics, by name.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub metrics: Value,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// The first moment, RFC 3339.
    pub from: String,
    /// The first moment that is not in it.
    pub to: String,
    /// `minute`, `hour` or `day`, in UTC.
    pub step: String,
    /// All that time together.
    pub total: Figures,
    /// The steps in which something happened.
    pub points: Vec<Point>,
    /// The way to a ticket, on the whole days that the time touches. Known for ninety days.
    pub funnel: Vec<Stage>,
    /// The events with the most bookings begun, by whole hours.
    pub popular: Vec<Popular>,
    /// How the platform was, by the minute; the newest day of it.
    pub system: Vec<System>,
}

/// Asks the store for a report.
///
/// # Errors
/// If the store does not answer.
pub async fn report(store: &Store, range: Range) -> Result<Report, StoreError> {
    let Range { time, step } = range;
    // Times to the confirmation are kept by the minute and the hour.
    let took_step = match step {
        Step::Minute => Step::Minute,
        Step::Hour | Step::Day => Step::Hour,
    };
    let counts = store.kind_counts(step, time).await?;
    let took = store.took(took_step, time).await?;
    let active = store.active_by(step, time).await?;
    let active_in_all = store.active_users(time).await?;
    let minutes = |length: TimeDelta| length.num_minutes() as f64;

    /// Counts, durations and active users of a step.
    type Found<'a> = (Vec<&'a Count>, Vec<Took>, i64);
    let mut points: BTreeMap<DateTime<Utc>, Found<'_>> = BTreeMap::new();
    for count in &counts {
        points.entry(count.since).or_default().0.push(count);
    }
    for took in &took {
        let since = took.since.duration_trunc(step.length()).unwrap_or(took.since);
        points.entry(since).or_default().1.push(*took);
    }
    for (since, users) in active {
        points.entry(since).or_default().2 = users;
    }
    let length = minutes(step.length());
    let points = points.into_iter().map(|(since, (counts, took, users))| Point {
        since: text(since),
        figures: Figures::of(counts, &took, users, length),
    });
    let points = points.collect();

    let hours = Range::new(time.from, time.to, Step::Hour).map_or(time, |range| range.time);
    let top = store.popular(Step::Hour, hours, REPORT_EVENTS_MAX).await?;
    let events: Vec<String> = top.into_iter().map(|(event, _)| event).collect();
    let totals = store.event_totals(hours, &events).await?;
    let popular = events.into_iter().map(|event_id| {
        let its = || totals.iter().filter(|count| count.event_id == event_id);
        let views = its()
            .filter(|count| count.kind == FUNNEL[0].0)
            .map(|count| count.facts)
            .sum();
        Popular {
            views,
            figures: Figures::of(its(), &[], 0, minutes(hours.to - hours.from)),
            event_id: event_id.clone(),
        }
    });
    let popular = popular.collect();

    let day = Time {
        from: time.from.max(time.to - TimeDelta::days(1)),
        to: time.to,
    };
    let system = store.system(day, REPORT_STEPS_MAX).await?;
    let system = system.into_iter().map(|(at, metrics)| System { at: text(at), metrics });
    Ok(Report {
        from: text(time.from),
        to: text(time.to),
        step: step.as_str().to_owned(),
        total: Figures::of(&counts, &took, active_in_all, minutes(time.to - time.from)),
        points,
        funnel: stages(&store.funnel(range.days(), None).await?),
        popular,
        system: system.collect(),
    })
}

/// The way to a ticket.
pub fn stages(counts: &[(String, i64)]) -> Vec<Stage> {
    let mut before: Option<i64> = None;
    let stage = |(kind, name): (&str, &str)| {
        let count = counts
            .iter()
            .find(|(known, _)| known == kind)
            .map_or(0, |(_, count)| *count);
        let of_previous = before.and_then(|before| share(count, before));
        before = Some(count);
        Stage {
            stage: name.to_owned(),
            count,
            of_previous,
        }
    };
    FUNNEL.into_iter().map(stage).collect()
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 / whole as f64))
}

/// To a thousandth: more says nothing to people.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

impl Figures {
    /// What these come to, within so many minutes.
    pub fn of<'a>(
        counts: impl IntoIterator<Item = &'a Count>,
        took: &[Took],
        active_users: i64,
        minutes: f64,
    ) -> Figures {
        let mut figures = Figures {
            active_users,
            ..Figures::default()
        };
        let mut millis = 0_i64;
        for count in counts {
            let Count { facts, cents, .. } = count;
            let add = |sums: &mut BTreeMap<String, i64>| {
                let sum = sums.entry(count.currency.clone()).or_default();
                *sum = sum.saturating_add(*cents);
            };
            match count.kind.as_str() {
                "booking.initiated" => figures.initiated += facts,
                "booking.cancelled" => figures.cancelled += facts,
                "booking.confirmed" => {
                    figures.confirmed += facts;
                    millis = millis.saturating_add(count.millis);
                }
                "payment.requested" => figures.payments_requested += facts,
                "payment.completed" => {
                    figures.payments_completed += facts;
                    add(&mut figures.revenue_cents);
                }
                "payment.failed" => figures.payments_failed += facts,
                "payment.refunded" => add(&mut figures.refunded_cents),
                "notification.email" | "notification.sms" | "notification.push" | "notification.slack" => {
                    figures.messages += facts;
                }
                "notification.delivered" => figures.messages_delivered += facts,
                "notification.failed" => figures.messages_failed += facts,
                _other => {}
            }
        }
        figures.bookings_per_minute = rounded(figures.initiated as f64 / minutes.max(1.0));
        figures.conversion_rate = share(figures.confirmed, figures.initiated);
        figures.payment_success = share(figures.payments_completed, figures.payments_requested);
        let ended = figures.messages_delivered + figures.messages_failed;
        figures.delivery_rate = share(figures.messages_delivered, ended);
        figures.seconds_to_confirm =
            (figures.confirmed > 0).then(|| rounded(millis as f64 / figures.confirmed as f64 / 1_000.0));
        figures.seconds_to_confirm_median = percentile(took, 0.5);
        figures.seconds_to_confirm_p95 = percentile(took, 0.95);
        figures
    }
}

/// So much of the bookings took no longer than this, in seconds.
fn percentile(took: &[Took], part: f64) -> Option<f64> {
    let mut buckets: BTreeMap<i32, i64> = BTreeMap::new();
    for Took { bucket, facts, .. } in took {
        *buckets.entry(*bucket).or_default() += facts;
    }
    let all: i64 = buckets.values().sum();
    let wanted = ((all as f64 * part).ceil() as i64).max(1);
    let mut passed = 0;
    for (bucket, facts) in buckets {
        passed += facts;
        if passed >= wanted {
            return Some(rounded(bucket_seconds(bucket)));
        }
    }
    None
}

/// The points as a table: a line each. Instants, numbers and our own words: nothing that a spreadsheet takes for a formula.
pub fn csv(report: &Report) -> String {
    let mut lines = vec![
        "since,activeUsers,initiated,bookingsPerMinute,confirmed,cancelled,conversionRate,secondsToConfirm,secondsToConfirmMedian,\
         secondsToConfirmP95,paymentsRequested,paymentsCompleted,paymentsFailed,paymentSuccess,revenueCents,refundedCents,messages,\
         messagesDelivered,messagesFailed,deliveryRate"
            .to_owned(),
    ];
    let or_nothing = |share: Option<f64>| share.map(|share| share.to_string()).unwrap_or_default();
    let money = |sums: &BTreeMap<String, i64>| {
        let sum = |(currency, cents): (&String, &i64)| {
            let letters: String = currency.chars().filter(char::is_ascii_alphabetic).collect();
            format!("{cents} {letters}")
        };
        sums.iter().map(sum).collect::<Vec<_>>().join("; ")
    };
    for Point { since, figures } in &report.points {
        let columns = [
            since.clone(),
            figures.active_users.to_string(),
            figures.initiated.to_string(),
            figures.bookings_per_minute.to_string(),
            figures.confirmed.to_string(),
            figures.cancelled.to_string(),
            or_nothing(figures.conversion_rate),
            or_nothing(figures.seconds_to_confirm),
            or_nothing(figures.seconds_to_confirm_median),
            or_nothing(figures.seconds_to_confirm_p95),
            figures.payments_requested.to_string(),
            figures.payments_completed.to_string(),
            figures.payments_failed.to_string(),
            or_nothing(figures.payment_success),
            money(&figures.revenue_cents),
            money(&figures.refunded_cents),
            figures.messages.to_string(),
            figures.messages_delivered.to_string(),
            figures.messages_failed.to_string(),
            or_nothing(figures.delivery_rate),
        ];
        lines.push(columns.join(","));
    }
    lines.join("\r\n") + "\r\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::fact::bucket;

    #[test]
    fn half_of_them_took_no_longer_than_the_median() {
        let took = |seconds: u64, facts: i64| Took {
            since: DateTime::UNIX_EPOCH,
            bucket: bucket(Duration::from_secs(seconds)),
            facts,
        };
        let all = [took(1, 50), took(10, 44), took(100, 6)];
        let near = |told: Option<f64>, real: f64| (told.unwrap() - real).abs() <= real * 0.05 + 0.001;
        assert!(near(percentile(&all, 0.5), 1.0));
        assert!(near(percentile(&all, 0.51), 10.0));
        assert!(near(percentile(&all, 0.95), 100.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn each_stage_is_compared_with_the_one_before() {
        let counts = [
            ("action.event_viewed".to_owned(), 200),
            ("action.seats_viewed".to_owned(), 50),
        ];
        let stages = stages(&counts);
        assert_eq!(stages.len(), FUNNEL.len());
        assert_eq!((stages[0].of_previous, stages[1].of_previous), (None, Some(0.25)));
        assert_eq!((stages[2].count, stages[3].of_previous), (0, None));
    }

    #[test]
    fn a_range_has_whole_steps_and_not_too_many() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let range = Range::new(at("2026-11-24T10:20:00Z"), at("2026-11-24T11:00:01Z"), Step::Hour).unwrap();
        assert_eq!(text(range.time.from), "2026-11-24T10:00:00Z");
        assert_eq!(text(range.time.to), "2026-11-24T12:00:00Z");
        assert_eq!(text(range.days().to), "2026-11-25T00:00:00Z");
        assert!(Range::new(range.time.to, range.time.from, Step::Hour).is_err());
        assert!(Range::new(at("2025-11-24T10:20:00Z"), range.time.to, Step::Minute).is_err());
    }
}

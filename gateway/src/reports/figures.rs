//! What counts come to.

use std::collections::BTreeMap;

use analytics::store::Count;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::money::Cents;

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Bookings that were begun.
    pub initiated: i64,
    /// Bookings that were confirmed.
    pub confirmed: i64,
    /// Bookings that were cancelled or rejected, or whose hold ended.
    pub cancelled: i64,
    /// Confirmed bookings of those begun in the same time; left out: none was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.73)]
    pub conversion_rate: Option<f64>,
    /// From a booking's beginning to its confirmation, on average; left out: none was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 41.5)]
    pub seconds_to_confirm: Option<f64>,
    /// Payments that went through.
    pub payments_completed: i64,
    /// Attempts to pay that failed.
    pub payments_failed: i64,
    /// The payments that went through.
    #[schema(value_type = f64, example = 1400.00)]
    pub revenue: Cents,
    /// What was given back.
    #[schema(value_type = f64, example = 0.00)]
    pub refunded: Cents,
}

impl Figures {
    /// What these counts come to: of one event, so of one currency.
    pub fn of<'a>(counts: impl IntoIterator<Item = &'a Count>) -> Figures {
        let mut figures = Figures::default();
        let mut millis = 0;
        for count in counts {
            match count.kind.as_str() {
                "booking.initiated" => figures.initiated += count.facts,
                "booking.cancelled" => figures.cancelled += count.facts,
                "booking.confirmed" => {
                    figures.confirmed += count.facts;
                    millis += count.millis;
                }
                "payment.completed" => {
                    figures.payments_completed += count.facts;
                    figures.revenue = and(figures.revenue, count.cents);
                }
                "payment.failed" => figures.payments_failed += count.facts,
                "payment.refunded" => figures.refunded = and(figures.refunded, count.cents),
                _other => {}
            }
        }
        let share = |part: f64, whole: i64| (whole > 0).then(|| part / whole as f64);
        figures.conversion_rate = share(figures.confirmed as f64, figures.initiated);
        figures.seconds_to_confirm = share(millis as f64 / 1_000.0, figures.confirmed);
        figures
    }
}

/// A sum that stays at what there is room for: facts are told by others.
fn and(sum: Cents, cents: i64) -> Cents {
    Cents::new(sum.get().saturating_add(cents)).unwrap_or(sum)
}

/// The counts of each step in which something happened.
pub fn by_step(counts: &[Count]) -> BTreeMap<DateTime<Utc>, Vec<&Count>> {
    let mut steps: BTreeMap<_, Vec<&Count>> = BTreeMap::new();
    for count in counts {
        steps.entry(count.since).or_default().push(count);
    }
    steps
}

/// The currency of these counts; none: no money was told of.
pub fn currency(counts: &[Count]) -> Option<String> {
    let named = counts.iter().map(|count| &count.currency).find(|name| !name.is_empty());
    named.cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(kind: &str, facts: i64, cents: i64, millis: i64) -> Count {
        Count {
            since: DateTime::UNIX_EPOCH,
            kind: kind.to_owned(),
            event_id: "tour".to_owned(),
            currency: "usd".to_owned(),
            facts,
            cents,
            millis,
        }
    }

    #[test]
    fn counts_come_to_figures() {
        let counts = [
            count("booking.initiated", 8, 800, 0),
            count("booking.confirmed", 6, 600, 9_000),
            count("booking.cancelled", 2, 0, 0),
            count("payment.completed", 6, 600, 0),
            count("payment.failed", 3, 300, 0),
            count("payment.refunded", 1, 100, 0),
            count("seat.reserved", 9, 0, 0),
        ];
        let figures = Figures::of(&counts);
        assert_eq!((figures.initiated, figures.confirmed, figures.cancelled), (8, 6, 2));
        assert_eq!(
            (figures.conversion_rate, figures.seconds_to_confirm),
            (Some(0.75), Some(1.5))
        );
        assert_eq!((figures.payments_completed, figures.payments_failed), (6, 3));
        assert_eq!((figures.revenue.get(), figures.refunded.get()), (600, 100));
        let nothing = Figures::of(&[]);
        assert_eq!((nothing.conversion_rate, nothing.seconds_to_confirm), (None, None));
        assert_eq!(currency(&counts).as_deref(), Some("usd"));
    }

    #[test]
    fn what_others_tell_overflows_nothing() {
        let counts = [
            count("payment.completed", 1, i64::MAX, 0),
            count("payment.completed", 1, i64::MAX, 0),
        ];
        assert_eq!(Figures::of(&counts).revenue.get(), i64::MAX);
    }
}

//! What is published each minute, by a saga each, once however many processes watch: `analytics.booking-metrics`, of a minute that is over, and
//! `analytics.system-metrics`, how the platform is now.

use analytics::store::{Step, Store, StoreError, Time};
use chrono::{DateTime, DurationRound as _, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use uuid::Uuid;
use workflows::tickets::metrics;

use crate::gather::{Sample, Sources, gather};
use crate::rules::Metric;
use crate::scale::Targets;
use crate::store::{self, Published, Wishes};

/// How long after a minute's end its facts should have been counted.
const SETTLED: TimeDelta = TimeDelta::seconds(10);
/// Minutes whose bookings are still published once the analytics are back.
const CAUGHT_UP: TimeDelta = TimeDelta::hours(1);
/// How far back a user counts as active at a minute's end.
const ACTIVE: TimeDelta = TimeDelta::minutes(5);
/// Events that are named.
const POPULAR_MAX: i64 = 5;

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// Writes down what is to be published by now.
pub async fn wish(pool: &PgPool, sources: &Sources, targets: &Targets) -> Result<(), sqlx::Error> {
    let Some(published) = store::published(pool).await? else {
        return Ok(());
    };
    if let Some(minute) = system_minute(&published) {
        let sample = gather(sources, targets, &Metric::ALL).await;
        let data = system(&sample, pool, published.now).await?;
        let mut transaction = pool.begin().await?;
        if store::publish_system(&mut *transaction, minute).await? {
            store::wish(&mut *transaction, &one("system", minute, data)).await?;
        }
        transaction.commit().await?;
    }
    if let Some(minute) = booking_minute(&published) {
        let data = match bookings(&sources.analytics, minute).await {
            Ok(data) => data,
            Err(error) => {
                tracing::debug!(%error, %minute, "a minute's bookings can't be told yet");
                return Ok(());
            }
        };
        let mut transaction = pool.begin().await?;
        if store::publish_bookings(&mut *transaction, minute).await? {
            store::wish(&mut *transaction, &one("booking", minute, data)).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

fn one(kind: &str, minute: DateTime<Utc>, data: Value) -> Wishes {
    let input = json!({ "kind": kind, "minute": text(minute), "metrics": data });
    Wishes {
        id: vec![Uuid::now_v7()],
        workflow: vec![metrics::NAME],
        input: vec![input],
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn floor(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(MINUTE).unwrap_or(at)
}

/// The minute whose state is to be published: this one, unless it was.
fn system_minute(published: &Published) -> Option<DateTime<Utc>> {
    let now = floor(published.now);
    published.system_minute.is_none_or(|told| told < now).then_some(now)
}

/// The minute whose bookings are to be published: the next one, once it is over and settled, and if it isn't too long ago.
fn booking_minute(published: &Published) -> Option<DateTime<Utc>> {
    let now = floor(published.now);
    let next = match published.booking_minute {
        None => now - MINUTE,
        Some(told) => (told + MINUTE).max(now - CAUGHT_UP),
    };
    (next + MINUTE + SETTLED <= published.now).then_some(next)
}

/// What happened in that minute.
pub async fn bookings(analytics: &Store, minute: DateTime<Utc>) -> Result<Value, StoreError> {
    let time = Time {
        from: minute,
        to: minute + MINUTE,
    };
    let counts = analytics.kind_counts(Step::Minute, time).await?;
    let figures = analytics::report::Figures::of(&counts, &[], 0, 1.0);
    let active = Time {
        from: time.to - ACTIVE,
        to: time.to,
    };
    let active_users = analytics.active_users(active).await?;
    let popular = analytics.popular(Step::Minute, time, POPULAR_MAX).await?;
    let popular: Vec<Value> = popular
        .into_iter()
        .map(|(event, bookings)| json!({ "eventId": event, "bookings": bookings }))
        .collect();
    Ok(json!({
        "minute": text(minute), "activeUsers": active_users, "initiated": figures.initiated, "confirmed": figures.confirmed,
        "cancelled": figures.cancelled, "conversionRate": figures.conversion_rate, "secondsToConfirm": figures.seconds_to_confirm,
        "paymentsRequested": figures.payments_requested, "paymentsCompleted": figures.payments_completed,
        "paymentsFailed": figures.payments_failed, "revenueCents": figures.revenue_cents, "refundedCents": figures.refunded_cents,
        "popularEvents": popular,
    }))
}

/// How the platform is; what can't be told is left out.
async fn system(sample: &Sample, pool: &PgPool, now: DateTime<Utc>) -> Result<Value, sqlx::Error> {
    let mut data = Map::from_iter([("at".to_owned(), json!(text(now)))]);
    for (metric, value) in sample {
        data.insert(field(*metric).to_owned(), json!(value));
    }
    let raised = store::rule_standings(pool).await?.into_iter();
    let raised = raised.filter(|rule| matches!(rule.standing.as_str(), "firing" | "recovering"));
    data.insert("alerts".to_owned(), raised.map(|rule| Value::from(rule.name)).collect());
    let wanted = store::target_standings(pool).await?.into_iter();
    let wanted = wanted.map(|target| (target.name, json!(target.replicas)));
    data.insert("wantedWorkers".to_owned(), Value::Object(wanted.collect()));
    Ok(Value::Object(data))
}

/// As facts have names.
fn field(metric: Metric) -> &'static str {
    match metric {
        Metric::ActiveUsers => "activeUsers",
        Metric::QueueLag => "queueLag",
        Metric::OutboxSeconds => "outboxSeconds",
        Metric::OldestStuckSeconds => "oldestStuckSeconds",
        Metric::PaymentFailureRate => "paymentFailureRate",
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
    fn each_minute_is_due_once_and_when_it_is_settled() {
        let published = |booking: Option<&str>, now: &str| Published {
            booking_minute: booking.map(at),
            system_minute: None,
            now: at(now),
        };
        let due = |booking, now| booking_minute(&published(booking, now)).map(text);
        let minute = |text: &str| Some(text.to_owned());
        assert_eq!(due(None, "2026-11-24T12:00:09Z"), None);
        assert_eq!(due(None, "2026-11-24T12:00:10Z"), minute("2026-11-24T11:59:00Z"));
        let last = Some("2026-11-24T11:59:00Z");
        assert_eq!(due(last, "2026-11-24T12:00:59Z"), None);
        assert_eq!(due(last, "2026-11-24T12:01:10Z"), minute("2026-11-24T12:00:00Z"));
        // What was missed is made up for, up to an hour.
        assert_eq!(due(last, "2026-11-24T12:30:00Z"), minute("2026-11-24T12:00:00Z"));
        assert_eq!(due(last, "2026-11-25T12:30:00Z"), minute("2026-11-25T11:30:00Z"));
        let mut told = published(None, "2026-11-24T12:00:09Z");
        assert_eq!(system_minute(&told).map(text), minute("2026-11-24T12:00:00Z"));
        told.system_minute = Some(at("2026-11-24T12:00:00Z"));
        assert_eq!(system_minute(&told), None);
    }
}

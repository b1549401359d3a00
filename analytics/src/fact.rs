//! A fact as it is counted: read from a CloudEvent, or refused with what is wrong.

use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::limits::{CENTS_MAX, FACTS_AHEAD_DAYS, FACTS_KEPT_DAYS, ID_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// The topics of the facts that are counted.
pub const TOPICS: [&str; 25] = [
    "booking.initiated",
    "booking.confirmed",
    "booking.cancelled",
    "seat.reserved",
    "seat.released",
    "seat.unavailable",
    "payment.requested",
    "payment.completed",
    "payment.failed",
    "payment.retry",
    "payment.refunded",
    "user.registered",
    "user.login",
    "user.logout",
    "event.created",
    "event.updated",
    "seats.released",
    "notification.email",
    "notification.sms",
    "notification.push",
    "notification.slack",
    "notification.delivered",
    "notification.failed",
    "analytics.user-action",
    "analytics.system-metrics",
];

/// What a user did, told by a gateway: `action.` and its name is the kind of such a fact.
pub const USER_ACTION: &str = "analytics.user-action";

/// The steps on the way to a ticket, in their order: the kind of the fact, and what a report calls it. A visitor counts once a day and event
/// at the first ones, and from the booking on each booking.
pub const FUNNEL: [(&str, &str); 6] = [
    ("action.event_viewed", "viewed"),
    ("action.seats_viewed", "seats"),
    ("action.checkout_begun", "checkout"),
    ("booking.initiated", "booked"),
    ("payment.completed", "paid"),
    ("booking.confirmed", "confirmed"),
];

/// Facts about users themselves: of those it is kept that there were any, and whose; no address, no name, no device.
const PERSONAL: &str = "user.";

/// Something that happened, once.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The CloudEvent's id: two messages with the same one tell the same.
    pub id: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The topic.
    pub kind: String,
    /// The shop's event that it is about.
    pub event_id: Option<String>,
    /// Who did it.
    pub user_id: Option<String>,
    /// Who, or what, comes a step further on the way to a ticket ([`FUNNEL`]).
    pub visitor: Option<String>,
    /// Of the amount.
    pub currency: Option<String>,
    /// The amount.
    pub cents: Option<i64>,
    /// How long a booking took until it was confirmed.
    pub took: Option<Duration>,
    /// All that was said.
    pub data: Value,
}

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its header `ce_id`.
    pub id: Option<&'a str>,
    /// Its header `ce_time`.
    pub time: Option<&'a str>,
    /// What it says.
    pub payload: &'a [u8],
}

/// Why a message is not counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It names none, or one that no index takes.
    #[error("it has no usable `ce_id`: send 1 to {ID_BYTES_MAX} bytes of text")]
    Id,
    /// It doesn't say when.
    #[error("it has no readable `ce_time`: send an instant by RFC 3339")]
    Time,
    /// It is of a day whose facts are gone, or that is yet to come.
    #[error("it is of a time that is not kept: {FACTS_KEPT_DAYS} days back, {FACTS_AHEAD_DAYS} ahead")]
    OutOfTime,
    /// It says what nobody knows how to count.
    #[error("its `action` is none that is known")]
    Action,
    /// It can't be kept.
    #[error("its payload is no JSON object of at most {PAYLOAD_BYTES_MAX} bytes without U+0000")]
    Payload,
}

impl Fact {
    /// Reads a message, at this time.
    ///
    /// # Errors
    /// Why it is not counted: such a message would be refused however often it came.
    pub fn read(arrived: Arrived<'_>, now: DateTime<Utc>) -> Result<Fact, Refused> {
        let id = arrived.id.and_then(usable).ok_or(Refused::Id)?;
        let at = arrived.time.and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        let at = at.ok_or(Refused::Time)?.with_timezone(&Utc);
        if at < now - chrono::Days::new(FACTS_KEPT_DAYS) || at > now + chrono::Days::new(FACTS_AHEAD_DAYS) {
            return Err(Refused::OutOfTime);
        }
        let data = payload(arrived.payload).ok_or(Refused::Payload)?;
        let text = |name: &str| data[name].as_str().and_then(usable);
        let cents = ["amountCents", "totalCents"]
            .iter()
            .find_map(|name| data[*name].as_i64());
        let took = match arrived.topic {
            "booking.confirmed" => text("bookingId").and_then(|booking| began(&booking)),
            _ => None,
        };
        let kind = match arrived.topic {
            USER_ACTION => {
                let action = text("action")
                    .and_then(|action| Action::of(&action))
                    .ok_or(Refused::Action)?;
                format!("action.{}", action.as_str())
            }
            topic => topic.to_owned(),
        };
        // It counts once a minute, whoever tells it when in it.
        let at = match arrived.topic {
            USER_ACTION => at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(at),
            _domain => at,
        };
        // Somebody who isn't logged in is known for a day.
        let user_id = text("userId").or_else(|| {
            if arrived.topic == USER_ACTION {
                text("sessionId")
            } else {
                None
            }
        });
        let visitor = FUNNEL
            .iter()
            .any(|(step, _)| *step == kind)
            .then(|| match arrived.topic {
                USER_ACTION => user_id.clone(),
                _booking => text("bookingId"),
            });
        Ok(Fact {
            id,
            at,
            event_id: text("eventId"),
            user_id,
            visitor: visitor.flatten(),
            kind,
            currency: text("currency"),
            cents: cents.filter(|cents| (0..=CENTS_MAX).contains(cents)),
            took: took.and_then(|began| (at - began).to_std().ok()),
            data: if arrived.topic.starts_with(PERSONAL) {
                Value::Object(Map::new())
            } else {
                data
            },
        })
    }
}

/// What users do that is told of, besides what the domain's own facts tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Looked at an event.
    EventViewed,
    /// Looked at its seats.
    SeatsViewed,
    /// Looked for events.
    Searched,
    /// Asked what seats cost together, which is how a checkout begins.
    CheckoutBegun,
    /// Wished to book.
    BookingWished,
    /// Joined an event's waiting room.
    QueueJoined,
    /// Registered.
    Registered,
    /// Logged in.
    LoggedIn,
    /// Logged out.
    LoggedOut,
}

impl Action {
    /// All there are.
    pub const ALL: [Action; 9] = [
        Action::EventViewed,
        Action::SeatsViewed,
        Action::Searched,
        Action::CheckoutBegun,
        Action::BookingWished,
        Action::QueueJoined,
        Action::Registered,
        Action::LoggedIn,
        Action::LoggedOut,
    ];

    /// As facts have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::EventViewed => "event_viewed",
            Action::SeatsViewed => "seats_viewed",
            Action::Searched => "searched",
            Action::CheckoutBegun => "checkout_begun",
            Action::BookingWished => "booking_wished",
            Action::QueueJoined => "queue_joined",
            Action::Registered => "registered",
            Action::LoggedIn => "logged_in",
            Action::LoggedOut => "logged_out",
        }
    }

    fn of(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

/// About how long something took: eight buckets for each doubling, so that what is read of one is at most 5 % off.
pub fn bucket(took: Duration) -> i32 {
    // At most 8 × 64.
    ((took.as_millis() as f64 + 1.0).log2() * 8.0).floor() as i32
}

/// How long that is, in seconds: the middle of the bucket.
pub fn bucket_seconds(bucket: i32) -> f64 {
    (((f64::from(bucket) + 0.5) / 8.0).exp2() - 1.0) / 1_000.0
}

/// A text that an index takes.
fn usable(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.contains('\0');
    fits.then(|| text.to_owned())
}

/// An object that Postgres takes: its `jsonb` knows no U+0000.
fn payload(bytes: &[u8]) -> Option<Value> {
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return None;
    }
    let value: Value = serde_json::from_slice(bytes).ok()?;
    (value.is_object() && !has_null(&value)).then_some(value)
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_null(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// When a booking began: its id has the time in it (RFC 9562, version 7).
fn began(booking: &str) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = Uuid::parse_str(booking).ok()?.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(id: &str, time: &str, payload: &[u8]) -> Result<Fact, Refused> {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let arrived = Arrived {
            topic: "booking.confirmed",
            id: Some(id),
            time: Some(time),
            payload,
        };
        Fact::read(arrived, now)
    }

    #[test]
    fn a_confirmed_booking_says_what_it_cost_and_how_long_it_took() {
        let at: DateTime<Utc> = "2026-11-24T11:59:02Z".parse().unwrap();
        let began = u64::try_from((at - chrono::TimeDelta::milliseconds(1_200)).timestamp_millis()).unwrap();
        let booking = uuid::Builder::from_unix_timestamp_millis(began, &[7; 10]).into_uuid();
        let payload = format!(
            r#"{{"bookingId":"{booking}","eventId":"tour","userId":"usr_1","totalCents":70000,"currency":"usd"}}"#
        );
        let fact = read("a/1", "2026-11-24T11:59:02.000Z", payload.as_bytes()).unwrap();
        assert_eq!((fact.event_id.as_deref(), fact.cents), (Some("tour"), Some(70_000)));
        assert_eq!(fact.took, Some(Duration::from_millis(1_200)));
    }

    #[test]
    fn a_users_action_is_of_a_visitor() {
        let at = "2026-11-24T11:59:02Z";
        let read = |payload: &str| {
            let arrived = Arrived {
                topic: USER_ACTION,
                id: Some("a"),
                time: Some(at),
                payload: payload.as_bytes(),
            };
            Fact::read(arrived, "2026-11-24T12:00:00Z".parse().unwrap())
        };
        let guest = read(r#"{"action":"event_viewed","eventId":"tour","sessionId":"day_1","userId":null}"#).unwrap();
        assert_eq!(guest.kind, "action.event_viewed");
        assert_eq!(
            (guest.user_id.as_deref(), guest.visitor.as_deref()),
            (Some("day_1"), Some("day_1"))
        );
        let user = read(r#"{"action":"logged_in","sessionId":"s","userId":"usr_1"}"#).unwrap();
        assert_eq!((user.user_id.as_deref(), user.visitor), (Some("usr_1"), None));
        assert_eq!(read(r#"{"action":"flown"}"#), Err(Refused::Action));
        for action in Action::ALL {
            assert_eq!(Action::of(action.as_str()), Some(action));
        }
    }

    #[test]
    fn a_bucket_tells_how_long_it_took_but_for_5_percent() {
        for millis in [0_u64, 1, 40, 999, 1_200, 41_000, 900_000, u64::MAX] {
            let told = bucket_seconds(bucket(Duration::from_millis(millis)));
            let real = millis as f64 / 1_000.0;
            assert!((told - real).abs() <= real * 0.05 + 0.001, "{millis}: {told}");
        }
    }

    #[test]
    fn an_escaped_backslash_before_u0000_is_a_text_like_any_other() {
        let fact = read("a", "2026-11-24T11:59:02Z", br#"{"a":"\\u0000"}"#).unwrap();
        assert_eq!(fact.data["a"], r"\u0000");
    }

    #[test]
    fn of_a_users_own_facts_only_whose_they_are_is_kept() {
        let payload = br#"{"userId":"usr_1","email":"ada@example.com","address":"192.0.2.1","userAgent":"Firefox"}"#;
        let arrived = Arrived {
            topic: "user.login",
            id: Some("a"),
            time: Some("2026-11-24T11:59:02Z"),
            payload,
        };
        let fact = Fact::read(arrived, "2026-11-24T12:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(
            (fact.user_id.as_deref(), fact.data.to_string()),
            (Some("usr_1"), "{}".to_owned())
        );
    }

    #[test]
    fn what_could_never_be_written_is_refused() {
        let (good, at) = (br#"{}"#.as_slice(), "2026-11-24T11:59:02Z");
        assert!(read("a", at, good).is_ok());
        let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES_MAX));
        for (id, time, payload, why) in [
            ("", at, good, Refused::Id),
            ("a\0b", at, good, Refused::Id),
            (&"x".repeat(ID_BYTES_MAX + 1), at, good, Refused::Id),
            ("a", "yesterday", good, Refused::Time),
            ("a", "2026-01-01T00:00:00Z", good, Refused::OutOfTime),
            ("a", "2027-01-01T00:00:00Z", good, Refused::OutOfTime),
            ("a", at, b"", Refused::Payload),
            ("a", at, b"[]", Refused::Payload),
            ("a", at, br#"{"a":"\u0000"}"#, Refused::Payload),
            ("a", at, br#"{"a":[{"\u0000":1}]}"#, Refused::Payload),
            ("a", at, br#"{"a":1e999999}"#, Refused::Payload),
            ("a", at, huge.as_bytes(), Refused::Payload),
        ] {
            assert_eq!(read(id, time, payload), Err(why), "{id:?} {time}");
        }
    }
}

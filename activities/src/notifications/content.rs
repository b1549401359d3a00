//! What a message says: its kind, its data, and the language make a subject, a text, HTML, and a short form.

use askama::Template;
use chrono::{DateTime, Datelike};
use fluent_bundle::FluentArgs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::words::{self, Language, WordsError};

/// Characters of a subject, at most; what is longer is cut.
const SUBJECT_CHARS_MAX: usize = 150;
/// Characters of a short form, at most: four SMS of the plain alphabet, two of any other.
const SHORT_CHARS_MAX: usize = 480;
/// Stripe's currencies without minor units: an amount of theirs is not in hundredths.
const WHOLE_CURRENCIES: [&str; 16] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf",
];

/// Why a message could not be made.
#[derive(Debug, Error)]
pub enum ContentError {
    /// Its texts.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// A template failed.
    #[error("the template could not be rendered: {0}")]
    Template(#[from] askama::Error),
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The tickets are yours.
    BookingConfirmed,
    /// The booking has ended, or some of its seats were given back; their money comes back.
    BookingCancelled,
    /// The event was called off.
    EventCancelled,
    /// For operations: an event that was called off is settled.
    CancellationFinished,
    /// For operations: something is out of the ordinary.
    AlertRaised,
    /// For operations: it no longer is.
    AlertEnded,
    /// For operations: another number of workers runs.
    WorkersScaled,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::BookingConfirmed,
        Kind::BookingCancelled,
        Kind::EventCancelled,
        Kind::CancellationFinished,
        Kind::AlertRaised,
        Kind::AlertEnded,
        Kind::WorkersScaled,
    ];

    /// As rows and facts have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::BookingConfirmed => "booking_confirmed",
            Kind::BookingCancelled => "booking_cancelled",
            Kind::EventCancelled => "event_cancelled",
            Kind::CancellationFinished => "cancellation_finished",
            Kind::AlertRaised => "alert_raised",
            Kind::AlertEnded => "alert_ended",
            Kind::WorkersScaled => "workers_scaled",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// As the texts have it.
    fn text(self) -> &'static str {
        match self {
            Kind::BookingConfirmed => "booking-confirmed",
            Kind::BookingCancelled => "booking-cancelled",
            Kind::EventCancelled => "event-cancelled",
            Kind::CancellationFinished => "cancellation-finished",
            Kind::AlertRaised => "alert-raised",
            Kind::AlertEnded => "alert-ended",
            Kind::WorkersScaled => "workers-scaled",
        }
    }
}

/// The facts that a message shows; what does not belong to its kind is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageData {
    /// The event's name.
    pub event: String,
    /// Where.
    pub venue: Option<String>,
    /// When: RFC 3339, or any text.
    pub date: Option<String>,
    /// The seats' ids.
    pub seats: Vec<String>,
    /// The price, in minor units.
    pub total_cents: Option<i64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Given with `booking_confirmed`.
    pub confirmation_number: Option<String>,
    /// Given with `cancellation_finished`: how many were settled.
    pub bookings: Option<i64>,
    /// Given with `alert_raised` and `alert_ended`: what the alert is called…
    pub alert: Option<String>,
    /// …which metric it is about…
    pub metric: Option<String>,
    /// …which value that has…
    pub value: Option<String>,
    /// …and which it went past.
    pub threshold: Option<String>,
    /// Given with `workers_scaled`: how many of each are wanted.
    pub workers: Option<String>,
}

impl MessageData {
    /// Something to show a template with.
    pub fn sample() -> MessageData {
        MessageData {
            event: "Neon Nights & Friends".to_owned(),
            venue: Some("Madison Square Garden".to_owned()),
            date: Some("2027-06-12T19:00:00-04:00".to_owned()),
            seats: vec!["A15".to_owned(), "A16".to_owned()],
            total_cents: Some(80_000),
            currency: Some("usd".to_owned()),
            confirmation_number: Some("SL-12345-67890".to_owned()),
            bookings: Some(2),
            alert: Some("HIGH_LOAD".to_owned()),
            metric: Some("active_users".to_owned()),
            value: Some("120000".to_owned()),
            threshold: Some("100000".to_owned()),
            workers: Some("worker-seats: 10, worker-payments: 5".to_owned()),
        }
    }
}

/// A message in every form that a channel may want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its subject, or title.
    pub subject: String,
    /// The whole of it.
    pub text: String,
    /// The whole of it, as a page.
    pub html: String,
    /// All of it that fits where there is little room.
    pub short: String,
}

/// What templates show: one line each, safe as text; HTML is escaped by the templates.
struct Shown {
    language: &'static str,
    subject: String,
    lead: String,
    number: Option<String>,
    rows: Vec<Row>,
    footer: String,
}

struct Row {
    label: String,
    value: String,
}

#[derive(Template)]
#[template(path = "notification.txt")]
struct Text<'a> {
    it: &'a Shown,
}

#[derive(Template)]
#[template(path = "notification.html")]
struct Html<'a> {
    it: &'a Shown,
}

/// The message.
///
/// # Errors
/// If the texts have no such message, or name what is not given here: [`check`] finds that beforehand.
pub fn render(kind: Kind, language: Language, booking: Uuid, data: &MessageData) -> Result<Content, ContentError> {
    let line = |text: &Option<String>| one_line(text.as_deref().unwrap_or_default());
    let date = match &data.date {
        Some(date) => in_words(language, date)?,
        None => String::new(),
    };
    let total = match (data.total_cents, &data.currency) {
        (Some(cents), Some(currency)) => amount(language, cents, currency)?,
        (Some(_) | None, _) => String::new(),
    };
    let seats = data.seats.iter().map(|seat| one_line(seat)).collect::<Vec<_>>();
    let mut variables = FluentArgs::new();
    variables.set("event", one_line(&data.event));
    variables.set("venue", line(&data.venue));
    variables.set("date", date.clone());
    variables.set("seats", seats.join(", "));
    variables.set("seatCount", seats.len());
    variables.set("total", total.clone());
    variables.set("number", line(&data.confirmation_number));
    variables.set("bookings", data.bookings.unwrap_or_default());
    variables.set("booking", booking.to_string());
    variables.set("alert", line(&data.alert));
    variables.set("metric", line(&data.metric));
    variables.set("value", line(&data.value));
    variables.set("threshold", line(&data.threshold));
    variables.set("workers", line(&data.workers));
    let text = |name: &str| words::text(language, name, &variables);
    let part = |attribute: &str| text(&format!("{}.{attribute}", kind.text()));

    let mut rows = Vec::new();
    for (label, value) in [
        ("label-event", one_line(&data.event)),
        ("label-venue", line(&data.venue)),
        ("label-date", date),
        ("label-seats", seats.join(", ")),
        ("label-total", total),
    ] {
        if !value.is_empty() {
            let label = text(label)?;
            rows.push(Row { label, value });
        }
    }
    let it = &Shown {
        language: language.tag(),
        subject: cut(&part("subject")?, SUBJECT_CHARS_MAX),
        lead: part("lead")?,
        number: data.confirmation_number.as_deref().map(one_line),
        rows,
        footer: text("footer")?,
    };
    Ok(Content {
        subject: it.subject.clone(),
        text: Text { it }.render()?,
        html: Html { it }.render()?,
        short: cut(&part("short")?, SHORT_CHARS_MAX),
    })
}

/// Renders every message in every language with sample data, so that a text that is missing, or names what isn't there, is found when a process
/// starts, and not by a buyer.
pub fn check() -> Result<(), ContentError> {
    for kind in Kind::ALL {
        for language in Language::ALL {
            render(kind, language, Uuid::nil(), &MessageData::sample())?;
        }
    }
    Ok(())
}

/// No line breaks or other controls, so that nothing can pretend to be a header or another line.
pub(crate) fn one_line(text: &str) -> String {
    text.split(|letter: char| letter.is_control())
        .collect::<Vec<_>>()
        .join(" ")
        .trim()
        .to_owned()
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// An instant as people read it; anything else as it is.
fn in_words(language: Language, text: &str) -> Result<String, WordsError> {
    let Ok(at) = DateTime::parse_from_rfc3339(text) else {
        return Ok(one_line(text));
    };
    let mut variables = FluentArgs::new();
    variables.set("weekday", at.weekday().number_from_monday());
    variables.set("day", at.day());
    variables.set("month", at.month());
    variables.set("year", at.year());
    variables.set("time", at.format("%H:%M").to_string());
    variables.set("offset", at.format("%:z").to_string());
    words::text(language, "date", &variables)
}

fn amount(language: Language, minor_units: i64, currency: &str) -> Result<String, WordsError> {
    let sign = if minor_units < 0 { "-" } else { "" };
    let magnitude = minor_units.unsigned_abs();
    let is_whole = WHOLE_CURRENCIES.contains(&currency.to_lowercase().as_str());
    let (whole, name) = if is_whole {
        (magnitude, "amount-whole")
    } else {
        (magnitude / 100, "amount")
    };
    let mut variables = FluentArgs::new();
    variables.set("currency", one_line(&currency.to_uppercase()));
    variables.set("whole", format!("{sign}{whole}"));
    variables.set("hundredths", format!("{:02}", magnitude % 100));
    words::text(language, name, &variables)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rendered(kind: Kind, language: Language, data: &MessageData) -> Content {
        render(kind, language, Uuid::nil(), data).unwrap()
    }

    #[test]
    fn every_message_can_be_made_in_every_language() {
        check().unwrap();
        for kind in Kind::ALL {
            let [english, german] = Language::ALL.map(|language| rendered(kind, language, &MessageData::sample()));
            assert_ne!(english.subject, german.subject, "{kind:?}");
            assert_ne!(english.short, german.short, "{kind:?}");
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn a_message_has_the_facts_in_every_form() {
        let content = rendered(Kind::BookingConfirmed, Language::En, &MessageData::sample());
        assert_eq!(content.subject, "Your tickets for Neon Nights & Friends");
        for form in [&content.text, &content.html] {
            for fact in [
                "A15, A16",
                "USD 800.00",
                "SL-12345-67890",
                "Saturday, 12 June 2027, 19:00",
            ] {
                assert!(form.contains(fact), "{fact} in {form}");
            }
        }
        assert_eq!(
            content.short,
            "Confirmed: 2 seats for Neon Nights & Friends, Saturday, 12 June 2027, 19:00 (UTC-04:00). Your number: SL-12345-67890"
        );
    }

    #[test]
    fn german_has_its_own_plurals_dates_and_amounts() {
        let data = MessageData {
            seats: vec!["A15".into()],
            currency: Some("eur".into()),
            ..MessageData::sample()
        };
        let one = rendered(Kind::BookingCancelled, Language::De, &data);
        assert!(one.text.contains("Der Platz A15 ist wieder frei"), "{}", one.text);
        assert!(one.text.contains("Samstag, 12. Juni 2027, 19:00 Uhr"), "{}", one.text);
        assert!(one.text.contains("800,00 EUR"), "{}", one.text);
        let two = rendered(Kind::BookingCancelled, Language::De, &MessageData::sample());
        assert!(
            two.text.contains("Die Plätze A15, A16 sind wieder frei"),
            "{}",
            two.text
        );
        assert!(two.html.contains("<html lang=\"de\">"));
    }

    #[test]
    fn nothing_in_a_name_becomes_another_line_or_markup() {
        let name = "Tour\r\nBcc: everyone@example.org\r\n\r\n<script>alert(1)</script> { $number }";
        let data = MessageData {
            event: name.into(),
            alert: Some(name.into()),
            workers: Some(name.into()),
            ..MessageData::sample()
        };
        for kind in Kind::ALL {
            let content = rendered(kind, Language::En, &data);
            assert!(!content.html.contains("<script>"), "{}", content.html);
            assert!(
                !content.text.lines().any(|line| line.starts_with("Bcc")),
                "{}",
                content.text
            );
            assert_eq!(content.subject.lines().count(), 1);
            // A name is no template either.
            assert!(content.subject.contains("{ $number }"), "{}", content.subject);
        }
    }

    #[test]
    fn amounts_are_exact() {
        let english = |cents, currency| amount(Language::En, cents, currency).unwrap();
        assert_eq!(english(5, "usd"), "USD 0.05");
        assert_eq!(english(-123_456, "eur"), "EUR -1234.56");
        assert_eq!(english(1_500, "jpy"), "JPY 1500");
    }
}

//! From a notification's input to a message: templates, headers, Message-ID.

use askama::Template;
use chrono::DateTime;
use lettre::Message;
use lettre::message::{Mailbox, MultiPart};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use super::email::{EmailInput, TemplateName};

/// Characters of a subject, at most; what is longer is cut.
const SUBJECT_CHARS_MAX: usize = 150;
/// Stripe's currencies without minor units: an amount of theirs is not in hundredths.
const WHOLE_CURRENCIES: [&str; 16] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf",
];

/// Why a message could not be made.
#[derive(Debug, Error)]
pub(crate) enum MessageError {
    /// A template failed.
    #[error("the template could not be rendered: {0}")]
    Template(#[from] askama::Error),
    /// Its parts don't make a message.
    #[error("the message could not be put together: {0}")]
    Message(#[from] lettre::error::Error),
}

/// What templates show: one line each, safe as text; HTML is escaped by the templates.
struct Shown {
    booking_id: Uuid,
    event: String,
    venue: String,
    date: String,
    seats: Vec<String>,
    total: String,
    confirmation_number: String,
}

#[derive(Template)]
#[template(path = "booking_confirmed.txt")]
struct ConfirmedText<'a> {
    it: &'a Shown,
}

#[derive(Template)]
#[template(path = "booking_confirmed.html")]
struct ConfirmedHtml<'a> {
    it: &'a Shown,
}

#[derive(Template)]
#[template(path = "booking_cancelled.txt")]
struct CancelledText<'a> {
    it: &'a Shown,
}

#[derive(Template)]
#[template(path = "booking_cancelled.html")]
struct CancelledHtml<'a> {
    it: &'a Shown,
}

#[derive(Template)]
#[template(path = "event_cancelled.txt")]
struct EventCancelledText<'a> {
    it: &'a Shown,
}

#[derive(Template)]
#[template(path = "event_cancelled.html")]
struct EventCancelledHtml<'a> {
    it: &'a Shown,
}

/// The message's id: the same for every attempt at one effect, so that a repeat is recognised as one.
pub(super) fn message_id(key: &str, from: &Mailbox) -> String {
    let digest = Sha256::digest(key.as_bytes());
    format!("<{}@{}>", hex::encode(&digest[..16]), from.email.domain())
}

/// The message, as text and as HTML.
pub(super) fn compose(
    input: &EmailInput,
    from: &Mailbox,
    to: Mailbox,
    message_id: &str,
) -> Result<Message, MessageError> {
    let data = &input.data;
    let it = &Shown {
        booking_id: input.booking_id,
        event: one_line(&data.event),
        venue: one_line(&data.venue),
        date: date(&data.date),
        seats: data.seats.iter().map(|seat| one_line(seat)).collect(),
        total: amount(data.total_cents, &data.currency),
        confirmation_number: one_line(data.confirmation_number.as_deref().unwrap_or_default()),
    };
    let (subject, text, html) = match input.template {
        TemplateName::BookingConfirmed => {
            let subject = format!("Your tickets for {}", it.event);
            (subject, ConfirmedText { it }.render()?, ConfirmedHtml { it }.render()?)
        }
        TemplateName::BookingCancelled => {
            let subject = format!("Your booking for {} was cancelled", it.event);
            (subject, CancelledText { it }.render()?, CancelledHtml { it }.render()?)
        }
        TemplateName::EventCancelled => {
            let subject = format!("{} does not take place", it.event);
            let text = EventCancelledText { it }.render()?;
            (subject, text, EventCancelledHtml { it }.render()?)
        }
    };
    let subject: String = subject.chars().take(SUBJECT_CHARS_MAX).collect();
    let message = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(subject)
        .message_id(Some(message_id.to_owned()));
    Ok(message.multipart(MultiPart::alternative_plain_html(text, html))?)
}

/// No line breaks or other controls, so that nothing can pretend to be a header or another line.
pub(crate) fn one_line(text: &str) -> String {
    text.split(|letter: char| letter.is_control())
        .collect::<Vec<_>>()
        .join(" ")
        .trim()
        .to_owned()
}

/// An instant as people read it; anything else as it is.
fn date(text: &str) -> String {
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) => at.format("%A, %-d %B %Y, %H:%M (UTC%:z)").to_string(),
        Err(_) => one_line(text),
    }
}

fn amount(minor_units: i64, currency: &str) -> String {
    let code = one_line(&currency.to_uppercase());
    if WHOLE_CURRENCIES.contains(&currency.to_lowercase().as_str()) {
        return format!("{code} {minor_units}");
    }
    let sign = if minor_units < 0 { "-" } else { "" };
    let magnitude = minor_units.unsigned_abs();
    format!("{code} {sign}{}.{:02}", magnitude / 100, magnitude % 100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::notifications::email::TemplateData;

    fn input(event: &str) -> EmailInput {
        EmailInput {
            booking_id: Uuid::nil(),
            to: Some("buyer@example.org".into()),
            template: TemplateName::BookingConfirmed,
            data: TemplateData {
                event: event.into(),
                venue: "Garden".into(),
                date: "2027-06-12T19:00:00-04:00".into(),
                seats: vec!["A15".into(), "A16".into()],
                total_cents: 80_000,
                currency: "usd".into(),
                confirmation_number: Some("SL-1".into()),
            },
        }
    }

    fn compose_text(event: &str) -> String {
        let from: Mailbox = "Sagaline <tickets@sagaline.example>".parse().unwrap();
        let to = "buyer@example.org".parse().unwrap();
        let message = compose(&input(event), &from, to, &message_id("k", &from)).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[test]
    fn a_message_has_the_facts_in_both_forms() {
        let text = compose_text("The Tour");
        for fact in [
            "Subject: Your tickets for The Tour",
            "A15, A16",
            "USD 800.00",
            "SL-1",
            "Saturday, 12 June 2027, 19:00",
        ] {
            assert!(text.contains(fact), "{fact} in {text}");
        }
        assert!(text.contains("text/plain") && text.contains("text/html"));
    }

    #[test]
    fn nothing_in_a_name_becomes_a_header_or_markup() {
        let text = compose_text("Tour\r\nBcc: everyone@example.org\r\n\r\n<script>alert(1)</script>");
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        let html = text.split("text/html").nth(1).unwrap();
        assert!(!html.contains("<script>"), "{html}");
    }

    #[test]
    fn amounts_are_exact() {
        assert_eq!(amount(5, "usd"), "USD 0.05");
        assert_eq!(amount(-123_456, "eur"), "EUR -1234.56");
        assert_eq!(amount(1_500, "jpy"), "JPY 1500");
    }

    #[test]
    fn the_message_id_depends_on_the_key_alone() {
        let from: Mailbox = "tickets@sagaline.example".parse().unwrap();
        assert_eq!(message_id("a", &from), message_id("a", &from));
        assert_ne!(message_id("a", &from), message_id("b", &from));
        assert!(message_id("a", &from).ends_with("@sagaline.example>"));
    }
}

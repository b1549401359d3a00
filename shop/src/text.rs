//! Texts that pages share: dates, paths, queries, seats.

use chrono::{DateTime, Datelike as _, FixedOffset};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// When something is, as people say it; by the offset that it was told with, which for events is the venue's.
pub struct When {
    /// `Saturday, 12 June 2027`
    pub day: String,
    /// `19:00`
    pub time: String,
    /// `Jun`
    pub month: String,
    /// `12`
    pub date: u32,
    /// `2027`
    pub year: i32,
}

impl When {
    /// Of an RFC 3339 instant; what is none is shown as it is.
    pub fn of(text: &str) -> When {
        match DateTime::<FixedOffset>::parse_from_rfc3339(text) {
            Ok(at) => When {
                day: at.format("%A, %-d %B %Y").to_string(),
                time: at.format("%H:%M").to_string(),
                month: at.format("%b").to_string(),
                date: at.day(),
                year: at.year(),
            },
            Err(_) => When {
                day: text.to_owned(),
                time: String::new(),
                month: String::new(),
                date: 0,
                year: 0,
            },
        }
    }
}

/// What is written otherwise in a path: nearly everything, dots too, for two of them lead upwards.
const NOT_IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// One segment of a path.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, NOT_IN_PATHS).to_string()
}

/// The path of an event's page.
pub fn event_path(event_id: &str) -> String {
    format!("/shop/events/{}", segment(event_id))
}

/// The path of an order's page.
pub fn order_path(booking_id: &str) -> String {
    format!("/shop/orders/{}", segment(booking_id))
}

/// The checkout of these seats.
pub fn checkout_path(event_id: &str, seats: &[String]) -> String {
    let pairs = seats.iter().map(|seat| ("seat", seat.as_str()));
    format!("{}/checkout?{}", event_path(event_id), query(pairs))
}

/// A query's text.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// A path of our own to go to afterwards; anything else leads to the first page.
pub fn local(path: &str) -> &str {
    let is_ours = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains(|char: char| char == '\\' || char.is_control());
    if is_ours { path } else { "/" }
}

/// What stands on a seat: the number at the end of its name, where it has one.
pub fn seat_label(seat_id: &str) -> &str {
    let digits = seat_id.bytes().rev().take_while(u8::is_ascii_digit).count();
    match digits {
        0 => seat_id,
        count => &seat_id[seat_id.len() - count..],
    }
}

/// `1 seat`, `2 seats`.
pub fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// About how long something takes.
pub fn about(seconds: u64) -> String {
    match seconds {
        0..=59 => "less than a minute".to_owned(),
        60..=119 => "about a minute".to_owned(),
        120..=5_399 => format!("about {} minutes", seconds.div_ceil(60)),
        _ => format!("about {} hours", seconds.div_ceil(3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_paths_are_gone_to() {
        assert_eq!(local("/shop/orders?x=1"), "/shop/orders?x=1");
        for elsewhere in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "",
            "/a\r\nb",
            // Browsers leave tabs out.
            "/\t/evil.example",
        ] {
            assert_eq!(local(elsewhere), "/", "{elsewhere:?}");
        }
    }

    #[test]
    fn names_make_no_paths() {
        assert_eq!(event_path("a/../b?c"), "/shop/events/a%2F%2E%2E%2Fb%3Fc");
        let seats = ["A&B=1".to_owned()];
        assert_eq!(checkout_path("e", &seats), "/shop/events/e/checkout?seat=A%26B%3D1");
    }

    #[test]
    fn seats_and_times_are_short() {
        assert_eq!((seat_label("101-A-15"), seat_label("Box ü")), ("15", "Box ü"));
        assert_eq!(
            (about(59), about(61), about(121)),
            (
                "less than a minute".into(),
                "about a minute".into(),
                "about 3 minutes".into()
            )
        );
        let when = When::of("2027-06-12T19:00:00-04:00");
        assert_eq!(
            (when.day.as_str(), when.time.as_str()),
            ("Saturday, 12 June 2027", "19:00")
        );
        assert_eq!(When::of("soon").day, "soon");
    }
}

//! The languages that people are written to in, and which of them a browser would like best (RFC 9110, 12.5.4).

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body;
use crate::limits::LANGUAGES_MAX;
use crate::problem::FieldError;

/// A language that messages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    En,
    /// German.
    De,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 2] = [Language::En, Language::De];

    /// Its tag, as BCP 47 has it.
    pub fn tag(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::De => "de",
        }
    }

    /// The language of this tag.
    pub fn parse(tag: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// Reads a member of a body.
    pub fn read(raw: &RawValue, pointer: &str, errors: &mut Vec<FieldError>) -> Option<Language> {
        let must = "must be one of en, de";
        let tag: String = body::decode(raw, pointer, must, errors)?;
        let language = Language::parse(&tag);
        if language.is_none() {
            errors.push(FieldError::new(pointer, must));
        }
        language
    }

    /// The one of them that a request's `Accept-Language` likes best; none: it names none of them. A variety (`de-AT`) is its language.
    pub fn accepted(headers: &HeaderMap) -> Option<Language> {
        let values = headers.get_all(header::ACCEPT_LANGUAGE).iter();
        let ranges = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .take(LANGUAGES_MAX);
        let weighed = ranges.filter_map(|range| {
            let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
            let primary = tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase();
            let weight = match weight.trim().strip_prefix("q=") {
                Some(weight) => weight.trim().parse::<f32>().ok()?,
                None => 1.0,
            };
            Language::parse(&primary)
                .filter(|_| weight > 0.0)
                .map(|language| (language, weight))
        });
        // The first of those that are liked best.
        let best = weighed.reduce(|best, other| if other.1 > best.1 { other } else { best });
        best.map(|(language, _)| language)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_language_that_a_browser_likes_best_is_found() {
        for (value, expected) in [
            ("de", Some(Language::De)),
            ("de-AT, en;q=0.5", Some(Language::De)),
            ("fr-FR, fr;q=0.9, en;q=0.8, de;q=0.7", Some(Language::En)),
            ("en;q=0.3, DE;q=0.9", Some(Language::De)),
            ("de;q=0, en;q=0.1", Some(Language::En)),
            ("de;q=0", None),
            ("de;q=much", None),
            ("fr", None),
            ("*", None),
            ("deutsch", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(value))]);
            assert_eq!(Language::accepted(&headers), expected, "{value}");
        }
        assert_eq!(Language::accepted(&HeaderMap::new()), None);
        let long = format!("{}de", "fr,".repeat(LANGUAGES_MAX));
        let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_str(&long).unwrap())]);
        assert_eq!(Language::accepted(&headers), None, "nobody reads that many");
    }
}

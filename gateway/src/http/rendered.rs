//! Answers that are the same for everybody: with an entity tag, and compressed once for all who want them so.

use std::hash::Hasher;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

/// Smaller ones fit a packet as they are.
const COMPRESSED_BYTES_MIN: usize = 1_024;

/// An answer's body with its weak entity tag.
#[derive(Clone)]
pub struct Rendered {
    /// As it is.
    pub body: Bytes,
    /// `W/"…"`: the same for the body as it is and for it compressed.
    pub etag: String,
    compressed: Arc<OnceLock<Bytes>>,
}

impl Rendered {
    /// This body, with a tag that is its own.
    pub fn of(body: impl Into<Bytes>) -> Rendered {
        let body = body.into();
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(&body);
        Rendered {
            etag: format!("W/\"{:016x}\"", hasher.finish()),
            body,
            compressed: Arc::default(),
        }
    }

    /// This value as JSON.
    pub fn json(value: &impl Serialize) -> Rendered {
        Rendered::of(serde_json::to_vec(value).expect("an answer is plain data"))
    }

    /// The answer to a request with these headers: 304 if the client has it already, compressed if it likes that.
    pub fn answer(&self, headers: &HeaderMap, media_type: &'static str) -> Response {
        let etag = HeaderValue::from_str(&self.etag).expect("a tag is hexadecimal");
        // `no-cache`: keep it, but ask each time.
        let known = [
            (header::ETAG, etag),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if is_known(headers, &self.etag) {
            return (StatusCode::NOT_MODIFIED, known).into_response();
        }
        let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
        if self.body.len() < COMPRESSED_BYTES_MIN || !takes_gzip(headers) {
            return (known, media_type, self.body.clone()).into_response();
        }
        let compressed = self.compressed.get_or_init(|| gzip(&self.body)).clone();
        let encoding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        (known, media_type, encoding, compressed).into_response()
    }
}

/// As fast as can be: that makes seats a tenth as long, and trying harder little less.
fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .expect("memory takes whatever is written")
        .into()
}

/// Whether the client takes gzip (RFC 9110, 12.5.3): named, or as one of all, and not with a weight of nothing.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let weighed = codings.map(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_nothing = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|weight| weight.trim().parse() == Ok(0.0));
        (name.trim().to_ascii_lowercase(), !is_nothing)
    });
    let of = |wanted: &str, weighed: &[(String, bool)]| {
        let found = weighed.iter().find(|(name, _)| name == wanted);
        found.map(|(_, takes)| *takes)
    };
    let weighed: Vec<(String, bool)> = weighed.collect();
    of("gzip", &weighed).or_else(|| of("*", &weighed)).unwrap_or(false)
}

/// Whether the client has the answer with this tag already (weak comparison, RFC 9110).
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;

    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (value, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("*;q=0.1, gzip;q=0", false),
            ("gzip;q=0.0", false),
            ("br", false),
            ("identity, *;q=0", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&headers(header::ACCEPT_ENCODING, value)), takes, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn it_is_compressed_and_still_the_same() {
        let text = "seat ".repeat(1_000);
        let rendered = Rendered::of(text.clone());
        let answer = rendered.answer(&headers(header::ACCEPT_ENCODING, "gzip"), "text/plain");
        assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(answer.headers()[header::VARY], "accept-encoding");
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        assert!(body.len() < 200, "{}", body.len());
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_string(&mut plain)
            .unwrap();
        assert_eq!(plain, text);

        let tag = rendered.etag.clone();
        let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(&tag).unwrap())]);
        assert_eq!(rendered.answer(&asked, "text/plain").status(), StatusCode::NOT_MODIFIED);
        let small = Rendered::of("little").answer(&headers(header::ACCEPT_ENCODING, "gzip"), "text/plain");
        assert!(!small.headers().contains_key(header::CONTENT_ENCODING));
    }
}

//! Which other sites' pages may use the API from a browser (the Fetch standard's CORS protocol).

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::context;
use crate::events::routes::SEATS_VERSION;
use crate::limits::CORS_MAX_AGE;

/// Sites such as `https://shop.example.com`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Lets their pages ask, with a token in a header; cookies play no part.
    pub fn layer(&self) -> CorsLayer {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(self.0.iter().cloned()))
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_NONE_MATCH,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                HeaderName::from_static("prefer"),
                HeaderName::from_static(context::REQUEST_ID),
                HeaderName::from_static(context::TRACEPARENT),
            ])
            .expose_headers([
                header::ETAG,
                header::LOCATION,
                header::RETRY_AFTER,
                SEATS_VERSION,
                HeaderName::from_static(context::REQUEST_ID),
            ])
            .max_age(CORS_MAX_AGE)
    }
}

impl FromStr for Origins {
    type Err = String;

    /// As browsers write them, joined by commas.
    fn from_str(text: &str) -> Result<Origins, String> {
        let origin = |part: &str| {
            let uri: Uri = part.parse().ok()?;
            let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
            // Without a path, not even `/`: browsers send none, and it would fit nobody.
            let is_bare = uri
                .authority()
                .is_some_and(|authority| part.ends_with(authority.as_str()));
            let is_plain = part
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
                && !part.contains('@');
            (is_http && is_bare && is_plain)
                .then(|| HeaderValue::from_str(part).ok())
                .flatten()
        };
        let parts = text.split(',').map(str::trim);
        parts
            .map(|part| origin(part).ok_or_else(|| format!("{part:?} is no site such as https://shop.example.com")))
            .collect::<Result<_, _>>()
            .map(Origins)
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<&str> = self.0.iter().filter_map(|origin| origin.to_str().ok()).collect();
        f.write_str(&origins.join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sites_are_read_as_browsers_write_them() {
        let text = "https://shop.example.com,http://localhost:5173";
        assert_eq!(text.parse::<Origins>().unwrap().to_string(), text);
        for bad in [
            "",
            "*",
            "shop.example.com",
            "https://shop.example.com/",
            "https://shop.example.com/page",
            "https://Shop.example.com",
            "https://me@shop.example.com",
            "ftp://shop.example.com",
            "https://a.example,,https://b.example",
            "null",
        ] {
            assert!(bad.parse::<Origins>().is_err(), "{bad}");
        }
    }
}

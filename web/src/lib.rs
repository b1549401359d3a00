//! What everything of ours that serves HTTP has in common: pages' headers, where a form may come from, cookies; and how healthy a process is
//! ([`health`]).

pub mod health;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// No script and no style but our own files, nothing within the markup, no frames; forms and requests go to ourselves.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; \
                                       frame-ancestors 'none'; base-uri 'none'";
/// For every response. `same-origin` rather than `no-referrer`: under the latter browsers send forms with `Origin: null`.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Sets the headers; nothing but assets is kept by browsers.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Lets requests that change something through only from our own pages; to others it gives `refusal`.
pub async fn same_origin(request: Request, next: Next, refusal: impl IntoResponse) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || is_same_origin(request.headers()) {
        next.run(request).await
    } else {
        refusal.into_response()
    }
}

/// By what browsers say and pages can't forge: `Sec-Fetch-Site`, or the origin where that isn't sent.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        _missing => false,
    }
}

/// What a cookie of this name says.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// A file of ours, within the binary.
pub fn asset(media_type: &'static str, text: &'static str) -> Response {
    let kind = (header::CONTENT_TYPE, media_type);
    // Short: a new release must look right soon.
    let keep = (header::CACHE_CONTROL, "private, max-age=300");
    ([kind, keep], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(pairs: &[(&'static str, &'static str)]) -> bool {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_same_origin(&pairs.collect())
    }

    #[test]
    fn forms_come_from_our_own_pages() {
        let host = ("host", "ops.example:3002");
        assert!(same(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(same(&[host, ("origin", "https://ops.example:3002")]));
        assert!(!same(&[host]));
        assert!(!same(&[host, ("origin", "null")]));
        assert!(!same(&[host, ("origin", "https://evil.example")]));
        assert!(!same(&[
            host,
            ("sec-fetch-site", "same-site"),
            ("origin", "https://ops.example:3002")
        ]));
        assert!(!same(&[host, ("sec-fetch-site", "none")]));
    }

    #[test]
    fn cookies_are_told_apart() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("other=1; mine=two"));
        headers.append(header::COOKIE, HeaderValue::from_static("third=3"));
        assert_eq!(cookie(&headers, "mine"), Some("two"));
        assert_eq!(cookie(&headers, "third"), Some("3"));
        assert_eq!(cookie(&headers, "min"), None);
    }
}

//! What holds for every page: headers, where a form may come from, who is asking.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access::session;
use crate::app::Mission;
use crate::error::PageError;

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

/// Lets requests that change something through only from our own pages.
pub async fn same_origin(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || is_same_origin(request.headers()) {
        next.run(request).await
    } else {
        PageError::CrossSite.into_response()
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

/// Puts the operator into the request, or sends the browser to the login.
pub async fn session(State(mission): State<Mission>, mut request: Request, next: Next) -> Response {
    match session::find(&mission.pool, request.headers()).await {
        Ok(Some(operator)) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Ok(None) => PageError::NoSession.into_response(),
        Err(error) => PageError::from(error).into_response(),
    }
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
}

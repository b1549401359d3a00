//! The `Prefer` header (RFC 7240), of which `wait` is heeded.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::limits::WAIT_MAX;

/// How long the client is ready to wait for the outcome, in whole seconds and at most [`WAIT_MAX`]. A preference
/// that can't be read is ignored, as the RFC wants it.
pub fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    let seconds = preferences.find_map(|preference| {
        let token = preference.split(';').next().unwrap_or_default();
        let (name, value) = token.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("wait")
            .then(|| value.trim().trim_matches('"'))
    })?;
    if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than fit are a wish for very long.
    let wait = seconds.parse().map_or(WAIT_MAX, Duration::from_secs);
    Some(wait.min(WAIT_MAX))
}

/// What `Preference-Applied` says.
pub fn applied(wait: Duration) -> String {
    format!("wait={}", wait.as_secs())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wait_of(prefer: &'static str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", HeaderValue::from_static(prefer));
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_wait_is_read_and_bounded() {
        assert_eq!(wait_of("wait=10"), Some(10));
        assert_eq!(wait_of("respond-async, WAIT = \"5\"; foo=bar"), Some(5));
        assert_eq!(wait_of("wait=0"), Some(0));
        assert_eq!(wait_of("wait=3600"), Some(30));
        assert_eq!(wait_of("wait=99999999999999999999999"), Some(30));
    }

    #[test]
    fn what_can_not_be_read_is_ignored() {
        for prefer in [
            "",
            "wait",
            "wait=",
            "wait=-1",
            "wait=1.5",
            "wait=soon",
            "return=minimal",
        ] {
            assert_eq!(wait_of(prefer), None, "{prefer}");
        }
    }
}

//! A request's identity: its request id, and its place in a W3C trace.

use axum::http::HeaderMap;
use uuid::Uuid;

/// The header that carries the request id, both ways.
pub const REQUEST_ID: &str = "x-request-id";
/// The header that carries the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Characters of a request id that are accepted from outside.
const REQUEST_ID_CHARS_MAX: usize = 64;

tokio::task_local! {
    static CURRENT: Context;
}

/// Names one request in logs, traces, answers and towards the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The client's, if it sent a plain one, else ours.
    pub request_id: String,
    trace: u128,
    span: u64,
    flags: u8,
}

/// The context of the request that this task serves; none outside of requests.
pub fn current() -> Option<Context> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs the rest of a request within its context.
pub async fn within<F: Future>(context: Context, future: F) -> F::Output {
    CURRENT.scope(context, future).await
}

impl Context {
    /// The context that a request's headers ask for: its trace is continued, or a new one begun.
    pub fn from_headers(headers: &HeaderMap) -> Context {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (trace, flags) = text(TRACEPARENT)
            .and_then(parse_traceparent)
            .unwrap_or((Uuid::new_v4().as_u128(), 1));
        let request_id = text(REQUEST_ID).filter(|id| is_plain(id)).map(str::to_owned);
        Context {
            request_id: request_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            trace,
            // The low half of a random UUID: never zero, for it holds the variant bits.
            span: Uuid::new_v4().as_u64_pair().1,
            flags,
        }
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The `traceparent` to hand on: the same trace, with this request's span as the parent.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Goes into logs and back into a header, so only what is harmless in both.
fn is_plain(id: &str) -> bool {
    (1..=REQUEST_ID_CHARS_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// The trace id and the flags of a well-formed `traceparent` (W3C Trace Context, level 1; higher versions may
/// carry on after the flags).
fn parse_traceparent(text: &str) -> Option<(u128, u8)> {
    let mut parts = text.trim().split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !(lower_hex(version, 2) && lower_hex(trace, 32) && lower_hex(parent, 16) && lower_hex(flags, 2)) {
        return None;
    }
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
    // Only the "sampled" flag is ours to hand on.
    Some((trace, u8::from_str_radix(flags, 16).ok()? & 1))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn context(traceparent: &str) -> Context {
        let mut headers = HeaderMap::new();
        headers.insert(
            TRACEPARENT,
            HeaderValue::from_str(traceparent).expect("a header's text"),
        );
        Context::from_headers(&headers)
    }

    #[test]
    fn a_trace_is_continued_under_a_new_span() {
        let context = context(GOOD);
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(
            context
                .traceparent()
                .starts_with("00-0af7651916cd43dd8448eb211c80319c-")
        );
        assert_ne!(context.traceparent(), GOOD);
        assert!(parse_traceparent(&context.traceparent()).is_some());
    }

    #[test]
    fn a_malformed_trace_is_replaced() {
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_ne!(context(bad).trace_id(), "0af7651916cd43dd8448eb211c80319c", "{bad}");
            assert!(parse_traceparent(&context(bad).traceparent()).is_some());
        }
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert_eq!(context(later).trace_id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn a_request_id_is_taken_over_only_if_plain() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1.2_3"));
        assert_eq!(Context::from_headers(&headers).request_id, "abc-1.2_3");
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc\"1"));
        assert_ne!(Context::from_headers(&headers).request_id, "abc\"1");
    }
}

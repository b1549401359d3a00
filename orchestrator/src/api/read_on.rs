//! Reads on what a client still sends when its request has been refused: a connection that is closed meanwhile is reset, and the client
//! sees that instead of the answer.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

/// Bodies up to this are in the system's buffers by the time that they are refused.
const SMALL_BYTES_MAX: u64 = 16 * 1024;
/// Bytes that are read on, at most.
const READ_ON_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long is read on, at most.
const READ_ON_FOR: Duration = Duration::from_secs(10);

/// A layer: whatever a handler leaves of a body is read and thrown away.
pub async fn read_on(request: Request, next: Next) -> Response {
    let small = request
        .body()
        .size_hint()
        .upper()
        .is_some_and(|bytes| bytes <= SMALL_BYTES_MAX);
    let request = if small {
        request
    } else {
        request.map(|body| Body::new(ReadOn(body)))
    };
    next.run(request).await
}

struct ReadOn(Body);

impl HttpBody for ReadOn {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        if !self.0.is_end_stream() {
            tokio::spawn(tokio::time::timeout(READ_ON_FOR, discard(mem::take(&mut self.0))));
        }
    }
}

async fn discard(mut body: Body) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > READ_ON_BYTES_MAX {
            return;
        }
    }
}

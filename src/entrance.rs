//! A door that opens before the house is ready: while a process waits for Postgres, it already says that it lives and is
//! not ready, so that whoever watches it neither kills it nor sends it work.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long requests keep coming in after readiness is off: load balancers need a moment to notice.
const NOTICE: Duration = Duration::from_millis(500);

/// A listener, bound to `address`.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}: choose another port, or stop who has it"))
}

/// A server whose routes come later.
pub struct Entrance {
    routes: Arc<OnceLock<Router>>,
    stop: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Entrance {
    /// Serves `/health/live` on the listener, and 503 for everything else until [`Entrance::open`].
    pub fn serve(listener: TcpListener) -> Entrance {
        let routes: Arc<OnceLock<Router>> = Arc::default();
        let stop = CancellationToken::new();
        let known = routes.clone();
        let router = Router::new().fallback(move |request: Request| answer(known.get().cloned(), request));
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        Entrance {
            routes,
            stop,
            server: tokio::spawn(server.into_future()),
        }
    }

    /// From now on these routes answer.
    pub fn open(&self, router: Router) {
        // Opened once, by whoever made it.
        let _ = self.routes.set(router);
    }

    /// Lets go of requests after a moment's notice and waits for those in flight, at most `drain`.
    pub async fn close(self, drain: Duration) {
        let Entrance { stop, mut server, .. } = self;
        tokio::time::sleep(NOTICE).await;
        stop.cancel();
        if tokio::time::timeout(drain, &mut server).await.is_err() {
            server.abort();
        }
    }
}

async fn answer(routes: Option<Router>, request: Request) -> Response {
    match routes {
        Some(router) => match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None if request.uri().path() == "/health/live" => StatusCode::OK.into_response(),
        None => {
            let why = "starting: waiting for what this process needs\n";
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

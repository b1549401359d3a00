//! Starting, serving and stopping.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::api;
use crate::chaos::{Chaos, Switches};
use crate::gate::CutConnection;
use crate::journal::Journal;
use crate::ledger::{self, Ledger};
use crate::model::IntentStatus;
use crate::store::Store;
use crate::webhook::{Deliveries, Delivery, Sender};

/// What a sandbox is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its journal is kept; none: it forgets everything at exit.
    pub data_dir: Option<PathBuf>,
    /// The one API key it takes; none: any that begins with `sk_test_` or `rk_test_`.
    pub api_key: Option<String>,
    /// What webhooks are signed with.
    pub webhook_secret: String,
    /// How it misbehaves at first.
    pub switches: Switches,
    /// Payment intents it keeps, at most; further ones are refused with a 503. About a kilobyte of memory each.
    pub intents_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            data_dir: None,
            api_key: None,
            webhook_secret: "whsec_sandbox".to_owned(),
            switches: Switches::default(),
            // Ten stadiums, at half a gigabyte.
            intents_max: 500_000,
        }
    }
}

/// Why a sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its journal is not to be used.
    #[error("the Stripe sandbox cannot use its journal in {path}; repair the file or move it away")]
    Journal {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// Its listener does not work.
    #[error("the Stripe sandbox cannot listen")]
    Listen(#[source] io::Error),
    /// A switch is out of range.
    #[error("the Stripe sandbox's switches are wrong: {0}")]
    Switches(String),
}

/// A sandbox that runs.
pub struct Serving {
    /// To reach it by.
    pub handle: Handle,
    /// Ends once it has stopped.
    pub done: JoinHandle<()>,
}

/// What one needs to know of a running sandbox, and its switches and ledger without HTTP. A cheap handle.
#[derive(Clone)]
pub struct Handle {
    /// Its base URL, e.g. `http://127.0.0.1:12111`; Stripe's endpoints are under `/v1`.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What its webhooks are signed with.
    pub webhook_secret: String,
    shared: Shared,
}

impl Handle {
    /// The ledger of everything.
    pub fn ledger(&self) -> Ledger {
        ledger::ledger(&self.shared.store(), None, None)
    }

    /// The switches.
    pub fn switches(&self) -> Switches {
        self.shared.store().chaos.switches.clone()
    }

    /// Changes the switches that `change` changes.
    pub fn change(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.shared.store().chaos.switches);
    }

    /// What became of the webhooks.
    pub fn deliveries(&self) -> Deliveries {
        self.shared.deliveries()
    }
}

/// Serves on `listener` until `shutdown` is cancelled.
pub async fn serve(options: Options, listener: TcpListener, shutdown: CancellationToken) -> Result<(), SandboxError> {
    let serving = start(options, listener, shutdown).await?;
    // The task ends by cancellation only; a panic in it has been logged by the runtime.
    let _ = serving.done.await;
    Ok(())
}

/// Starts serving on `listener`, until `shutdown` is cancelled.
pub async fn start(
    options: Options,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<Serving, SandboxError> {
    options.switches.check().map_err(SandboxError::Switches)?;
    let address = listener.local_addr().map_err(SandboxError::Listen)?;
    let mut store = Store::new(Chaos::new(options.switches.clone()), options.intents_max);
    if let Some(directory) = &options.data_dir {
        recover(&mut store, directory).map_err(|source| SandboxError::Journal {
            path: directory.clone(),
            source,
        })?;
    }
    let sender = Sender::new(options.webhook_secret.clone(), shutdown.clone());
    let shared = Shared(Arc::new(SharedInner {
        store: Mutex::new(store),
        sender,
        api_key: options.api_key,
        shutdown: shutdown.clone(),
    }));
    shared.after_change();
    let handle = Handle {
        url: format!("http://{address}"),
        address,
        webhook_secret: options.webhook_secret,
        shared: shared.clone(),
    };
    let done = tokio::spawn(accept(listener, api::router(shared), shutdown));
    Ok(Serving { handle, done })
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<SharedInner>);

struct SharedInner {
    store: Mutex<Store>,
    sender: Sender,
    api_key: Option<String>,
    shutdown: CancellationToken,
}

impl Shared {
    /// The state, locked. Never hold it across an await.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn api_key(&self) -> Option<&str> {
        self.0.api_key.as_deref()
    }

    pub fn deliveries(&self) -> Deliveries {
        self.0.sender.deliveries()
    }

    /// Sets going what a change has left to do: webhooks to send, payments that the bank is to complete.
    pub fn after_change(&self) {
        let (sends, processing, wait) = {
            let mut store = self.store();
            let events = std::mem::take(&mut store.outbox);
            let processing = std::mem::take(&mut store.processing);
            let wait = Duration::from_millis(store.chaos.switches.processing_ms);
            let webhook = store.chaos.switches.webhook.clone();
            let mut sends = Vec::new();
            if let Some(url) = webhook.url {
                for event in events {
                    let copies = if store.chaos.happens(webhook.duplicate_rate) {
                        2
                    } else {
                        1
                    };
                    for _ in 0..copies {
                        let mut delay = store.chaos.within(webhook.delay_ms);
                        if store.chaos.happens(webhook.reorder_rate) {
                            delay += Duration::from_millis(webhook.reorder_ms);
                        }
                        let retry = Duration::from_millis(webhook.retry_ms);
                        let delivery = Delivery {
                            url: url.clone(),
                            delay,
                            retry,
                            attempts_max: webhook.attempts_max,
                        };
                        sends.push((event.clone(), delivery));
                    }
                }
            }
            (sends, processing, wait)
        };
        for (event, delivery) in sends {
            self.0.sender.send(event, delivery);
        }
        for id in processing {
            let shared = self.clone();
            tokio::spawn(async move {
                let shutdown = shared.0.shutdown.clone();
                if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
                    // Somebody else may have completed it meanwhile, which is just as well.
                    let _ = api::complete(&shared, &id, true);
                }
            });
        }
    }
}

fn recover(store: &mut Store, directory: &std::path::Path) -> io::Result<()> {
    for line in Journal::read(directory)? {
        store.replay(line);
    }
    let unfinished = store
        .intents
        .iter()
        .filter(|intent| intent.standing.status == IntentStatus::Processing);
    store.processing = unfinished.map(|intent| intent.fixed.id.clone()).collect();
    let journal = Journal::begin(directory, store.lines())?;
    store.keep_journal(journal);
    Ok(())
}

async fn accept(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                tokio::spawn(async move {
                    shutdown.run_until_cancelled(connection(stream, router)).await;
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: wait for some connections to end.
                tracing::warn!(%error, "the Stripe sandbox cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one connection. axum's own server can't cut one in place of an answer, which is why this is done here.
async fn connection(stream: TcpStream, router: Router) {
    // Answers are small and wanted at once; should it fail, they are a little late.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let answered: Result<_, Infallible> = router.oneshot(request.map(axum::body::Body::new)).await;
            let Ok(response) = answered;
            if response.extensions().get::<CutConnection>().is_some() {
                return Err(io::Error::other("the answer is lost on purpose"));
            }
            Ok(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "a connection ended");
    }
}

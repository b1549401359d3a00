//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orchestrator::client::EngineClient;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::bookings::KeysInFlight;
use crate::events::SeatMaps;
use crate::options::Options;

/// What the gateway needs from outside.
#[derive(Clone)]
pub struct Deps {
    /// Connections to the database with the schema `ticketing`, migrated.
    pub pool: PgPool,
    /// The engine.
    pub engine: Arc<dyn EngineClient>,
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    options: Options,
    deps: Deps,
    keys: KeysInFlight,
    seat_maps: SeatMaps,
    inbox_wake: Notify,
    draining: AtomicBool,
}

impl App {
    /// The shared part of a gateway.
    pub fn new(options: Options, deps: Deps) -> App {
        App(Arc::new(Shared {
            options,
            deps,
            keys: KeysInFlight::default(),
            seat_maps: SeatMaps::default(),
            inbox_wake: Notify::new(),
            draining: AtomicBool::new(false),
        }))
    }

    /// The settings.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The database.
    pub fn pool(&self) -> &PgPool {
        &self.0.deps.pool
    }

    /// The engine.
    pub fn engine(&self) -> &dyn EngineClient {
        self.0.deps.engine.as_ref()
    }

    /// Idempotency keys in use.
    pub fn keys(&self) -> &KeysInFlight {
        &self.0.keys
    }

    /// Seat maps.
    pub fn seat_maps(&self) -> &SeatMaps {
        &self.0.seat_maps
    }

    /// Tells the inbox's task that there is something to do.
    pub fn wake_inbox(&self) {
        self.0.inbox_wake.notify_one();
    }

    /// Until [`Self::wake_inbox`] is called.
    pub async fn inbox_woken(&self) {
        self.0.inbox_wake.notified().await;
    }

    /// From now on not ready: load balancers shall send nothing more.
    pub fn begin_drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether it is about to stop.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }
}

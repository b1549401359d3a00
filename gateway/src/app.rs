//! What the handlers share.

use std::sync::Arc;

use analytics::actions::Recorder;
use analytics::store::Store;
use orchestrator::client::EngineClient;
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::actions::Visitors;
use crate::availability::Availability;
use crate::bookings::{Admission, KeyLookups, KeysInFlight};
use crate::health::Found;
use crate::limits::{DRAWINGS_MAX, VENUE_IMPORTS_MAX};
use crate::options::Options;
use crate::passing::Passing;
use crate::queue::Rooms;
use crate::reports::live::Live;
use crate::tickets::Keys;
use crate::users::Users;
use crate::webhooks::Arrivals;

/// What the gateway needs from outside.
#[derive(Clone)]
pub struct Deps {
    /// Connections to the database with the schema `ticketing`, migrated.
    pub pool: PgPool,
    /// The engine.
    pub engine: Arc<dyn EngineClient>,
    /// The analytics' store, for reports alone.
    pub analytics: Store,
    /// Who takes down what users do.
    pub actions: Recorder,
}

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    options: Options,
    deps: Deps,
    keys: KeysInFlight,
    key_lookups: KeyLookups,
    admission: Admission,
    availability: Availability,
    rooms: Rooms,
    arrivals: Arrivals,
    users: Users,
    ticket_keys: Keys,
    drawings: Semaphore,
    account_events_wake: Notify,
    event_changes_wake: Notify,
    venue_imports: Semaphore,
    inbox_wake: Notify,
    draining: CancellationToken,
    found: Found,
    live: Live,
    passing: Passing,
    visitors: Visitors,
}

impl App {
    /// The services that run apart.
    pub fn passing(&self) -> &Passing {
        &self.0.passing
    }

    /// Who listens to the live figures.
    pub fn live(&self) -> &Live {
        &self.0.live
    }

    /// What was last found out about the dependencies.
    pub fn found(&self) -> &Found {
        &self.0.found
    }

    /// The shared part of a gateway.
    pub fn new(options: Options, deps: Deps) -> App {
        App(Arc::new(Shared {
            admission: Admission::new(options.bookings_in_work_max, options.booking_start_target),
            availability: Availability::new(options.seat_listeners_max),
            users: Users::new(&options),
            ticket_keys: Keys::default(),
            live: Live::new(options.metrics_listeners_max),
            passing: Passing::new(&options),
            visitors: Visitors::new(options.token_secret.as_ref()),
            drawings: Semaphore::new(DRAWINGS_MAX),
            options,
            deps,
            keys: KeysInFlight::default(),
            key_lookups: KeyLookups::default(),
            rooms: Rooms::default(),
            arrivals: Arrivals::default(),
            account_events_wake: Notify::new(),
            event_changes_wake: Notify::new(),
            venue_imports: Semaphore::new(VENUE_IMPORTS_MAX),
            inbox_wake: Notify::new(),
            draining: CancellationToken::new(),
            found: Found::default(),
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

    /// The analytics' store.
    pub fn analytics(&self) -> &Store {
        &self.0.deps.analytics
    }

    /// Who takes down what users do.
    pub fn actions(&self) -> &Recorder {
        &self.0.deps.actions
    }

    /// What visitors are named by who aren't logged in.
    pub fn visitors(&self) -> &Visitors {
        &self.0.visitors
    }

    /// The engine.
    pub fn engine(&self) -> &dyn EngineClient {
        self.0.deps.engine.as_ref()
    }

    /// Idempotency keys in use.
    pub fn keys(&self) -> &KeysInFlight {
        &self.0.keys
    }

    /// Questions to the engine about keys that were used before.
    pub fn key_lookups(&self) -> &KeyLookups {
        &self.0.key_lookups
    }

    /// The waiting rooms.
    pub fn rooms(&self) -> &Rooms {
        &self.0.rooms
    }

    /// The users.
    pub fn users(&self) -> &Users {
        &self.0.users
    }

    /// The keys that sign tickets.
    pub fn ticket_keys(&self) -> &Keys {
        &self.0.ticket_keys
    }

    /// Draws something, off the threads that answer requests, few at a time.
    ///
    /// # Panics
    /// If the drawing does.
    pub async fn draw<T: Send + 'static>(&self, drawing: impl FnOnce() -> T + Send + 'static) -> T {
        let _turn = self.0.drawings.acquire().await.expect("it is never closed");
        tokio::task::spawn_blocking(drawing)
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Tells the accounts' outbox that there is something to do.
    pub fn wake_account_events(&self) {
        self.0.account_events_wake.notify_one();
    }

    /// Until [`Self::wake_account_events`] is called.
    pub async fn account_events_woken(&self) {
        self.0.account_events_wake.notified().await;
    }

    /// Tells the events' outbox that there is something to do.
    pub fn wake_event_changes(&self) {
        self.0.event_changes_wake.notify_one();
    }

    /// Until [`Self::wake_event_changes`] is called.
    pub async fn event_changes_woken(&self) {
        self.0.event_changes_wake.notified().await;
    }

    /// Room for imports of venues' seats.
    pub fn venue_imports(&self) -> &Semaphore {
        &self.0.venue_imports
    }

    /// How many bookings may be in work.
    pub fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// Which seats can be had.
    pub fn availability(&self) -> &Availability {
        &self.0.availability
    }

    /// Webhooks that are being kept.
    pub fn arrivals(&self) -> &Arrivals {
        &self.0.arrivals
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
        self.0.draining.cancel();
    }

    /// Whether it is about to stop.
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Cancelled when it is about to stop: answers without an end end then.
    pub fn draining(&self) -> CancellationToken {
        self.0.draining.clone()
    }
}

//! What this gateway knows of which seats can be had: seen a moment ago, shared by all who ask.
//!
//! When a tour goes on sale, thousands look at the same 20,000 seats in the same second, and most of them want seats
//! that somebody has already. Events that somebody asks about are watched: one statement, several times a second, looks
//! at the seats of all of them ([`refresh`]). From what it sees, seats are listed, wishes for taken ones are refused
//! without a saga, and changes are sent to everybody who listens ([`frames`]).
//!
//! While a seat is being asked for by one booking, others who want it wait for what comes of that ([`claims`]): almost all of
//! them are then refused at the cost of a look, where each would have been a saga.
//!
//! The view promises nothing: a seat that it shows may be gone, and whether a booking gets it is the saga's to say. It
//! refuses only what was taken at most [`SEATS_AGE_MAX`](crate::limits::SEATS_AGE_MAX) ago; when the database doesn't
//! answer, the view is soon too old and is not used.

mod claims;
pub mod frames;
pub mod refresh;
mod seat_map;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sqlx::PgPool;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub use claims::Claim;
pub use seat_map::{Refusal, SeatFilter, SeatMap, SectionSummary};
pub use view::{Listening, View};

use crate::limits::{SEAT_MAPS_MAX, SEATS_CLAIM_WAIT_MAX};
use crate::store::availability;

/// The events that somebody asks about.
pub struct Availability {
    views: Mutex<HashMap<String, Arc<View>>>,
    listeners: Arc<Semaphore>,
    /// There is an event to be watched.
    news: Notify,
}

impl Availability {
    /// Of no event yet, for at most so many listeners.
    pub fn new(listeners_max: usize) -> Availability {
        Availability {
            views: Mutex::default(),
            listeners: Arc::new(Semaphore::new(listeners_max.min(Semaphore::MAX_PERMITS))),
            news: Notify::new(),
        }
    }

    /// The seats of an event as they were a moment ago, or as they are now; none if there is no such event.
    pub async fn read(&self, pool: &PgPool, event_id: &str) -> Result<Option<Arc<SeatMap>>, sqlx::Error> {
        let view = self.view(event_id);
        view.touch();
        match view.fresh() {
            Some(map) => Ok(Some(map)),
            None => self.load(pool, event_id, &view, Instant::now()).await,
        }
    }

    /// Reads an event's seats; those who ask at the same time share one query: whoever came before it began takes its
    /// result.
    async fn load(
        &self,
        pool: &PgPool,
        event_id: &str,
        view: &View,
        asked_at: Instant,
    ) -> Result<Option<Arc<SeatMap>>, sqlx::Error> {
        let _loading = view.loading.lock().await;
        if let Some(map) = view.seen_since(asked_at) {
            return Ok(Some(map));
        }
        let began_at = Instant::now();
        let Some(hall) = availability::hall(pool, event_id).await? else {
            self.forget(event_id);
            return Ok(None);
        };
        view.show(SeatMap::new(event_id, hall, began_at), began_at);
        Ok(view.latest())
    }

    /// Why these seats of an event are not to be had, if that is known already.
    pub fn refusal(&self, event_id: &str, seat_ids: &[String]) -> Option<Refusal> {
        let view = self.known(event_id)?;
        view.touch();
        view.refusal(seat_ids)
    }

    /// The right to ask for these seats, once nobody else's wish for one of them is undecided, or after a while in any case.
    /// None where the event isn't watched.
    pub async fn claim(&self, event_id: &str, seat_ids: &[String]) -> Option<Claim> {
        let view = self.known(event_id)?;
        Some(Claim::wait(view, seat_ids, SEATS_CLAIM_WAIT_MAX).await)
    }

    /// Remembers that somebody has these seats: a booking that this gateway has seen.
    pub fn learn(&self, event_id: &str, seat_ids: &[String]) {
        if let Some(view) = self.known(event_id) {
            view.learn(seat_ids);
        }
    }

    /// Has an event watched, which must exist, without waiting for it.
    pub fn watch(&self, event_id: &str) {
        if self.known(event_id).is_none() {
            self.view(event_id);
        }
    }

    /// The view of an event that was read, to listen to it.
    pub fn known(&self, event_id: &str) -> Option<Arc<View>> {
        self.views
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(event_id)
            .cloned()
    }

    /// Room for one listener; none: there are too many.
    pub fn seat_listener(&self) -> Option<OwnedSemaphorePermit> {
        self.listeners.clone().try_acquire_owned().ok()
    }

    fn view(&self, event_id: &str) -> Arc<View> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = views.get(event_id) {
            return view.clone();
        }
        if views.len() >= SEAT_MAPS_MAX {
            // Those that nobody holds at this moment and nobody listens to.
            views.retain(|_, view| Arc::strong_count(view) > 1 || view.is_heard());
        }
        let view = Arc::<View>::default();
        // Past the limit, all of them in use at this moment, this one is simply not shared.
        if views.len() < SEAT_MAPS_MAX {
            views.insert(event_id.to_owned(), view.clone());
            self.news.notify_one();
        }
        view
    }

    /// Its listeners' streams end.
    fn forget(&self, event_id: &str) {
        self.views
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(event_id);
    }

    /// The views that are still wanted; the others are forgotten.
    fn wanted(&self) -> Vec<(String, Arc<View>)> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|_, view| !view.is_idle());
        views.iter().map(|(id, view)| (id.clone(), view.clone())).collect()
    }
}

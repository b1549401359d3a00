//! Telling open pages that there is something new: one stream of server-sent events for the tab that is looked at (hidden ones
//! close theirs). An event says *that* something changed; the page then asks for itself again, so there is one way to make it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::ids::SagaId;

use crate::access::session;
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{LIVE_LISTENERS_MAX, LIVE_LOOK, LIVE_SESSION_LOOK, LIVE_TICK};
use crate::store::{figures, sessions};

/// The open streams and the sagas they are about.
pub struct Live {
    places: Arc<Semaphore>,
    watched: Arc<Mutex<Watched>>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Watched {
    /// The last known entry of each saga's journal; whoever holds a receiver looks at it.
    sagas: HashMap<Uuid, watch::Sender<i64>>,
    /// Somebody asks the database.
    looking: bool,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            places: Arc::new(Semaphore::new(LIVE_LISTENERS_MAX)),
            watched: Arc::default(),
            stop: CancellationToken::new(),
        }
    }
}

impl Live {
    /// Ends all streams.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Follows a saga; the first to come sets the looking off.
    fn follow(&self, pool: &PgPool, saga: Uuid, seq: i64) -> watch::Receiver<i64> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = watched.sagas.entry(saga).or_insert_with(|| watch::Sender::new(seq));
        let receiver = sender.subscribe();
        if !watched.looking {
            watched.looking = true;
            tokio::spawn(look(pool.clone(), self.watched.clone(), self.stop.clone()));
        }
        receiver
    }
}

/// Asks for all followed sagas at once, until nobody follows one any more.
async fn look(pool: PgPool, watched: Arc<Mutex<Watched>>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LIVE_LOOK)).await.is_some() {
        let ids: Vec<Uuid> = {
            let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.sagas.retain(|_, sender| sender.receiver_count() > 0);
            if watched.sagas.is_empty() {
                watched.looking = false;
                return;
            }
            watched.sagas.keys().copied().collect()
        };
        match figures::entries(&pool, &ids).await {
            Ok(entries) => {
                let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
                for (saga, seq) in entries {
                    if let Some(sender) = watched.sagas.get(&saga) {
                        sender.send_if_modified(|known| std::mem::replace(known, seq) != seq);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the followed sagas could not be looked at; trying again"),
        }
    }
}

/// What a page wants to hear of.
#[derive(Deserialize)]
pub struct About {
    /// This saga; none: the time, every few seconds.
    saga: Option<SagaId>,
    /// The journal entry that the page shows.
    #[serde(default)]
    seq: i64,
}

struct Listener {
    mission: Mission,
    digest: Vec<u8>,
    news: Option<watch::Receiver<i64>>,
    /// The entry that the page shows.
    shown: i64,
    tick: Instant,
    session_look: Instant,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// The stream.
pub async fn listen(
    State(mission): State<Mission>,
    headers: HeaderMap,
    Query(about): Query<About>,
) -> Result<Response, PageError> {
    let place = mission.live.places.clone().try_acquire_owned();
    let place = place.map_err(|_full| PageError::Busy)?;
    let token = session::token(&headers).ok_or(PageError::NoSession)?;
    let news = about
        .saga
        .map(|saga| mission.live.follow(&mission.pool, saga.0, about.seq));
    let now = Instant::now();
    let listener = Listener {
        digest: session::digest(token),
        news,
        shown: about.seq,
        tick: now + LIVE_TICK,
        session_look: now + LIVE_SESSION_LOOK,
        over: false,
        mission,
        _place: place,
    };
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    // Proxies that collect answers would keep events to themselves.
    let unbuffered = [("x-accel-buffering", "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

impl Listener {
    /// The next event; none: the end.
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        let stop = self.mission.live.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep_until(self.session_look) => {
                    self.session_look = Instant::now() + LIVE_SESSION_LOOK;
                    let session = sessions::find(&self.mission.pool, &self.digest, false).await;
                    // A database that doesn't answer says nothing about the session.
                    if matches!(session, Ok(None)) {
                        self.over = true;
                        return Some(Event::default().event("over").data(""));
                    }
                }
                seq = newer(&mut self.news, self.shown) => {
                    self.shown = seq?;
                    return Some(Event::default().event("changed").data(self.shown.to_string()));
                }
                () = sleep_until(self.tick), if self.news.is_none() => {
                    self.tick = Instant::now() + LIVE_TICK;
                    return Some(Event::default().event("changed").data(""));
                }
            }
        }
    }
}

/// Another entry than the one that is shown; none: nobody looks any more. Without a saga there is never one.
async fn newer(news: &mut Option<watch::Receiver<i64>>, shown: i64) -> Option<i64> {
    match news {
        Some(news) => news.wait_for(|seq| *seq != shown).await.ok().map(|seq| *seq),
        None => std::future::pending().await,
    }
}

//! One event's seats as this gateway knows them, and those who follow them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use axum::body::Bytes;
use tokio::sync::broadcast;

use super::claims::Claims;
use super::frames::{self, Recent};
use super::seat_map::{Difference, Refusal, SeatMap};
use crate::limits::{SEAT_FRAMES_BEHIND_MAX, SEATS_AGE_MAX, SEATS_WATCH_IDLE};

/// One event's seats.
pub struct View {
    state: RwLock<Option<State>>,
    /// Wishes for these seats that are undecided.
    pub(super) claims: Claims,
    frames: broadcast::Sender<Bytes>,
    wanted_at: Mutex<Instant>,
    /// Locked while its seats are read for those who can't wait for the next look.
    pub(super) loading: tokio::sync::Mutex<()>,
}

struct State {
    map: Arc<SeatMap>,
    /// When the look began that this comes from: nothing in it is older.
    seen_at: Instant,
    /// That moment on the database's clock; the map's own version is older where nothing has changed since.
    seen_version: i64,
    /// Seats that this gateway has learned to be taken, by their places, and when.
    learned: HashMap<usize, Instant>,
    recent: Recent,
}

/// A listener's beginning.
pub struct Listening {
    /// To be sent at once.
    pub first: Vec<Bytes>,
    /// To be sent from then on; nothing is missing between the two.
    pub then: broadcast::Receiver<Bytes>,
}

impl Default for View {
    fn default() -> Self {
        View {
            state: RwLock::new(None),
            claims: Claims::default(),
            frames: broadcast::Sender::new(SEAT_FRAMES_BEHIND_MAX),
            wanted_at: Mutex::new(Instant::now()),
            loading: tokio::sync::Mutex::new(()),
        }
    }
}

impl View {
    /// Says that somebody wants to know.
    pub fn touch(&self) {
        *self.wanted_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether nobody has wanted to know for long.
    pub fn is_idle(&self) -> bool {
        let wanted_at = *self.wanted_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.frames.receiver_count() == 0 && wanted_at.elapsed() >= SEATS_WATCH_IDLE
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        self.frames.receiver_count() > 0
    }

    /// The seats, if they were seen recently enough.
    pub fn fresh(&self) -> Option<Arc<SeatMap>> {
        self.with(|state| (state.seen_at.elapsed() <= SEATS_AGE_MAX).then(|| state.map.clone()))
    }

    /// The seats, if they were seen at or after that moment.
    pub fn seen_since(&self, moment: Instant) -> Option<Arc<SeatMap>> {
        self.with(|state| (state.seen_at >= moment).then(|| state.map.clone()))
    }

    /// The seats as they were last seen, however long ago.
    pub fn latest(&self) -> Option<Arc<SeatMap>> {
        self.with(|state| Some(state.map.clone()))
    }

    /// Why these seats are not to be had, if that is known: never from what was seen too long ago.
    pub fn refusal(&self, seat_ids: &[String]) -> Option<Refusal> {
        self.with(|state| {
            if state.seen_at.elapsed() > SEATS_AGE_MAX || !state.map.is_on_sale() {
                return None;
            }
            state.map.refusal(seat_ids, |place| state.learned.contains_key(&place))
        })
    }

    /// The places of seats that somebody has or is asking for, though the map shows them as free.
    pub fn spoken_for(&self) -> HashSet<usize> {
        let wanted = self.claims.wanted();
        let places = self.with(|state| {
            let wanted = wanted.iter().filter_map(|seat| state.map.place(seat));
            Some(state.learned.keys().copied().chain(wanted).collect())
        });
        places.unwrap_or_default()
    }

    /// Remembers, until the next look, that these seats are taken.
    pub fn learn(&self, seat_ids: &[String]) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_mut() else { return };
        let now = Instant::now();
        let places = seat_ids.iter().filter_map(|seat| state.map.place(seat));
        state.learned.extend(places.map(|place| (place, now)));
    }

    /// Takes what a look has shown that began at `seen_at`, and tells the listeners what is different. Says whether
    /// anything is. A look that began before the latest one is ignored.
    pub fn show(&self, map: SeatMap, seen_at: Instant) -> bool {
        let changed = self.take(map, seen_at);
        // Now that it can be seen what came of them.
        self.claims.seen(seen_at);
        changed
    }

    fn take(&self, map: SeatMap, seen_at: Instant) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_mut() else {
            *state = Some(State {
                recent: Recent::since(map.version()),
                seen_version: map.version(),
                map: Arc::new(map),
                seen_at,
                learned: HashMap::new(),
            });
            return true;
        };
        if seen_at < state.seen_at {
            return false;
        }
        state.seen_at = seen_at;
        state.seen_version = map.version();
        // What was learned while the look was under way may be newer than it.
        state.learned.retain(|_, at| *at >= seen_at);
        let difference = map.since(&state.map);
        let frame = frames::changes(&map, &difference);
        if let Some(frame) = &frame {
            state.recent.push(map.version(), frame.clone());
            // An error means that nobody listens.
            let _ = self.frames.send(frame.clone());
        }
        let renamed = difference == Difference::Everything;
        if renamed {
            state.learned.clear();
        }
        if frame.is_some() || map.is_on_sale() != state.map.is_on_sale() || map.laid_out_at() != state.map.laid_out_at()
        {
            state.map = Arc::new(map);
        }
        frame.is_some()
    }

    /// Sends something to all listeners.
    pub fn say(&self, frame: Bytes) {
        let _ = self.frames.send(frame);
    }

    /// Begins to listen, from `after` on if that is known. None before the seats were seen at all.
    pub fn listen(&self, after: Option<Result<i64, ()>>) -> Option<Listening> {
        // No frame is sent while the state is locked for reading.
        self.with(|state| {
            let map = &state.map;
            let first = match after {
                None => vec![frames::position(map)],
                Some(Ok(version)) => state
                    .recent
                    .after(version, state.seen_version)
                    .unwrap_or_else(|| vec![frames::reload(map.version())]),
                Some(Err(())) => vec![frames::reload(map.version())],
            };
            Some(Listening {
                first,
                then: self.frames.subscribe(),
            })
        })
    }

    fn with<T>(&self, f: impl FnOnce(&State) -> Option<T>) -> Option<T> {
        f(self.state.read().unwrap_or_else(PoisonError::into_inner).as_ref()?)
    }
}

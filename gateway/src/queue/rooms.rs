//! The waiting rooms as this gateway sees them, and the task that lets people in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::limits::{ROOM_BUYERS_TOGETHER_MAX, ROOM_TICK, ROOMS_AGE_MAX, ROOMS_IDLE_TICK};
use crate::store::waiting::{self, Buyer, Room};
use crate::together::Together;

/// The waiting rooms.
pub struct Rooms {
    known: RwLock<Known>,
    ticks: watch::Sender<()>,
    joining: Together<Buyer, Option<i64>>,
    asking: Together<Buyer, Option<i64>>,
    /// Turns that were used and are not yet marked. Lost if this gateway dies: then a few more are let in in their stead.
    used: Mutex<HashMap<Buyer, i64>>,
}

#[derive(Default)]
struct Known {
    seen_at: Option<Instant>,
    rooms: HashMap<String, Arc<Line>>,
}

/// A waiting room and how fast its line moves.
#[derive(Clone, Debug)]
pub struct Line {
    /// The room.
    pub room: Room,
    /// Places a second, lately; 0: not known yet.
    pub places_per_s: f64,
    seen_at: Instant,
}

impl Default for Rooms {
    fn default() -> Self {
        Rooms {
            known: RwLock::default(),
            ticks: watch::Sender::new(()),
            joining: Together::default(),
            asking: Together::default(),
            used: Mutex::default(),
        }
    }
}

impl Rooms {
    /// The waiting room in front of an event; none: there is none.
    pub async fn of(&self, pool: &PgPool, event_id: &str) -> Result<Option<Arc<Line>>, sqlx::Error> {
        if let Some(found) = self.seen(event_id) {
            return Ok(found);
        }
        self.look(pool).await?;
        Ok(self.seen(event_id).flatten())
    }

    /// The same as last seen; the outer none: that was too long ago.
    fn seen(&self, event_id: &str) -> Option<Option<Arc<Line>>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.seen_at.filter(|at| at.elapsed() <= ROOMS_AGE_MAX)?;
        Some(known.rooms.get(event_id).cloned())
    }

    /// Tells when there may be something new.
    pub fn ticks(&self) -> watch::Receiver<()> {
        self.ticks.subscribe()
    }

    /// Puts a buyer in the line, anew if their turn is over, and gives their place if it is known; all who come at the same
    /// time together.
    pub async fn join(&self, pool: &PgPool, buyer: Buyer) -> Result<Option<i64>, sqlx::Error> {
        let join = async |buyers: Vec<Buyer>| {
            waiting::join(pool, &buyers).await?;
            let places = waiting::places(pool, &buyers).await?;
            let late = places.iter().filter(|(buyer, place)| self.is_over(&buyer.0, **place));
            let late: Vec<Buyer> = late.map(|(buyer, _)| buyer.clone()).collect();
            if late.is_empty() {
                return Ok(places);
            }
            waiting::rejoin(pool, &late).await?;
            waiting::places(pool, &buyers).await
        };
        Ok(self.joining.ask(buyer, ROOM_BUYERS_TOGETHER_MAX, join).await?.flatten())
    }

    /// A buyer's place, if it is given.
    pub async fn place(&self, pool: &PgPool, buyer: Buyer) -> Result<Option<i64>, sqlx::Error> {
        let ask = async |buyers: Vec<Buyer>| waiting::places(pool, &buyers).await;
        Ok(self.asking.ask(buyer, ROOM_BUYERS_TOGETHER_MAX, ask).await?.flatten())
    }

    fn is_over(&self, event_id: &str, place: Option<i64>) -> bool {
        let line = self.seen(event_id).flatten();
        line.is_some_and(|line| place.is_some_and(|place| line.room.is_over(place)))
    }

    /// Notes that a buyer has used the turn of their place.
    pub fn note_used(&self, event_id: &str, user_id: &str, place: i64) {
        let buyer = (event_id.to_owned(), user_id.to_owned());
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(buyer, place);
    }

    /// Marks the turns that were used since the last time.
    async fn mark_used(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let used: Vec<waiting::Used> = used.into_iter().collect();
        for (number, some) in used.chunks(ROOM_BUYERS_TOGETHER_MAX).enumerate() {
            if let Err(error) = waiting::mark_used(pool, some).await {
                let mut kept = self.used.lock().unwrap_or_else(PoisonError::into_inner);
                for (buyer, place) in &used[number * ROOM_BUYERS_TOGETHER_MAX..] {
                    // A newer place of the same buyer stays.
                    kept.entry(buyer.clone()).or_insert(*place);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn look(&self, pool: &PgPool) -> Result<Vec<Room>, sqlx::Error> {
        let rooms = waiting::rooms(pool).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let before = std::mem::take(&mut known.rooms);
        known.seen_at = Some(now);
        known.rooms = rooms
            .iter()
            .map(|room| {
                (
                    room.event_id.clone(),
                    Arc::new(line(room, before.get(&room.event_id), now)),
                )
            })
            .collect();
        Ok(rooms)
    }
}

fn line(room: &Room, before: Option<&Arc<Line>>, now: Instant) -> Line {
    /// How much of the pace the newest look decides.
    const WEIGHT: f64 = 0.2;
    let places_per_s = before.map_or(0.0, |before| {
        let seconds = now.duration_since(before.seen_at).as_secs_f64().max(0.001);
        let pace = (room.admitted - before.room.admitted).max(0) as f64 / seconds;
        if before.places_per_s == 0.0 {
            pace
        } else {
            before.places_per_s * (1.0 - WEIGHT) + pace * WEIGHT
        }
    });
    Line {
        room: room.clone(),
        places_per_s,
        seen_at: now,
    }
}

/// Gives places and lets people in, as many as this gateway can take on, until told to stop. Every gateway does so for its
/// own part.
pub async fn run(app: App, stop: CancellationToken) {
    let mut advanced_at = Instant::now();
    let mut is_well = true;
    loop {
        let pause = match tick(&app, &mut advanced_at).await {
            Ok(pause) => {
                is_well = true;
                pause
            }
            Err(error) => {
                // Once for each outage.
                if std::mem::take(&mut is_well) {
                    tracing::warn!(%error, "the waiting rooms stand still until the database answers");
                }
                ROOM_TICK
            }
        };
        app.rooms().ticks.send_replace(());
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            () = stop.cancelled() => return,
        }
    }
}

async fn tick(app: &App, advanced_at: &mut Instant) -> Result<Duration, sqlx::Error> {
    app.rooms().mark_used(app.pool()).await?;
    let rooms = app.rooms().look(app.pool()).await?;
    let busy: Vec<&Room> = rooms.iter().filter(|room| room.is_open && room.is_busy).collect();
    let since = std::mem::replace(advanced_at, Instant::now())
        .elapsed()
        .min(ROOM_TICK * 2);
    if !busy.is_empty() {
        // What this gateway can take on is for all of its rooms.
        let share = app.admission().sustainable(since) / busy.len() as u64;
        for room in &busy {
            waiting::advance(app.pool(), &room.event_id, i64::try_from(share).unwrap_or(i64::MAX)).await?;
        }
        app.rooms().look(app.pool()).await?;
    }
    Ok(if rooms.is_empty() { ROOMS_IDLE_TICK } else { ROOM_TICK })
}

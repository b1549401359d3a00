//! Looks at the seats of all watched events, again and again.

use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio_util::sync::CancellationToken;

use super::frames::KEEP_ALIVE;
use super::{Availability, SeatMap, View};
use crate::app::App;
use crate::limits::{
    SEAT_KEEP_ALIVE, SEATS_REFRESH_EVERY, SEATS_REFRESH_LIMIT, SEATS_REFRESH_PAUSE_FACTOR, SEATS_REFRESH_PAUSE_MAX,
    SEATS_RELOAD_EVERY,
};
use crate::store::availability;

/// In a smaller pool no connection is kept: bookings would have too few left.
const CONNECTIONS_MIN: u32 = 4;

/// Runs until told to stop. While nobody asks for seats, it sleeps and holds no connection.
pub async fn run(app: App, stop: CancellationToken) {
    let mut connection = None;
    let mut pause = SEATS_REFRESH_EVERY;
    let mut heard_at = Instant::now();
    let mut is_well = true;
    loop {
        let watched = app.availability().wanted();
        if watched.is_empty() {
            connection = None;
            tokio::select! {
                () = app.availability().news.notified() => continue,
                () = stop.cancelled() => return,
            }
        }
        let began_at = Instant::now();
        let look = look(app.pool(), &mut connection, app.availability(), &watched);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(SEATS_REFRESH_LIMIT, look) => outcome,
            () = stop.cancelled() => return,
        };
        let took = began_at.elapsed();
        let changed = match outcome {
            Ok(Ok(changed)) => {
                is_well = true;
                metrics::histogram!("sagaline_gateway_seats_refresh_seconds").record(took.as_secs_f64());
                changed
            }
            failed => {
                // Another connection next time: this one may be in the middle of something.
                connection = None;
                metrics::counter!("sagaline_gateway_seats_refresh_failed_total").increment(1);
                if std::mem::take(&mut is_well) {
                    let cause = failed.map_or_else(|late| late.to_string(), |error| format!("{error:?}"));
                    tracing::warn!(
                        cause,
                        "the seats can't be seen; nobody is refused from memory until they can"
                    );
                }
                false
            }
        };
        if heard_at.elapsed() >= SEAT_KEEP_ALIVE {
            heard_at = Instant::now();
            watched.iter().for_each(|(_, view)| view.say(KEEP_ALIVE));
        }
        drop(watched);
        if app.pool().options().get_max_connections() < CONNECTIONS_MIN {
            connection = None;
        }
        pause = if changed { SEATS_REFRESH_EVERY } else { pause * 2 };
        pause = pause
            .max(took * SEATS_REFRESH_PAUSE_FACTOR)
            .min(SEATS_REFRESH_PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            () = stop.cancelled() => return,
        }
    }
}

/// Looks once, and says whether anything has changed.
async fn look(
    pool: &PgPool,
    connection: &mut Option<PoolConnection<Postgres>>,
    events: &Availability,
    watched: &[(String, std::sync::Arc<View>)],
) -> Result<bool, sqlx::Error> {
    // Its own connection, kept: where bookings wait for one, those who could be refused are not to wait for them.
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(pool.acquire().await?),
    };
    let ids: Vec<String> = watched.iter().map(|(id, _)| id.clone()).collect();
    let began_at = Instant::now();
    let seen = availability::statuses(&mut **connection, &ids).await?;
    let mut changed = false;
    for (id, view) in watched {
        let Some(statuses) = seen.iter().find(|statuses| statuses.event_id == *id) else {
            events.forget(id);
            continue;
        };
        let known = view
            .latest()
            .filter(|map| map.laid_out_at().elapsed() < SEATS_RELOAD_EVERY);
        match known.and_then(|map| map.later(statuses)) {
            Some(map) => changed |= view.show(map, began_at),
            // Not read yet, read long ago, or of other seats: a few events at a time.
            None => changed |= reload(connection, id, view).await?,
        }
    }
    Ok(changed)
}

async fn reload(connection: &mut PoolConnection<Postgres>, id: &str, view: &View) -> Result<bool, sqlx::Error> {
    let began_at = Instant::now();
    let hall = availability::hall(&mut **connection, id).await?;
    // An event that has just gone is found out at the next look.
    Ok(hall.is_some_and(|hall| view.show(SeatMap::new(id, hall, began_at), began_at)))
}

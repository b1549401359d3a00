//! `GET /ws/metrics`: what is going on, each second, over a WebSocket.
//!
//! The figures are made once a process, while anybody listens, and each listener has at most the latest of them in front of it: who reads
//! slowly misses some, and who doesn't read at all is hung up on. Nothing piles up for anybody.

use std::sync::Arc;
use std::time::Instant;

use analytics::store::{Step, Store, StoreError, Time};
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use chrono::{DateTime, DurationRound, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::app::App;
use crate::limits::{
    METRICS_EVERY, METRICS_MESSAGE_BYTES_MAX, METRICS_SEND_LIMIT, METRICS_STORE_EVERY, METRICS_STORE_WAIT,
    POPULAR_EVENTS_MAX, SEAT_LISTENERS_RETRY,
};
use crate::problem::{Kind, Problem, ProblemDetails};

/// How far back a user counts as active.
const ACTIVE: TimeDelta = TimeDelta::minutes(5);
/// How far back events are popular, and bookings begun are compared with those confirmed.
const LATELY: TimeDelta = TimeDelta::minutes(15);

/// What is going on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Always `metrics-update`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// When.
    #[schema(format = "date-time")]
    at: String,
    /// What the analytics said, ten seconds ago at most; null: they are away.
    #[serde(flatten)]
    sales: Sales,
    /// How much of the bookings that this server takes at a time are in work: 0 to 1.
    system_load: f64,
}

/// What the analytics say.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sales {
    /// Users who did something in the last five minutes.
    active_users: Option<i64>,
    /// Bookings begun in the last full minute.
    bookings_per_minute: Option<i64>,
    /// What was confirmed of what was begun in the last quarter of an hour; null: nothing was begun.
    conversion_rate: Option<f64>,
    /// The events with the most bookings begun in the last quarter of an hour, five at most.
    popular_events: Option<Vec<Popular>>,
}

/// An event that people want.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Popular {
    /// The event.
    event_id: String,
    /// Bookings begun.
    bookings: i64,
}

/// Who listens, and what they are told.
pub struct Live {
    latest: watch::Sender<Utf8Bytes>,
    room: Arc<Semaphore>,
    joined: Notify,
}

impl Live {
    /// For so many listeners.
    pub fn new(listeners_max: usize) -> Live {
        Live {
            latest: watch::Sender::new(Utf8Bytes::from_static("")),
            room: Arc::new(Semaphore::new(listeners_max.min(Semaphore::MAX_PERMITS))),
            joined: Notify::new(),
        }
    }
}

/// Follow what is going on.
///
/// A WebSocket. Each second a text comes, a JSON object as below; what is sent to the server is not read. It is hung up when the server stops: come back, to
/// another.
#[utoipa::path(
    get,
    path = "/ws/metrics",
    tag = "analytics",
    responses(
        (status = 101, description = "Each second one of these", body = Metrics),
        (status = 400, description = "It is no WebSocket handshake", body = String, content_type = "text/plain"),
        (status = 503, description = "Too many listen already", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn metrics(State(app): State<App>, upgrade: WebSocketUpgrade) -> Result<Response, Problem> {
    let live = app.live();
    let Ok(permit) = live.room.clone().try_acquire_owned() else {
        metrics::counter!("sagaline_gateway_metrics_listeners_refused_total").increment(1);
        let detail = "as many as this server can take follow the figures already; try again";
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(SEAT_LISTENERS_RETRY));
    };
    let (latest, draining) = (live.latest.subscribe(), app.draining());
    live.joined.notify_one();
    let upgrade = upgrade
        .max_message_size(METRICS_MESSAGE_BYTES_MAX)
        .read_buffer_size(METRICS_MESSAGE_BYTES_MAX)
        .write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| tell(socket, latest, permit, draining)))
}

/// Tells one listener, until they hang up, or don't listen.
async fn tell(
    mut socket: WebSocket,
    mut latest: watch::Receiver<Utf8Bytes>,
    _room: OwnedSemaphorePermit,
    draining: CancellationToken,
) {
    metrics::gauge!("sagaline_gateway_metrics_listeners").increment(1.0);
    loop {
        let text = tokio::select! {
            () = draining.cancelled() => break,
            changed = latest.changed() => match changed {
                Ok(()) => latest.borrow_and_update().clone(),
                Err(_) => break,
            },
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => continue,
            },
        };
        match tokio::time::timeout(METRICS_SEND_LIMIT, socket.send(Message::Text(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) => {
                metrics::counter!("sagaline_gateway_metrics_listeners_hung_up_total").increment(1);
                break;
            }
        }
    }
    metrics::gauge!("sagaline_gateway_metrics_listeners").decrement(1.0);
}

/// Makes the figures while anybody listens, until told to stop.
pub async fn run(app: App, shutdown: CancellationToken) {
    let mut looks = Looks::default();
    let mut ticks = tokio::time::interval(METRICS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let live = app.live();
        if live.latest.receiver_count() == 0 {
            let joined = shutdown.run_until_cancelled(live.joined.notified());
            if joined.await.is_none() {
                return;
            }
            continue;
        }
        if shutdown.run_until_cancelled(ticks.tick()).await.is_none() {
            return;
        }
        let update = Metrics {
            kind: "metrics-update",
            at: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            sales: looks.latest(&app).await,
            system_load: (app.admission().load() * 1_000.0).round() / 1_000.0,
        };
        let text = serde_json::to_string(&update).expect("figures are plain data");
        live.latest.send_replace(text.into());
    }
}

/// What the analytics said last. They are asked beside the ticks: a store that is slow or away keeps nobody from the rest.
#[derive(Default)]
struct Looks {
    began: Option<Instant>,
    running: Option<JoinHandle<Sales>>,
    latest: Sales,
}

impl Looks {
    /// What they say now, if they do at once; else what they said before.
    async fn latest(&mut self, app: &App) -> Sales {
        if self.running.is_none() && self.began.is_none_or(|at| at.elapsed() >= METRICS_STORE_EVERY) {
            self.began = Some(Instant::now());
            let app = app.clone();
            self.running = Some(tokio::spawn(async move {
                let looked = tokio::time::timeout(METRICS_STORE_EVERY, look(app.analytics(), Utc::now())).await;
                let found = looked.unwrap_or(Err(StoreError::Late(METRICS_STORE_EVERY)));
                found.unwrap_or_else(|error| {
                    tracing::debug!(%error, "the analytics can't say how sales go");
                    Sales::default()
                })
            }));
        }
        if let Some(running) = &mut self.running
            && let Ok(found) = tokio::time::timeout(METRICS_STORE_WAIT, running).await
        {
            self.latest = found.unwrap_or_default();
            self.running = None;
        }
        self.latest.clone()
    }
}

async fn look(analytics: &Store, now: DateTime<Utc>) -> Result<Sales, StoreError> {
    let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
    let since = |from: DateTime<Utc>| Time {
        from,
        to: now + TimeDelta::minutes(1),
    };
    let last = Time {
        from: minute - TimeDelta::minutes(1),
        to: minute,
    };
    let active_users = analytics.active_users(since(now - ACTIVE)).await?;
    let [last_minute] = analytics.kinds(last, ["booking.initiated"]).await?;
    let kinds = ["booking.initiated", "booking.confirmed"];
    let [initiated, confirmed] = analytics.kinds(since(now - LATELY), kinds).await?;
    let popular = analytics
        .popular(Step::Minute, since(now - LATELY), POPULAR_EVENTS_MAX)
        .await?;
    let rate = |confirmed: i64, initiated: i64| (confirmed as f64 / initiated as f64 * 1_000.0).round() / 1_000.0;
    Ok(Sales {
        active_users: Some(active_users),
        bookings_per_minute: Some(last_minute),
        conversion_rate: (initiated > 0).then(|| rate(confirmed, initiated)),
        popular_events: Some(
            popular
                .into_iter()
                .map(|(event_id, bookings)| Popular { event_id, bookings })
                .collect(),
        ),
    })
}

//! What users do, told to the topic `analytics.user-action` without anybody waiting for it.
//!
//! An action is put into a bounded queue or dropped, and the request goes on. These are no facts of a sale: a crash loses what waits, and a broker
//! that is away loses what doesn't fit; both are counted (`sagaline_user_actions_lost_total`). The same action of the same visitor about the same
//! event is told once a minute, under an id that is made of those: whoever tells it again, another gateway or a retry, changes no count.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use transport::reconnect::retry_until_connected;
use transport::{KafkaConfig, Outgoing, Producer, ensure_topics};
use uuid::Uuid;

use crate::fact::{Action, USER_ACTION};
use crate::limits::{ACTION_SEND_LIMIT, ACTIONS_IN_FLIGHT_MAX, ACTIONS_KNOWN_MAX, ACTIONS_WAITING_MAX};

/// Names the ids of actions (a random UUID of our own).
const NAMESPACE: Uuid = Uuid::from_u128(0x6b0c_55be_0f66_4a57_9f0e_6f1d_70b5_1c2a);

/// Something that a user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAction {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub action: Action,
    /// Who, if they are logged in.
    pub user_id: Option<String>,
    /// Their session; of somebody who isn't logged in, a name that is good for a day.
    pub session_id: String,
    /// With which event.
    pub event_id: Option<String>,
    /// What their device calls itself.
    pub user_agent: Option<String>,
    /// Where from: the network, not the address ([`network`]).
    pub network: Option<IpAddr>,
}

impl UserAction {
    /// The same for the same action of the same visitor about the same event in the same minute.
    pub fn id(&self) -> Uuid {
        let minute = self.at.timestamp().div_euclid(60);
        let who = self.user_id.as_deref().unwrap_or(&self.session_id);
        let event = self.event_id.as_deref().unwrap_or_default();
        let name = format!("{minute}\0{}\0{who}\0{event}", self.action.as_str());
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }

    fn message(&self, id: Uuid, partitions: u32) -> Outgoing {
        let who = self.user_id.as_deref().unwrap_or(&self.session_id);
        let at = self.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let data = json!({
            "timestamp": at, "action": self.action.as_str(), "userId": self.user_id, "sessionId": self.session_id,
            "eventId": self.event_id, "userAgent": self.user_agent, "ip": self.network,
        });
        // By visitor, so that what one of them does stays in order.
        let place = Uuid::new_v5(&NAMESPACE, who.as_bytes()).as_u128() % u128::from(partitions.max(1));
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Outgoing {
            topic: USER_ACTION.to_owned(),
            partition: place as i32,
            key: Some(who.as_bytes().to_vec()),
            headers: vec![
                header("ce_specversion", "1.0"),
                header("ce_id", &id.to_string()),
                header("ce_type", USER_ACTION),
                header("ce_source", "/sagaline/gateway"),
                header("ce_time", &at),
                header("content-type", "application/json"),
            ],
            payload: data.to_string().into_bytes(),
        }
    }
}

/// An address without what tells one customer from their neighbours: the first 24 bits of IPv4, the first 48 of IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() >> 8 << 8).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 80 << 80).into()),
    }
}

/// Takes down what users do. Cheap to clone.
#[derive(Clone, Default)]
pub struct Recorder(Option<Arc<Shared>>);

struct Shared {
    waiting: mpsc::Sender<(Uuid, UserAction)>,
    known: Mutex<Known>,
    lost: AtomicU64,
}

/// What was told in this minute.
#[derive(Default)]
struct Known {
    minute: i64,
    ids: HashSet<Uuid>,
}

impl Known {
    /// Whether it is new.
    fn note(&mut self, minute: i64, id: Uuid) -> bool {
        if self.minute != minute {
            self.minute = minute;
            self.ids = HashSet::new();
        }
        if self.ids.len() >= ACTIONS_KNOWN_MAX {
            return !self.ids.contains(&id);
        }
        self.ids.insert(id)
    }
}

/// What was taken down, to be sent.
pub struct Waiting(mpsc::Receiver<(Uuid, UserAction)>);

impl Recorder {
    /// Takes nothing down.
    pub fn off() -> Recorder {
        Recorder(None)
    }

    /// One who does, and what [`publish`] sends.
    pub fn new() -> (Recorder, Waiting) {
        Recorder::holding(ACTIONS_WAITING_MAX)
    }

    /// The same, for as many waiting actions.
    pub fn holding(waiting_max: usize) -> (Recorder, Waiting) {
        let (waiting, received) = mpsc::channel(waiting_max);
        let shared = Shared {
            waiting,
            known: Mutex::default(),
            lost: AtomicU64::new(0),
        };
        (Recorder(Some(Arc::new(shared))), Waiting(received))
    }

    /// Whether anybody is told.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Takes it down, or drops it: never waits.
    pub fn record(&self, action: UserAction) {
        let Some(shared) = &self.0 else { return };
        let (id, minute) = (action.id(), action.at.timestamp().div_euclid(60));
        let is_new = shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(minute, id);
        if !is_new {
            return;
        }
        match shared.waiting.try_send((id, action)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                shared.lost.fetch_add(1, Ordering::Relaxed);
                lose(1);
            }
        }
    }

    /// How many there was no room for.
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.lost.load(Ordering::Relaxed))
    }
}

fn lose(count: u64) {
    metrics::counter!("sagaline_user_actions_lost_total").increment(count);
}

/// Sends what is taken down, until `stop`: then what waits is given to the broker once more, and that is all.
pub async fn publish(mut waiting: Waiting, kafka: KafkaConfig, stop: CancellationToken) {
    let joined = retry_until_connected("Kafka", async || {
        ensure_topics(&kafka, &[USER_ACTION.to_owned()]).await?;
        Producer::new(&kafka)
    });
    let Some(producer) = stop.run_until_cancelled(joined).await else {
        return;
    };
    let in_flight = Arc::new(Semaphore::new(ACTIONS_IN_FLIGHT_MAX));
    while let Some(Some((id, action))) = stop.run_until_cancelled(waiting.0.recv()).await {
        // With that many on their way the broker is away or slow: the queue fills, and what doesn't fit is lost.
        let Some(Ok(permit)) = stop.run_until_cancelled(in_flight.clone().acquire_owned()).await else {
            break;
        };
        let sent = producer.send_at_leisure(action.message(id, producer.partitions()));
        tokio::spawn(async move {
            let _permit = permit;
            match tokio::time::timeout(ACTION_SEND_LIMIT, sent).await {
                Ok(Ok(())) => metrics::counter!("sagaline_user_actions_total").increment(1),
                Ok(Err(_)) | Err(_) => lose(1),
            }
        });
    }
    waiting.0.close();
    let mut last = Vec::new();
    while let Ok((id, action)) = waiting.0.try_recv() {
        last.push(producer.send_at_leisure(action.message(id, producer.partitions())));
    }
    let all = async {
        for sent in last {
            if sent.await.is_err() {
                lose(1);
            }
        }
        // Those that were on their way.
        let _ = in_flight.acquire_many(ACTIONS_IN_FLIGHT_MAX as u32).await;
    };
    if tokio::time::timeout(ACTION_SEND_LIMIT, all).await.is_err() {
        tracing::info!("some of what users did was not told before the end");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn viewed(second: i64, session: &str) -> UserAction {
        UserAction {
            at: DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap(),
            action: Action::EventViewed,
            user_id: None,
            session_id: session.to_owned(),
            event_id: Some("tour".to_owned()),
            user_agent: None,
            network: None,
        }
    }

    #[test]
    fn an_action_is_told_once_a_minute_and_dropped_where_there_is_no_room() {
        let (recorder, mut waiting) = Recorder::holding(2);
        for second in [0, 1, 59] {
            recorder.record(viewed(second, "a"));
        }
        recorder.record(viewed(60, "a"));
        assert_eq!(recorder.lost(), 0);
        recorder.record(viewed(61, "b"));
        assert_eq!(recorder.lost(), 1, "the third that is new finds no room");
        let first = waiting.0.try_recv().unwrap();
        assert_eq!(first.0, viewed(30, "a").id(), "any gateway gives it this id");
        assert_ne!(first.0, waiting.0.try_recv().unwrap().0);
        assert!(waiting.0.try_recv().is_err());
        Recorder::off().record(viewed(0, "a"));
    }

    #[test]
    fn an_address_is_kept_short() {
        let short = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(short("192.0.2.77"), "192.0.2.0");
        assert_eq!(short("::ffff:192.0.2.77"), "192.0.2.0");
        assert_eq!(short("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
    }

    #[test]
    fn what_is_sent_says_who_did_what_when() {
        let message = viewed(0, "day_1").message(Uuid::nil(), 10);
        assert!((0..10).contains(&message.partition));
        let data: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(data["action"], "event_viewed");
        assert_eq!(data["timestamp"], "2027-01-15T08:00:00.000Z");
        assert!(data["userId"].is_null());
    }
}

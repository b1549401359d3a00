//! What the tests share.

use activities::seats::contract::{
    ConfirmInput, Confirmed, ReleaseInput, ReleaseReason, Released, ReserveInput, Reserved,
};
use activities::seats::seed::{EventSeed, SeatBlock, seed_demo_event};
use activities::{Handler, Registry, TaskContext};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::TestDatabase;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, Task, Token};

pub const EVENT: &str = "e1";

/// A context of a task of this saga.
pub fn context(saga: Uuid, step: &str) -> TaskContext {
    let token = Token {
        saga: SagaId(saga),
        step: step.into(),
        role: Role::Run,
        attempt: 1,
        epoch: 1,
    };
    let key = format!("{saga}/{step}/1");
    let deadline = Timestamp(chrono::Utc::now().timestamp_millis() + 30_000);
    let (workflow, activity) = ("w".to_owned(), String::new());
    let task = Task {
        token,
        workflow,
        activity,
        key,
        input: Value::Null,
        deadline,
        traceparent: None,
    };
    TaskContext::new(&task, CancellationToken::new())
}

/// Runs a batch as a worker does.
pub async fn run_batch(registry: &Registry, queue: &str, activity: &str, inputs: Vec<(Uuid, Value)>) -> Vec<Outcome> {
    let tasks: Vec<_> = inputs
        .into_iter()
        .map(|(saga, input)| (context(saga, activity), input))
        .collect();
    match registry.get(queue, activity).unwrap() {
        Handler::Batch(batch) => batch.run_batch(tasks).await,
        Handler::Single(single) => {
            let mut outcomes = Vec::new();
            for (context, input) in tasks {
                outcomes.push(single.run(&context, input).await);
            }
            outcomes
        }
    }
}

/// An outcome with its output's type, or its code and details.
pub fn read<T: DeserializeOwned>(outcome: Outcome) -> Result<T, (String, Value)> {
    match outcome {
        Outcome::Succeeded { output } => Ok(serde_json::from_value(output).unwrap()),
        Outcome::Failed {
            code,
            details,
            retryable,
            ..
        } => {
            assert!(!retryable || code == "internal", "{code} should be permanent");
            Err((code, details))
        }
        other => panic!("{other:?}"),
    }
}

/// A small theatre: section S with the seats A1 to D`n`, section T with T-A-1 to T-A-`n`.
pub struct Theatre {
    pub database: TestDatabase,
    pub registry: Registry,
}

impl Theatre {
    pub async fn with(seats_per_row: u16) -> Theatre {
        let database = testkit::migrated_database().await;
        let block = |section: &str, plain_ids, rows| SeatBlock {
            section: section.into(),
            plain_ids,
            rows,
            seats_per_row,
            first_row_cents: 10_000,
            last_row_cents: 10_000,
        };
        let blocks = vec![block("S", true, 4), block("T", false, 1)];
        let event = EventSeed {
            id: EVENT.into(),
            blocks,
            ..EventSeed::demo()
        };
        seed_demo_event(&database.pool, &event).await.unwrap();
        let mut registry = Registry::new();
        activities::register_seats(&mut registry, database.pool.clone());
        activities::events::register(&mut registry, database.pool.clone());
        Theatre { database, registry }
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub async fn reserve_all(&self, claims: &[(Uuid, &[&str])]) -> Vec<Result<Reserved, (String, Value)>> {
        let inputs = claims
            .iter()
            .map(|(booking, seats)| (*booking, reserve_input(*booking, seats)))
            .collect();
        let outcomes = run_batch(&self.registry, "seats", "seats.reserve", inputs).await;
        outcomes.into_iter().map(read).collect()
    }

    pub async fn reserve(&self, booking: Uuid, seats: &[&str]) -> Result<Reserved, (String, Value)> {
        self.reserve_all(&[(booking, seats)]).await.remove(0)
    }

    pub async fn release(
        &self,
        booking: Uuid,
        seats: &[&str],
        reason: ReleaseReason,
    ) -> Result<Released, (String, Value)> {
        let input = ReleaseInput {
            booking_id: booking,
            event_id: EVENT.into(),
            seat_ids: owned(seats),
            reason,
        };
        read(
            run_batch(&self.registry, "seats", "seats.release", vec![(booking, json!(input))])
                .await
                .remove(0),
        )
    }

    pub async fn confirm(&self, booking: Uuid, seats: &[&str]) -> Result<Confirmed, (String, Value)> {
        let input = ConfirmInput {
            booking_id: booking,
            event_id: EVENT.into(),
            seat_ids: owned(seats),
        };
        read(
            run_batch(&self.registry, "seats", "seats.confirm", vec![(booking, json!(input))])
                .await
                .remove(0),
        )
    }

    /// Makes a booking's hold an hour old.
    pub async fn age(&self, booking: Uuid) {
        let query = "update ticketing.holds set reserved_at = reserved_at - interval '1 hour', expires_at = expires_at - interval '1 hour' where booking_id = $1";
        assert_eq!(
            sqlx::query(query)
                .bind(booking)
                .execute(self.pool())
                .await
                .unwrap()
                .rows_affected(),
            1
        );
    }

    /// `status/booking` of a seat.
    pub async fn seat(&self, seat_id: &str) -> (String, Option<Uuid>) {
        let query = "select status, booking_id from ticketing.seats where event_id = $1 and seat_id = $2";
        sqlx::query_as(query)
            .bind(EVENT)
            .bind(seat_id)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// Seats and holds agree, and nobody ever got stuck on anybody.
    pub async fn check(&self) {
        assert_eq!(activities::seats::audit(self.pool()).await.unwrap(), []);
        let query = "select deadlocks from pg_stat_database where datname = current_database()";
        // Statistics arrive with a delay: ask for them to be sent now.
        sqlx::query("select pg_stat_force_next_flush()")
            .execute(self.pool())
            .await
            .unwrap();
        let deadlocks: i64 = sqlx::query_scalar(query).fetch_one(self.pool()).await.unwrap();
        assert_eq!(deadlocks, 0);
    }
}

pub fn reserve_input(booking: Uuid, seats: &[&str]) -> Value {
    json!(ReserveInput {
        booking_id: booking,
        event_id: EVENT.into(),
        user_id: None,
        seat_ids: owned(seats),
        hold_seconds: 900,
        charges_cents: 0
    })
}

pub fn owned(seats: &[&str]) -> Vec<String> {
    seats.iter().map(|seat| (*seat).to_owned()).collect()
}

/// The code of a failure.
pub fn code<T: std::fmt::Debug>(answer: Result<T, (String, Value)>) -> String {
    answer.unwrap_err().0
}

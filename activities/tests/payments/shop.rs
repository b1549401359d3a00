//! What the tests share: a sandbox, a database, and tasks.

use std::time::Duration;

use activities::payments::{PaymentsConfig, register_payments, register_refunds};
use activities::{Handler, Registry, TaskContext};
use sandbox::{Handle, LedgerEntry, Options, Switches};
use serde_json::{Value, json};
use testkit::TestDatabase;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, Task, Token};

pub const AMOUNT_CENTS: i64 = 70_000;

/// A registry of payment activities with everything they need.
pub struct Shop {
    pub registry: Registry,
    pub sandbox: Handle,
    pub database: TestDatabase,
    _stop: DropGuard,
}

impl Shop {
    pub async fn open() -> Shop {
        Shop::with(Switches::default(), Duration::from_secs(10)).await
    }

    /// With a sandbox that misbehaves and a client that waits so long.
    pub async fn with(switches: Switches, timeout: Duration) -> Shop {
        let database = testkit::migrated_database().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let options = Options {
            switches,
            ..Options::default()
        };
        let sandbox = sandbox::start(options, listener, stop.clone()).await.unwrap().handle;
        let registry = registry(&sandbox.url, timeout, &database);
        Shop {
            registry,
            sandbox,
            database,
            _stop: stop.drop_guard(),
        }
    }

    pub async fn run_on(&self, queue: &str, activity: &str, context: &TaskContext, input: Value) -> Outcome {
        let Some(Handler::Single(activity)) = self.registry.get(queue, activity) else {
            panic!("no {activity}")
        };
        activity.run(context, input).await
    }

    pub async fn run(&self, activity: &str, context: &TaskContext, input: Value) -> Outcome {
        run(&self.registry, activity, context, input).await
    }

    /// The sandbox's account of a booking's intents.
    pub fn intents_of(&self, booking: Uuid) -> Vec<LedgerEntry> {
        let booking = booking.to_string();
        let intents = self.sandbox.ledger().intents;
        intents
            .into_iter()
            .filter(|intent| intent.metadata.get("bookingId") == Some(&booking))
            .collect()
    }

    /// What the buyer's browser needs to authenticate.
    pub async fn client_secret(&self, booking: Uuid) -> Option<String> {
        let secret = sqlx::query_scalar("select client_secret from ticketing.payments where booking_id = $1");
        secret.bind(booking).fetch_one(&self.database.pool).await.unwrap()
    }

    /// The sum of an account in our ledger.
    pub async fn balance(&self, account: &str) -> i64 {
        let sum = "select coalesce(sum(amount_cents), 0)::int8 from ticketing.ledger_entries where account = $1";
        let sum = sqlx::query_scalar(sum).bind(account);
        sum.fetch_one(&self.database.pool).await.unwrap()
    }

    pub fn captures_of(&self, booking: Uuid) -> usize {
        self.intents_of(booking)
            .iter()
            .filter(|intent| intent.captured > 0)
            .count()
    }
}

pub fn registry(url: &str, timeout: Duration, database: &TestDatabase) -> Registry {
    let config = PaymentsConfig {
        timeout,
        ..PaymentsConfig::new("sk_test_sagaline", url)
    };
    let mut registry = Registry::new();
    register_payments(&mut registry, config.clone(), database.pool.clone()).unwrap();
    register_refunds(&mut registry, config, database.pool.clone()).unwrap();
    registry
}

pub async fn run(registry: &Registry, activity: &str, context: &TaskContext, input: Value) -> Outcome {
    let Some(Handler::Single(activity)) = registry.get("payments", activity) else {
        panic!("no {activity}")
    };
    activity.run(context, input).await
}

pub fn booking() -> Uuid {
    Uuid::now_v7()
}

/// The context of an attempt at a booking's `effect`-th payment.
pub fn context(booking: Uuid, effect: u32) -> TaskContext {
    let token = Token {
        saga: SagaId(booking),
        step: "pay".into(),
        role: Role::Run,
        attempt: 1,
        epoch: 1,
    };
    let task = Task {
        token,
        workflow: "booking".into(),
        activity: String::new(),
        key: format!("{booking}/pay/{effect}"),
        input: Value::Null,
        deadline: Timestamp(i64::MAX),
        traceparent: None,
    };
    TaskContext::new(&task, CancellationToken::new())
}

pub fn input(booking: Uuid, payment_method: &str) -> Value {
    json!({
        "bookingId": booking,
        "eventId": "taylor_swift_nyc_2024",
        "amountCents": AMOUNT_CENTS,
        "currency": "usd",
        "paymentMethod": payment_method,
    })
}

/// The code of a failure, and whether it is retryable.
#[track_caller]
pub fn failure(outcome: &Outcome) -> (&str, bool) {
    let Outcome::Failed { code, retryable, .. } = outcome else {
        panic!("not a failure: {outcome:?}")
    };
    (code, *retryable)
}

/// The output of a success.
#[track_caller]
pub fn output(outcome: &Outcome) -> &Value {
    let Outcome::Succeeded { output } = outcome else {
        panic!("not a success: {outcome:?}")
    };
    output
}

#[track_caller]
pub fn assert_unknown(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Unknown { .. }), "not unknown: {outcome:?}");
}

/// A client that works wherever else in the workspace reqwest is asked to do TLS.
pub fn http() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

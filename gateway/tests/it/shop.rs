//! A shop for one test: its own database with two events, a gateway on its own port, a fake engine.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use testkit::TestDatabase;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use workflows::ids::SagaId;

use crate::engine::FakeEngine;

/// Shared with the payment provider.
pub const WEBHOOK_SECRET: &str = "whsec_shop";
/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// See above.
pub struct Shop {
    pub engine: Arc<FakeEngine>,
    pub pool: PgPool,
    pub base: String,
    http: reqwest::Client,
    stop: CancellationToken,
    _database: Option<TestDatabase>,
}

/// An answer, read whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

/// Settings as the tests like them.
/// What those are known by who mail tickets.
pub const INTERNAL_SECRET: &str = "internal secret of the gateway's tests";

pub fn options() -> gateway::Options {
    gateway::Options {
        webhook_secret: Some(gateway::Secret::new(WEBHOOK_SECRET)),
        internal_secret: Some(gateway::Secret::new(INTERNAL_SECRET)),
        inbox_poll_interval: Duration::from_millis(10),
        inbox_retry_initial: Duration::from_millis(10),
        drain_time_limit: Duration::from_secs(1),
        ..gateway::Options::default()
    }
}

/// A shop with the usual settings.
pub async fn open() -> Shop {
    open_with(options()).await
}

/// A shop with these settings.
pub async fn open_with(options: gateway::Options) -> Shop {
    open_on(options, testkit::migrated_database().await, Serving::Everything).await
}

/// How much of a gateway runs.
#[derive(Clone, Copy, PartialEq)]
pub enum Serving {
    Everything,
    /// The routes without any background task.
    RouterOnly,
}

/// A shop with these settings on this database, which is seeded.
pub async fn open_on(options: gateway::Options, database: TestDatabase, serving: Serving) -> Shop {
    seed(&database.pool).await;
    let pool = database.pool.clone();
    serve(options, database, pool, serving).await
}

/// A shop whose database is away.
pub async fn open_without_database() -> Shop {
    let database = testkit::database().await;
    let nowhere = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(300))
        .connect_lazy("postgres://nobody@127.0.0.1:1/nothing")
        .unwrap();
    serve(options(), database, nowhere, Serving::Everything).await
}

async fn serve(options: gateway::Options, database: TestDatabase, pool: PgPool, serving: Serving) -> Shop {
    let engine = Arc::new(FakeEngine::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let deps = gateway::Deps {
        pool: pool.clone(),
        engine: engine.clone(),
        analytics: pool.clone().into(),
        actions: analytics::actions::Recorder::off(),
    };
    match serving {
        Serving::Everything => drop(tokio::spawn(gateway::serve(options, deps, listener, stop.clone()))),
        Serving::RouterOnly => {
            let router = gateway::router(options, deps);
            drop(tokio::spawn(axum::serve(listener, router).into_future()));
        }
    }
    Shop {
        engine,
        pool,
        base,
        http: http_client(),
        stop,
        _database: Some(database),
    }
}

/// reqwest wants a provider of cryptography, even where everything is plain HTTP.
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Four seats at one event, and a draft that nobody may see.
pub async fn seed(pool: &PgPool) {
    sqlx::raw_sql(
        "insert into ticketing.events (id, name, venue, city, starts_at, time_zone, currency, status, attributes) values
             ('tour', 'The Tour', 'Garden', 'New York', '2026-05-17 23:30:00+00', 'America/New_York', 'usd', 'on_sale', '{\"doors\": \"18:00\"}'),
             ('over', 'Gone', 'Garden', 'New York', '2025-05-17 23:30:00+00', 'Nowhere/Atall', 'usd', 'closed', '{}'),
             ('draft', 'Secret', 'Garden', 'New York', '2026-05-17 23:30:00+00', 'UTC', 'usd', 'draft', '{}');
         insert into ticketing.seats (event_id, seat_id, section, row_name, number, price_cents, status, booking_id, held_until)
         values
             ('tour', 'A15', 'Floor', 'A', 15, 35000, 'available', null, null),
             ('tour', 'A16', 'Floor', 'A', 16, 35000, 'available', null, null),
             ('tour', 'B''1/2\"', 'Ring', 'B', 1, 15005, 'held', gen_random_uuid(), now() + interval '15 minutes'),
             ('tour', 'B2', 'Ring', 'B', 2, 15005, 'sold', gen_random_uuid(), null),
             ('over', 'A1', 'Floor', 'A', 1, 100, 'available', null, null),
             ('draft', 'A1', 'Floor', 'A', 1, 100, 'available', null, null);",
    )
    .execute(pool)
    .await
    .unwrap();
}

/// A wish that is all right.
pub fn wish() -> Value {
    json!({"userId": "user_42", "eventId": "tour", "seatIds": ["A15", "A16"], "totalAmount": 700})
}

/// That wish with one field set, or with null removed.
pub fn wish_with(field: &str, value: Value) -> Value {
    let mut wish = wish();
    if value.is_null() {
        wish.as_object_mut().unwrap().remove(field);
    } else {
        wish[field] = value;
    }
    wish
}

impl Shop {
    /// Another gateway over the same database and engine.
    pub async fn another_gateway(&self) -> Shop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let deps = gateway::Deps {
            pool: self.pool.clone(),
            engine: self.engine.clone(),
            analytics: self.pool.clone().into(),
            actions: analytics::actions::Recorder::off(),
        };
        tokio::spawn(gateway::serve(options(), deps, listener, stop.clone()));
        Shop {
            engine: self.engine.clone(),
            pool: self.pool.clone(),
            base,
            http: http_client(),
            stop,
            _database: None,
        }
    }

    /// Its database.
    pub fn database(&self) -> &TestDatabase {
        self._database.as_ref().unwrap()
    }

    /// Tells the gateway to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).timeout(LIMIT)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// A booking request, to which headers may be added.
    pub fn booking(&self, wish: &Value) -> RequestBuilder {
        self.request(Method::POST, "/bookings").json(wish)
    }

    /// Books, and gives the saga.
    pub async fn book(&self) -> SagaId {
        let answer = Answer::of(self.booking(&wish())).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()["bookingId"].as_str().unwrap().parse().unwrap()
    }
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Answer {
        Answer::read(request.send().await.unwrap()).await
    }

    async fn read(response: Response) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        Answer {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    /// The problem, checked for what every problem has.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:sagaline:problem:{code}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(problem["traceId"].as_str().unwrap().len(), 32);
        problem
    }

    /// The pointers of a problem that says that the request is not valid.
    #[track_caller]
    pub fn invalid(&self) -> Vec<String> {
        let problem = self.problem(422, "invalid");
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["pointer"].as_str().unwrap().to_owned())
            .collect()
    }
}

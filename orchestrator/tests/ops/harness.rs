//! An engine with its ops port, and workflows that need no worker.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orchestrator::api::{self, Ops};
use orchestrator::client::{EngineClient, HttpClient, LocalClient, StartRequest};
use orchestrator::{Engine, EngineOptions};
use serde_json::{Value, json};
use testkit::TestDatabase;
use transport::InProcessBroker;
use workflows::definition::Definition;

/// How long anything may take before a test gives up on it.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct TestOps {
    pub engine: Engine,
    pub local: LocalClient,
    pub http: HttpClient,
    /// `http://127.0.0.1:<port>`
    pub base: String,
    pub database: TestDatabase,
    broker: InProcessBroker,
    server: tokio::task::JoinHandle<()>,
}

impl TestOps {
    pub async fn start() -> TestOps {
        // As the binary does; a second time is no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = testkit::migrated_database().await;
        let broker = InProcessBroker::start(4).unwrap();
        let engine = engine(&database, &broker).await;
        let local = LocalClient::new(engine.clone());
        for definition in definitions() {
            local.deploy(definition).await.unwrap();
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = api::router(Ops::new(engine.clone(), Arc::new(|| "sagaline_up 1\n".to_owned())));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let http = HttpClient::new(&base).unwrap();
        TestOps {
            engine,
            local,
            http,
            base,
            database,
            broker,
            server,
        }
    }

    /// Another replica over the same database and broker.
    pub async fn another_engine(&self) -> Engine {
        engine(&self.database, &self.broker).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub async fn stop(self) {
        self.server.abort();
        self.engine.shutdown().await;
    }
}

async fn engine(database: &TestDatabase, broker: &InProcessBroker) -> Engine {
    let options = EngineOptions {
        connections: 3,
        ..EngineOptions::default()
    };
    Engine::start(options, database.pool.clone(), broker.config("test"))
        .await
        .unwrap()
}

pub fn definition(value: Value) -> Definition {
    serde_json::from_value(value).unwrap()
}

fn definitions() -> Vec<Definition> {
    vec![
        definition(json!({
            "name": "patient", "version": 1, "business_key": "input.about",
            "input_schema": {"type": "object", "required": ["about"], "additionalProperties": false,
                             "properties": {"about": {"type": "string"}, "n": {"type": "integer"}}},
            "flow": [{"kind": "wait_for", "name": "go", "signal": "go", "deadline": "1h", "on_deadline": {"to": "compensate"}}],
            "emit": [{"on": "started", "topic": "test.begun", "data": {"about": "=input.about"}}],
            "output": {"said": "=steps.go.output.words"}})),
        definition(json!({
            "name": "instant", "version": 1,
            "flow": [{"kind": "emit", "name": "hello", "topic": "test.hello", "data": {"n": "=input.n"}}]})),
        definition(json!({
            "name": "idle", "version": 1,
            "flow": [{"kind": "step", "name": "work", "activity": "nobody.works", "queue": "nobody", "attempt_timeout": "1h"}]})),
    ]
}

/// A saga that waits for the signal `go`.
pub fn patient(about: &str) -> StartRequest {
    StartRequest {
        workflow: "patient".to_owned(),
        input: json!({"about": about}),
        ..StartRequest::default()
    }
}

/// A saga that ends at once.
pub fn instant() -> StartRequest {
    StartRequest {
        workflow: "instant".to_owned(),
        input: json!({"n": 1}),
        ..StartRequest::default()
    }
}

/// Waits until `look` gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

//! An engine with its dashboard.

use dashboard::Mission;
use orchestrator::{Engine, EngineOptions, NewSaga};
use serde_json::{Value, json};
use testkit::TestDatabase;
use transport::InProcessBroker;
use workflows::event::Event;
use workflows::ids::SagaId;
use workflows::protocol::{Outcome, Role as TaskRole, TaskResult, Token};

pub struct Control {
    pub engine: Engine,
    pub database: TestDatabase,
    pub base: String,
    pub mission: Mission,
    server: tokio::task::JoinHandle<()>,
    /// It lives as long as the engine; tests with a worker reach it here.
    pub broker: InProcessBroker,
}

impl Control {
    pub async fn start() -> Control {
        Control::start_with(dashboard::Options::default()).await
    }

    pub async fn start_with(careful: dashboard::Options) -> Control {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Control::start_on(listener, careful).await
    }

    /// Where its address has to be known before.
    pub async fn start_on(listener: tokio::net::TcpListener, careful: dashboard::Options) -> Control {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = testkit::migrated_database().await;
        let broker = InProcessBroker::start(4).unwrap();
        let options = EngineOptions {
            connections: 3,
            worth: Some(|_workflow, input| (input["cents"].as_i64().unwrap_or_default(), 2)),
            ..EngineOptions::default()
        };
        let engine = Engine::start(options, database.pool.clone(), broker.config("test"))
            .await
            .unwrap();
        for definition in definitions() {
            let definition = serde_json::from_value(definition).unwrap();
            engine.definitions().deploy(definition).await.unwrap();
        }
        let mission = Mission::with(engine.clone(), careful).reading(database.pool.clone().into());
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = dashboard::router(mission.clone());
        let server = tokio::spawn(async move { axum_serve(listener, router).await });
        Control {
            engine,
            database,
            base,
            mission,
            server,
            broker,
        }
    }

    pub async fn stop(self) {
        self.server.abort();
        self.mission.close().await;
        self.engine.shutdown().await;
        drop(self.broker);
    }

    /// A saga of this workflow.
    pub async fn saga(&self, workflow: &str, input: Value) -> SagaId {
        let new = NewSaga {
            workflow: workflow.to_owned(),
            input,
            ..NewSaga::default()
        };
        self.engine.start_saga(new).await.unwrap().id
    }

    /// A worker's definite failure of an attempt.
    pub async fn fail(&self, saga: SagaId, step: &str, code: &str, message: &str) {
        let outcome = Outcome::Failed {
            code: code.to_owned(),
            message: message.to_owned(),
            retryable: false,
            details: json!({"card": "4242 secret"}),
        };
        self.answer(saga, step, outcome).await;
    }

    /// A worker's answer to the attempt of `step` that is in flight.
    pub async fn answer(&self, saga: SagaId, step: &str, outcome: Outcome) {
        let record = self.engine.saga(saga).await.unwrap().unwrap();
        let open: Vec<(TaskRole, u32, u32)> = record
            .state
            .active
            .values()
            .filter_map(|active| match active {
                workflows::state::Active::Step(work) => Some((work.role, work.epoch, work.attempt)),
                _other => None,
            })
            .collect();
        for (role, epoch, attempt) in open {
            let token = Token {
                saga,
                step: step.to_owned(),
                role,
                attempt,
                epoch,
            };
            let result = TaskResult {
                token,
                outcome: outcome.clone(),
            };
            self.engine.send_event(saga, Event::Result(result), None).await.unwrap();
        }
    }
}

async fn axum_serve(listener: tokio::net::TcpListener, router: axum::Router) {
    axum::serve(listener, router).await.unwrap();
}

fn definitions() -> Vec<Value> {
    vec![
        json!({
            "name": "patient", "version": 1, "business_key": "input.about",
            "flow": [{"kind": "wait_for", "name": "go", "signal": "go", "deadline": "1h", "on_deadline": {"to": "compensate"}}]}),
        json!({
            "name": "flaky", "version": 2, "business_key": "input.about",
            "flow": [
                {"kind": "step", "name": "hold", "activity": "nobody.holds", "queue": "nobody", "attempt_timeout": "1h",
                 "compensation": {"activity": "nobody.lets-go", "retry": {"max_attempts": 1}}},
                {"kind": "step", "name": "pay", "activity": "nobody.pays", "queue": "nobody", "attempt_timeout": "1h",
                 "retry": {"max_attempts": 9, "initial": "1ms", "cap": "1ms"}}]}),
        json!({
            "name": "brittle", "version": 1, "business_key": "input.about",
            "flow": [{"kind": "step", "name": "work", "activity": "nobody.works", "queue": "nobody", "attempt_timeout": "1h",
                      "retry": {"max_attempts": 1}, "otherwise": {"to": "operator"}}]}),
        json!({
            "name": "stubborn", "version": 1, "business_key": "input.about",
            "flow": [
                {"kind": "step", "name": "work", "activity": "nobody.works", "queue": "nobody", "attempt_timeout": "1h",
                 "retry": {"max_attempts": 1}, "input": {"card": "=input.card"}, "otherwise": {"to": "operator"}},
                {"kind": "pivot", "name": "point"},
                {"kind": "parallel", "name": "both", "branches": [
                    [{"kind": "sleep", "name": "rest", "duration": "1h"}],
                    [{"kind": "scope", "name": "part", "deadline": "2h", "on_deadline": {"to": "continue"}, "flow": [
                        {"kind": "step", "name": "late", "activity": "nobody.late", "queue": "nobody", "attempt_timeout": "1h"}]}]]}]}),
    ]
}

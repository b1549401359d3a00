//! How healthy a process is that has no HTTP API of its own: what it depends on is noted as it is reached, and asked when somebody wants to know.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use sqlx::PgPool;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use transport::{BrokerProbe, KafkaConfig};
use web::health::{Dependency, Recent, Standing, probe};
use workers::Readiness;

/// 1 while it is up, else 0.
const GAUGE: &str = "sagaline_dependency_up";

type Question = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What a process depends on. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Shared>);

struct Shared {
    /// None: it has not been reached yet.
    questions: Mutex<BTreeMap<&'static str, Option<Question>>>,
    needed: &'static [&'static str],
    found: Recent<BTreeMap<String, Dependency>>,
    stop: CancellationToken,
}

impl Health {
    /// Of a process that can't do without `needed`, and is about to leave once `stop` is cancelled.
    pub fn new(needed: &'static [&'static str], stop: CancellationToken) -> Health {
        let questions = needed.iter().map(|name| (*name, None)).collect();
        Health(Arc::new(Shared {
            questions: Mutex::new(questions),
            needed,
            found: Recent::default(),
            stop,
        }))
    }

    /// From now on asks whether it is there.
    pub fn watch<F>(&self, name: &'static str, question: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let question: Question = Arc::new(move || Box::pin(question()));
        let mut questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.insert(name, Some(question));
    }

    /// Postgres, by these connections.
    pub fn watch_database(&self, pool: &PgPool) {
        let pool = pool.clone();
        self.watch("database", move || {
            let pool = pool.clone();
            async move {
                let asked = sqlx::query("select 1").execute(&pool).await;
                asked.map(drop).map_err(|error| error.to_string())
            }
        });
    }

    /// The analytics' store.
    pub fn watch_store(&self, store: &analytics::store::Store) {
        let store = store.clone();
        self.watch("store", move || {
            let store = store.clone();
            async move { store.ping().await.map_err(|error| error.to_string()) }
        });
    }

    /// Kafka.
    pub fn watch_kafka(&self, kafka: &KafkaConfig) {
        let broker = BrokerProbe::new(kafka);
        self.watch("kafka", move || {
            let broker = broker.clone();
            async move { broker.ask().await.map_err(|error| error.to_string()) }
        });
    }

    /// Something at an address, `host:port`: a connection is enough to know.
    pub fn watch_address(&self, name: &'static str, address: String) {
        self.watch(name, move || {
            let address = address.clone();
            async move {
                TcpStream::connect(address)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        });
    }

    /// A worker's share of its queues.
    pub fn watch_queues(&self, readiness: &Readiness) {
        let readiness = readiness.clone();
        self.watch("queues", move || {
            let answer = match readiness.is_ready() {
                true => Ok(()),
                false => Err(format!("no share yet of {}", readiness.waiting_for().join(", "))),
            };
            std::future::ready(answer)
        });
    }

    /// How it is.
    pub async fn standing(&self) -> Standing {
        let look = async {
            let questions = self.0.questions.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let asked = questions.into_iter().map(async |(name, question)| {
                let found = match question {
                    Some(question) => probe(GAUGE, name, question()).await,
                    None => Dependency::missing("not reached yet"),
                };
                (name.to_owned(), found)
            });
            join_all(asked).await.into_iter().collect()
        };
        let dependencies = self.0.found.get(look).await;
        Standing::of(dependencies, self.0.needed, self.0.stop.is_cancelled())
    }
}

//! The platform as processes of its own binary, on a Postgres and a broker of its own.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use localpg::LocalPostgres;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use transport::InProcessBroker;
use transport::apache::ApacheKafka;
use workflows::Compiled;
use workflows::protocol::{RESULTS_TOPIC, poison_topic, tasks_topic};
use workflows::tickets::{booking, notification, sweep};

/// How long a service may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(90);
/// Signs the sandbox's webhooks.
const WEBHOOK_SECRET: &str = "whsec_survival";
/// Partitions of every topic.
pub const PARTITIONS: u32 = 10;

/// The settings that make a booking's life short enough for a test. The hold is longer than any outage below.
const SHORTENED: &[(&str, &str)] = &[
    // All buyers come from one address.
    ("SAGALINE_RATE_LIMITS", "off"),
    ("SAGALINE_BOOKING_HOLD", "90s"),
    ("SAGALINE_PAYMENT_RETRY_INITIAL", "500ms"),
    ("SAGALINE_PAYMENT_RETRY_CAP", "4s"),
    ("SAGALINE_PAYMENT_ATTEMPT_TIMEOUT", "6s"),
    ("SAGALINE_LOG", "info,rdkafka=error,librdkafka=error"),
];

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Apache,
    InProcess,
}

pub enum Broker {
    /// None only while it is being started again.
    Apache(Option<ApacheKafka>),
    InProcess(InProcessBroker),
}

impl Broker {
    async fn start(kind: Kind, dir: &Path) -> Broker {
        match kind {
            Kind::Apache => {
                let kafka = ApacheKafka::start(&dir.join("kafka"), free_port()).await;
                Broker::Apache(Some(kafka.expect("Apache Kafka starts")))
            }
            Kind::InProcess => {
                let broker = InProcessBroker::start(PARTITIONS).expect("the broker starts");
                broker.create_topics(&topics()).expect("it takes topics");
                Broker::InProcess(broker)
            }
        }
    }

    pub fn brokers(&self) -> String {
        match self {
            Broker::Apache(kafka) => kafka.as_ref().expect("it is there").brokers(),
            Broker::InProcess(broker) => broker.brokers(),
        }
    }

    /// Away for so long, then back with what it had.
    pub async fn be_away(&mut self, outage: Duration) {
        match self {
            Broker::Apache(slot) => {
                let mut kafka = slot.take().expect("it is there");
                tokio::task::block_in_place(|| kafka.stop());
                tokio::time::sleep(outage).await;
                *slot = Some(kafka.restart().await.expect("Apache Kafka starts again"));
            }
            Broker::InProcess(broker) => {
                broker.set_down(true).unwrap();
                tokio::time::sleep(outage).await;
                broker.set_down(false).unwrap();
            }
        }
    }
}

/// One process, killed and started again at will; killed for good when dropped.
pub struct Service {
    pub name: &'static str,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Service {
    fn new(dir: &Path, name: &'static str, arguments: &[&str], variables: &[(String, String)]) -> Service {
        Service {
            name,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            variables: variables.to_vec(),
            log: dir.join(format!("{name}.log")),
            child: None,
        }
    }

    pub fn start(&mut self) {
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sagaline"))
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn();
        self.child = Some(child.expect("our own binary runs"));
    }

    /// SIGKILL: nothing is finished, nothing is said.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, which a test of survival wants to know.
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{} had ended by itself with {status}:\n{}", self.name, self.log_tail());
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Everything. Fields are dropped in this order.
pub struct Platform {
    /// The processes that a test may kill.
    pub services: Vec<Service>,
    /// The payment provider: outside of the platform, never killed.
    pub stripe: Service,
    pub stripe_url: String,
    pub gateway_url: String,
    pub pool: PgPool,
    pub broker: Broker,
    pub postgres: LocalPostgres,
    /// A synchronous standby, in a story that wants one.
    pub standby: Option<LocalPostgres>,
    _dir: tempfile::TempDir,
}

impl Platform {
    pub async fn start(kind: Kind, with_standby: bool, smtp_port: u16) -> Platform {
        let dir = tempfile::Builder::new()
            .prefix("sagaline-survival-")
            .tempdir_in("/var/tmp")
            .unwrap();
        open_to_all(dir.path());
        let postgres = LocalPostgres::start(localpg::Options::new(dir.path().join("postgres"))).await;
        let postgres = postgres.expect("Postgres starts");
        let broker = Broker::start(kind, dir.path()).await;
        let pool = connect(&postgres).await;
        let mut database_url = postgres.url("postgres");
        let standby = if with_standby {
            let standby = synchronous_standby(dir.path(), &postgres, &pool).await;
            // The standby first: the order of the hosts must not matter.
            let (user, one, two) = ("postgres", standby.port(), postgres.port());
            database_url =
                format!("postgres://{user}@127.0.0.1:{one},127.0.0.1:{two}/postgres?target_session_attrs=read-write");
            Some(standby)
        } else {
            None
        };
        orchestrator::migrate(&pool).await.expect("the migrations apply");

        let [stripe_port, gateway_port, ops_port, second_ops_port] = [(); 4].map(|()| free_port());
        let stripe_url = format!("http://127.0.0.1:{stripe_port}");
        let gateway_url = format!("http://127.0.0.1:{gateway_port}");
        let mut variables = vec![
            ("DATABASE_URL".to_owned(), database_url),
            ("KAFKA_BROKERS".to_owned(), broker.brokers()),
            ("STRIPE_API_KEY".to_owned(), "sk_test_survival".to_owned()),
            ("STRIPE_BASE_URL".to_owned(), stripe_url.clone()),
            ("STRIPE_WEBHOOK_SECRET".to_owned(), WEBHOOK_SECRET.to_owned()),
            ("SMTP_URL".to_owned(), format!("smtp://127.0.0.1:{smtp_port}")),
            ("SAGALINE_ENGINE_URL".to_owned(), format!("http://127.0.0.1:{ops_port}")),
        ];
        variables.extend(
            SHORTENED
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );

        let service = |name, arguments: &[&str]| Service::new(dir.path(), name, arguments, &variables);
        let stripe_port = stripe_port.to_string();
        let hook = format!("{gateway_url}/webhooks/stripe");
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let orchestrator = ["orchestrator", "--no-migrate", "--deploy-tickets", "--listen"];
        let mut platform = Platform {
            services: vec![
                service("orchestrator-1", &[&orchestrator[..], &[&listen(ops_port)]].concat()),
                service(
                    "orchestrator-2",
                    &[&orchestrator[..], &[&listen(second_ops_port)]].concat(),
                ),
                service("worker-seats", &["worker", "--queues", "seats"]),
                service("worker-payments", &["worker", "--queues", "payments"]),
                service(
                    "worker-all",
                    &["worker", "--queues", "seats,payments,refunds,notifications,email"],
                ),
                service("gateway", &["gateway", "--listen", &listen(gateway_port)]),
            ],
            stripe: service(
                "stripe",
                &["sandbox", "stripe", "--port", &stripe_port, "--webhook-url", &hook],
            ),
            stripe_url,
            gateway_url,
            pool,
            broker,
            postgres,
            standby,
            _dir: dir,
        };
        platform.stripe.start();
        platform.services.iter_mut().for_each(Service::start);
        platform
            .wait_ready(&format!("http://127.0.0.1:{ops_port}/health/ready"))
            .await;
        platform
            .wait_ready(&format!("http://127.0.0.1:{second_ops_port}/health/ready"))
            .await;
        platform
            .wait_ready(&format!("{}/health/ready", platform.gateway_url))
            .await;
        platform
    }

    async fn wait_ready(&self, url: &str) {
        let begun = tokio::time::Instant::now();
        while !matches!(reqwest::get(url).await, Ok(response) if response.status().is_success()) {
            if begun.elapsed() > READY_LIMIT {
                panic!("{url} is not ready; the ends of the logs:\n{}", self.log_tails());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn log_tails(&self) -> String {
        let tail = |service: &Service| format!("--- {}\n{}\n", service.name, service.log_tail());
        self.services.iter().map(tail).collect()
    }
}

/// A few connections for the test itself.
pub async fn connect(postgres: &LocalPostgres) -> PgPool {
    let url = postgres.url("postgres");
    PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap()
}

/// A standby without which the primary answers no commit any more.
async fn synchronous_standby(dir: &Path, primary: &LocalPostgres, pool: &PgPool) -> LocalPostgres {
    let mut options = localpg::Options::new(dir.join("standby"));
    options.standby_of = Some(primary.url("postgres"));
    let standby = LocalPostgres::start(options).await.expect("the standby starts");
    for statement in [
        "alter system set synchronous_standby_names = '*'",
        "select pg_reload_conf()",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
    let follows = "select exists (select from pg_stat_replication where sync_state = 'sync' and state = 'streaming')";
    let begun = tokio::time::Instant::now();
    while !sqlx::query_scalar::<_, bool>(follows).fetch_one(pool).await.unwrap() {
        assert!(begun.elapsed() < READY_LIMIT, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    standby
}

/// Every topic there will be. The in-process broker makes one with another number of partitions when a message for it
/// comes before its creation, which is what happens to a platform whose processes are killed while they start.
fn topics() -> Vec<String> {
    let durations = booking::Durations::default();
    let definitions = [
        booking::definition(&durations),
        notification::definition(&durations),
        sweep::definition(),
    ];
    let compiled = definitions.map(|definition| Compiled::new(definition).expect("our own definitions are valid"));
    let queues: Vec<String> = compiled.iter().flat_map(Compiled::queues).collect();
    let mut topics: Vec<String> = compiled.iter().flat_map(Compiled::topics).collect();
    topics.extend(
        queues
            .iter()
            .flat_map(|queue| [tasks_topic(queue), poison_topic(queue)]),
    );
    topics.push(RESULTS_TOPIC.to_owned());
    topics.push(poison_topic("results"));
    topics
}

/// Under root another user runs Postgres, and has to get through.
fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

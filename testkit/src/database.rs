//! A database for one test, on a server that is there or on one of our own.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use localpg::{LocalPostgres, Options};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Names a server whose user may create databases, as a URL.
pub const SERVER_VARIABLE: &str = "SAGALINE_TEST_DATABASE_URL";
/// Looked for when the variable is not set.
const SERVER_DEFAULT: &str = "postgres://postgres@127.0.0.1:54329/postgres";
/// How long a server may take to answer before it counts as absent.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Connections of one test's pool. Many tests share one server.
const POOL_CONNECTIONS_MAX: u32 = 10;

/// A database of one test's own; gone when this is dropped.
pub struct TestDatabase {
    /// Connections to it.
    pub pool: PgPool,
    /// Its URL, for processes.
    pub url: String,
    name: String,
    admin: PgConnectOptions,
    /// Keeps a server of our own running as long as a test uses it.
    _server: Option<Arc<PrivateServer>>,
}

/// An empty database.
pub async fn database() -> TestDatabase {
    let (admin, server) = server().await;
    let name = format!("test_{}", Uuid::now_v7().simple());
    let mut connection = admin.connect().await.expect("the test server answered a moment ago");
    let create = AssertSqlSafe(format!("create database {name}"));
    connection
        .execute(create)
        .await
        .expect("the test server's user may create databases");
    connection.close().await.expect("a healthy connection closes");
    let options = admin.clone().database(&name);
    let url = options.to_url_lossy().to_string();
    let pool = PgPoolOptions::new()
        .max_connections(POOL_CONNECTIONS_MAX)
        .connect_with(options)
        .await
        .expect("the database was created a moment ago");
    TestDatabase {
        pool,
        url,
        name,
        admin,
        _server: server,
    }
}

/// A database with all of Sagaline's migrations applied.
pub async fn migrated_database() -> TestDatabase {
    let database = database().await;
    // Read at run time, not at build time: a changed migration is seen without building this crate again.
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let migrator = Migrator::new(migrations).await.expect("the migrations can be read");
    migrator
        .run(&database.pool)
        .await
        .expect("the migrations apply to an empty database");
    database
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        // A thread with its own runtime: drop can't await, and the test's runtime may be on its way out.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = admin.connect().await?;
                // `force` cuts off whoever is still connected: our own pool, a server process that just died.
                connection
                    .execute(AssertSqlSafe(format!("drop database if exists {name} with (force)")))
                    .await?;
                connection.close().await
            })
        });
        match dropped.join() {
            Ok(Ok(())) => (),
            Ok(Err(error)) => eprintln!("the test database {} stays behind: {error}", self.name),
            Err(_) => eprintln!("the test database {} stays behind", self.name),
        }
    }
}

/// A throw-away server.
struct PrivateServer {
    // Fields are dropped in this order: first the server, then its files.
    server: LocalPostgres,
    _dir: tempfile::TempDir,
}

/// The server that the variable names, or the default one if it answers, or one of our own.
async fn server() -> (PgConnectOptions, Option<Arc<PrivateServer>>) {
    if let Ok(url) = std::env::var(SERVER_VARIABLE) {
        let options = parse(&url);
        let answer = tokio::time::timeout(ANSWER_LIMIT, PgConnection::connect_with(&options)).await;
        assert!(
            matches!(answer, Ok(Ok(_))),
            "{SERVER_VARIABLE} is set, but the server does not answer: {answer:?}"
        );
        return (options, None);
    }
    let options = parse(SERVER_DEFAULT);
    if let Ok(Ok(_)) = tokio::time::timeout(ANSWER_LIMIT, PgConnection::connect_with(&options)).await {
        return (options, None);
    }
    let server = private_server().await;
    (parse(&server.server.url("postgres")), Some(server))
}

fn parse(url: &str) -> PgConnectOptions {
    PgConnectOptions::from_str(url)
        .expect("the test server's URL is a Postgres URL")
        .disable_statement_logging()
}

/// One server for all tests of this process that run at the same time; stopped when the last of them ends.
async fn private_server() -> Arc<PrivateServer> {
    static SERVER: Mutex<Weak<PrivateServer>> = Mutex::const_new(Weak::new());
    let mut known = SERVER.lock().await;
    if let Some(server) = known.upgrade() {
        return server;
    }
    let dir = private_dir();
    // Durability is not what these tests are about; the tests that crash servers start their own.
    let options = Options::new(dir.path().join("postgres"))
        .with_setting("fsync", "off")
        .with_setting("max_connections", "400");
    let server = LocalPostgres::start(options)
        .await
        .expect("a PostgreSQL server for the tests starts");
    let server = Arc::new(PrivateServer { server, _dir: dir });
    *known = Arc::downgrade(&server);
    server
}

/// Under root another user runs the server and has to get through.
fn private_dir() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new()
        .prefix("sagaline-test-")
        .tempdir()
        .expect("a temporary directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    dir
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_database_is_there_and_then_gone() {
        let (name, admin);
        {
            let database = database().await;
            let one: i32 = sqlx::query_scalar("select 1").fetch_one(&database.pool).await.unwrap();
            assert_eq!(one, 1);
            (name, admin) = (database.name.clone(), database.admin.clone());
        }
        // The server itself may be gone with the database, if it was one of our own.
        if let Ok(mut connection) = admin.connect().await {
            let query = sqlx::query_scalar("select count(*) from pg_database where datname = $1");
            let left: i64 = query.bind(name).fetch_one(&mut connection).await.unwrap();
            assert_eq!(left, 0);
        }
    }

    #[tokio::test]
    async fn a_server_of_our_own_serves_and_recovers() {
        let server = private_server().await;
        let options = parse(&server.server.url("postgres"));
        let mut connection = options.connect().await.unwrap();
        let one: i32 = sqlx::query_scalar("select 1").fetch_one(&mut connection).await.unwrap();
        assert_eq!(one, 1);
    }
}

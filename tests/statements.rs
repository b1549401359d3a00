//! Every SQL statement in the code, held against the migrated schema: it is one that Postgres takes, and none goes through
//! a table without an index.
//!
//! This stands in for `sqlx::query!` with its committed `.sqlx/`: nothing but this test needs a database, and it covers the
//! statements' plans too. It reads the sources, so a statement can't be forgotten; text that is put together at run time is
//! checked by the tests that run it.
#![allow(clippy::unwrap_used)]

mod sql;

use std::str::FromStr as _;

use sql::{Found, statements};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, SqlSafeStr as _, SqlStr, Statement as _};

/// There are at least so many; fewer were found: the search is broken.
const STATEMENTS_MIN: usize = 80;
/// Tables that may be read as a whole, and why: none of them grows with what has happened.
const SMALL: [(&str, &str); 12] = [
    ("ticket_keys", "a few for the life of a shop"),
    ("leases", "one row a duty"),
    ("instances", "one row a replica, removed after a day"),
    ("outbox", "rows live for milliseconds"),
    ("users", "operators: people"),
    ("alert_rules", "one row a rule of the settings"),
    ("scale_targets", "one row a kind of worker"),
    ("watch_outbox", "rows live for moments"),
    ("campaigns", "people make them"),
    ("queues", "one row a queue of which an operator has said something"),
    ("workers", "one row a process, removed after a day"),
    ("events", "the list of events; its pages are keyed, its filters are not"),
];

/// How a filter by a key looks that an index should have found: there are few rows of it, and many of the rest.
const KEYS: [&str; 3] = ["seat_id = ", "(event_id = ANY", "key = "];

const BENCH_SEATS: &str =
    "create schema bench; create table bench.seats (id text primary key, status text not null, booking_id text)";

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_fits_the_schema_and_an_index() {
    let database = testkit::migrated_database().await;
    let options = PgConnectOptions::from_str(&database.url).unwrap();
    let mut connection = primary::index_plans(options).connect().await.unwrap();
    // The benchmark's own table, which it makes itself.
    run(&mut connection, BENCH_SEATS.to_owned()).await;
    run(&mut connection, "set plan_cache_mode = force_generic_plan".to_owned()).await;
    let found = statements();
    assert!(found.len() >= STATEMENTS_MIN, "only {} statements found", found.len());
    let mut problems = Vec::new();
    let mut fragments = 0;
    for (number, statement) in found.iter().enumerate() {
        match parameters(&mut connection, &statement.text).await {
            Ok(parameters) => problems.extend(scans(&mut connection, number, statement, parameters).await),
            // The beginning of a text that is put together; what ends where more must follow is told by this code.
            Err(error) if is_fragment(&error) => fragments += 1,
            Err(error) => problems.push(format!("{}: {error}\n{}", statement.place, statement.text)),
        }
    }
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n\n")
    );
    assert!(
        fragments * 5 < found.len(),
        "{fragments} of {} are fragments",
        found.len()
    );
    eprintln!("{} statements, {fragments} of them fragments", found.len());
}

/// Tables with two indexes that begin with the same column, and why that is right.
const ALIKE: [(&str, &str); 2] = [
    (
        "seats",
        "a section's seats are read in their order; a plan by two keys is cheaper even in a small table",
    ),
    (
        "campaign_items",
        "people make campaigns, and their items are read by both",
    ),
];

/// To a planner that believes a table to be small, an index by the first half of a key is as good as the primary key.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_index_looks_like_the_primary_key() {
    let database = testkit::migrated_database().await;
    let alike: Vec<String> = sqlx::query_scalar(
        "select t.relname::text
         from pg_index i
         join pg_class t on t.oid = i.indrelid
         where t.relnamespace in (select oid from pg_namespace where nspname in ('saga', 'ticketing', 'ops', 'analytics'))
           and not t.relispartition and i.indpred is null
         group by t.oid, t.relname, i.indkey[0]
         having count(*) > 1",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let unknown: Vec<&String> = alike
        .iter()
        .filter(|table| ALIKE.iter().all(|(known, _)| known != table))
        .collect();
    assert!(
        unknown.is_empty(),
        "two indexes begin with the same column: {unknown:?}"
    );
}

/// The number of a statement's parameters, if Postgres takes it.
async fn parameters(connection: &mut PgConnection, text: &str) -> Result<usize, sqlx::Error> {
    let statement: SqlStr = AssertSqlSafe(text.to_owned()).into_sql_str();
    let prepared = connection.prepare(statement).await?;
    Ok(match prepared.parameters() {
        Some(sqlx::Either::Left(types)) => types.len(),
        Some(sqlx::Either::Right(count)) => count,
        None => 0,
    })
}

fn is_fragment(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    error.code().as_deref() == Some("42601") && error.message().ends_with("at end of input")
}

/// What is wrong with the plan that the engine's sessions would use.
async fn scans(connection: &mut PgConnection, number: usize, found: &Found, parameters: usize) -> Option<String> {
    let text = &found.text;
    run(connection, format!("prepare plan_{number} as {text}")).await;
    let arguments = vec!["null"; parameters].join(", ");
    let arguments = if parameters == 0 {
        String::new()
    } else {
        format!("({arguments})")
    };
    let explain = format!("explain (costs off) execute plan_{number}{arguments}");
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain))
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    run(connection, format!("deallocate plan_{number}")).await;
    let bad = lines.iter().find(|line| {
        // A key that was given, or is joined by, and yet is looked for among the rows that another condition has found.
        let filter = line.trim().strip_prefix("Filter: ");
        if filter.is_some_and(|filter| KEYS.iter().any(|key| filter.contains(key))) {
            return true;
        }
        let scanned = line
            .split_once("Seq Scan on ")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        scanned.is_some_and(|table| SMALL.iter().all(|(small, _)| *small != table))
    });
    bad.map(|line| format!("{}: {}\n{text}\n{}", found.place, line.trim(), lines.join("\n")))
}

async fn run(connection: &mut PgConnection, text: String) {
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(connection).await {
        panic!("{error}: {text}");
    }
}

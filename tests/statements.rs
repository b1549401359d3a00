//! Every SQL statement in the code, held against the migrated schema: it is one that Postgres takes, and none goes through
//! a table without an index.
//!
//! This stands in for `sqlx::query!` with its committed `.sqlx/`: nothing but this test needs a database, and it covers the
//! statements' plans too. It reads the sources, so a statement can't be forgotten; text that is put together at run time is
//! checked by the tests that run it.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{TokenStream, TokenTree};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, SqlStr, Statement as _};

/// Crates that speak to Postgres.
const CRATES: [&str; 4] = ["orchestrator", "gateway", "activities", "dashboard"];
/// There are at least so many; fewer were found: the search is broken.
const STATEMENTS_MIN: usize = 80;
/// Tables that may be read as a whole, and why: none of them grows with what has happened.
const SMALL: [(&str, &str); 5] = [
    ("leases", "one row a duty"),
    ("instances", "one row a replica, removed after a day"),
    ("outbox", "rows live for milliseconds"),
    ("users", "operators: people"),
    ("events", "the list of events; its pages are keyed, its filters are not"),
];

const BENCH_SEATS: &str =
    "create schema bench; create table bench.seats (id text primary key, status text not null, booking_id text)";

struct Found {
    place: String,
    text: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_fits_the_schema_and_an_index() {
    let database = testkit::migrated_database().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    // The benchmark's own table, which it makes itself.
    run(&mut connection, BENCH_SEATS.to_owned()).await;
    for setting in [
        "set enable_seqscan = off",
        "set plan_cache_mode = force_generic_plan",
        "set jit = off",
    ] {
        sqlx::query(setting).execute(&mut connection).await.unwrap();
    }
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

/// All string literals that begin like a statement, in code that isn't a test.
fn statements() -> Vec<Found> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for name in CRATES {
        collect_files(&root.join(name).join("src"), &mut files);
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let mut texts = Vec::new();
        collect_literals(TokenStream::from_str(&source).unwrap(), &mut texts);
        let place = file.strip_prefix(root).unwrap().display().to_string();
        let statements = texts.into_iter().filter(|text| is_statement(text));
        found.extend(statements.map(|text| Found {
            place: place.clone(),
            text,
        }));
    }
    found
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_some_and(|stem| stem != "tests")
        {
            files.push(path);
        }
    }
}

/// Collects literals, but for those in attributes (documentation among them) and in test modules.
fn collect_literals(tokens: TokenStream, found: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut is_test = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // Inner attributes have a `!` before their brackets.
                tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
                if let Some(TokenTree::Group(attribute)) = tokens.next() {
                    is_test |= attribute.stream().to_string().replace(' ', "") == "cfg(test)";
                }
            }
            TokenTree::Group(group) => {
                if !std::mem::take(&mut is_test) {
                    collect_literals(group.stream(), found);
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => is_test = false,
            TokenTree::Literal(literal) => found.extend(text_of(&literal.to_string())),
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// What a plain or raw string literal says.
fn text_of(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('r') {
        let raw = raw.trim_matches('#');
        return raw.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            '0' => text.push('\0'),
            // The line goes on where the next one's text begins.
            '\n' => while characters.next_if(|next| next.is_whitespace()).is_some() {},
            escaped => text.push(escaped),
        }
    }
    Some(text)
}

/// Whether it begins like a statement, and isn't a format that is filled in at run time.
fn is_statement(text: &str) -> bool {
    let begins = [
        "select ",
        "select\n",
        "insert into ",
        "update ",
        "delete from ",
        "with ",
    ];
    begins.iter().any(|begin| text.starts_with(begin)) && !text.contains('{') && is_sql(text)
}

/// Not a sentence that happens to begin so.
fn is_sql(text: &str) -> bool {
    text.contains("saga.")
        || text.contains("ticketing.")
        || text.contains("ops.")
        || text.contains("$1")
        || text.starts_with("select ") && text.contains('(')
}

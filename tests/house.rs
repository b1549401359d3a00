//! The files around the code, held against the program: Compose, Kubernetes, the dumped schema.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml_ng::Value;

/// Variables of ours that are no setting.
const NOT_SETTINGS: [&str; 1] = ["SAGALINE_LOG"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn compose() -> Value {
    let mut compose: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).expect("it is YAML");
    compose.apply_merge().expect("its merge keys are maps");
    compose
}

fn services(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let services = compose["services"].as_mapping().expect("there are services");
    services
        .iter()
        .map(|(name, service)| (name.as_str().expect("names are text"), service))
}

/// The services that run our image, which has our program as its entry point.
fn ours(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    services(compose).filter(|(_, service)| {
        service["image"]
            .as_str()
            .is_some_and(|image| image.starts_with("sagaline:"))
    })
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_sequence()
        .into_iter()
        .flatten()
        .map(|item| item.as_str().expect("text").to_owned())
        .collect()
}

/// Whether the program takes this command line: its words and flags stand in the help, as far as it can be known
/// without running it.
fn accepts(command: &[String]) -> Result<(), String> {
    let words: Vec<&String> = command.iter().take_while(|word| !word.starts_with('-')).collect();
    let help = Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args(&words)
        .arg("--help")
        .output()
        .unwrap();
    if !help.status.success() {
        return Err(format!(
            "`sagaline {words:?}` is no command: {}",
            String::from_utf8_lossy(&help.stderr)
        ));
    }
    let help = String::from_utf8_lossy(&help.stdout);
    let known: BTreeSet<&str> = help
        .split(|c: char| c.is_whitespace() || ",=[]".contains(c))
        .filter(|word| word.starts_with("--"))
        .collect();
    match command
        .iter()
        .filter(|word| word.starts_with("--"))
        .find(|flag| !known.contains(flag.as_str()))
    {
        Some(flag) => Err(format!("`sagaline {words:?}` knows no {flag}")),
        None => Ok(()),
    }
}

/// Every setting's variable: `.env.sample` names them all (a test of the settings sees to it).
fn variables() -> BTreeSet<String> {
    let sample = read(".env.sample");
    let names = sample
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once('='))
        .map(|(name, _)| name);
    names
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn compose_follows_the_specification() {
    if testkit::require("check-jsonschema") {
        let file = root().join("docker-compose.yml");
        let check = Command::new("check-jsonschema")
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(file)
            .output();
        let check = check.unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }
}

#[test]
fn compose_runs_commands_that_exist_with_settings_that_exist() {
    let (compose, variables) = (compose(), variables());
    assert!(
        variables.contains("DATABASE_URL"),
        "the sample is read rightly: {variables:?}"
    );
    for (name, service) in ours(&compose) {
        accepts(&texts(&service["command"])).unwrap_or_else(|problem| panic!("service {name}: {problem}"));
        for (variable, _) in service["environment"].as_mapping().into_iter().flatten() {
            let variable = variable.as_str().unwrap();
            let known = variables.contains(variable) || NOT_SETTINGS.contains(&variable);
            assert!(known, "service {name}: {variable} is no setting");
        }
    }
}

#[test]
fn compose_runs_every_queue_and_names_only_what_is_there() {
    let compose = compose();
    let commands: Vec<Vec<String>> = ours(&compose).map(|(_, service)| texts(&service["command"])).collect();
    for queue in ["seats", "payments", "refunds", "notifications", "email"] {
        let served = commands
            .iter()
            .any(|command| command[0] == "worker" && command.iter().any(|word| word.split(',').any(|it| it == queue)));
        assert!(served, "no service works for the queue {queue}");
    }
    let names: BTreeSet<&str> = services(&compose).map(|(name, _)| name).collect();
    let volumes = compose["volumes"].as_mapping().unwrap();
    for (name, service) in services(&compose) {
        for (needed, _) in service["depends_on"].as_mapping().into_iter().flatten() {
            assert!(
                names.contains(needed.as_str().unwrap()),
                "{name} depends on {needed:?}, which is not there"
            );
        }
        for volume in texts(&service["volumes"]) {
            let volume = volume.split(':').next().unwrap().to_owned();
            assert!(
                volumes.contains_key(&volume),
                "{name} mounts {volume}, which is not there"
            );
        }
    }
}

#[test]
fn kubernetes_runs_commands_that_exist_with_settings_that_exist() {
    let variables = variables();
    let mut containers = 0;
    for entry in std::fs::read_dir(root().join("deploy/kubernetes")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            containers += check_manifest(&path, &variables);
        }
    }
    assert!(containers >= 6, "only {containers} containers of ours were found");
}

/// Checks each document of a manifest; says how many containers of ours it has.
fn check_manifest(path: &Path, variables: &BTreeSet<String>) -> u32 {
    let text = std::fs::read_to_string(path).unwrap();
    let mut containers = 0;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let document = <Value as serde::Deserialize>::deserialize(document)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kind = document["kind"]
            .as_str()
            .unwrap_or_else(|| panic!("{}: no kind", path.display()));
        if matches!(kind, "ConfigMap" | "Secret") {
            let settings = [&document["data"], &document["stringData"]]
                .into_iter()
                .filter_map(Value::as_mapping)
                .flatten();
            for (name, _) in settings {
                let name = name.as_str().unwrap();
                assert!(
                    variables.contains(name) || NOT_SETTINGS.contains(&name),
                    "{}: {name} is no setting",
                    path.display()
                );
            }
        }
        for container in document["spec"]["template"]["spec"]["containers"]
            .as_sequence()
            .into_iter()
            .flatten()
        {
            containers += 1;
            let problem = |problem| {
                panic!(
                    "{}, {kind} {:?}: {problem}",
                    path.display(),
                    document["metadata"]["name"]
                )
            };
            accepts(&texts(&container["args"])).unwrap_or_else(problem);
        }
    }
    containers
}

/// `migrations/schema.sql` is what the migrations lead to. `UPDATE_SCHEMA=1` writes it anew.
#[tokio::test(flavor = "multi_thread")]
async fn schema_is_what_the_migrations_make() {
    if !testkit::require("pg_dump") {
        return;
    }
    let database = testkit::migrated_database().await;
    // Without sqlx's own parameters, which libpq doesn't know.
    let url = database.url.split('?').next().unwrap();
    let dump = Command::new("pg_dump")
        .args([
            "--schema-only",
            "--no-owner",
            "--no-privileges",
            "--schema=saga",
            "--schema=ticketing",
            "--schema=ops",
            "--schema=analytics",
        ])
        .arg(format!("--dbname={url}"))
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let found = normalised(&String::from_utf8_lossy(&dump.stdout));
    let path = root().join("migrations/schema.sql");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let committed = read("migrations/schema.sql");
    let drift = committed
        .lines()
        .zip(found.lines())
        .position(|(committed, found)| committed != found);
    let line = drift.unwrap_or_else(|| committed.lines().count().min(found.lines().count()));
    assert!(
        committed == found,
        "migrations/schema.sql has drifted from the migrations at line {}: it says\n  {:?}\nand the migrations make\n  {:?}\n\
         Run `UPDATE_SCHEMA=1 cargo test --test house schema` and commit it.",
        line + 1,
        committed.lines().nth(line),
        found.lines().nth(line),
    );
}

/// Without what differs from one version of `pg_dump` to the next, and from one week to the next: the journal's
/// partitions are named after weeks.
fn normalised(dump: &str) -> String {
    let mut statements = Vec::new();
    for statement in dump.split("\n\n") {
        let lines = statement.lines().filter(|line| {
            !line.starts_with("--")
                && !line.starts_with("SET ")
                && !line.starts_with("SELECT pg_catalog")
                && !line.starts_with('\\')
        });
        let statement = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
        let of_a_week = names_a_week(&statement);
        if !statement.is_empty() && !of_a_week {
            statements.push(statement);
        }
    }
    format!(
        "-- What the migrations make, as pg_dump writes it. Written by `just schema`; a test compares.\n\n{}\n",
        statements.join("\n\n")
    )
}

/// `journal_2026w48`
fn names_a_week(statement: &str) -> bool {
    statement.match_indices("journal_").any(|(at, prefix)| {
        let name: Vec<char> = statement[at + prefix.len()..].chars().take(7).collect();
        name.len() == 7 && name[4] == 'w' && name.iter().enumerate().all(|(at, c)| at == 4 || c.is_ascii_digit())
    })
}

/// Every test that docs/mission-coverage.md names is there. Names of tests have three words at least; shorter ones are something else.
#[test]
fn the_mission_is_covered_by_tests_that_exist() {
    let page = read("docs/mission-coverage.md");
    let named: BTreeSet<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            word.split('_').count() >= 3 && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        })
        .collect();
    assert!(named.len() > 50, "{named:?}");
    let mut sources = String::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !sources.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

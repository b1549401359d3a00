//! The command line from outside: exit codes, what goes to stdout and stderr, settings' problems.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use insta::assert_snapshot;

/// Runs the program with nothing set but what the test sets.
fn sagaline(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_sagaline"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables.iter().copied())
        .current_dir(dir.path())
        .output()
        .unwrap()
}

/// Exit code, stdout and stderr as one text.
fn story(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    format!(
        "exit {code}\n--- stdout\n{}\n--- stderr\n{}",
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[test]
fn the_help_lists_every_command() {
    assert_snapshot!(story(&sagaline(&["--help"], &[])));
}

#[test]
fn dev_explains_itself() {
    assert_snapshot!(story(&sagaline(&["dev", "--help"], &[])));
}

#[test]
fn an_unknown_command_is_wrong_usage() {
    let output = sagaline(&["devv"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("'dev'"),
        "it says what was meant"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_worker_without_queues_is_wrong_usage() {
    assert_eq!(sagaline(&["worker"], &[]).status.code(), Some(2));
}

#[test]
fn settings_that_are_wrong_are_listed_together() {
    let variables = [
        ("DATABASE_URL", "mysql://root:hunter2@db/shop"),
        ("SAGALINE_KAFKA_PARTITIONS", "many"),
        ("SAGALINE_BOOKING_HOLD", "soon"),
    ];
    assert_snapshot!(story(&sagaline(
        &["worker", "--queues", "seats", "--brokers", "nowhere"],
        &variables
    )));
}

#[test]
fn settings_that_are_missing_are_listed_together() {
    assert_snapshot!(story(&sagaline(&["orchestrator"], &[])));
}

#[test]
fn an_unknown_queue_is_wrong_usage_and_the_known_ones_are_named() {
    assert_snapshot!(story(&sagaline(
        &["worker", "--queues", "seats,chairs"],
        &[
            ("DATABASE_URL", "postgres://localhost/x"),
            ("KAFKA_BROKERS", "localhost:9092")
        ]
    )));
}

#[test]
fn settings_are_shown_without_passwords() {
    let variables = [
        ("DATABASE_URL", "postgres://shop:hunter2@db:5432/shop"),
        ("STRIPE_API_KEY", "sk_test_hunter2"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_hunter2"),
        ("SMTP_URL", "smtp://mailer:hunter2@mail:587"),
    ];
    let output = sagaline(&["settings", "--output", "jsonl"], &variables);
    let story = story(&output);
    assert!(!story.contains("hunter2"), "{story}");
    assert_snapshot!(story);
}

#[test]
fn an_engine_that_is_not_there_is_an_error_that_says_so() {
    // Port 1 is nobody's.
    let output = sagaline(&["saga", "list", "--engine-url", "http://127.0.0.1:1"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: the engine is not available"), "{stderr}");
}

#[test]
fn completions_are_made_for_shells() {
    let output = sagaline(&["completions", "bash"], &[]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("_sagaline"));
}

#[test]
fn a_settings_file_that_was_named_must_be_there() {
    let output = sagaline(&["settings", "--config", "nowhere.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.toml"));
}

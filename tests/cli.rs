//! The command line from outside: exit codes, what goes to stdout and stderr, settings' problems.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

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

/// That each of these is somewhere in the text.
fn assert_says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
}

#[test]
fn the_help_lists_every_command() {
    let output = sagaline(&["--help"], &[]);
    assert!(output.status.success());
    let commands = [
        "dev",
        "orchestrator",
        "gateway",
        "worker",
        "migrate",
        "sandbox",
        "saga",
        "workflow",
        "schedule",
        "audit",
        "campaign",
        "approval",
        "stuck",
        "template",
        "bench",
        "settings",
        "completions",
    ];
    let help = String::from_utf8(output.stdout).unwrap();
    for command in commands {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command}:\n{help}"
        );
    }
    assert_says(&help, &["--output", "--log-format", "--config", "Exit codes: 0"]);
}

#[test]
fn dev_explains_itself() {
    let help = story(&sagaline(&["dev", "--help"], &[]));
    assert_says(
        &help,
        &[
            "exit 0",
            "--data-dir",
            "[default: .sagaline]",
            "--port",
            "[default: 3000]",
            "--ops-port",
            "--fresh",
        ],
    );
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
fn the_rush_explains_itself_and_refuses_what_makes_no_sense() {
    let help = story(&sagaline(&["bench", "rush", "--help"], &[]));
    assert_says(
        &help,
        &[
            "exit 0",
            "--seats",
            "[default: 5000]",
            "--buyers",
            "[default: 50000]",
            "--concurrency",
            "--tries",
            "--hold",
            "[default: 20s]",
            "--payment-ms",
            "[default: 200-800]",
            "--seed",
            "--listeners",
            "--broker ",
            "--database-url",
        ],
    );
    for (flag, value, why) in [
        ("--seats", "3", "20..=200000"),
        ("--buyers", "0", "1..=5000000"),
        ("--concurrency", "0", "1..=20000"),
        ("--payment-ms", "800-200", "write it as in 200-800"),
        ("--hold", "soon", "invalid value"),
        ("--hold", "1s", "at least 8s"),
    ] {
        let story = story(&sagaline(&["bench", "rush", flag, value], &[]));
        assert_says(&story, &["exit 2", flag, why]);
    }
}

#[test]
fn settings_that_are_wrong_are_listed_together() {
    let variables = [
        ("DATABASE_URL", "mysql://root:hunter2@db/shop"),
        ("SAGALINE_KAFKA_PARTITIONS", "many"),
        ("SAGALINE_BOOKING_HOLD", "soon"),
    ];
    let story = story(&sagaline(
        &["worker", "--queues", "seats", "--brokers", "nowhere"],
        &variables,
    ));
    let wanted = [
        "exit 2",
        "- DATABASE_URL: it must begin with postgres://",
        "- SAGALINE_KAFKA_PARTITIONS (\"many\"): it must be a whole number from 1 to 1000",
        "- the flag for kafka.brokers (\"nowhere\"): \"nowhere\" is not host:port",
        "- SAGALINE_BOOKING_HOLD (\"soon\"): ",
    ];
    assert_says(&story, &wanted);
    assert!(!story.contains("hunter2"), "{story}");
}

#[test]
fn settings_that_are_missing_are_listed_together() {
    let story = story(&sagaline(&["orchestrator"], &[]));
    assert_says(
        &story,
        &["exit 2", "- DATABASE_URL is not set", "- KAFKA_BROKERS is not set"],
    );
}

#[test]
fn an_unknown_queue_is_wrong_usage_and_the_known_ones_are_named() {
    let variables = [
        ("DATABASE_URL", "postgres://localhost/x"),
        ("KAFKA_BROKERS", "localhost:9092"),
    ];
    let story = story(&sagaline(&["worker", "--queues", "seats,chairs"], &variables));
    assert_says(
        &story,
        &[
            "exit 2",
            "there is no queue \"chairs\"",
            "seats, payments, refunds, notifications, email, sms, push, slack, reference",
        ],
    );
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
    assert_says(
        &story,
        &[
            "exit 0",
            "postgres://shop:***@db:5432/shop",
            "smtp://mailer:***@mail:587",
            "\"value\":\"15m\"",
        ],
    );
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

#[test]
fn a_template_is_previewed_in_each_language_with_nothing_set() {
    let preview = |more: &[&str]| {
        let arguments = [&["template", "preview", "--kind"], more].concat();
        story(&sagaline(&arguments, &[]))
    };
    let mail = preview(&["booking_confirmed", "--language", "de"]);
    assert_says(
        &mail,
        &["exit 0", "Subject: Ihre Karten für Neon Nights & Friends", "800,00 USD"],
    );
    let page = preview(&["booking_confirmed", "--html"]);
    assert_says(&page, &["<html lang=\"en\">", "Neon Nights &#38; Friends"]);
    let sms = preview(&["event_cancelled", "--channel", "sms"]);
    assert_says(&sms, &["was called off. USD 800.00 is returned to you."]);
    let account = preview(&["password_reset", "--language", "de"]);
    assert_says(
        &account,
        &["Subject: Ein neues Passwort", "https://shop.example/password-resets/"],
    );
    let account = preview(&["email_changed", "--html"]);
    assert_says(&account, &["<html lang=\"en\">", "Hello,"]);
    let no_sms = preview(&["email_changed", "--channel", "sms"]);
    assert_says(&no_sms, &["exit 1", "by e-mail alone"]);
    let unknown = preview(&["birthday"]);
    assert_says(&unknown, &["exit 2", "there are booking_confirmed"]);
}

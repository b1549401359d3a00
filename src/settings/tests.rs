#![allow(clippy::unwrap_used)]

use std::io::Write;

use super::*;

fn load(toml: &str, variables: &[(&str, &str)], flags: Flags) -> Result<Settings, Problems> {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let variable = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| (*text).to_owned())
    };
    let sources = Sources::read(Some(file.path().to_owned()), flags, variable)?;
    let path = file.path().display().to_string();
    Settings::from_sources(sources)
        .map_err(|problems| Problems(problems.0.into_iter().map(|line| line.replace(&path, "FILE")).collect()))
}

#[test]
fn nothing_set_is_all_defaults() {
    let settings = load("", &[], Vec::new()).unwrap();
    assert_eq!((settings.partitions, settings.hold), (10, Duration::from_secs(900)));
    assert_eq!(settings.database, None);
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let file = "[kafka]\nbrokers = 'file:1'\npartitions = 3\nreplication = 2";
    let variables = [("KAFKA_BROKERS", "variable:2"), ("SAGALINE_KAFKA_PARTITIONS", "4")];
    let settings = load(file, &variables, vec![("kafka.brokers", "flag:3".into())]).unwrap();
    assert_eq!(settings.brokers.as_deref(), Some("flag:3"));
    assert_eq!((settings.partitions, settings.replication), (4, 2));
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    assert_eq!(load("", &[("DATABASE_URL", "")], Vec::new()).unwrap().database, None);
}

#[test]
fn every_problem_is_listed_at_once_and_no_secret_is_shown() {
    let file = "surprise = 1\n[kafka]\nbrokers = 'nowhere'\n[booking]\nhold = 'soon'\n[smtp]\nport = 25";
    let variables = [
        ("DATABASE_URL", "mysql://root:hunter2@db/shop"),
        ("SAGALINE_KAFKA_PARTITIONS", "0"),
        ("SMTP_URL", "http://user:hunter2@mail"),
        ("SAGALINE_OPS_LISTEN", "3001"),
    ];
    let problems = load(file, &variables, vec![("engine.url", "ftp://engine".into())]).unwrap_err();
    assert!(!problems.to_string().contains("hunter2"));
    let wanted = [
        "smtp.port in FILE: there is no such setting",
        "surprise in FILE: there is no such setting",
        "DATABASE_URL: it must begin with postgres://",
        "kafka.brokers in FILE (\"nowhere\"): \"nowhere\" is not host:port",
        "SAGALINE_KAFKA_PARTITIONS (\"0\"): it must be a whole number from 1 to 1000",
        "SMTP_URL: it must begin with smtp:// or smtps://, not http://",
        "the flag for engine.url (\"ftp://engine\"): it must begin with http:// or https://, not ftp://",
        "SAGALINE_OPS_LISTEN (\"3001\"): it must be an address and a port, such as 0.0.0.0:3000",
        "booking.hold in FILE (\"soon\"): ",
    ];
    assert_eq!(problems.0.len(), wanted.len(), "{problems}");
    for (problem, wanted) in problems.0.iter().zip(wanted) {
        assert!(problem.starts_with(wanted), "{problem:?} should begin with {wanted:?}");
    }
}

#[test]
fn several_servers_are_taken_and_their_password_is_not_shown() {
    let url = "postgres://shop:hunter2@one,two:5433/shop?target_session_attrs=read-write";
    let database = load("", &[("DATABASE_URL", url)], Vec::new())
        .unwrap()
        .database
        .unwrap();
    assert_eq!(database.reveal(), url);
    assert_eq!(
        database.to_string(),
        "postgres://shop:***@one,two:5433/shop?target_session_attrs=read-write"
    );
}

#[test]
fn what_is_missing_is_named_together() {
    let settings = load("", &[], Vec::new()).unwrap();
    let problems = settings.require(&["database.url", "kafka.brokers"]).unwrap_err();
    assert_eq!(problems.0.len(), 2);
}

#[test]
fn passwords_are_not_shown() {
    let settings = load(
        "",
        &[("DATABASE_URL", "postgres://me:hunter2@db/shop?password=hunter2")],
        Vec::new(),
    )
    .unwrap();
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("hunter2") && shown.contains("postgres://me:***@db/shop"),
        "{shown}"
    );
    assert_eq!(
        settings.database.unwrap().reveal(),
        "postgres://me:hunter2@db/shop?password=hunter2"
    );
}

#[test]
fn the_sample_names_every_variable_and_no_other() {
    let sample = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.env.sample")).unwrap();
    let named: Vec<&str> = sample
        .lines()
        .map(|line| line.trim_start_matches("# "))
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    let known: Vec<&str> = CATALOG
        .iter()
        .map(|entry| entry.variable)
        .chain(["SAGALINE_LOG"])
        .collect();
    assert_eq!(named, known);
}

#[test]
fn a_service_is_here_or_elsewhere() {
    let elsewhere = ("SAGALINE_SERVICE_URLS", "users=http://users:3000");
    let settings = load("", &[elsewhere], Vec::new()).unwrap();
    assert_eq!(settings.gateway_services.here(&settings.service_urls).unwrap().len(), 6);
    assert_eq!(
        settings.shown("gateway.service_urls").as_deref(),
        Some("users=http://users:3000")
    );
    let both = [elsewhere, ("SAGALINE_GATEWAY_SERVICES", "users,events")];
    let problems = load("", &both, Vec::new()).unwrap_err();
    assert!(
        problems
            .to_string()
            .contains("the service users can't be served here and"),
        "{problems}"
    );
}

#[test]
fn an_identity_provider_is_set_as_a_whole_or_not_at_all() {
    assert_eq!(load("", &[], Vec::new()).unwrap().sign_on.options(), None);
    let issuer = ("SAGALINE_OIDC_ISSUER", "https://id.example/");
    let problems = load("", &[issuer], Vec::new()).unwrap_err();
    assert_eq!(problems.0.len(), 3, "{problems}");
    let rest = [
        issuer,
        ("SAGALINE_OIDC_CLIENT_ID", "ops"),
        ("SAGALINE_OIDC_CLIENT_SECRET", "hunter2"),
        ("SAGALINE_OIDC_ROLES", "sre=admin"),
        ("SAGALINE_DASHBOARD_URL", "https://ops.example/"),
    ];
    let settings = load("", &rest, Vec::new()).unwrap();
    let options = settings.sign_on.options().unwrap();
    // The issuer letter for letter; our own address without a slash at its end.
    assert_eq!(
        (options.issuer.as_str(), options.url.as_str()),
        ("https://id.example/", "https://ops.example")
    );
    assert_eq!(
        (options.claim.as_str(), settings.shown("sign_on.roles")),
        ("groups", Some("sre=admin".to_owned()))
    );
    assert!(!format!("{settings:?}{options:?}").contains("hunter2"));
    let open = [("SAGALINE_OIDC_ISSUER", "http://id.example")];
    assert!(
        load("", &open, Vec::new())
            .unwrap_err()
            .to_string()
            .contains("https://")
    );
}

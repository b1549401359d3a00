//! The operators' API, held against its description; and what only it has: queues, workers, schedules, differences.

use std::collections::BTreeSet;

use dashboard::Role;
use orchestrator::client::{EngineClient, LocalClient, Overlap, ScheduleSpec};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use workflows::event::{Command, CommandEvent, Event};
use workflows::protocol::Outcome;

use crate::api::{Program, stuck};
use crate::control::Control;

/// What the API consists of.
const OPERATIONS: [&str; 31] = [
    "GET /alerts",
    "GET /analytics",
    "GET /approvals",
    "GET /approvals/{id}",
    "GET /audit",
    "GET /audit/export",
    "GET /campaigns",
    "GET /campaigns/{id}",
    "GET /campaigns/{id}/items",
    "GET /queues",
    "GET /sagas",
    "GET /sagas/{id}",
    "GET /sagas/{id}/difference",
    "GET /sagas/{id}/graph",
    "GET /sagas/{id}/journal",
    "GET /schedules",
    "GET /schedules/{name}",
    "GET /schedules/{name}/firings",
    "GET /stuck",
    "GET /users",
    "GET /workers",
    "POST /approvals/{id}",
    "POST /campaigns",
    "POST /campaigns/{id}/{steer}",
    "POST /queues/{queue}",
    "POST /sagas/{id}/commands",
    "POST /sagas/{id}/dry-run",
    "POST /schedules/{name}/{deed}",
    "POST /users",
    "POST /users/{name}",
    "POST /users/{name}/link",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_every_description_is_a_route() {
    let control = Control::start().await;
    let vera = Program::new(&control, "vera", Role::Viewer).await;
    let api = vera.get("/openapi.json").await;
    assert_eq!(api, dashboard::openapi());
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = BTreeSet::new();
    for (path, operations) in api["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase();
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            found.insert(format!("{method} {path}"));
            let filled = path.replace("{id}", "7").replace(['{', '}'], "");
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = vera.send(method, &filled, None, None).await;
            assert!(
                !answer.text().await.unwrap().contains("this method of the route"),
                "{path}"
            );
        }
    }
    assert_eq!(found, OPERATIONS.map(str::to_owned).into_iter().collect());
    // And what is there is described: routes are made by `routes!`, which does both, and by nothing else.
    assert!(!include_str!("../../src/api/mod.rs").contains(".route("));
    let text = api.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(api["components"]["schemas"].get(name).is_some(), "{name}");
    }
    // Without a token there is not even the description.
    let nobody = reqwest::get(format!("{}/api/openapi.json", control.base))
        .await
        .unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    control.stop().await;
}

/// The answer, which is as it is described.
async fn described(program: &Program, api: &Value, path: &str, filled: &str) -> Value {
    let answer = program.get(filled).await;
    let content = &api["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    let schema = json!({"$ref": content["$ref"], "components": api["components"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(&answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{path}: {problems:?}\n{answer:#}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_they_are_described() {
    let control = Control::start().await;
    let olga = Program::new(&control, "olga", Role::Operator).await;
    let api = olga.get("/openapi.json").await;
    let saga = stuck(&control).await;
    let (status, asked) = olga
        .post(
            &format!("/sagas/{saga}/commands"),
            json!({"command": "skip", "step": "work", "reason": "x"}),
        )
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{asked}");
    let plan = json!({"search": "status:stuck", "reason": "x", "plan": {"action": {"command": "retry"}}});
    let (status, campaign) = olga.post("/campaigns", plan).await;
    assert_eq!(status, StatusCode::CREATED, "{campaign}");
    create_schedule(&control).await;
    let number = campaign["id"].to_string();
    for (path, filled) in [
        ("/sagas", "/sagas?q=status:stuck".to_owned()),
        ("/sagas/{id}", format!("/sagas/{saga}")),
        ("/sagas/{id}/graph", format!("/sagas/{saga}/graph")),
        ("/sagas/{id}/journal", format!("/sagas/{saga}/journal")),
        ("/stuck", "/stuck".to_owned()),
        ("/analytics", "/analytics?step=day".to_owned()),
        ("/alerts", "/alerts".to_owned()),
        ("/campaigns", "/campaigns".to_owned()),
        ("/campaigns/{id}", format!("/campaigns/{number}")),
        ("/campaigns/{id}/items", format!("/campaigns/{number}/items")),
        ("/approvals", "/approvals?pending=true".to_owned()),
        ("/approvals/{id}", format!("/approvals/{}", asked["approval"])),
        ("/audit", "/audit".to_owned()),
        ("/queues", "/queues".to_owned()),
        ("/workers", "/workers".to_owned()),
        ("/schedules", "/schedules".to_owned()),
        ("/schedules/{name}", "/schedules/nightly".to_owned()),
        ("/schedules/{name}/firings", "/schedules/nightly/firings".to_owned()),
    ] {
        let answer = described(&olga, &api, path, &filled).await;
        let empty = answer["items"].as_array().is_some_and(Vec::is_empty);
        let may_be_empty = ["/workers", "/schedules/{name}/firings", "/campaigns/{id}/items"];
        assert!(!empty || may_be_empty.contains(&path), "{path}: {answer}");
    }
    let ada = Program::new(&control, "ada", Role::Admin).await;
    described(&ada, &api, "/users", "/users").await;
    control.stop().await;
}

pub async fn create_schedule(control: &Control) {
    let spec = ScheduleSpec {
        name: "nightly".to_owned(),
        cron: "0 3 * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        workflow: "patient".to_owned(),
        version: None,
        input: json!({"about": "4242"}),
        tags: Default::default(),
        overlap: Overlap::Allow,
        catch_up: std::time::Duration::from_secs(600),
        paused: false,
    };
    LocalClient::new(control.engine.clone())
        .create_schedule(spec)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_paused_resumed_and_run_with_a_role_and_a_reason() {
    let control = Control::start().await;
    let vera = Program::new(&control, "vera", Role::Viewer).await;
    let olga = Program::new(&control, "olga", Role::Operator).await;
    create_schedule(&control).await;
    assert_eq!(vera.get("/schedules").await["items"][0]["input"]["about"], "•••");
    let why = json!({"reason": "the night shift is ill"});
    let (status, _) = vera.post("/schedules/nightly/pause", why.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = olga.post("/schedules/nightly/pause", json!({"reason": " "})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = olga.post("/schedules/nowhere/pause", why.clone()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = olga.post("/schedules/nightly/explode", why.clone()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = olga.post("/schedules/nightly/pause", why.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(olga.get("/schedules/nightly").await["paused"], true);
    olga.post("/schedules/nightly/resume", why.clone()).await;
    assert_eq!(olga.get("/schedules/nightly").await["paused"], false);
    let (status, answer) = olga.post("/schedules/nightly/run", why).await;
    assert_eq!((status, &answer["outcome"]), (StatusCode::OK, &json!("done: started")));
    let firings = olga.get("/schedules/nightly/firings").await;
    assert_eq!(firings["items"][0]["outcome"], "started", "{firings}");
    let trail = olga.get("/audit").await;
    let pause = trail["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["action"] == "schedule pause");
    let pause = pause.unwrap();
    assert_eq!(pause["before"], json!({"paused": false}));
    assert_eq!(pause["after"], json!({"paused": true}));
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_compared_with_the_one_before_and_with_who_passed() {
    let control = Control::start().await;
    let vera = Program::new(&control, "vera", Role::Viewer).await;
    let olga = Program::new(&control, "olga", Role::Operator).await;
    let api = olga.get("/openapi.json").await;
    let path = |saga| format!("/sagas/{saga}/difference");
    let good = control
        .saga("stubborn", json!({"about": "good", "card": "1111", "totalCents": 1}))
        .await;
    let output = json!({"charge": "ch_1"});
    control.answer(good, "work", Outcome::Succeeded { output }).await;

    let bad = stuck(&control).await;
    // Tried once, so it is compared with the saga that passed.
    let found = described(&olga, &api, "/sagas/{id}/difference", &path(bad)).await;
    assert_eq!(
        (&found["step"], &found["before"]["saga"]),
        (&json!("work"), &json!(good))
    );
    let card = &found["changes"][0];
    assert_eq!(card, &json!({"path": "/input/card", "before": "1111", "after": "4242"}));
    let redacted = vera.get(&path(bad)).await;
    assert_eq!(
        redacted["changes"][0],
        json!({"path": "/input/card", "before": "•••", "after": "•••"})
    );
    assert!(!redacted.to_string().contains("4242"), "{redacted}");

    let retry = Event::Command(CommandEvent {
        command: Command::Retry {
            step: Some("work".to_owned()),
            input: Some(json!({"card": "5555"})),
        },
        by: "ada".to_owned(),
        reason: "another card".to_owned(),
    });
    control.engine.send_event(bad, retry, None).await.unwrap();
    let found = olga.get(&path(bad)).await;
    assert_eq!(
        (&found["before"]["saga"], &found["before"]["attempt"]),
        (&json!(bad), &json!(1))
    );
    assert_eq!(found["changes"][0]["after"], "5555");
    let beside = olga.get(&format!("{}?with={good}&step=work", path(bad))).await;
    assert_eq!(beside["before"]["saga"], json!(good));
    let passed = olga.get(&format!("{}?with=passed", path(bad))).await;
    assert_eq!(passed["changes"], beside["changes"]);
    for (query, status) in [
        ("with=nonsense", StatusCode::UNPROCESSABLE_ENTITY),
        ("step=nowhere", StatusCode::NOT_FOUND),
        ("with=previous&step=late", StatusCode::NOT_FOUND),
    ] {
        let answer = olga
            .send(Method::GET, &format!("{}?{query}", path(bad)), None, None)
            .await;
        assert_eq!(answer.status(), status, "{query}");
    }
    control.stop().await;
}

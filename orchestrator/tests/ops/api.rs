//! The HTTP API as strangers meet it.

use std::collections::BTreeSet;

use orchestrator::client::{EngineClient, ListFilter};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{TestOps, patient};

async fn problem(response: Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status().as_u16(), status, "{}", response.url());
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], format!("urn:sagaline:problem:{code}"), "{body}");
    assert_eq!(body["status"], status);
    body
}

fn pointers(problem: &Value) -> Vec<&str> {
    problem["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["pointer"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_by_name() {
    let ops = TestOps::start().await;
    let http = Client::new();
    let start = |body: &str| {
        http.post(ops.url("/v1/sagas"))
            .header("content-type", "application/json")
            .body(body.to_owned())
            .send()
    };

    for (body, pointer) in [
        ("", ""),
        ("{", ""),
        ("{\"workflow\": 7}", "/workflow"),
        ("{\"workflow\": \"instant\"} trailing", ""),
        ("{\"workflow\": \"instant\", \"colour\": 1}", "/colour"),
        ("{\"workflow\": \"instant\", \"tags\": {\"a\": 1}}", "/tags/a"),
        ("[{\"workflow\": \"instant\"}, {\"workflow\": 1}]", "/1/workflow"),
        ("{\"workflow\": \"instant\", \"input\": \"\u{0}\"}", "/input"),
    ] {
        let answer = problem(start(body).await.unwrap(), 400, "malformed").await;
        assert_eq!(pointers(&answer), [pointer], "{body}: {answer}");
    }
    for (body, pointer) in [
        (
            "{\"workflow\": \"instant\", \"input\": {\"a\": [\"\\u0000\"]}}",
            "/input/a/0",
        ),
        ("{\"workflow\": \"instant\", \"input\": {\"a\\u0000\": 1}}", "/input"),
        ("{\"workflow\": \"inst\\u0000ant\"}", "/workflow"),
        ("{\"workflow\": \"instant\", \"tags\": {\"a\": \"\\u0000\"}}", "/tags/a"),
        (
            "{\"workflow\": \"instant\", \"idempotencyKey\": \"\"}",
            "/idempotencyKey",
        ),
        ("{\"workflow\": \"o'hara/\\\"1\\\"; drop table\"}", "/workflow"),
    ] {
        let answer = problem(start(body).await.unwrap(), 422, "invalid").await;
        assert_eq!(pointers(&answer), [pointer], "{body}: {answer}");
    }

    let invalid_utf8 = http
        .post(ops.url("/v1/sagas"))
        .body(b"{\"workflow\": \"\xff\xfe\"}".to_vec())
        .send()
        .await
        .unwrap();
    problem(invalid_utf8, 400, "malformed").await;
    let form = http
        .post(ops.url("/v1/sagas"))
        .header("content-type", "text/plain")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(pointers(&problem(form, 400, "malformed").await), ["@content-type"]);
    let ten_megabytes = "x".repeat(10 * 1024 * 1024);
    problem(start(&ten_megabytes).await.unwrap(), 413, "too-large").await;
    problem(
        start(&format!("{{\"workflow\": \"{}\"}}", "x".repeat(600_000)))
            .await
            .unwrap(),
        413,
        "too-large",
    )
    .await;
    let deep = format!(
        "{{\"workflow\": \"instant\", \"input\": {}1{}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    problem(start(&deep).await.unwrap(), 400, "malformed").await;

    for (path, status, code) in [
        ("/v1/nothing", 404, "no-such-route"),
        ("/v1/sagas/not-an-id", 404, "not-found"),
        ("/v1/sagas/%00", 400, "malformed"),
        ("/v1/sagas/019365f0-0000-7000-8000-000000000000", 404, "not-found"),
        ("/v1/sagas?status=happy", 400, "malformed"),
        ("/v1/sagas?limit=0", 422, "invalid"),
        ("/v1/sagas?limit=-1", 400, "malformed"),
        ("/v1/sagas?limit=501", 422, "invalid"),
        ("/v1/sagas?cursor=s1zz", 422, "invalid"),
        ("/v1/sagas?createdAfter=yesterday", 400, "malformed"),
        ("/v1/sagas?workflow=a&workflow=b", 400, "malformed"),
        ("/v1/sagas?colour=red", 400, "malformed"),
        ("/v1/sagas?businessKey=%00", 400, "malformed"),
        ("/v1/sagas?tag=lonely", 400, "malformed"),
        ("/v1/workflows/nope", 404, "not-found"),
        ("/v1/workflows/instant/9", 404, "not-found"),
        ("/v1/schedules/nope", 404, "not-found"),
    ] {
        problem(http.get(ops.url(path)).send().await.unwrap(), status, code).await;
    }
    let wrong_method = http.delete(ops.url("/v1/sagas")).send().await.unwrap();
    assert!(wrong_method.headers().contains_key("allow"));
    problem(wrong_method, 405, "method-not-allowed").await;

    let traced = http.get(ops.url("/v1/nothing"));
    let traced = traced.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let traced = problem(traced.send().await.unwrap(), 404, "no-such-route").await;
    assert_eq!(traced["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");

    let saga = ops.local.start(patient("x")).await.unwrap().saga.id;
    let command = |body: Value| {
        http.post(ops.url(&format!("/v1/sagas/{saga}/commands")))
            .json(&body)
            .send()
    };
    problem(command(json!({"command": "explode"})).await.unwrap(), 400, "malformed").await;
    let misspelt = problem(
        command(json!({"command": "retry", "stpe": "work"})).await.unwrap(),
        400,
        "malformed",
    )
    .await;
    assert_eq!(pointers(&misspelt), ["/stpe"]);
    problem(command(json!({"command": "skip"})).await.unwrap(), 400, "malformed").await;
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_gives_one_saga_and_the_same_answer() {
    let ops = TestOps::start().await;
    let http = Client::new();
    let key = Uuid::now_v7().to_string();
    let start = |about: &str| {
        let body = json!({"workflow": "patient", "input": {"about": about}});
        http.post(ops.url("/v1/sagas"))
            .header("Idempotency-Key", &key)
            .json(&body)
            .send()
    };
    let first = start("a").await.unwrap();
    assert_eq!(first.status(), StatusCode::CREATED);
    let (location, etag) = (first.headers()["location"].clone(), first.headers()["etag"].clone());
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let first: Value = first.json().await.unwrap();
    assert_eq!(location, format!("/v1/sagas/{}", first["id"].as_str().unwrap()));
    assert_eq!(etag, format!("\"{}\"", first["seq"]));

    let second = start("a").await.unwrap();
    assert_eq!(second.status(), StatusCode::OK);
    assert_eq!(second.headers()["idempotency-replayed"], "true");
    assert_eq!(second.json::<Value>().await.unwrap(), first);
    let other = problem(start("b").await.unwrap(), 422, "idempotency-key-reused").await;
    assert_eq!(other["idempotencyKey"], json!(key));

    let answers = futures::future::join_all((0..20).map(|_| {
        let body = json!({"workflow": "patient", "input": {"about": "c"}, "idempotencyKey": "twenty"});
        http.post(ops.url("/v1/sagas")).json(&body).send()
    }));
    let mut ids = BTreeSet::new();
    let mut created = 0;
    for answer in answers.await {
        let answer = answer.unwrap();
        created += u32::from(answer.status() == StatusCode::CREATED);
        ids.insert(answer.json::<Value>().await.unwrap()["id"].to_string());
    }
    assert_eq!((ids.len(), created), (1, 1));
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_can_wait_for_the_end() {
    let ops = TestOps::start().await;
    let http = Client::new();
    let start = |workflow: &str, wait: &'static str| {
        let body = json!({"workflow": workflow, "input": {"about": "x"}});
        http.post(ops.url("/v1/sagas"))
            .header("Prefer", wait)
            .json(&body)
            .send()
    };
    let ended = start("instant", "respond-async, wait=10").await.unwrap();
    assert_eq!(ended.headers()["preference-applied"], "wait");
    assert_eq!(ended.json::<Value>().await.unwrap()["status"], "completed");
    let brief = start("instant", "wait=10, return=minimal").await.unwrap();
    assert_eq!(brief.headers()["preference-applied"], "wait, return=minimal");
    let brief = brief.json::<Value>().await.unwrap();
    assert_eq!(
        brief,
        json!({"id": brief["id"], "status": "completed", "seq": brief["seq"]})
    );
    let waiting = start("patient", "wait=0").await.unwrap();
    assert_eq!(waiting.status(), StatusCode::CREATED);
    assert_eq!(waiting.json::<Value>().await.unwrap()["status"], "waiting");
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_match_guards_commands_and_etags_spare_answers() {
    let ops = TestOps::start().await;
    let http = Client::new();
    let saga = ops.local.start(patient("x")).await.unwrap().saga;
    let url = ops.url(&format!("/v1/sagas/{}", saga.id));
    let seen = http.get(&url).send().await.unwrap();
    let etag = seen.headers()["etag"].clone();
    let same = http.get(&url).header("If-None-Match", &etag).send().await.unwrap();
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);

    let command = |name: &str, etag: &str| {
        let body = json!({"command": name, "by": "ops"});
        http.post(format!("{url}/commands"))
            .header("If-Match", etag)
            .json(&body)
            .send()
    };
    let etag = etag.to_str().unwrap();
    let paused = command("pause", etag).await.unwrap();
    assert_eq!(paused.status(), StatusCode::OK);
    let new_etag = paused.headers()["etag"].to_str().unwrap().to_owned();
    assert_ne!(new_etag, etag);
    let stale = problem(command("cancel", etag).await.unwrap(), 412, "moved-on").await;
    assert_eq!(stale["expected"], json!(saga.view.seq));
    problem(command("cancel", "seven").await.unwrap(), 400, "malformed").await;
    // Of two operators with the same page before them, one is told to look again.
    let (one, other) = tokio::join!(command("cancel", &new_etag), command("resume", &new_etag));
    let mut statuses = [one.unwrap().status().as_u16(), other.unwrap().status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    problem(command("skip", "*").await.unwrap(), 400, "malformed").await;
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_every_saga_once_while_others_begin() {
    let ops = TestOps::start().await;
    let mut before = BTreeSet::new();
    for answer in ops.local.start_bulk(vec![patient("paged"); 120]).await.unwrap() {
        before.insert(answer.unwrap().saga.id);
    }
    let writer = tokio::spawn({
        let local = ops.local.clone();
        async move {
            for _ in 0..30 {
                local.start_bulk(vec![patient("paged"); 10]).await.unwrap();
            }
        }
    });
    let mut seen = Vec::new();
    let mut filter = ListFilter {
        business_key: Some("paged".to_owned()),
        limit: Some(7),
        ..ListFilter::default()
    };
    loop {
        let page = ops.http.list(filter.clone()).await.unwrap();
        seen.extend(page.items.iter().map(|saga| saga.id));
        let Some(next) = page.next else { break };
        filter.cursor = Some(next);
    }
    writer.await.unwrap();
    let unique: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(unique.len(), seen.len(), "none twice");
    assert!(before.is_subset(&unique), "none left out");
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first");
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_is_answered_item_by_item() {
    let ops = TestOps::start().await;
    let http = Client::new();
    let body = json!([
        {"workflow": "patient", "input": {"about": "a"}},
        {"workflow": "patient", "input": {}},
        {"workflow": "instant"},
    ]);
    for path in ["/v1/sagas", "/v1/sagas:bulk"] {
        let answer = http.post(ops.url(path)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.unwrap();
        let statuses: Vec<_> = answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["status"].clone())
            .collect();
        assert_eq!(statuses, [201, 422, 201]);
        assert_eq!(answer["items"][1]["problem"]["problems"][0]["pointer"], "/input");
    }
    let keyed = http
        .post(ops.url("/v1/sagas"))
        .header("Idempotency-Key", "k")
        .json(&body)
        .send()
        .await
        .unwrap();
    problem(keyed, 400, "malformed").await;
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_can_be_deployed_as_yaml() {
    let ops = TestOps::start().await;
    let http = Client::new();
    let deploy = |body: &str| {
        http.post(ops.url("/v1/workflows"))
            .header("content-type", "application/yaml")
            .body(body.to_owned())
            .send()
    };
    let created = deploy("name: yam\nversion: 1\nflow:\n- kind: sleep\n  name: nap\n  duration: 5m\n")
        .await
        .unwrap();
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.headers()["location"], "/v1/workflows/yam/1");
    let shown: Value = http
        .get(ops.url("/v1/workflows/yam"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(shown["definition"]["flow"][0]["duration"], "5m");

    problem(deploy("name: [").await.unwrap(), 400, "malformed").await;
    let wrong = problem(
        deploy("name: yam\nversion: soon\nflow: []\n").await.unwrap(),
        400,
        "malformed",
    )
    .await;
    assert_eq!(pointers(&wrong), ["/version"]);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{},", n - 1).repeat(10);
        bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    problem(
        deploy(&format!("{bomb}name: bomb\nversion: 1\ninput_schema: *a11\nflow: []\n"))
            .await
            .unwrap(),
        400,
        "malformed",
    )
    .await;
    let schema = json!({"name": "s", "version": 1, "input_schema": {"type": "banana"},
                        "flow": [{"kind": "sleep", "name": "nap", "duration": "1s"}]});
    let wrong = http.post(ops.url("/v1/workflows")).json(&schema).send().await.unwrap();
    assert_eq!(pointers(&problem(wrong, 422, "invalid").await), ["/input_schema"]);
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_life_from_readiness() {
    let ops = TestOps::start().await;
    let http = Client::new();
    let get = |path: &str| http.get(ops.url(path)).send();
    assert_eq!(get("/health/live").await.unwrap().status(), StatusCode::OK);
    let ready = get("/health/ready").await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!((&ready["ready"], &ready["degraded"]), (&json!(true), &json!(false)));
    for dependency in ["database", "kafka"] {
        let found = &ready["dependencies"][dependency];
        assert!(found["state"] == "up" && found["latencyMs"].is_number(), "{ready}");
    }
    assert_eq!(get("/metrics").await.unwrap().text().await.unwrap(), "sagaline_up 1\n");
    ops.engine.shutdown().await;
    assert_eq!(get("/health/live").await.unwrap().status(), StatusCode::OK);
    let leaving = get("/health/ready").await.unwrap();
    assert_eq!(leaving.status(), StatusCode::SERVICE_UNAVAILABLE);
    let leaving: Value = leaving.json().await.unwrap();
    assert_eq!((&leaving["ready"], &leaving["draining"]), (&json!(false), &json!(true)));
    let late = http
        .post(ops.url("/v1/sagas"))
        .json(&json!({"workflow": "instant"}))
        .send()
        .await
        .unwrap();
    assert!(late.headers().contains_key("retry-after"));
    problem(late, 503, "unavailable").await;
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_described_and_every_description_is_a_route() {
    let ops = TestOps::start().await;
    let description: Value = Client::new()
        .get(ops.url("/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(
        description["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        description["openapi"]
    );
    let expected = [
        "get /health/live",
        "get /health/ready",
        "get /metrics",
        "get /v1/sagas",
        "get /v1/sagas/{id}",
        "get /v1/sagas/{id}/journal",
        "get /v1/schedules",
        "get /v1/schedules/{name}",
        "get /v1/schedules/{name}/firings",
        "get /v1/workflows",
        "get /v1/workflows/{name}",
        "get /v1/workflows/{name}/{version}",
        "delete /v1/schedules/{name}",
        "post /v1/keys:used",
        "post /v1/sagas",
        "post /v1/sagas/{id}/commands",
        "post /v1/sagas/{id}/signals",
        "post /v1/sagas:bulk",
        "post /v1/schedules",
        "post /v1/schedules/{name}/backfill",
        "post /v1/schedules/{name}/pause",
        "post /v1/schedules/{name}/resume",
        "post /v1/schedules/{name}/run",
        "post /v1/workflows",
    ];
    let mut described = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                operation["summary"].as_str().is_some_and(|it| !it.is_empty()),
                "{method} {path} has no summary"
            );
            described.insert(format!("{method} {path}"));
            let filled = path
                .replace("{id}", "x")
                .replace("{name}", "x")
                .replace("{version}", "1");
            let request = Client::new().request(method.to_uppercase().parse().unwrap(), ops.url(&filled));
            let answer = request.send().await.unwrap();
            assert_ne!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert!(
                !answer.text().await.unwrap().contains("no-such-route"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(described, expected.iter().map(|it| (*it).to_owned()).collect());

    let text = description.to_string();
    for reference in text
        .split("\"$ref\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
    {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    ops.stop().await;
}

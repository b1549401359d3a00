//! The operators' API: tokens, roles, redaction, problems, `ETag` and `If-Match`.

use std::time::Duration;

use dashboard::campaigns::Runner;
use dashboard::{Role, operators, tokens};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use workflows::ids::SagaId;

use crate::client::PASSWORD;
use crate::control::Control;
use crate::sagas::HOSTILE;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A program with a token.
pub struct Program {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Program {
    /// With a token of a new user of this role.
    pub async fn new(control: &Control, name: &str, role: Role) -> Program {
        let pool = &control.database.pool;
        operators::add(pool, name, role, PASSWORD).await.unwrap();
        let token = tokens::add(pool, "test", name, "test", role, DAY).await.unwrap();
        Program {
            client: reqwest::Client::new(),
            base: control.browser().base,
            token,
        }
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Value>, if_match: Option<&str>) -> Response {
        let mut request = self
            .client
            .request(method, format!("{}/api{path}", self.base))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        if let Some(tag) = if_match {
            request = request.header("if-match", tag);
        }
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send(Method::GET, path, None, None).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        told(self.send(Method::POST, path, Some(body), None).await).await
    }
}

async fn told(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    if status.is_client_error() || status.is_server_error() {
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{status}");
    }
    (status, answer.json().await.unwrap())
}

pub async fn stuck(control: &Control) -> SagaId {
    let saga = control
        .saga("stubborn", json!({"about": "k", "card": "4242", "totalCents": 500}))
        .await;
    control.fail(saga, "work", "card_declined", HOSTILE).await;
    saga
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_good_token_opens_it() {
    let control = Control::start().await;
    let mut program = Program::new(&control, "olga", Role::Operator).await;
    program.get("/sagas").await;
    let good = program.token.clone();
    let pool = &control.database.pool;
    for wrong in ["", "sgl_", "sgl_0000", &good[4..], "sgl_\u{00e9}"] {
        program.token = wrong.to_owned();
        let (status, problem) = told(program.send(Method::GET, "/sagas", None, None).await).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::UNAUTHORIZED, &json!("urn:sagaline:problem:no-token"))
        );
    }
    // A session's cookie means nothing here.
    let mut browser = control.browser();
    browser.log_in("olga", PASSWORD).await;
    assert_eq!(browser.get("/api/sagas").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/api/nowhere").await.status(), StatusCode::UNAUTHORIZED);

    program.token = good.clone();
    let listed = tokens::list(pool, Some("olga")).await.unwrap();
    assert!(listed[0].used_at.is_some());
    let kept: Vec<u8> = sqlx::query_scalar("select token_hash from ops.api_tokens")
        .fetch_one(pool)
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains(&good), "only a digest is kept");
    let same_name = tokens::add(pool, "test", "olga", "test", Role::Viewer, DAY).await;
    assert!(same_name.is_err(), "two tokens of one name can't be told apart");
    tokens::revoke(pool, "test", listed[0].id, None).await.unwrap();
    assert_eq!(
        program.send(Method::GET, "/sagas", None, None).await.status(),
        StatusCode::UNAUTHORIZED
    );

    program.token = tokens::add(pool, "test", "olga", "second", Role::Admin, DAY)
        .await
        .unwrap();
    let (status, _) = program.post("/approvals/1", json!({"decision": "approve"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    sqlx::query("update ops.api_tokens set expires_at = now(), created_at = now() - interval '1 day'")
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(
        program.send(Method::GET, "/sagas", None, None).await.status(),
        StatusCode::UNAUTHORIZED
    );
    program.token = tokens::add(pool, "test", "olga", "third", Role::Operator, DAY)
        .await
        .unwrap();
    program.get("/stuck").await;
    operators::disable(pool, "olga").await.unwrap();
    assert_eq!(
        program.send(Method::GET, "/sagas", None, None).await.status(),
        StatusCode::UNAUTHORIZED
    );
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_read_as_the_role_may() {
    let control = Control::start().await;
    let vera = Program::new(&control, "vera", Role::Viewer).await;
    let olga = Program::new(&control, "olga", Role::Operator).await;
    let saga = stuck(&control).await;
    control.saga("patient", json!({"about": "k2"})).await;

    let list = vera.get("/sagas?q=status:stuck").await;
    assert_eq!(list["items"][0]["id"], json!(saga));
    assert_eq!(
        (list["items"].as_array().unwrap().len(), &list["next"]),
        (1, &Value::Null)
    );
    let page = vera.get("/sagas?limit=1").await;
    assert!(page["next"].is_string());
    assert_eq!(vera.get("/sagas?q=nobody").await["items"], json!([]));
    for path in [format!("/sagas/{saga}"), format!("/sagas/{saga}/journal")] {
        let (seen, full) = (vera.get(&path).await.to_string(), olga.get(&path).await.to_string());
        assert!(!seen.contains("4242") && full.contains("4242"), "{path}: {seen}");
    }
    let answer = olga.send(Method::GET, &format!("/sagas/{saga}"), None, None).await;
    assert_eq!(answer.headers()["etag"], "\"2\"");
    assert_eq!(olga.get("/stuck").await["items"][0]["code"], "card_declined");

    let (status, problem) = vera
        .post(
            &format!("/sagas/{saga}/commands"),
            json!({"command": "pause", "reason": "x"}),
        )
        .await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::FORBIDDEN, &json!("urn:sagaline:problem:forbidden"))
    );
    let (status, _) = vera
        .post(&format!("/sagas/{saga}/dry-run"), json!({"command": "pause"}))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    for (path, wanted) in [
        ("/sagas?q=colour:red", StatusCode::UNPROCESSABLE_ENTITY),
        ("/sagas?colour=red", StatusCode::BAD_REQUEST),
        ("/sagas/nonsense", StatusCode::NOT_FOUND),
        ("/nowhere", StatusCode::NOT_FOUND),
        ("/campaigns/x", StatusCode::BAD_REQUEST),
    ] {
        let (status, _) = told(olga.send(Method::GET, path, None, None).await).await;
        assert_eq!(status, wanted, "{path}");
    }
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_cannot_step_on_each_other() {
    let control = Control::start().await;
    let olga = Program::new(&control, "olga", Role::Operator).await;
    let ann = Program::new(&control, "ann", Role::Approver).await;
    let saga = stuck(&control).await;
    let commands = format!("/sagas/{saga}/commands");

    let (status, dry) = olga
        .post(
            &format!("/sagas/{saga}/dry-run"),
            json!({"command": "retry", "step": "work"}),
        )
        .await;
    assert_eq!((status, &dry["possible"]), (StatusCode::OK, &json!(true)));
    assert!(dry["consequences"].to_string().contains("nobody.works"), "{dry}");
    let wish = json!({"command": "retry", "step": "work", "reason": "the card is good again"});
    let (status, problem) = olga.post(&commands, json!({"command": "retry", "step": "work"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let (status, _) = olga.post(&commands, json!({"command": "retry", "colour": "red"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = told(
        olga.send(Method::POST, &commands, Some(wish.clone()), Some("\"2\""))
            .await,
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    let (status, problem) = told(
        olga.send(Method::POST, &commands, Some(wish.clone()), Some("\"2\""))
            .await,
    )
    .await;
    assert_eq!(
        (status, &problem["current"]),
        (StatusCode::PRECONDITION_FAILED, &json!(3))
    );
    let (status, _) = told(olga.send(Method::POST, &commands, Some(wish), Some("2")).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "no entity tag");

    let large = json!({"command": "retry", "step": "work", "value": "x".repeat(2_000_000), "reason": "x"});
    assert_eq!(olga.post(&commands, large).await.0, StatusCode::PAYLOAD_TOO_LARGE);

    // The second person, by the API.
    let (status, waits) = olga
        .post(&commands, json!({"command": "compensate", "reason": "it is lost"}))
        .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{waits}");
    let path = format!("/approvals/{}", waits["approval"]);
    assert_eq!(
        ann.get("/approvals?pending=true").await["items"][0]["requestedBy"],
        "olga"
    );
    assert_eq!(
        olga.post(&path, json!({"decision": "approve"})).await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(ann.post(&path, json!({"decision": "approve"})).await.0, StatusCode::OK);
    assert_eq!(ann.get("/approvals?pending=true").await["items"], json!([]));
    let trail = ann.get("/audit").await;
    assert!(
        trail["items"].to_string().contains("it is lost (approved by ann)"),
        "{trail}"
    );
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_by_the_api() {
    let control = Control::start().await;
    let olga = Program::new(&control, "olga", Role::Operator).await;
    let vera = Program::new(&control, "vera", Role::Viewer).await;
    let saga = stuck(&control).await;
    let new = json!({"search": "status:stuck", "reason": "the bank is back",
                     "plan": {"action": {"command": "retry"}, "canary": 1}});
    assert_eq!(vera.post("/campaigns", new.clone()).await.0, StatusCode::FORBIDDEN);
    let (status, made) = olga.post("/campaigns", new).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let path = format!("/campaigns/{}", made["id"]);
    assert_eq!(
        olga.post(&format!("{path}/start"), json!({"reason": "x"})).await.0,
        StatusCode::CONFLICT,
        "too early"
    );
    let runner = Runner::new(control.mission.clone());
    while olga.get(&path).await["phase"] != "planned" {
        runner.tick().await.unwrap();
    }
    let known = vera.get(&path).await;
    assert_eq!(
        (&known["states"][0]["state"], &known["states"][0]["moneyCents"]),
        (&json!("ready"), &json!(500))
    );
    let items = vera.get(&format!("{path}/items?state=ready")).await;
    assert_eq!(
        (&items["items"][0]["sagaId"], &items["next"]),
        (&json!(saga), &Value::Null)
    );
    let (status, begun) = olga.post(&format!("{path}/start"), json!({"reason": "go"})).await;
    assert_eq!((status, &begun["phase"]), (StatusCode::OK, &json!("canary")));
    runner.tick().await.unwrap();
    let (status, paused) = olga.post(&format!("{path}/pause"), json!({"reason": "wait"})).await;
    assert_eq!((status, &paused["phase"]), (StatusCode::OK, &json!("paused")));
    assert_eq!(vera.get("/campaigns").await["items"][0]["phase"], "paused");
    for wrong in [
        json!({"search": "x", "failedOf": 1, "reason": "x", "plan": {"action": {"command": "retry"}}}),
        json!({"search": "x", "reason": "x", "plan": {"action": {"command": "retry"}, "rate": 0}}),
    ] {
        assert_eq!(olga.post("/campaigns", wrong).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_on_the_settings_page_and_shown_once() {
    let control = Control::start().await;
    let mut vera = control.logged_in("vera", Role::Viewer).await;
    let mut ada = control.logged_in("ada", Role::Admin).await;
    let form = [("name", "my script"), ("role", "viewer"), ("days", "30")];
    let page = vera.post("/settings/tokens", &form).await.text().await.unwrap();
    let token = page.split("sgl_").nth(1).unwrap().chars().take(64).collect::<String>();
    let program = Program {
        client: reqwest::Client::new(),
        base: vera.base.clone(),
        token: format!("sgl_{token}"),
    };
    program.get("/sagas").await;
    let page = vera.page("/settings").await;
    assert!(page.contains("my script") && !page.contains(&token), "{page}");
    assert!(!page.contains("Everyone"), "only admins see the others");
    let higher = [("name", "more"), ("role", "admin"), ("days", "30")];
    assert_eq!(
        vera.post("/settings/tokens", &higher).await.status(),
        StatusCode::FORBIDDEN
    );
    let page = ada.page("/settings").await;
    assert!(page.contains("Everyone") && page.contains("my script"), "{page}");
    let id = tokens::list(&control.database.pool, None).await.unwrap()[0]
        .id
        .to_string();
    let mut bob = control.logged_in("bob", Role::Approver).await;
    let revoke = [("id", id.as_str())];
    assert_eq!(
        bob.post("/settings/tokens/revoke", &revoke).await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        ada.post("/settings/tokens/revoke", &revoke).await.status(),
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        program.send(Method::GET, "/sagas", None, None).await.status(),
        StatusCode::UNAUTHORIZED
    );
    control.stop().await;
}

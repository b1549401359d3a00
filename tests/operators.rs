//! The operators' command line from outside, through mission control's API over an engine and Postgres.
#![allow(clippy::unwrap_used)]

use std::process::Output;
use std::time::Duration;

use dashboard::{Mission, Role, operators, tokens};
use orchestrator::{Engine, EngineOptions, NewSaga};
use serde_json::{Value, json};
use testkit::{TestDatabase, eventually};
use transport::InProcessBroker;
use workflows::event::Event;
use workflows::ids::SagaId;
use workflows::protocol::{Outcome, Role as TaskRole, TaskResult, Token};
use workflows::state::Active;

const LIMIT: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct House {
    engine: Engine,
    database: TestDatabase,
    mission: Mission,
    base: String,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _broker: InProcessBroker,
}

impl House {
    async fn start() -> House {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = testkit::migrated_database().await;
        let broker = InProcessBroker::start(4).unwrap();
        let options = EngineOptions {
            connections: 3,
            ..EngineOptions::default()
        };
        let engine = Engine::start(options, database.pool.clone(), broker.config("test"))
            .await
            .unwrap();
        let definition = json!({"name": "brittle", "version": 1, "business_key": "input.about", "flow": [
            {"kind": "step", "name": "work", "activity": "nobody.works", "queue": "nobody", "attempt_timeout": "1h",
             "retry": {"max_attempts": 1}, "otherwise": {"to": "operator"}}]});
        engine
            .definitions()
            .deploy(serde_json::from_value(definition).unwrap())
            .await
            .unwrap();
        let mission = Mission::new(engine.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = dashboard::router(mission.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let runner = tokio::spawn(dashboard::campaigns::run(mission.clone(), Default::default()));
        House {
            engine,
            database,
            mission,
            base,
            tasks: vec![server, runner],
            _broker: broker,
        }
    }

    async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.mission.close().await;
        self.engine.shutdown().await;
    }

    async fn token(&self, name: &str, role: Role) -> String {
        let pool = &self.database.pool;
        operators::add(pool, name, role, "correct horse battery staple")
            .await
            .unwrap();
        tokens::add(pool, "test", name, "cli", role, DAY).await.unwrap()
    }

    /// A saga that waits for an operator.
    async fn stuck(&self) -> SagaId {
        let input = json!({"about": "k\u{1b}[2J", "card": "4242", "totalCents": 1_000});
        let new = NewSaga {
            workflow: "brittle".to_owned(),
            input,
            ..NewSaga::default()
        };
        let saga = self.engine.start_saga(new).await.unwrap().id;
        let (code, message) = ("bank_down".to_owned(), "\u{1b}[31mno".to_owned());
        self.answer(
            saga,
            Outcome::Failed {
                code,
                message,
                retryable: false,
                details: Value::Null,
            },
        )
        .await;
        saga
    }

    async fn answer(&self, saga: SagaId, outcome: Outcome) {
        self.answer_at(saga, "work", outcome).await;
    }

    /// A worker's answer to the attempt of the saga's open step.
    async fn answer_at(&self, saga: SagaId, step: &str, outcome: Outcome) {
        let record = self.engine.saga(saga).await.unwrap().unwrap();
        let Some(Active::Step(work)) = record.state.active.values().next().cloned() else {
            panic!("{record:?}")
        };
        let token = Token {
            saga,
            step: step.to_owned(),
            role: TaskRole::Run,
            attempt: work.attempt,
            epoch: work.epoch,
        };
        self.engine
            .send_event(saga, Event::Result(TaskResult { token, outcome }), None)
            .await
            .unwrap();
    }

    async fn run(&self, token: &str, arguments: &[&str]) -> Output {
        let dir = tempfile::tempdir().unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sagaline"));
        command
            .args(arguments)
            .env_clear()
            .env("SAGALINE_SERVER", &self.base)
            .env("SAGALINE_TOKEN", token);
        command
            .current_dir(dir.path())
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap()
    }

    /// What a command prints that works.
    async fn prints(&self, token: &str, arguments: &[&str]) -> String {
        let output = self.run(token, arguments).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same as JSON.
    async fn json(&self, token: &str, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        serde_json::from_str(&self.prints(token, &arguments).await).unwrap()
    }

    /// Exit code and stderr of one that doesn't.
    async fn fails(&self, token: &str, arguments: &[&str]) -> (i32, String) {
        let output = self.run(token, arguments).await;
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_saga_is_found_and_repaired_on_the_command_line() {
    let house = House::start().await;
    let (vera, olga, ann) = (
        house.token("vera", Role::Viewer).await,
        house.token("olga", Role::Operator).await,
        house.token("ann", Role::Approver).await,
    );
    for empty in [
        vec!["saga", "list"],
        vec!["stuck"],
        vec!["campaign", "list"],
        vec!["approval", "list"],
    ] {
        assert_eq!(house.json(&vera, &empty).await, json!([]), "{empty:?}");
    }
    let saga = house.stuck().await;
    let id = saga.to_string();
    let table = house.prints(&vera, &["stuck"]).await;
    assert!(table.contains("brittle") && table.contains("bank_down"), "{table}");
    let table = house
        .prints(&vera, &["saga", "list", "status:stuck error:bank_down"])
        .await;
    assert!(table.contains(&id) && !table.contains('\u{1b}'), "{table:?}");
    let by_flags = [
        "saga",
        "list",
        "--status",
        "failed",
        "--workflow",
        "brittle",
        "--since",
        "1h",
    ];
    assert_eq!(house.json(&vera, &by_flags).await[0]["id"], json!(saga));
    assert!(
        !house
            .prints(&vera, &["saga", "journal", &id, "-o", "jsonl"])
            .await
            .contains("4242")
    );
    assert!(
        house
            .prints(&olga, &["saga", "journal", &id, "-o", "jsonl"])
            .await
            .contains("4242")
    );
    let shown = house.prints(&olga, &["saga", "show", &id]).await;
    assert!(
        shown.contains("It waits for you") && !shown.contains('\u{1b}'),
        "{shown:?}"
    );

    let retry = [
        "saga",
        "retry",
        id.as_str(),
        "--step",
        "work",
        "--reason",
        "the bank is back",
    ];
    assert_eq!(house.fails(&vera, &retry).await.0, 4, "a viewer");
    assert_eq!(house.fails("sgl_0", &retry).await.0, 4, "no token");
    assert_eq!(house.fails("", &retry).await.0, 2, "not set");
    let (code, words) = house
        .fails(&olga, &["saga", "retry", &id, "--step", "nothing", "--reason", "x"])
        .await;
    assert!(code == 1 && words.contains("open are: work"), "{words}");
    let skip = [
        "saga",
        "skip",
        id.as_str(),
        "--step",
        "work",
        "--reason",
        "done by hand",
    ];
    let (code, words) = house.fails(&olga, &skip).await;
    assert!(code == 1 && words.contains("--yes"), "{words}");
    let skip: Vec<&str> = skip.into_iter().chain(["--yes"]).collect();
    let asked = house.json(&olga, &skip).await;
    let request = asked["approval"].to_string();
    assert_eq!(
        house.fails(&olga, &["approval", "approve", &request, "--yes"]).await.0,
        4,
        "not her own"
    );
    let (code, words) = house.fails(&olga, &[&retry[..], &["--if-at", "1"]].concat()).await;
    assert!(code == 1 && words.contains("moved on"), "{words}");
    house.prints(&ann, &["approval", "approve", &request, "--yes"]).await;
    let watched = house.prints(&vera, &["saga", "watch", &id]).await;
    assert!(watched.contains("completed"), "{watched}");
    let trail = house.prints(&vera, &["audit", "trail"]).await;
    assert!(trail.contains("done by hand (approved by ann)"), "{trail}");
    let skips = ["audit", "trail", "--who", "olga", "--action", "skip", "--since", "1h"];
    let found = house.json(&olga, &[&skips[..], &["--saga", &id]].concat()).await;
    assert_eq!(
        (found.as_array().unwrap().len(), &found[0]["before"]["status"]),
        (1, &json!("failed"))
    );
    assert_eq!(
        house.json(&olga, &["audit", "trail", "--who", "nobody"]).await,
        json!([])
    );
    let csv = house.prints(&olga, &["audit", "export", "--action", "skip"]).await;
    assert!(csv.lines().count() == 2 && csv.contains("done: entry"), "{csv}");
    let export = house.prints(&vera, &["audit", "export", "--format", "json"]).await;
    assert!(serde_json::from_str::<Value>(&export).unwrap().is_array());
    assert_eq!(house.fails("sgl_0", &["audit", "export"]).await.0, 4);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_on_the_command_line() {
    let house = House::start().await;
    let olga = house.token("olga", Role::Operator).await;
    let saga = house.stuck().await;
    let plan = [
        "campaign",
        "plan",
        "retry",
        "--search",
        "status:stuck",
        "--reason",
        "the bank is back",
        "--rate",
        "20",
    ];
    let made = house.json(&olga, &plan).await;
    assert_eq!((&made["phase"], &made["plan"]["rate"]), (&json!("planned"), &json!(20)));
    let id = made["id"].to_string();
    let shown = house.prints(&olga, &["campaign", "show", &id]).await;
    assert!(shown.contains("becomes running") && shown.contains("1000"), "{shown}");
    let start = ["campaign", "start", id.as_str(), "--reason", "go"];
    assert_eq!(house.fails(&olga, &start).await.0, 1, "nobody said yes");
    house.prints(&olga, &[&start[..], &["--yes"]].concat()).await;
    eventually("its command is given", LIMIT, async || {
        house.engine.saga(saga).await.unwrap().unwrap().summary.seq > 2
    })
    .await;
    let bad = Outcome::Failed {
        code: "bank_down".to_owned(),
        message: String::new(),
        retryable: false,
        details: Value::Null,
    };
    house.answer(saga, bad).await;
    let (code, words) = house.fails(&olga, &["campaign", "watch", &id]).await;
    assert!(code == 1 && words.contains("has stopped: the canary failed"), "{words}");
    let items = house
        .json(&olga, &["campaign", "items", &id, "--state", "failed"])
        .await;
    assert_eq!(items[0]["sagaId"], json!(saga));
    let abort = ["campaign", "abort", id.as_str(), "--reason", "no use", "-y"];
    assert!(house.prints(&olga, &abort).await.contains("aborted"));
    assert_eq!(house.json(&olga, &["campaign", "list"]).await[0]["phase"], "aborted");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_queues_and_differences_on_the_command_line() {
    let house = House::start().await;
    let (vera, olga) = (
        house.token("vera", Role::Viewer).await,
        house.token("olga", Role::Operator).await,
    );
    for empty in [vec!["schedule", "list"], vec!["worker", "list"]] {
        assert_eq!(house.json(&vera, &empty).await, json!([]), "{empty:?}");
    }
    let queues = house.json(&vera, &["queue", "list"]).await;
    assert_eq!(queues[0]["queue"], "nobody");
    assert!(house.prints(&vera, &["queue", "list"]).await.contains("NOT FINISHED"));

    let spec = orchestrator::client::ScheduleSpec {
        name: "nightly".to_owned(),
        cron: "0 3 * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        workflow: "brittle".to_owned(),
        version: None,
        input: json!({"about": "n"}),
        tags: Default::default(),
        overlap: orchestrator::client::Overlap::Allow,
        catch_up: DAY,
        paused: false,
    };
    use orchestrator::client::EngineClient as _;
    let client = orchestrator::client::LocalClient::new(house.engine.clone());
    client.create_schedule(spec).await.unwrap();
    let pause = ["schedule", "pause", "nightly", "--reason", "not tonight"];
    assert_eq!(house.fails(&vera, &pause).await.0, 4);
    assert_eq!(house.fails(&olga, &pause[..3]).await.0, 1, "without a reason");
    assert!(house.prints(&olga, &pause).await.contains("done"));
    let shown = house.prints(&vera, &["schedule", "show", "nightly"]).await;
    assert!(shown.contains("paused") && shown.contains("true"), "{shown}");
    house
        .prints(&olga, &["schedule", "resume", "nightly", "--reason", "tonight"])
        .await;
    let run = ["schedule", "run", "nightly", "--reason", "now"];
    let (code, words) = house.fails(&olga, &run).await;
    assert!(code == 1 && words.contains("--yes"), "{words}");
    house.prints(&olga, &[&run[..], &["--yes"]].concat()).await;
    let firings = house.json(&vera, &["schedule", "firings", "nightly"]).await;
    assert_eq!(firings[0]["outcome"], "started");
    assert_eq!(house.fails(&vera, &["schedule", "show", "../sagas"]).await.0, 1);

    let good = house.stuck().await;
    let retry = ["saga", "retry", &good.to_string(), "--reason", "again"].map(str::to_owned);
    let retry: Vec<&str> = retry.iter().map(String::as_str).collect();
    house.prints(&olga, &retry).await;
    house
        .answer(
            good,
            Outcome::Succeeded {
                output: json!("\u{1b}[2J"),
            },
        )
        .await;
    let bad = house.stuck().await.to_string();
    let diff = house.prints(&olga, &["saga", "diff", &bad]).await;
    assert!(diff.contains("/outcome/code") && diff.contains("bank_down"), "{diff}");
    assert!(diff.contains(&good.to_string()) && !diff.contains('\u{1b}'), "{diff:?}");
    let between = house.json(&olga, &["saga", "diff", &bad, &good.to_string()]).await;
    assert_eq!(between["before"]["attempt"], 1, "{between}");
    let before = house.json(&olga, &["saga", "diff", &good.to_string()]).await;
    assert_eq!(before["before"]["saga"], before["after"]["saga"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_steered_and_sagas_go_back_on_the_command_line() {
    let house = House::start().await;
    let (vera, olga, ann) = (
        house.token("vera", Role::Viewer).await,
        house.token("olga", Role::Operator).await,
        house.token("ann", Role::Approver).await,
    );
    let pause = ["queue", "pause", "nobody", "--reason", "the bank is down"];
    let (code, words) = house.fails(&olga, &pause).await;
    assert!(code == 1 && words.contains("--yes"), "{words}");
    let pause = [&pause[..], &["--yes"]].concat();
    assert_eq!(house.fails(&vera, &pause).await.0, 4);
    let (code, words) = house
        .fails(&olga, &["queue", "pause", "nobody", "--yes", "--reason", " "])
        .await;
    assert!(code == 1 && words.contains("say why"), "{words}");
    let (code, words) = house
        .fails(&olga, &["queue", "resume", "../sagas", "--reason", "x"])
        .await;
    assert!(code == 1 && words.contains("not there"), "{words}");
    assert_eq!(house.json(&olga, &pause).await["paused"], true);
    let limit = ["queue", "limit", "nobody", "0.5", "--reason", "gently", "-y"];
    assert!(house.prints(&olga, &limit).await.contains("0.5"));
    assert_eq!(house.fails(&olga, &["queue", "limit", "nobody", "fast"]).await.0, 2);
    let listed = house.json(&vera, &["queue", "list"]).await;
    assert_eq!(
        (&listed[0]["paused"], &listed[0]["rate"], &listed[0]["inFlight"]),
        (&json!(true), &json!(0.5), &json!(0))
    );
    assert!(house.prints(&vera, &["queue", "list"]).await.contains("IN FLIGHT"));
    let resume = ["queue", "resume", "nobody", "--reason", "the bank is back"];
    assert_eq!(house.json(&olga, &resume).await["paused"], false);
    let free = ["queue", "limit", "nobody", "none", "--reason", "as before"];
    assert_eq!(house.json(&olga, &free).await["rate"], Value::Null);
    let trail = house.prints(&vera, &["audit", "trail", "--who", "olga"]).await;
    assert!(trail.contains("pause queue") && trail.contains("gently"), "{trail}");

    let step = |name| {
        json!({"kind": "step", "name": name, "activity": "nobody.works", "queue": "nobody", "attempt_timeout": "1h",
               "retry": {"max_attempts": 1}, "otherwise": {"to": "operator"}})
    };
    let definition = json!({"name": "ladder", "version": 1, "flow": [step("first"), step("second")]});
    let definition = serde_json::from_value(definition).unwrap();
    house.engine.definitions().deploy(definition).await.unwrap();
    let new = NewSaga {
        workflow: "ladder".to_owned(),
        input: json!({}),
        ..NewSaga::default()
    };
    let saga = house.engine.start_saga(new).await.unwrap().id;
    // The queue's limit may still hold a task back for a moment: it is not answered before it is sent.
    let sent = async || {
        let record = house.engine.saga(saga).await.unwrap().unwrap();
        record.state.held().next().is_none()
    };
    eventually("the first step is with a worker", LIMIT, sent).await;
    house
        .answer_at(saga, "first", Outcome::Succeeded { output: json!(1) })
        .await;
    eventually("the second step is with a worker", LIMIT, sent).await;
    let id = saga.to_string();
    let back = [
        "saga",
        "go-back",
        id.as_str(),
        "--step",
        "first",
        "--reason",
        "once more",
    ];
    assert_eq!(house.fails(&vera, &back).await.0, 4);
    let (code, words) = house.fails(&olga, &back).await;
    assert!(code == 1 && words.contains("--yes"), "{words}");
    let back = [&back[..], &["--yes"]].concat();
    let request = house.json(&olga, &back).await["approval"].to_string();
    house.prints(&ann, &["approval", "approve", &request, "--yes"]).await;
    let again = house.json(&vera, &["saga", "show", &id]).await;
    assert_eq!(
        (&again["status"], &again["steps"][0]["name"]),
        (&json!("running"), &json!("first")),
        "{again}"
    );
    assert!(
        again["steps"][0]["progress"].is_string() && again["steps"][1].is_null(),
        "{again}"
    );
    house.stop().await;
}

/// `saga watch` on a terminal: script(1) lends it one.
#[tokio::test(flavor = "multi_thread")]
async fn a_saga_is_watched_on_its_graph() {
    use tokio::io::AsyncReadExt as _;
    let house = House::start().await;
    let olga = house.token("olga", Role::Operator).await;
    let saga = house.stuck().await;
    let id = saga.to_string();
    // Not on a terminal it is lines, without a terminal's commands.
    let lines = house.prints(&olga, &["saga", "watch", &id]).await;
    assert!(
        lines.contains("failed  work: bank_down") && !lines.contains('\u{1b}'),
        "{lines:?}"
    );
    let retry = ["saga", "retry", id.as_str(), "--reason", "the bank is back"];
    house.prints(&olga, &retry).await;

    let mut command = tokio::process::Command::new("script");
    command
        .args([
            "-qec",
            &format!("{} saga watch {id}", env!("CARGO_BIN_EXE_sagaline")),
            "/dev/null",
        ])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SAGALINE_SERVER", &house.base)
        .env("SAGALINE_TOKEN", &olga)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true);
    let Ok(mut child) = command.spawn() else {
        assert!(std::env::var_os("CI").is_none(), "script(1) is missing");
        eprintln!("SKIPPED: script(1) is missing");
        return house.stop().await;
    };
    let mut stdout = child.stdout.take().unwrap();
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    let mut answered = false;
    let read = async {
        loop {
            let length = stdout.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                break;
            }
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
            if !answered && seen.contains("▶ work") {
                house.answer(saga, Outcome::Succeeded { output: json!(1) }).await;
                answered = true;
            }
        }
    };
    tokio::time::timeout(LIMIT, read).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "{seen:?}");
    // The other screen, then the usual one again, with how it ended.
    let (live, end) = seen.split_once("\u{1b}[?1049l").unwrap();
    assert!(live.contains("\u{1b}[?1049h") && live.contains("▶ work"), "{live:?}");
    assert!(
        end.contains("✔ work") && end.contains("It has run to its end"),
        "{end:?}"
    );
    assert!(
        end.contains("\u{1b}[?25h") || live.contains("\u{1b}[?25h"),
        "the cursor is back"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_on_the_command_line_through_mission_control() {
    let house = House::start().await;
    let ada = house.token("ada", Role::Admin).await;
    let ann = house.token("ann", Role::Approver).await;
    assert_eq!(house.fails(&ann, &["operator", "list"]).await.0, 4);
    let add = ["operator", "add", "olga", "--role", "viewer"];
    assert_eq!(house.fails(&ann, &add).await.0, 4);
    let link = house.prints(&ada, &add).await;
    assert!(link.starts_with(&format!("{}/login/link?token=", house.base)), "{link}");
    assert!(house.json(&ada, &["operator", "link", "olga"]).await["link"].is_string());
    house.prints(&ada, &["operator", "role", "olga", "operator"]).await;
    let disable = ["operator", "disable", "olga"];
    let (code, words) = house.fails(&ada, &disable).await;
    assert!(code == 1 && words.contains("--yes"), "{words}");
    let now = house.json(&ada, &[&disable[..], &["--yes"]].concat()).await;
    assert_eq!((&now["role"], &now["disabled"]), (&json!("operator"), &json!(true)));
    house.prints(&ada, &["operator", "enable", "olga"]).await;
    let (code, words) = house.fails(&ada, &["operator", "disable", "ada", "--yes"]).await;
    assert!(code == 1 && words.contains("last admin"), "{words}");
    let table = house.prints(&ada, &["operator", "list"]).await;
    assert!(table.contains("olga") && table.contains("operator"), "{table}");
    house.stop().await;
}

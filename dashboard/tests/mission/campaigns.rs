//! Bulk repair: frozen, dry-run, a canary, a limited rate, a stop by itself, a second person, and what a crash leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dashboard::Role;
use dashboard::campaigns::{self, Runner};
use futures::future::join_all;
use orchestrator::{Engine, NewSaga};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{PgPool, Row};
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflows::event::{Command, CommandEvent, Event};
use workflows::ids::SagaId;
use workflows::protocol::{Outcome, Role as TaskRole, TaskResult, Token};
use workflows::state::{Active, Progress, State};

use crate::client::Browser;
use crate::control::Control;
use crate::sagas::{HOSTILE, harmless};

/// How long anything may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Sagas of the large campaign, unless `SAGALINE_TEST_CAMPAIGN_SAGAS` says otherwise: some 40 s, unoptimised on two cores.
const SAGAS: usize = 15_000;
/// How many of them may be on their way at a time.
const IN_FLIGHT: usize = 90;

/// What the step `work` depends on: it answers every task, well or badly.
struct Dependency {
    works: AtomicBool,
    refused: AtomicUsize,
    stop: CancellationToken,
}

impl Dependency {
    fn start(control: &Control, works: bool) -> Arc<Dependency> {
        let dependency = Arc::new(Dependency {
            works: AtomicBool::new(works),
            refused: AtomicUsize::new(0),
            stop: CancellationToken::new(),
        });
        let (own, engine, pool) = (
            dependency.clone(),
            control.engine.clone(),
            control.database.pool.clone(),
        );
        tokio::spawn(async move {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            while own.stop.run_until_cancelled(look.tick()).await.is_some() {
                own.answer_all(&engine, &pool).await;
            }
        });
        dependency
    }

    async fn answer_all(&self, engine: &Engine, pool: &PgPool) {
        let sql = "select id, state from saga.sagas where status = 'running' and ended_at is null limit 500";
        let rows = sqlx::query(sql).fetch_all(pool).await.unwrap_or_default();
        join_all(rows.iter().map(async |row| {
            let saga = SagaId(row.get("id"));
            let state = State::decode(row.get("state")).unwrap();
            for active in state.active.values() {
                if let Active::Step(work) = active
                    && matches!(work.progress, Progress::InFlight { .. })
                {
                    let works = self.works.load(Ordering::SeqCst);
                    if !works {
                        self.refused.fetch_add(1, Ordering::SeqCst);
                    }
                    let token = Token {
                        saga,
                        step: "work".to_owned(),
                        role: TaskRole::Run,
                        attempt: work.attempt,
                        epoch: work.epoch,
                    };
                    let outcome = if works { succeeded() } else { down() };
                    let result = TaskResult { token, outcome };
                    let _ = engine.send_event(saga, Event::Result(result), None).await;
                }
            }
        }))
        .await;
    }
}

impl Drop for Dependency {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn succeeded() -> Outcome {
    serde_json::from_value(json!({"outcome": "succeeded", "output": {}})).unwrap()
}

fn down() -> Outcome {
    Outcome::Failed {
        code: "bank_down".to_owned(),
        message: HOSTILE.to_owned(),
        retryable: false,
        details: json!(null),
    }
}

/// So many sagas that wait for an operator.
async fn stuck(control: &Control, count: usize) -> Arc<Dependency> {
    let dependency = Dependency::start(control, false);
    for chunk in (0..count).collect::<Vec<usize>>().chunks(500) {
        let new = |n: &usize| NewSaga {
            workflow: "brittle".to_owned(),
            input: json!({"about": format!("k{n}"), "totalAmount": 2.5}),
            ..NewSaga::default()
        };
        for started in control.engine.start_sagas(chunk.iter().map(new).collect()).await {
            started.unwrap();
        }
    }
    let failed = async || number(control, "select count(*) from saga.sagas where status = 'failed'").await == count;
    eventually("all are stuck", LIMIT, failed).await;
    dependency.refused.store(0, Ordering::SeqCst);
    dependency
}

async fn number(control: &Control, sql: &'static str) -> usize {
    let found: i64 = sqlx::query_scalar(sql).fetch_one(&control.database.pool).await.unwrap();
    usize::try_from(found).unwrap()
}

async fn phase(control: &Control, id: i64) -> (String, String) {
    sqlx::query_as("select phase, note from ops.campaigns where id = $1")
        .bind(id)
        .fetch_one(&control.database.pool)
        .await
        .unwrap()
}

async fn reaches(control: &Control, id: i64, wanted: &str) {
    let what = format!("campaign {id} is {wanted}");
    eventually(&what, LIMIT, async || {
        let (phase, note) = phase(control, id).await;
        let stuck = ["stopped", "aborted", "finished"].contains(&phase.as_str()) && phase != wanted;
        assert!(!stuck, "{phase}, not {wanted}: {note}");
        phase == wanted
    })
    .await;
}

async fn items(control: &Control, id: i64, state: &str) -> usize {
    let found: i64 =
        sqlx::query_scalar("select count(*) from ops.campaign_items where campaign_id = $1 and state = $2")
            .bind(id)
            .bind(state)
            .fetch_one(&control.database.pool)
            .await
            .unwrap();
    usize::try_from(found).unwrap()
}

/// Plans a campaign by the form; gives its number.
async fn plan(browser: &mut Browser, form: &[(&str, &str)]) -> i64 {
    let answer = browser.post("/campaigns", form).await;
    let status = answer.status();
    let location = answer
        .headers()
        .get("location")
        .map(|it| it.to_str().unwrap().to_owned());
    assert_eq!(status, StatusCode::SEE_OTHER, "{}", answer.text().await.unwrap());
    location.unwrap().strip_prefix("/campaigns/").unwrap().parse().unwrap()
}

async fn steer(browser: &mut Browser, id: i64, what: &str) -> reqwest::Response {
    browser
        .post(&format!("/campaigns/{id}/{what}"), &[("reason", "the bank says so")])
        .await
}

const FORM: [(&str, &str); 6] = [
    ("q", "workflow:brittle status:stuck error:bank_down"),
    ("command", "retry"),
    ("rate", "5000"),
    ("in_flight_max", "90"),
    ("same_failures_max", "10"),
    ("reason", "the bank is back"),
];

/// Replicas that run campaigns.
struct Replicas {
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Replicas {
    fn start(control: &Control, count: usize) -> Replicas {
        let stop = CancellationToken::new();
        let task = |_| tokio::spawn(campaigns::run(control.mission.clone(), stop.clone()));
        Replicas {
            tasks: (0..count).map(task).collect(),
            stop,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_stops_by_itself_when_the_dependency_fails_again_and_can_be_resumed() {
    let count = std::env::var("SAGALINE_TEST_CAMPAIGN_SAGAS").map_or(SAGAS, |text| text.parse().unwrap());
    let control = Control::start().await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let mut ann = control.logged_in("ann", Role::Approver).await;
    let dependency = stuck(&control, count).await;
    let replicas = Replicas::start(&control, 2);

    let id = plan(&mut olga, &FORM).await;
    reaches(&control, id, "planned").await;
    assert_eq!(items(&control, id, "ready").await, count, "each one was dry-run");
    let page = olga.page(&format!("/campaigns/{id}")).await;
    harmless(&page);
    assert!(page.contains("becomes running, sends nobody.works to nobody"), "{page}");
    assert!(page.contains("work bank_down"), "{page}");
    assert_eq!(
        number(&control, "select count(*) from saga.journal where kind = 'retry'").await,
        0,
        "nothing is done yet"
    );

    // It is large: somebody else has to agree.
    let answer = steer(&mut olga, id, "start").await;
    let request = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(request.starts_with("/approvals/"), "{request}");
    assert_eq!(
        steer(&mut olga, id, "start").await.status(),
        StatusCode::CONFLICT,
        "asked once"
    );
    let own = olga.post(&request, &[("decision", "approve")]).await;
    assert_eq!(own.status(), StatusCode::FORBIDDEN, "an operator approves nothing");
    assert_eq!(phase(&control, id).await.0, "planned");
    dependency.works.store(true, Ordering::SeqCst);
    assert_eq!(
        ann.post(&request, &[("decision", "approve")]).await.status(),
        StatusCode::SEE_OTHER
    );

    // The replica that has it in hand dies; another one goes on once its lease is over.
    eventually("a quarter is done", LIMIT, async || {
        items(&control, id, "passed").await > count / 4
    })
    .await;
    for task in &replicas.tasks {
        task.abort();
    }
    replicas.stop().await;
    let replicas = Replicas::start(&control, 2);
    sqlx::query("update ops.campaigns set held_until = now()")
        .execute(&control.database.pool)
        .await
        .unwrap();

    eventually("half of it is done", LIMIT, async || {
        items(&control, id, "passed").await > count / 2
    })
    .await;
    dependency.works.store(false, Ordering::SeqCst);
    reaches(&control, id, "stopped").await;
    let (_, note) = phase(&control, id).await;
    assert!(
        note.contains("failed again") || note.contains("the same failure"),
        "{note}"
    );
    eventually("nothing is on its way", LIMIT, async || {
        items(&control, id, "sent").await + items(&control, id, "claimed").await == 0
    })
    .await;
    let refused = dependency.refused.load(Ordering::SeqCst);
    assert!(
        refused > 0 && refused <= IN_FLIGHT,
        "{refused} went to a dependency that was down"
    );
    assert!(items(&control, id, "ready").await > 0, "the rest was spared");

    dependency.works.store(true, Ordering::SeqCst);
    assert_eq!(steer(&mut olga, id, "resume").await.status(), StatusCode::SEE_OTHER);
    reaches(&control, id, "finished").await;
    let failed = items(&control, id, "failed").await;
    assert_eq!(items(&control, id, "passed").await + failed, count);
    assert_eq!(failed, refused);

    // What failed, and only that, in a campaign of its own.
    let parent = id.to_string();
    let mut form = FORM.to_vec();
    form[0] = ("parent", parent.as_str());
    let again = plan(&mut olga, &form).await;
    reaches(&control, again, "planned").await;
    assert_eq!(items(&control, again, "ready").await, failed);
    assert_eq!(steer(&mut olga, again, "start").await.status(), StatusCode::SEE_OTHER);
    reaches(&control, again, "finished").await;
    assert_eq!(
        number(&control, "select count(*) from saga.sagas where status = 'completed'").await,
        count
    );
    let commands = number(&control, "select count(*) from saga.journal where kind = 'retry'").await;
    assert_eq!(
        commands,
        count + failed,
        "no command was given twice, by two replicas and a crash"
    );
    let trail = ann.page("/audit").await;
    harmless(&trail);
    assert!(
        trail.contains("campaign stopped") && trail.contains("ask for approval"),
        "{trail}"
    );
    replicas.stop().await;
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_is_all_that_is_tried() {
    let control = Control::start().await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let dependency = stuck(&control, 60).await;
    let replicas = Replicas::start(&control, 1);
    let id = plan(&mut olga, &FORM).await;
    reaches(&control, id, "planned").await;
    steer(&mut olga, id, "start").await;
    reaches(&control, id, "stopped").await;
    eventually("the canary is settled", LIMIT, async || {
        items(&control, id, "failed").await == 5
    })
    .await;
    assert_eq!(dependency.refused.load(Ordering::SeqCst), 5);
    assert_eq!(items(&control, id, "ready").await, 55);
    assert!(phase(&control, id).await.1.contains("the canary failed"));

    // Ended by somebody, it can't be resumed.
    assert_eq!(steer(&mut olga, id, "abort").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(steer(&mut olga, id, "resume").await.status(), StatusCode::CONFLICT);
    assert_eq!(
        steer(&mut olga, id, "dance").await.status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    replicas.stop().await;
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_runner_left_is_found_out_by_the_journals() {
    let control = Control::start().await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let _dependency = stuck(&control, 4).await;
    let runner = Runner::new(control.mission.clone());
    let mut form = FORM.to_vec();
    form.push(("canary", "1"));
    let id = plan(&mut olga, &form).await;
    let (first, second) = (runner.tick().await.unwrap(), runner.tick().await.unwrap());
    assert!(first && second && phase(&control, id).await.0 == "planned");

    // It claimed three; gave one's command; somebody else moved another one on.
    let pool = &control.database.pool;
    let claimed: Vec<(Uuid, i64)> = sqlx::query_as(
        "update ops.campaign_items set state = 'claimed', sent_at = now() where campaign_id = $1 and ordinal <= 3 \
         returning saga_id, seq",
    )
    .bind(id)
    .fetch_all(pool)
    .await
    .unwrap();
    for (at, by) in [(0, format!("olga (campaign {id})")), (1, "somebody".to_owned())] {
        let (saga, seq) = claimed[at];
        let command = Command::Retry {
            step: None,
            input: None,
        };
        let event = CommandEvent {
            command,
            by,
            reason: "x".to_owned(),
        };
        control
            .engine
            .command(SagaId(saga), event, Some(seq.unsigned_abs()))
            .await
            .unwrap();
    }
    sqlx::query("update ops.campaigns set phase = 'paused', active = true")
        .execute(pool)
        .await
        .unwrap();
    let other = Runner::new(control.mission.clone());
    assert!(!other.tick().await.unwrap(), "it is still in the other one's hands");
    sqlx::query("update ops.campaigns set held_until = now()")
        .execute(pool)
        .await
        .unwrap();
    assert!(other.tick().await.unwrap());
    let state = async |saga: Uuid| -> String {
        let sql = "select state from ops.campaign_items where saga_id = $1";
        sqlx::query_scalar(sql).bind(saga).fetch_one(pool).await.unwrap()
    };
    assert!(["sent", "failed"].contains(&state(claimed[0].0).await.as_str()));
    assert_eq!(state(claimed[1].0).await, "excluded");
    assert_eq!(state(claimed[2].0).await, "ready");
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_gives_each_a_verdict_and_a_patch_changes_inputs() {
    let control = Control::start().await;
    let mut olga = control.logged_in("olga", Role::Operator).await;
    let mut ann = control.logged_in("ann", Role::Approver).await;
    let waiting = control.saga("patient", json!({"about": "k"})).await;
    let failed = control
        .saga("stubborn", json!({"about": "k", "card": "bad", "totalCents": 1_250}))
        .await;
    control.fail(failed, "work", "card_declined", HOSTILE).await;
    let runner = Runner::new(control.mission.clone());

    let patch = r#"{"card": "good"}"#;
    let form = [("q", "k"), ("command", "retry"), ("text", patch), ("reason", HOSTILE)];
    let id = plan(&mut olga, &form).await;
    while phase(&control, id).await.0 != "planned" {
        runner.tick().await.unwrap();
    }
    let page = olga.page(&format!("/campaigns/{id}")).await;
    harmless(&page);
    assert!(page.contains("12.50") && page.contains(&waiting.to_string()), "{page}");
    assert!(page.contains("no step of it waits to be tried again"), "{page}");
    let only = olga.page(&format!("/campaigns/{id}?state=ready")).await;
    assert!(
        only.contains(&failed.to_string()) && !only.contains(&waiting.to_string()),
        "{only}"
    );

    let answer = steer(&mut olga, id, "start").await;
    let request = answer.headers()["location"].to_str().unwrap().to_owned();
    let page = ann.page(&request).await;
    harmless(&page);
    assert!(page.contains("start campaign"), "{page}");
    ann.post(&request, &[("decision", "approve")]).await;
    runner.tick().await.unwrap();
    let journal = orchestrator::store::reads::journal(control.engine.pool(), failed, 2, 10)
        .await
        .unwrap();
    let Event::Command(command) = &journal[0].event else {
        panic!("{journal:?}")
    };
    assert_eq!(command.by, format!("olga (campaign {id})"));
    assert_eq!(
        command.command,
        Command::Retry {
            step: Some("work".to_owned()),
            input: Some(json!({"card": "good"}))
        }
    );
    control.answer(failed, "work", succeeded()).await;
    runner.tick().await.unwrap();
    assert_eq!(phase(&control, id).await.0, "finished");
    control.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_plan_nothing_and_nonsense_is_refused() {
    let control = Control::start().await;
    let mut vera = control.logged_in("vera", Role::Viewer).await;
    assert_eq!(vera.post("/campaigns", &FORM).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(vera.get("/campaigns/new").await.status(), StatusCode::FORBIDDEN);
    let mut olga = control.logged_in("olga", Role::Operator).await;
    for (name, value) in [
        ("rate", "0"),
        ("command", "dance"),
        ("q", "colour:red"),
        ("q", " "),
        ("reason", ""),
    ] {
        let mut form = FORM.to_vec();
        form.iter_mut()
            .filter(|(known, _)| *known == name)
            .for_each(|it| it.1 = value);
        assert_eq!(
            olga.post("/campaigns", &form).await.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "{name}"
        );
    }
    assert_eq!(olga.get("/campaigns/77").await.status(), StatusCode::NOT_FOUND);
    let page = olga
        .page(&format!("/campaigns/new?q={}", "%22%3E%3Cimg+src%3Dx%3E"))
        .await;
    harmless(&page);
    control.stop().await;
}

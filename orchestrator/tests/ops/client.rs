//! One suite through both clients: they must not be told apart.

use std::collections::HashSet;
use std::time::Duration;

use orchestrator::client::*;
use serde_json::json;
use uuid::Uuid;
use workflows::event::{Command, CommandEvent, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::state::Status;

use crate::harness::{TestOps, definition, instant, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process() {
    let ops = TestOps::start().await;
    suite(&ops.local).await;
    ops.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http() {
    let ops = TestOps::start().await;
    suite(&ops.http).await;
    ops.stop().await;
}

async fn suite(client: &dyn EngineClient) {
    starts(client).await;
    brief_starts(client).await;
    idempotency(client).await;
    bulk(client).await;
    looks(client).await;
    signals(client).await;
    commands(client).await;
    lists(client).await;
    workflows_are_deployed(client).await;
    schedules(client).await;
}

fn command(command: Command) -> CommandEvent {
    CommandEvent {
        command,
        by: "ops".to_owned(),
        reason: "test".to_owned(),
    }
}

async fn starts(client: &dyn EngineClient) {
    let mut request = patient("tour/1");
    request.tags.insert("city".to_owned(), "nyc".to_owned());
    let Started { saga, replayed } = client.start(request).await.unwrap();
    assert!(!replayed);
    assert_eq!((saga.workflow.as_str(), saga.version), ("patient", 1));
    assert_eq!(saga.business_key.as_deref(), Some("tour/1"));
    assert_eq!(saga.tags["city"], "nyc");
    assert_eq!(saga.view.status, Status::Waiting);
    assert_eq!(
        client.get(saga.id).await.unwrap().unwrap(),
        saga,
        "the answer is what a look would give"
    );

    let at_once = client
        .start(StartRequest {
            wait: Some(Duration::from_secs(5)),
            ..instant()
        })
        .await
        .unwrap();
    assert_eq!(at_once.saga.view.status, Status::Completed);
    let in_vain = client
        .start(StartRequest {
            wait: Some(Duration::from_millis(20)),
            ..patient("x")
        })
        .await
        .unwrap();
    assert_eq!(in_vain.saga.view.status, Status::Waiting);

    let unknown = StartRequest {
        workflow: "nope".to_owned(),
        ..instant()
    };
    assert_eq!(pointers(client.start(unknown).await), ["/workflow"]);
    assert_eq!(
        pointers(
            client
                .start(StartRequest {
                    version: Some(9),
                    ..instant()
                })
                .await
        ),
        ["/version"]
    );
    let wrong = StartRequest {
        input: json!({"about": 7, "more": 1}),
        ..patient("x")
    };
    assert_eq!(pointers(client.start(wrong).await), ["/input", "/input/about"]);
    let nul = StartRequest {
        input: json!({"about": "a\0b"}),
        ..patient("x")
    };
    assert_eq!(pointers(client.start(nul).await), ["/input/about"]);
    let large = StartRequest {
        input: json!({"about": "x".repeat(300_000)}),
        ..patient("x")
    };
    assert_eq!(pointers(client.start(large).await), ["/input"]);
}

/// The places of what is wrong, sorted.
/// What a brief answer says is what a look would say.
async fn brief_starts(client: &dyn EngineClient) {
    for (request, wait, status) in [
        (patient("b"), None, Status::Waiting),
        (patient("b"), Some(Duration::from_millis(20)), Status::Waiting),
        (instant(), Some(Duration::from_secs(5)), Status::Completed),
    ] {
        let key = Some(format!("brief-{}", Uuid::now_v7()));
        let request = StartRequest {
            wait,
            idempotency_key: key,
            ..request
        };
        let StartedBrief { saga, replayed } = client.start_brief(request.clone()).await.unwrap();
        assert_eq!((saga.status, replayed), (status, false));
        let looked_at = client.get(saga.id).await.unwrap().unwrap();
        assert_eq!(SagaBrief::from(&looked_at), saga);
        let again = client.start_brief(request).await.unwrap();
        assert_eq!((again.saga, again.replayed), (saga, true));
    }
    let unknown = StartRequest {
        workflow: "nope".to_owned(),
        ..instant()
    };
    assert_eq!(pointers(client.start_brief(unknown).await), ["/workflow"]);
}

fn pointers<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Vec<String> {
    let ClientError::Invalid { problems } = result.unwrap_err() else {
        panic!("not the kind of error that has places")
    };
    let mut pointers: Vec<String> = problems.into_iter().map(|problem| problem.pointer).collect();
    pointers.sort();
    pointers
}

async fn idempotency(client: &dyn EngineClient) {
    let key = Uuid::now_v7().to_string();
    let request = StartRequest {
        idempotency_key: Some(key.clone()),
        ..patient("once")
    };
    // A double click: both are on their way at once.
    let (one, other) = tokio::join!(client.start(request.clone()), client.start(request.clone()));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.saga.id, other.saga.id);
    assert!(one.replayed != other.replayed, "one of the two began it");
    let again = client.start(request.clone()).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.saga, client.get(one.saga.id).await.unwrap().unwrap());
    let another = StartRequest {
        input: json!({"about": "twice"}),
        ..request
    };
    assert_eq!(
        client.start(another).await.unwrap_err(),
        ClientError::KeyReused { key: key.clone() }
    );
    let asked = vec![Uuid::now_v7().to_string(), key.clone()];
    assert_eq!(client.used_keys(asked).await.unwrap(), HashSet::from([key]));
    assert!(matches!(
        client.used_keys(Vec::new()).await,
        Err(ClientError::Invalid { .. })
    ));
}

async fn bulk(client: &dyn EngineClient) {
    let key = Uuid::now_v7().to_string();
    let requests = vec![
        StartRequest {
            idempotency_key: Some(key.clone()),
            ..patient("b")
        },
        StartRequest {
            workflow: "nope".to_owned(),
            ..instant()
        },
        StartRequest {
            input: json!({"about": "\0"}),
            ..patient("b")
        },
        patient("b"),
    ];
    let answers = client.start_bulk(requests).await.unwrap();
    assert_eq!(answers.len(), 4);
    assert_eq!(answers[0].as_ref().unwrap().saga.business_key.as_deref(), Some("b"));
    assert!(matches!(answers[1], Err(ClientError::Invalid { .. })));
    assert!(matches!(answers[2], Err(ClientError::Invalid { .. })));
    assert!(!answers[3].as_ref().unwrap().replayed);
    let again = client
        .start_bulk(vec![StartRequest {
            idempotency_key: Some(key),
            ..patient("b")
        }])
        .await
        .unwrap();
    assert!(again[0].as_ref().unwrap().replayed);
    assert!(matches!(
        client.start_bulk(Vec::new()).await,
        Err(ClientError::Invalid { .. })
    ));
    assert!(matches!(
        client.start_bulk(vec![instant(); 1_001]).await,
        Err(ClientError::Invalid { .. })
    ));
}

async fn looks(client: &dyn EngineClient) {
    let nobody = SagaId(Uuid::now_v7());
    assert_eq!(client.get(nobody).await.unwrap(), None);
    assert_eq!(
        client
            .wait(nobody, Until::Settled, Duration::from_millis(10))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        client.journal(nobody, 0, 10).await.unwrap_err(),
        ClientError::no_saga(nobody)
    );
    assert!(matches!(
        client.journal(nobody, 0, 0).await.unwrap_err(),
        ClientError::Invalid { .. }
    ));

    let saga = client.start(patient("journal")).await.unwrap().saga;
    let journal = client.journal(saga.id, 0, 100).await.unwrap();
    assert_eq!(journal.len() as u64, saga.view.seq);
    assert_eq!(journal[0].event["event"], "started");
    assert_eq!(journal[0].facts[0].topic, "test.begun");
    assert_eq!(journal[0].facts[0].data, json!({"about": "journal"}));
    assert_eq!(client.journal(saga.id, 0, 1).await.unwrap(), journal[..1]);
    assert_eq!(client.journal(saga.id, saga.view.seq, 100).await.unwrap(), []);
}

async fn signals(client: &dyn EngineClient) {
    let saga = client.start(patient("signals")).await.unwrap().saga.id;
    let go = Signal {
        id: "s1".to_owned(),
        name: "go".to_owned(),
        payload: json!({"words": "hi"}),
    };
    let waiting = client.wait(saga, Until::Settled, Duration::from_secs(20));
    let (settled, receipt) = tokio::join!(waiting, client.signal(saga, go.clone()));
    assert_eq!(receipt.unwrap(), SignalReceipt::Delivered);
    let settled = settled.unwrap().unwrap();
    assert_eq!(settled.view.status, Status::Completed);
    assert_eq!(settled.view.output, json!({"said": "hi"}));
    assert_eq!(client.signal(saga, go.clone()).await.unwrap(), SignalReceipt::Duplicate);
    assert_eq!(
        client.signal(SagaId(Uuid::now_v7()), go.clone()).await.unwrap(),
        SignalReceipt::Parked
    );
    let wrong = Signal {
        name: String::new(),
        payload: json!(["\0"]),
        ..go
    };
    assert_eq!(pointers(client.signal(saga, wrong).await), ["/name", "/payload/0"]);
}

async fn commands(client: &dyn EngineClient) {
    let saga = client.start(patient("commands")).await.unwrap().saga;
    let paused = client
        .command_at(saga.id, command(Command::Pause {}), Some(saga.view.seq))
        .await
        .unwrap();
    assert_eq!(paused.view.status, Status::Paused);
    let stale = client
        .command_at(saga.id, command(Command::Cancel {}), Some(saga.view.seq))
        .await
        .unwrap_err();
    assert_eq!(
        stale,
        ClientError::Moved {
            expected: saga.view.seq,
            current: paused.view.seq
        }
    );
    client.command(saga.id, command(Command::Resume {})).await.unwrap();
    client.command(saga.id, command(Command::Cancel {})).await.unwrap();
    let cancelled = client
        .wait(saga.id, Until::Settled, Duration::from_secs(20))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(cancelled.view.status, Status::Cancelled);
    let refused = client.command(saga.id, command(Command::Pause {})).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { .. }), "{refused:?}");
    let nobody = SagaId(Uuid::now_v7());
    assert_eq!(
        client.command(nobody, command(Command::Pause {})).await.unwrap_err(),
        ClientError::no_saga(nobody)
    );
}

async fn lists(client: &dyn EngineClient) {
    let mut begun = Vec::new();
    for n in 0..5 {
        let mut request = patient("listed");
        request.tags.insert("n".to_owned(), n.to_string());
        begun.push(client.start(request).await.unwrap().saga.id);
    }
    begun.reverse();
    let filter = ListFilter {
        business_key: Some("listed".to_owned()),
        limit: Some(2),
        ..ListFilter::default()
    };
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = client
            .list(ListFilter {
                cursor,
                ..filter.clone()
            })
            .await
            .unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|saga| saga.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, begun, "newest first, each once");
    let tagged = ListFilter {
        tag: Some(("n".to_owned(), "3".to_owned())),
        ..ListFilter::default()
    };
    assert_eq!(
        client
            .list(tagged)
            .await
            .unwrap()
            .items
            .iter()
            .map(|saga| saga.id)
            .collect::<Vec<_>>(),
        [begun[1]]
    );
    let waiting = ListFilter {
        status: vec![Status::Waiting, Status::Paused],
        ..filter.clone()
    };
    assert_eq!(client.list(waiting).await.unwrap().items.len(), 2);
    let completed = ListFilter {
        status: vec![Status::Completed],
        ..filter.clone()
    };
    assert_eq!(client.list(completed).await.unwrap().items, []);
    let early = ListFilter {
        created_before: Some(Timestamp(1_000)),
        ..filter.clone()
    };
    assert_eq!(client.list(early).await.unwrap().items, []);
    let wrong = ListFilter {
        limit: Some(501),
        ..filter.clone()
    };
    assert_eq!(pointers(client.list(wrong).await), ["?limit"]);
    let wrong = ListFilter {
        cursor: Some("x".to_owned()),
        ..filter
    };
    assert_eq!(pointers(client.list(wrong).await), ["?cursor"]);
}

async fn workflows_are_deployed(client: &dyn EngineClient) {
    let mut value =
        json!({"name": "fresh", "version": 1, "flow": [{"kind": "sleep", "name": "nap", "duration": "1s"}]});
    let first = client.deploy(definition(value.clone())).await.unwrap();
    assert!(first.created);
    let again = client.deploy(definition(value.clone())).await.unwrap();
    assert_eq!((again.definition, again.created), (first.definition, false));
    value["flow"][0]["duration"] = json!("2s");
    assert!(matches!(
        client.deploy(definition(value.clone())).await.unwrap_err(),
        ClientError::Conflict { .. }
    ));
    value["version"] = json!(2);
    client.deploy(definition(value.clone())).await.unwrap();
    let newest = client.definition("fresh", None).await.unwrap().unwrap();
    assert_eq!((newest.summary.version, newest.definition), (2, definition(value)));
    assert_eq!(
        client
            .definition("fresh", Some(1))
            .await
            .unwrap()
            .unwrap()
            .summary
            .version,
        1
    );
    assert_eq!(client.definition("fresh", Some(3)).await.unwrap(), None);
    assert_eq!(client.definition("a/b \"c\"", None).await.unwrap(), None);
    let fresh = client
        .definitions()
        .await
        .unwrap()
        .into_iter()
        .filter(|it| it.name == "fresh")
        .count();
    assert_eq!(fresh, 2);
    let twins = json!({"name": "Twins!", "version": 1, "flow": [
        {"kind": "sleep", "name": "nap", "duration": "1s"}, {"kind": "sleep", "name": "nap", "duration": "1s"}]});
    assert!(
        pointers(client.deploy(definition(twins)).await).len() >= 2,
        "all problems are listed at once"
    );
}

async fn schedules(client: &dyn EngineClient) {
    let spec: ScheduleSpec = serde_json::from_value(json!({
        "name": "nightly", "cron": "30 2 * * *", "timeZone": "America/New_York", "workflow": "instant"}))
    .unwrap();
    let created = client.create_schedule(spec.clone()).await.unwrap();
    assert!(created.next_due_at.is_some() && !created.paused);
    assert_eq!(client.schedule("nightly").await.unwrap(), Some(created.clone()));
    assert_eq!(client.schedules().await.unwrap(), [created]);
    assert!(matches!(
        client.create_schedule(spec.clone()).await.unwrap_err(),
        ClientError::Conflict { .. }
    ));

    let paused = client.pause_schedule("nightly", true).await.unwrap();
    assert_eq!((paused.paused, paused.next_due_at), (true, None));
    assert!(
        client
            .pause_schedule("nightly", false)
            .await
            .unwrap()
            .next_due_at
            .is_some()
    );

    let fired = client.run_schedule("nightly").await.unwrap();
    assert_eq!(
        (fired.origin, fired.outcome),
        (FiringOrigin::Manual, FiringOutcome::Started)
    );
    let saga = client.get(fired.saga.unwrap()).await.unwrap().unwrap();
    assert_eq!(saga.tags["schedule"], "nightly");
    assert_eq!(client.firings("nightly", 10).await.unwrap(), [fired]);

    let wrong = ScheduleSpec {
        name: "No Name".to_owned(),
        cron: "soon".to_owned(),
        ..spec.clone()
    };
    assert_eq!(pointers(client.create_schedule(wrong).await), ["/cron", "/name"]);
    let wrong = ScheduleSpec {
        name: "b".to_owned(),
        workflow: "nope".to_owned(),
        ..spec.clone()
    };
    assert_eq!(pointers(client.create_schedule(wrong).await), ["/workflow"]);
    let wrong = ScheduleSpec {
        name: "b".to_owned(),
        workflow: "patient".to_owned(),
        ..spec
    };
    assert_eq!(pointers(client.create_schedule(wrong).await), ["/input"]);

    client.delete_schedule("nightly").await.unwrap();
    assert_eq!(client.schedule("nightly").await.unwrap(), None);
    for error in [
        client.delete_schedule("nightly").await.unwrap_err(),
        client.run_schedule("nightly").await.unwrap_err(),
        client.pause_schedule("nightly", true).await.unwrap_err(),
        client.firings("nightly", 10).await.unwrap_err(),
    ] {
        assert!(matches!(error, ClientError::NotFound { .. }), "{error:?}");
    }
}

//! `sagaline saga …` through mission control: with roles, redaction, a second person and the audit trail.

use serde_json::{Value, json};
use workflows::state::Status;

use super::control::{self, Client, Column};
use super::saga::{Diff, List, SagaCommand, Target};
use super::{arguments, saga_watch};
use crate::cli::Global;
use crate::output;

const SAGAS: &[Column] = &[
    ("SAGA", "/id"),
    ("WORKFLOW", "/workflow"),
    ("STATUS", "/status"),
    ("ABOUT", "/businessKey"),
    ("FAILED AT", "/failureStep"),
    ("ERROR", "/failureCode"),
    ("BEGUN", "/createdAt"),
];
const SAGA: &[Column] = &[
    ("saga", "/id"),
    ("workflow", "/workflow"),
    ("version", "/version"),
    ("status", "/status"),
    ("about", "/businessKey"),
    ("begun", "/createdAt"),
    ("entry", "/seq"),
];
const JOURNAL: &[Column] = &[
    ("SEQ", "/seq"),
    ("AT", "/at"),
    ("WHAT", "/kind"),
    ("STEP", "/step"),
    ("BY", "/command/by"),
    ("WHY", "/command/reason"),
];
const SIDE: &[Column] = &[
    ("SAGA", "/saga"),
    ("VERSION", "/version"),
    ("ATTEMPT", "/attempt"),
    ("AT", "/at"),
    ("MS", "/tookMs"),
    ("OUTCOME", "/outcome"),
];
const CHANGES: [Column; 3] = [("WHERE", "/path"), ("BEFORE", "/before"), ("AFTER", "/after")];

/// Does it.
pub async fn run(global: &Global, client: &Client, command: SagaCommand) -> anyhow::Result<()> {
    let (target, wish) = match command {
        SagaCommand::List(list) => {
            let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
            let mut query = vec![("q", search(&list)), ("limit", list.limit.to_string())];
            query.extend(list.cursor.map(|cursor| ("after", cursor)));
            let items = client.list("/sagas", &query, "after", limit).await?;
            return control::print_items(global.output, SAGAS, &items);
        }
        SagaCommand::Show { saga, engine: _ } => {
            let found = client.get(&format!("/sagas/{saga}"), &[]).await?.body;
            return control::print_item(global.output, SAGA, &found);
        }
        SagaCommand::Journal {
            saga,
            after,
            limit,
            engine: _,
        } => {
            let query = [("after", after.to_string()), ("limit", limit.to_string())];
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let items = client
                .list(&format!("/sagas/{saga}/journal"), &query, "after", limit)
                .await?;
            return control::print_items(global.output, JOURNAL, &items);
        }
        SagaCommand::Watch { saga, engine: _ } => return saga_watch::watch(global, client, saga).await,
        SagaCommand::Diff(found) => return diff(global, client, &found).await,
        SagaCommand::Start(_) => {
            anyhow::bail!("mission control starts no sagas: leave --server and SAGALINE_SERVER out to ask the engine")
        }
        SagaCommand::Signal {
            target,
            name,
            payload,
            id: _,
        } => {
            let wish = json!({"command": "signal", "step": name, "value": arguments::json(&payload)?});
            (target, wish)
        }
        SagaCommand::Retry { target, step, input } => {
            let input = input.as_deref().map(arguments::json).transpose()?;
            (
                target,
                json!({"command": "retry", "step": step.unwrap_or_default(), "value": input}),
            )
        }
        SagaCommand::Skip { target, step, result } => (
            target,
            json!({"command": "skip", "step": step, "value": arguments::json(&result)?}),
        ),
        SagaCommand::GoBack { target, step } => (target, json!({"command": "go_back", "step": step})),
        SagaCommand::Cancel(target) => (target, json!({"command": "cancel"})),
        SagaCommand::Compensate(target) => (target, json!({"command": "compensate"})),
        SagaCommand::Pause(target) => (target, json!({"command": "pause"})),
        SagaCommand::Resume(target) => (target, json!({"command": "resume"})),
    };
    act(global, client, target, wish).await
}

/// Prints two attempts, and below them where they differ.
async fn diff(global: &Global, client: &Client, wanted: &Diff) -> anyhow::Result<()> {
    let with = match wanted.other {
        Some(other) => other.to_string(),
        None if wanted.passed => "passed".to_owned(),
        None => String::new(),
    };
    let mut query = vec![("with", with)];
    query.extend(wanted.step.clone().map(|step| ("step", step)));
    let path = format!("/sagas/{}/difference", wanted.saga);
    let found = client.get(&path, &query).await?.body;
    output::print_one(global.output, &found, |found| {
        let sides = [("before", &found["before"]), ("after", &found["after"])];
        let sides = sides.map(|(name, side)| {
            let cells = SIDE.iter().map(|(_, at)| control::cell(side, at));
            std::iter::once(name.to_owned()).chain(cells).collect()
        });
        let headings: Vec<&str> = std::iter::once("")
            .chain(SIDE.iter().map(|(heading, _)| *heading))
            .collect();
        let changes = found["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rows = changes
            .iter()
            .map(|change| CHANGES.iter().map(|(_, at)| control::cell(change, at)).collect());
        let mut text = format!(
            "{}\n\n{}",
            output::table(&headings, sides),
            output::table(&CHANGES.map(|(heading, _)| heading), rows)
        );
        if changes.is_empty() {
            text.push_str("\nnothing differs");
        }
        if found["more"] == true {
            text.push_str("\nthere are more");
        }
        text
    })
}

/// The flags as a search.
fn search(list: &List) -> String {
    let quoted = |value: &str| format!("\"{}\"", value.replace('"', ""));
    let now = chrono::Utc::now().timestamp_millis();
    let age = |at: workflows::ids::Timestamp| format!("{}ms", now.saturating_sub(at.0).max(0));
    let mut words: Vec<String> = list.search.iter().cloned().collect();
    if !list.status.is_empty() {
        let names: Vec<&str> = list.status.iter().map(|status: &Status| status.as_str()).collect();
        words.push(format!("status:{}", names.join(",")));
    }
    words.extend(
        list.workflow
            .as_deref()
            .map(|workflow| format!("workflow:{}", quoted(workflow))),
    );
    words.extend(list.key.as_deref().map(|key| format!("key:{}", quoted(key))));
    words.extend(
        list.tag
            .as_ref()
            .map(|(name, value)| format!("tag.{name}:{}", quoted(value))),
    );
    words.extend(list.since.map(|since| format!("started:<{}", age(since))));
    words.extend(list.before.map(|before| format!("started:>{}", age(before))));
    words.join(" ")
}

/// Shows what would come of it, asks before the grave ones, and does it where the saga was looked at.
async fn act(global: &Global, client: &Client, target: Target, mut wish: Value) -> anyhow::Result<()> {
    let path = format!("/sagas/{}", target.saga);
    let dry = client.dry_run(&path, &wish).await?;
    if dry.body["possible"] != true {
        anyhow::bail!(
            "{}",
            control::plain(dry.body["why"].as_str().unwrap_or("it is not possible"))
        );
    }
    for line in dry.body["consequences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        eprintln!("{}", control::plain(line));
    }
    let grave = ["skip", "cancel", "compensate", "go_back"]
        .iter()
        .any(|command| wish["command"] == *command);
    if grave || wish["command"] == "retry" && !wish["value"].is_null() {
        let question = match (wish["command"].as_str(), wish["step"].as_str()) {
            (Some("go_back"), Some(step)) => format!("take saga {} back to {step}?", target.saga),
            (command, _) => format!("{} saga {}?", command.unwrap_or_default(), target.saga),
        };
        target.sure.ask(&question)?;
    }
    wish["reason"] = target.reason.into();
    let tag = target.if_at.map(|seq| format!("\"{seq}\"")).or(dry.tag);
    let answer = client.post(&format!("{path}/commands"), &wish, tag.as_deref()).await?;
    output::print_one(global.output, &answer, |answer| match &answer["approval"] {
        Value::Null => control::plain(answer["outcome"].as_str().unwrap_or_default()),
        id => format!("it waits for a second person, as request {id}: `sagaline approval approve {id}`"),
    })
}

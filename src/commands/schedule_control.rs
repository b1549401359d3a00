//! `sagaline schedule …` through mission control: with roles, redaction and the audit trail.

use serde_json::{Value, json};

use super::control::{self, Client, Column, Sure};
use super::schedule::{Name, ScheduleCommand};
use crate::cli::Global;
use crate::output;

const SCHEDULES: &[Column] = &[
    ("SCHEDULE", "/name"),
    ("CRON", "/cron"),
    ("TIME ZONE", "/timeZone"),
    ("WORKFLOW", "/workflow"),
    ("OVERLAP", "/overlap"),
    ("PAUSED", "/paused"),
    ("NEXT", "/nextDueAt"),
    ("LAST", "/lastDueAt"),
];
const SCHEDULE: &[Column] = &[
    ("schedule", "/name"),
    ("cron", "/cron"),
    ("time zone", "/timeZone"),
    ("workflow", "/workflow"),
    ("version", "/version"),
    ("input", "/input"),
    ("overlap", "/overlap"),
    ("paused", "/paused"),
    ("next", "/nextDueAt"),
    ("last", "/lastDueAt"),
];
const FIRINGS: &[Column] = &[
    ("DUE", "/dueAt"),
    ("ORIGIN", "/origin"),
    ("OUTCOME", "/outcome"),
    ("SAGA", "/saga"),
    ("NOTE", "/note"),
];

/// Does it.
pub async fn run(global: &Global, client: &Client, command: ScheduleCommand) -> anyhow::Result<()> {
    match command {
        ScheduleCommand::List { engine: _ } => {
            let items = client.list("/schedules", &[], "after", usize::MAX).await?;
            control::print_items(global.output, SCHEDULES, &items)
        }
        ScheduleCommand::Show(name) => {
            let found = client.get(&path(&name.name), &[]).await?.body;
            control::print_item(global.output, SCHEDULE, &found)
        }
        ScheduleCommand::Firings { name, limit } => {
            let query = [("limit", limit.to_string())];
            let items = client
                .list(
                    &format!("{}/firings", path(&name.name)),
                    &query,
                    "after",
                    limit as usize,
                )
                .await?;
            control::print_items(global.output, FIRINGS, &items)
        }
        ScheduleCommand::Create(_) => {
            anyhow::bail!(
                "mission control creates no schedules: leave --server and SAGALINE_SERVER out to ask the engine"
            )
        }
        ScheduleCommand::Pause(deed) => {
            act(
                global,
                client,
                &deed.name,
                "pause",
                None,
                json!({"reason": deed.reason}),
            )
            .await
        }
        ScheduleCommand::Resume(deed) => {
            act(
                global,
                client,
                &deed.name,
                "resume",
                None,
                json!({"reason": deed.reason}),
            )
            .await
        }
        ScheduleCommand::Run(deed) => {
            let body = json!({"reason": deed.reason});
            act(global, client, &deed.name, "run", Some(&deed.sure), body).await
        }
        ScheduleCommand::Backfill { deed, from, to } => {
            let body = json!({"reason": deed.reason, "from": from.to_rfc3339(), "to": to.to_rfc3339()});
            act(global, client, &deed.name, "backfill", Some(&deed.sure), body).await
        }
    }
}

/// What begins sagas is asked about.
async fn act(
    global: &Global,
    client: &Client,
    name: &Name,
    word: &str,
    sure: Option<&Sure>,
    body: Value,
) -> anyhow::Result<()> {
    if let Some(sure) = sure {
        sure.ask(&format!("{word} the schedule {}?", name.name))?;
    }
    let answer = client
        .post(&format!("{}/{word}", path(&name.name)), &body, None)
        .await?;
    output::print_one(global.output, &answer, |answer| {
        control::plain(answer["outcome"].as_str().unwrap_or_default())
    })
}

fn path(name: &str) -> String {
    format!("/schedules/{}", control::segment(name))
}

//! `sagaline saga …`: look into sagas and act on them, through mission control where one is named, else through the engine's
//! own HTTP API.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use orchestrator::client::{EngineClient, HttpClient, JournalItem, ListFilter, SagaDetail, SagaSummary, StartRequest};
use serde_json::Value;
use uuid::Uuid;
use workflows::event::{Command, CommandEvent, Signal};
use workflows::ids::{SagaId, Timestamp};
use workflows::state::Status;

use super::control::{Client, Server, Sure};
use super::{arguments, saga_control};
use crate::cli::{Global, set};
use crate::output::{self, Row};
use crate::settings::Settings;

/// Where the orchestrator is.
#[derive(Clone, Debug, Args)]
pub struct Engine {
    /// The orchestrator's HTTP API [env: SAGALINE_ENGINE_URL] [default: http://127.0.0.1:3001].
    #[arg(long, value_name = "URL", global = true)]
    engine_url: Option<String>,
    #[command(flatten)]
    server: Server,
}

impl Engine {
    /// A client of it.
    pub fn client(&self, global: &Global) -> anyhow::Result<HttpClient> {
        let settings = Settings::load(global.config.clone(), set("engine.url", self.engine_url.as_ref()))?;
        Ok(HttpClient::new(&settings.engine_url)?)
    }

    /// A client of mission control, if one is named.
    pub fn mission(&self, global: &Global) -> anyhow::Result<Option<Client>> {
        self.server.client_if_set(global)
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum SagaCommand {
    /// List sagas, newest first.
    List(List),
    /// Show where a saga stands.
    Show {
        /// The saga.
        saga: SagaId,
        #[command(flatten)]
        engine: Engine,
    },
    /// Show what happened to a saga.
    Journal {
        /// The saga.
        saga: SagaId,
        /// Only what came after this entry.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Entries, at most.
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        #[command(flatten)]
        engine: Engine,
    },
    /// Follow a saga until it has ended or waits for an operator; through mission control.
    Watch {
        /// The saga.
        saga: SagaId,
        #[command(flatten)]
        engine: Engine,
    },
    /// Show what differs between two attempts at a step; through mission control.
    Diff(Diff),
    /// Start a saga.
    Start(Start),
    /// Give a saga a signal.
    Signal {
        #[command(flatten)]
        target: Target,
        /// The signal's name.
        name: String,
        /// What it says: JSON, @file or - for stdin.
        #[arg(long, default_value = "null")]
        payload: String,
        /// For deduplication; left out, a new one.
        #[arg(long)]
        id: Option<String>,
    },
    /// Try a failed or waiting step again now.
    Retry {
        #[command(flatten)]
        target: Target,
        /// Which step; left out, each that waits for an operator or for its next attempt.
        #[arg(long)]
        step: Option<String>,
        /// An input in place of the mapped one: JSON, @file or - for stdin. It is a new effect.
        #[arg(long, requires = "step")]
        input: Option<String>,
    },
    /// Go on as if a step had succeeded.
    Skip {
        #[command(flatten)]
        target: Target,
        /// Which step.
        #[arg(long)]
        step: String,
        /// Its output: JSON, @file or - for stdin.
        #[arg(long = "result", value_name = "JSON", default_value = "null")]
        result: String,
    },
    /// End a saga and undo what it did; refused after the point of no return.
    Cancel(Target),
    /// Undo what a saga did, even after the point of no return.
    Compensate(Target),
    /// Undo what a saga did from a step on, the last effect first, and run on from there; refused after the point of no return.
    GoBack {
        #[command(flatten)]
        target: Target,
        /// The step to begin again with.
        #[arg(long)]
        step: String,
    },
    /// Dispatch nothing more for a saga until it is resumed.
    Pause(Target),
    /// Let a paused saga go on.
    Resume(Target),
}

/// `saga list`.
#[derive(Debug, Args)]
pub struct List {
    /// A search as in mission control, `workflow:booking status:stuck`; through mission control only.
    pub search: Option<String>,
    /// With this status; may be given several times.
    #[arg(long)]
    pub status: Vec<Status>,
    /// Of this workflow.
    #[arg(long)]
    pub workflow: Option<String>,
    /// About this (the business key).
    #[arg(long)]
    pub key: Option<String>,
    /// With this label.
    #[arg(long, value_name = "NAME=VALUE", value_parser = arguments::label)]
    pub tag: Option<(String, String)>,
    /// Begun since then: an instant, or a time ago such as 15m.
    #[arg(long, value_name = "WHEN", value_parser = arguments::instant)]
    pub since: Option<Timestamp>,
    /// Begun before then.
    #[arg(long, value_name = "WHEN", value_parser = arguments::instant)]
    pub before: Option<Timestamp>,
    /// Sagas on the page.
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Where the page begins: what the last one said.
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    engine: Engine,
}

/// `saga diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The saga.
    pub saga: SagaId,
    /// Another saga whose last attempt it is compared with; left out, the attempt before.
    pub other: Option<SagaId>,
    /// Which step; left out, the one that failed, or was tried last.
    #[arg(long)]
    pub step: Option<String>,
    /// Compare with the last saga that passed the step, as is done where there is no attempt before.
    #[arg(long, conflicts_with = "other")]
    pub passed: bool,
    #[command(flatten)]
    engine: Engine,
}

/// `saga start`.
#[derive(Debug, Args)]
pub struct Start {
    /// The workflow's name.
    workflow: String,
    /// Its version; left out, the newest.
    #[arg(long)]
    version: Option<u32>,
    /// Its input: JSON, @file or - for stdin.
    #[arg(long, default_value = "{}")]
    input: String,
    /// The same key gives the same saga.
    #[arg(long)]
    idempotency_key: Option<String>,
    /// A label; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = arguments::label)]
    tag: Vec<(String, String)>,
    /// Wait for the outcome, at most this long.
    #[arg(long, value_name = "TIME", value_parser = arguments::duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    engine: Engine,
}

/// A saga, and who does something to it and why.
#[derive(Debug, Args)]
pub struct Target {
    /// The saga.
    pub saga: SagaId,
    /// Why, for the journal.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who, for the engine's journal; left out, $USER. Mission control knows by the token.
    #[arg(long)]
    by: Option<String>,
    /// Refuse if the saga has moved on since this entry of its journal.
    #[arg(long, value_name = "SEQ")]
    pub if_at: Option<u64>,
    #[command(flatten)]
    pub sure: Sure,
    #[command(flatten)]
    engine: Engine,
}

/// Does it.
pub async fn run(global: &Global, command: SagaCommand) -> anyhow::Result<()> {
    if let Some(client) = command.engine().mission(global)? {
        return saga_control::run(global, &client, command).await;
    }
    match command {
        SagaCommand::List(list) => run_list(global, list).await,
        SagaCommand::Show { saga, engine } => {
            let detail = engine.client(global)?.get(saga).await?;
            print_saga(global, &detail.with_context(|| format!("there is no saga {saga}"))?)
        }
        SagaCommand::Journal {
            saga,
            after,
            limit,
            engine,
        } => {
            let entries = engine.client(global)?.journal(saga, after, limit).await?;
            output::print_list(global.output, &entries)
        }
        SagaCommand::Diff(_) => anyhow::bail!("attempts are compared by mission control: set --server"),
        SagaCommand::Watch { .. } => anyhow::bail!("a saga is watched through mission control: set --server"),
        SagaCommand::Start(start) => run_start(global, start).await,
        SagaCommand::Signal {
            target,
            name,
            payload,
            id,
        } => {
            let id = id.unwrap_or_else(|| Uuid::now_v7().to_string());
            let signal = Signal {
                id,
                name,
                payload: arguments::json(&payload)?,
            };
            let receipt = target.engine.client(global)?.signal(target.saga, signal).await?;
            output::print_one(global.output, &receipt, text_of)
        }
        SagaCommand::Retry { target, step, input } => {
            let input = input.as_deref().map(arguments::json).transpose()?;
            act(global, target, Command::Retry { step, input }).await
        }
        SagaCommand::Skip { target, step, result } => {
            let output = arguments::json(&result)?;
            act(global, target, Command::Skip { step, output }).await
        }
        SagaCommand::GoBack { target, step } => act(global, target, Command::GoBack { step }).await,
        SagaCommand::Cancel(target) => act(global, target, Command::Cancel {}).await,
        SagaCommand::Compensate(target) => act(global, target, Command::Compensate {}).await,
        SagaCommand::Pause(target) => act(global, target, Command::Pause {}).await,
        SagaCommand::Resume(target) => act(global, target, Command::Resume {}).await,
    }
}

impl SagaCommand {
    /// Whom it asks.
    fn engine(&self) -> &Engine {
        match self {
            SagaCommand::List(list) => &list.engine,
            SagaCommand::Diff(diff) => &diff.engine,
            SagaCommand::Show { engine, .. }
            | SagaCommand::Journal { engine, .. }
            | SagaCommand::Watch { engine, .. } => engine,
            SagaCommand::Start(start) => &start.engine,
            SagaCommand::Signal { target, .. }
            | SagaCommand::Retry { target, .. }
            | SagaCommand::Skip { target, .. }
            | SagaCommand::GoBack { target, .. } => &target.engine,
            SagaCommand::Cancel(target)
            | SagaCommand::Compensate(target)
            | SagaCommand::Pause(target)
            | SagaCommand::Resume(target) => &target.engine,
        }
    }
}

async fn run_list(global: &Global, list: List) -> anyhow::Result<()> {
    anyhow::ensure!(
        list.search.is_none(),
        "a search needs mission control: set --server, or use the flags"
    );
    let filter = ListFilter {
        status: list.status,
        workflow: list.workflow,
        business_key: list.key,
        tag: list.tag,
        created_after: list.since,
        created_before: list.before,
        cursor: list.cursor,
        limit: Some(list.limit),
    };
    let page = list.engine.client(global)?.list(filter).await?;
    output::print_list(global.output, &page.items)?;
    if let Some(cursor) = page.next {
        eprintln!("there are more: --cursor {cursor}");
    }
    Ok(())
}

async fn run_start(global: &Global, start: Start) -> anyhow::Result<()> {
    let request = StartRequest {
        workflow: start.workflow,
        version: start.version,
        input: arguments::json(&start.input)?,
        idempotency_key: start.idempotency_key,
        tags: start.tag.into_iter().collect(),
        traceparent: None,
        wait: start.wait,
    };
    let started = start.engine.client(global)?.start(request).await?;
    print_saga(global, &started.saga)
}

async fn act(global: &Global, target: Target, command: Command) -> anyhow::Result<()> {
    let by = arguments::operator(target.by)?;
    let event = CommandEvent {
        command,
        by,
        reason: target.reason,
    };
    let detail = target
        .engine
        .client(global)?
        .command_at(target.saga, event, target.if_at)
        .await?;
    print_saga(global, &detail)
}

fn print_saga(global: &Global, detail: &SagaDetail) -> anyhow::Result<()> {
    output::print_one(global.output, detail, saga_text)
}

/// A saga for people.
fn saga_text(detail: &SagaDetail) -> String {
    let view = &detail.view;
    let mut lines = vec![
        format!("saga      {}", detail.id),
        format!("workflow  {} v{}", detail.workflow, detail.version),
        format!(
            "status    {}{}",
            view.status.as_str(),
            if view.pivoted {
                " (past the point of no return)"
            } else {
                ""
            }
        ),
        format!("begun     {}", output::instant(detail.created_at)),
    ];
    lines.extend(detail.business_key.as_ref().map(|key| format!("about     {key}")));
    lines.extend(detail.ended_at.map(|at| format!("ended     {}", output::instant(at))));
    lines.extend(view.reason.as_ref().map(|reason| format!("reason    {reason}")));
    if let Some(error) = &view.error {
        let step = view.failed_step.as_deref().unwrap_or("a step");
        lines.push(format!("error     {} in {step}: {}", error.code, error.message));
    }
    if !view.output.is_null() {
        lines.push(format!("output    {}", view.output));
    }
    if !view.steps.is_empty() {
        lines.push(String::new());
        let rows = view.steps.iter().map(|step| {
            let role = step.role.clone().unwrap_or_default();
            vec![
                step.name.clone(),
                step.kind.clone(),
                step.standing.clone(),
                step.progress.clone().unwrap_or_else(|| "-".into()),
                if role.is_empty() {
                    "-".into()
                } else {
                    format!("{role} #{}", step.attempt)
                },
                step.until.map_or_else(|| "-".into(), output::instant),
                step.error.as_ref().map(|error| error.code.clone()).unwrap_or_default(),
            ]
        });
        lines.push(output::table(
            &["STEP", "KIND", "EFFECT", "DOING", "ATTEMPT", "UNTIL", "ERROR"],
            rows,
        ));
    }
    lines.join("\n")
}

/// A plain enum's JSON name, without the quotes.
pub fn text_of(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

impl Row for SagaSummary {
    const HEADINGS: &'static [&'static str] = &["SAGA", "WORKFLOW", "STATUS", "ABOUT", "BEGUN", "ENDED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            format!("{} v{}", self.workflow, self.version),
            self.status.as_str().to_owned(),
            self.business_key.clone().unwrap_or_else(|| "-".into()),
            output::instant(self.created_at),
            self.ended_at.map_or_else(|| "-".into(), output::instant),
        ]
    }
}

impl Row for JournalItem {
    const HEADINGS: &'static [&'static str] = &["SEQ", "AT", "WHAT", "STEP", "EVENTS"];

    fn cells(&self) -> Vec<String> {
        let topics: Vec<&str> = self.facts.iter().map(|fact| fact.topic.as_str()).collect();
        vec![
            self.seq.to_string(),
            self.at.to_rfc3339(),
            self.kind.clone(),
            self.step.clone().unwrap_or_else(|| "-".into()),
            topics.join(" "),
        ]
    }
}

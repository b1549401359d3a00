//! `sagaline campaign …`, `approval …` and `stuck`: mission control without a browser.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::arguments;
use super::control::{self, Column, Server, Sure};
use crate::cli::Global;
use crate::output;

/// How often a campaign that is watched is looked at.
const WATCH_POLL: Duration = Duration::from_millis(500);

const CAMPAIGNS: &[Column] = &[
    ("ID", "/id"),
    ("PHASE", "/phase"),
    ("ACTION", "/plan/action/command"),
    ("SEARCH", "/search"),
    ("BY", "/createdBy"),
    ("MADE", "/createdAt"),
    ("NOTE", "/note"),
];
const CAMPAIGN: &[Column] = &[
    ("campaign", "/id"),
    ("phase", "/phase"),
    ("note", "/note"),
    ("action", "/plan/action/command"),
    ("search", "/search"),
    ("by", "/createdBy"),
    ("reason", "/reason"),
];
const STATES: &[Column] = &[
    ("STATE", "/state"),
    ("SAGAS", "/items"),
    ("WITH EFFECTS", "/withEffects"),
    ("CENTS", "/moneyCents"),
];
const GROUPS: &[Column] = &[
    ("STATE", "/state"),
    ("WORKFLOW", "/workflow"),
    ("STEP", "/step"),
    ("ERROR", "/code"),
    ("SAGAS", "/items"),
    ("CENTS", "/moneyCents"),
    ("IN WORDS", "/outcome"),
];
const ITEMS: &[Column] = &[
    ("NO", "/ordinal"),
    ("SAGA", "/sagaId"),
    ("STATE", "/state"),
    ("STEP", "/step"),
    ("ERROR", "/code"),
    ("CENTS", "/moneyCents"),
    ("IN WORDS", "/outcome"),
];
const STUCK: &[Column] = &[
    ("WORKFLOW", "/workflow"),
    ("STEP", "/step"),
    ("ERROR", "/code"),
    ("SAGAS", "/sagas"),
    ("FIRST", "/first"),
    ("LAST", "/last"),
];
const APPROVALS: &[Column] = &[
    ("ID", "/id"),
    ("WHOSE", "/requestedBy"),
    ("WHAT", "/deed/command"),
    ("STEP", "/deed/step"),
    ("SAGA", "/sagaId"),
    ("CAMPAIGN", "/campaignId"),
    ("WHY", "/reason"),
    ("DECISION", "/decision"),
    ("OUTCOME", "/outcome"),
];

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum CampaignCommand {
    /// Plan one: its sagas are written down and dry-run; nothing is done.
    Plan(Box<Plan>),
    /// List campaigns, newest first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        server: Server,
    },
    /// Show one, with its sagas by reason.
    Show {
        /// The campaign.
        id: i64,
        #[command(flatten)]
        server: Server,
    },
    /// List a campaign's sagas.
    Items {
        /// The campaign.
        id: i64,
        /// In this state: ready, excluded, sent, struggling, passed, failed.
        #[arg(long)]
        state: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 1_000)]
        limit: usize,
        #[command(flatten)]
        server: Server,
    },
    /// Begin to send; a large or grave one waits for a second person first.
    Start(Steer),
    /// Send nothing more until it is resumed.
    Pause(Steer),
    /// Go on, with a canary first.
    Resume(Steer),
    /// Send nothing more, ever.
    Abort(Steer),
    /// Follow a campaign until it doesn't go on by itself; fails if it has stopped.
    Watch {
        /// The campaign.
        id: i64,
        #[command(flatten)]
        server: Server,
    },
}

/// `campaign plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// What to do to each: retry, resume, cancel, skip or compensate.
    #[arg(value_parser = ["retry", "resume", "cancel", "skip", "compensate"])]
    action: String,
    /// To the sagas of this search, as in `workflow:booking status:stuck error:card_declined`.
    #[arg(
        long,
        value_name = "SEARCH",
        required_unless_present = "failed_of",
        conflicts_with = "failed_of"
    )]
    search: Option<String>,
    /// To those that failed in this campaign.
    #[arg(long, value_name = "ID")]
    failed_of: Option<i64>,
    /// Which step; for retry, left out: the one that failed.
    #[arg(long)]
    step: Option<String>,
    /// For retry: fields of the step's input to replace. JSON, @file or - for stdin.
    #[arg(long, value_name = "JSON")]
    input_patch: Option<String>,
    /// For skip: the step's output. JSON, @file or - for stdin.
    #[arg(long = "result", value_name = "JSON")]
    result: Option<String>,
    /// How many go first; left out: 5, or 1 %.
    #[arg(long)]
    canary: Option<u32>,
    /// Sagas a second, at most.
    #[arg(long)]
    rate: Option<u32>,
    /// Sagas on their way at a time, at most.
    #[arg(long)]
    in_flight: Option<u32>,
    /// Stop when more than so many of a hundred fail.
    #[arg(long, value_name = "PERCENT")]
    failures: Option<u32>,
    /// Stop when the same failure comes back more often than this.
    #[arg(long, value_name = "N")]
    same_failures: Option<u32>,
    /// How long until a saga that isn't past its step counts as failed.
    #[arg(long, value_name = "TIME", value_parser = arguments::duration)]
    patience: Option<Duration>,
    /// The field of the input with the money.
    #[arg(long, value_name = "FIELD")]
    money_field: Option<String>,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Don't wait for the dry run.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    server: Server,
}

/// A campaign, and why something is done to it.
#[derive(Debug, Args)]
pub struct Steer {
    /// The campaign.
    id: i64,
    /// Why.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    server: Server,
}

/// Does it.
pub async fn run(global: &Global, command: CampaignCommand) -> anyhow::Result<()> {
    match command {
        CampaignCommand::Plan(plan) => run_plan(global, *plan).await,
        CampaignCommand::List { limit, server } => {
            let items = server.client(global)?.list("/campaigns", &[], "before", limit).await?;
            control::print_items(global.output, CAMPAIGNS, &items)
        }
        CampaignCommand::Show { id, server } => {
            let found = server.client(global)?.get(&format!("/campaigns/{id}"), &[]).await?.body;
            print(global, &found)
        }
        CampaignCommand::Items {
            id,
            state,
            limit,
            server,
        } => {
            let query: Vec<(&str, String)> = state.map(|state| ("state", state)).into_iter().collect();
            let items = server
                .client(global)?
                .list(&format!("/campaigns/{id}/items"), &query, "after", limit)
                .await?;
            control::print_items(global.output, ITEMS, &items)
        }
        CampaignCommand::Start(steer) => run_steer(global, "start", steer, true).await,
        CampaignCommand::Pause(steer) => run_steer(global, "pause", steer, false).await,
        CampaignCommand::Resume(steer) => run_steer(global, "resume", steer, true).await,
        CampaignCommand::Abort(steer) => run_steer(global, "abort", steer, true).await,
        CampaignCommand::Watch { id, server } => watch(global, id, &server).await,
    }
}

fn print(global: &Global, campaign: &Value) -> anyhow::Result<()> {
    control::print_item(global.output, CAMPAIGN, campaign)?;
    if global.output == output::Output::Table {
        for (columns, name) in [(STATES, "states"), (GROUPS, "groups")] {
            output::print_text("")?;
            control::print_items(
                global.output,
                columns,
                campaign[name].as_array().map_or(&[][..], Vec::as_slice),
            )?;
        }
    }
    Ok(())
}

async fn run_plan(global: &Global, plan: Plan) -> anyhow::Result<()> {
    let client = plan.server.client(global)?;
    let mut action = json!({"command": plan.action});
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            action[name] = value;
        }
    };
    put("step", plan.step.map(Value::from));
    put(
        "inputPatch",
        plan.input_patch.as_deref().map(arguments::json).transpose()?,
    );
    put("output", plan.result.as_deref().map(arguments::json).transpose()?);
    let mut settings = json!({"action": action});
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings[name] = value;
        }
    };
    put("canary", plan.canary.map(Value::from));
    put("rate", plan.rate.map(Value::from));
    put("inFlightMax", plan.in_flight.map(Value::from));
    put("failurePercentMax", plan.failures.map(Value::from));
    put("sameFailuresMax", plan.same_failures.map(Value::from));
    put(
        "patienceSeconds",
        plan.patience.map(|patience| Value::from(patience.as_secs())),
    );
    put("moneyField", plan.money_field.map(Value::from));
    let mut body = json!({"reason": plan.reason, "plan": settings});
    match (plan.search, plan.failed_of) {
        (Some(search), _) => body["search"] = search.into(),
        (None, parent) => body["failedOf"] = json!(parent),
    }
    let made = client.post("/campaigns", &body, None).await?;
    let path = format!("/campaigns/{}", made["id"]);
    loop {
        let campaign = client.get(&path, &[]).await?.body;
        let preparing = ["freezing", "planning"].iter().any(|phase| campaign["phase"] == *phase);
        if !preparing || plan.no_wait {
            return print(global, &campaign);
        }
        tokio::time::sleep(WATCH_POLL).await;
    }
}

async fn run_steer(global: &Global, what: &str, steer: Steer, asks: bool) -> anyhow::Result<()> {
    let client = steer.server.client(global)?;
    let path = format!("/campaigns/{}", steer.id);
    if asks {
        let campaign = client.get(&path, &[]).await?.body;
        let ready = campaign["states"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|state| state["state"] == "ready");
        let ready = ready.map_or(0, |state| state["items"].as_i64().unwrap_or_default());
        let action = campaign["plan"]["action"]["command"].as_str().unwrap_or("?").to_owned();
        steer.sure.ask(&format!(
            "{what} campaign {} ({action}, {ready} sagas to go)?",
            steer.id
        ))?;
    }
    let answer = client
        .post(&format!("{path}/{what}"), &json!({"reason": steer.reason}), None)
        .await?;
    if answer["approval"].is_null() {
        return print(global, &client.get(&path, &[]).await?.body);
    }
    output::print_one(global.output, &answer, |answer| {
        let id = &answer["approval"];
        format!("it waits for a second person, as request {id}: `sagaline approval approve {id}`")
    })
}

async fn watch(global: &Global, id: i64, server: &Server) -> anyhow::Result<()> {
    let client = server.client(global)?;
    let mut last = String::new();
    loop {
        let campaign = client.get(&format!("/campaigns/{id}"), &[]).await?.body;
        let phase = campaign["phase"]
            .as_str()
            .context("a campaign without a phase")?
            .to_owned();
        let states = campaign["states"].as_array().into_iter().flatten();
        let words: Vec<String> = states
            .map(|state| format!("{} {}", state["items"], state["state"].as_str().unwrap_or_default()))
            .collect();
        let line = format!("{phase}: {}", words.join(", "));
        if line != last {
            eprintln!("{line}");
            last = line;
        }
        match phase.as_str() {
            "freezing" | "planning" | "canary" | "running" => tokio::time::sleep(WATCH_POLL).await,
            "stopped" => {
                print(global, &campaign)?;
                let note = control::plain(campaign["note"].as_str().unwrap_or_default());
                anyhow::bail!("campaign {id} has stopped: {note}");
            }
            _other => return print(global, &campaign),
        }
    }
}

/// `sagaline approval …`
#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// List requests, newest first.
    List {
        /// Only those that can still be decided.
        #[arg(long)]
        pending: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Agree with a request of somebody else's: it is done at once.
    Approve(Request),
    /// Refuse it.
    Reject(Request),
    /// Take one's own back.
    Withdraw(Request),
}

/// A request.
#[derive(Debug, Args)]
pub struct Request {
    /// The request.
    id: i64,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    server: Server,
}

/// Does it.
pub async fn approval(global: &Global, command: ApprovalCommand) -> anyhow::Result<()> {
    let (decision, request) = match command {
        ApprovalCommand::List { pending, server } => {
            let query = [("pending", pending.to_string())];
            let items = server
                .client(global)?
                .list("/approvals", &query, "before", 1_000)
                .await?;
            return control::print_items(global.output, APPROVALS, &items);
        }
        ApprovalCommand::Approve(request) => ("approve", request),
        ApprovalCommand::Reject(request) => ("reject", request),
        ApprovalCommand::Withdraw(request) => ("withdraw", request),
    };
    let client = request.server.client(global)?;
    let path = format!("/approvals/{}", request.id);
    if decision == "approve" {
        let known = client.get(&path, &[]).await?.body;
        let (deed, by) = (
            &known["deed"],
            control::plain(known["requestedBy"].as_str().unwrap_or_default()),
        );
        request
            .sure
            .ask(&format!("Do what {by} asks: {}?", control::plain(&deed.to_string())))?;
    }
    let answer = client.post(&path, &json!({"decision": decision}), None).await?;
    output::print_one(global.output, &answer, |answer| {
        control::plain(answer["outcome"].as_str().unwrap_or_default())
    })
}

/// `sagaline stuck`
pub async fn stuck(global: &Global, server: &Server) -> anyhow::Result<()> {
    let items = server.client(global)?.list("/stuck", &[], "after", 1_000).await?;
    control::print_items(global.output, STUCK, &items)
}

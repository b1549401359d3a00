//! `sagaline schedule …`: start sagas by the clock, through mission control where one is named, else through the engine's own
//! HTTP API.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use orchestrator::client::{EngineClient, Firing, Overlap, Schedule, ScheduleSpec};
use workflows::ids::Timestamp;

use super::control::Sure;
use super::saga::{Engine, text_of};
use super::{arguments, schedule_control};
use crate::cli::Global;
use crate::output::{self, Row};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// List schedules.
    List {
        #[command(flatten)]
        engine: Engine,
    },
    /// Show a schedule.
    Show(Name),
    /// Create a schedule; through the engine's own API.
    Create(Create),
    /// Stop a schedule's firings.
    Pause(Deed),
    /// Let a paused schedule fire again. What was due meanwhile is not made up for.
    Resume(Deed),
    /// Fire a schedule now, beside its plan.
    Run(Deed),
    /// Fire a schedule for each of its past due times in a range that has not fired.
    Backfill {
        #[command(flatten)]
        deed: Deed,
        /// From this instant on: RFC 3339, or a time ago such as 2h.
        #[arg(long, value_name = "WHEN", value_parser = arguments::instant)]
        from: Timestamp,
        /// Until before this instant.
        #[arg(long, value_name = "WHEN", value_parser = arguments::instant)]
        to: Timestamp,
    },
    /// Show a schedule's latest firings.
    Firings {
        #[command(flatten)]
        name: Name,
        /// Firings, at most.
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

/// A schedule.
#[derive(Debug, Args)]
pub struct Name {
    /// The schedule.
    pub name: String,
    #[command(flatten)]
    engine: Engine,
}

/// A schedule, and why something is done to it.
#[derive(Debug, Args)]
pub struct Deed {
    #[command(flatten)]
    pub name: Name,
    /// Why; mission control wants to know.
    #[arg(long, default_value = "")]
    pub reason: String,
    #[command(flatten)]
    pub sure: Sure,
}

/// `schedule create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Lower-case letters, digits, `_`, `-` and `.`.
    name: String,
    /// Minute, hour, day of month, month, day of week.
    #[arg(long)]
    cron: String,
    /// The time zone that the expression is meant in.
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// The workflow to start.
    #[arg(long)]
    workflow: String,
    /// Its version; left out, the newest at each firing.
    #[arg(long)]
    version: Option<u32>,
    /// Its input: JSON, @file or - for stdin.
    #[arg(long, default_value = "{}")]
    input: String,
    /// A label; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = arguments::label)]
    tag: Vec<(String, String)>,
    /// What to do when the saga of an earlier firing still runs.
    #[arg(long, value_enum, default_value_t)]
    overlap: OverlapArgument,
    /// After an outage, due times as old as this are made up for.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = arguments::duration)]
    catch_up: Duration,
    /// Begin paused.
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    engine: Engine,
}

/// [`Overlap`] on the command line.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum OverlapArgument {
    /// Leave the new one out.
    #[default]
    Skip,
    /// Start the new one afterwards.
    Queue,
    /// Start it all the same.
    Allow,
}

impl From<OverlapArgument> for Overlap {
    fn from(argument: OverlapArgument) -> Self {
        match argument {
            OverlapArgument::Skip => Overlap::Skip,
            OverlapArgument::Queue => Overlap::Queue,
            OverlapArgument::Allow => Overlap::Allow,
        }
    }
}

/// Does it: through mission control where one is named, else through the engine's own API.
pub async fn run(global: &Global, command: ScheduleCommand) -> anyhow::Result<()> {
    let engine = command.engine();
    if let Some(client) = engine.mission(global)? {
        return schedule_control::run(global, &client, command).await;
    }
    let client = engine.client(global)?;
    match command {
        ScheduleCommand::List { engine: _ } => output::print_list(global.output, &client.schedules().await?),
        ScheduleCommand::Show(Name { name, engine: _ }) => {
            let found = client.schedule(&name).await?;
            print_schedule(global, &found.with_context(|| format!("there is no schedule {name}"))?)
        }
        ScheduleCommand::Create(create) => {
            let spec = ScheduleSpec {
                name: create.name,
                cron: create.cron,
                time_zone: create.time_zone,
                workflow: create.workflow,
                version: create.version,
                input: arguments::json(&create.input)?,
                tags: create.tag.into_iter().collect(),
                overlap: create.overlap.into(),
                catch_up: create.catch_up,
                paused: create.paused,
            };
            print_schedule(global, &client.create_schedule(spec).await?)
        }
        ScheduleCommand::Pause(deed) => print_schedule(global, &client.pause_schedule(&deed.name.name, true).await?),
        ScheduleCommand::Resume(deed) => print_schedule(global, &client.pause_schedule(&deed.name.name, false).await?),
        ScheduleCommand::Run(deed) => {
            let firing = client.run_schedule(&deed.name.name).await?;
            output::print_one(global.output, &firing, |firing| {
                output::table(Firing::HEADINGS, [firing.cells()])
            })
        }
        ScheduleCommand::Backfill { deed, from, to } => {
            deed.sure.ask(&format!("backfill the schedule {}?", deed.name.name))?;
            let firings = client.backfill_schedule(&deed.name.name, from, to).await?;
            output::print_list(global.output, &firings)
        }
        ScheduleCommand::Firings { name, limit } => {
            output::print_list(global.output, &client.firings(&name.name, limit).await?)
        }
    }
}

impl ScheduleCommand {
    /// Whom it asks.
    fn engine(&self) -> Engine {
        let engine = match self {
            ScheduleCommand::List { engine } => engine,
            ScheduleCommand::Show(name) | ScheduleCommand::Firings { name, limit: _ } => &name.engine,
            ScheduleCommand::Create(create) => &create.engine,
            ScheduleCommand::Pause(deed)
            | ScheduleCommand::Resume(deed)
            | ScheduleCommand::Run(deed)
            | ScheduleCommand::Backfill { deed, from: _, to: _ } => &deed.name.engine,
        };
        engine.clone()
    }
}

fn print_schedule(global: &Global, schedule: &Schedule) -> anyhow::Result<()> {
    output::print_one(global.output, schedule, |schedule| {
        output::table(Schedule::HEADINGS, [schedule.cells()])
    })
}

impl Row for Schedule {
    const HEADINGS: &'static [&'static str] = &["SCHEDULE", "CRON", "TIME ZONE", "WORKFLOW", "OVERLAP", "NEXT", "LAST"];

    fn cells(&self) -> Vec<String> {
        let next = match (self.paused, self.next_due_at) {
            (true, _) => "paused".into(),
            (false, Some(at)) => output::instant(at),
            (false, None) => "never".into(),
        };
        vec![
            self.name.clone(),
            self.cron.clone(),
            self.time_zone.clone(),
            self.workflow.clone(),
            text_of(&self.overlap),
            next,
            self.last_due_at.map_or_else(|| "-".into(), output::instant),
        ]
    }
}

impl Row for Firing {
    const HEADINGS: &'static [&'static str] = &["SCHEDULE", "DUE", "ORIGIN", "OUTCOME", "SAGA", "NOTE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.schedule.clone(),
            output::instant(self.due_at),
            text_of(&self.origin),
            text_of(&self.outcome),
            self.saga.map_or_else(|| "-".into(), |saga| saga.to_string()),
            self.note.clone().unwrap_or_default(),
        ]
    }
}

//! `sagaline schedule …`: start sagas by the clock.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use orchestrator::client::{EngineClient, Firing, Overlap, Schedule, ScheduleSpec};

use super::arguments;
use super::saga::{Engine, text_of};
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
    /// Create a schedule.
    Create(Create),
    /// Stop a schedule's firings.
    Pause(Name),
    /// Let a paused schedule fire again. What was due meanwhile is not made up for.
    Resume(Name),
    /// Fire a schedule now, beside its plan.
    Run(Name),
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
    name: String,
    #[command(flatten)]
    engine: Engine,
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

/// Does it.
pub async fn run(global: &Global, command: ScheduleCommand) -> anyhow::Result<()> {
    match command {
        ScheduleCommand::List { engine } => {
            output::print_list(global.output, &engine.client(global)?.schedules().await?)
        }
        ScheduleCommand::Create(create) => {
            let client = create.engine.client(global)?;
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
        ScheduleCommand::Pause(Name { name, engine }) => {
            print_schedule(global, &engine.client(global)?.pause_schedule(&name, true).await?)
        }
        ScheduleCommand::Resume(Name { name, engine }) => {
            print_schedule(global, &engine.client(global)?.pause_schedule(&name, false).await?)
        }
        ScheduleCommand::Run(Name { name, engine }) => {
            let firing = engine.client(global)?.run_schedule(&name).await?;
            output::print_one(global.output, &firing, |firing| {
                output::table(Firing::HEADINGS, [firing.cells()])
            })
        }
        ScheduleCommand::Firings {
            name: Name { name, engine },
            limit,
        } => output::print_list(global.output, &engine.client(global)?.firings(&name, limit).await?),
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

//! One module per subcommand.

pub mod campaign;
pub mod control;
pub mod demo;
pub mod door_pass;
pub mod operator;
pub mod organiser;
pub mod places;
pub mod saga;
pub mod schedule;
pub mod template;
pub mod trail;
pub mod workflow;

mod analytics;
mod arguments;
mod audit;
mod dev;
mod gateway;
mod migrate;
mod operations;
mod operator_control;
mod orchestrator;
mod saga_control;
mod saga_watch;
mod sandbox;
mod schedule_control;
mod settings;
mod shop;
mod worker;

use clap::CommandFactory;

use crate::cli::{self, Cli, Command, Global};
use crate::settings::{Flags, Settings};
use crate::{logging, output};

/// What services log unless told otherwise. The Kafka library is chatty about connections that it opens again by itself.
const SERVICE_LOG: &str = "info,rdkafka=error,librdkafka=error,sqlx=warn";
/// What short commands log: only what goes wrong.
const COMMAND_LOG: &str = "warn,rdkafka=error,librdkafka=error";
/// What `dev` and the benchmarks log: they stop the broker under its clients' feet, who needn't complain about that.
const DEV_LOG: &str = "warn,kafka=error,rdkafka=off,librdkafka=off";

/// Does what the command line says.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    let filter = match &command {
        Command::Worker(cli::Worker { command: Some(_), .. }) => COMMAND_LOG,
        Command::Orchestrator(_)
        | Command::Gateway(_)
        | Command::Shop(_)
        | Command::Analytics(_)
        | Command::Operations(_)
        | Command::Worker(_)
        | Command::Sandbox(_) => SERVICE_LOG,
        Command::Dev(_) | Command::Bench(_) => DEV_LOG,
        Command::Migrate(_)
        | Command::Saga(_)
        | Command::Workflow(_)
        | Command::Schedule(_)
        | Command::Audit(_)
        | Command::Operator(_)
        | Command::DoorPass(_)
        | Command::Organiser(_)
        | Command::Campaign(_)
        | Command::Approval(_)
        | Command::Stuck(_)
        | Command::Queue(_)
        | Command::Template(_)
        | Command::Demo(_)
        | Command::Settings
        | Command::Completions { .. } => COMMAND_LOG,
    };
    logging::init(global.log_format, filter);
    match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sagaline", &mut script);
            output::print_text(&String::from_utf8_lossy(&script))
        }
        Command::Settings => settings::run(&global),
        Command::Template(command) => template::run(&command),
        Command::Demo(command) => runtime()?.block_on(demo::run(&global, &command)),
        Command::Migrate(args) => {
            let settings = load(&global, args.database.flags())?;
            runtime()?.block_on(migrate::run(args, settings))
        }
        Command::Saga(command) => runtime()?.block_on(saga::run(&global, command)),
        Command::Workflow(command) => runtime()?.block_on(workflow::run(&global, command)),
        Command::Schedule(command) => runtime()?.block_on(schedule::run(&global, command)),
        Command::Operator(command) => {
            let settings = load(&global, command.flags())?;
            runtime()?.block_on(operator::run(&global, command, settings))
        }
        Command::DoorPass(args) => {
            let settings = load(&global, args.database.flags())?;
            runtime()?.block_on(door_pass::run(&global, args, settings))
        }
        Command::Organiser(command) => {
            let settings = load(&global, command.flags())?;
            runtime()?.block_on(organiser::run(&global, command, settings))
        }
        Command::Dev(args) => {
            let settings = load(&global, Flags::new())?;
            runtime()?.block_on(dev::run(&global, args, settings))
        }
        Command::Orchestrator(args) => {
            let settings = load(&global, orchestrator::flags(&args))?;
            runtime()?.block_on(orchestrator::run(args, settings))
        }
        Command::Gateway(args) => runtime()?.block_on(gateway::run(load(&global, gateway::flags(&args))?)),
        Command::Analytics(args) => {
            let settings = load(&global, analytics::flags(&args))?;
            runtime()?.block_on(analytics::run(args, settings))
        }
        Command::Operations(args) => {
            let settings = load(&global, operations::flags(&args))?;
            runtime()?.block_on(operations::run(args, settings))
        }
        Command::Shop(args) => runtime()?.block_on(shop::run(load(&global, shop::flags(&args))?)),
        Command::Worker(cli::Worker {
            command: Some(cli::WorkerCommand::List { server }),
            ..
        }) => runtime()?.block_on(places::workers(&global, &server)),
        Command::Worker(args) => {
            let settings = load(&global, worker::flags(&args))?;
            runtime()?.block_on(worker::run(args, settings))
        }
        Command::Sandbox(cli::Sandbox::Stripe(args)) => {
            let settings = load(&global, sandbox::flags(&args))?;
            runtime()?.block_on(sandbox::run(args, settings))
        }
        Command::Bench(benchmark) => runtime()?.block_on(crate::bench::run(benchmark, global.output)),
        Command::Campaign(command) => runtime()?.block_on(campaign::run(&global, command)),
        Command::Approval(command) => runtime()?.block_on(campaign::approval(&global, command)),
        Command::Queue(command) => runtime()?.block_on(places::queue(&global, command)),
        Command::Stuck(server) => runtime()?.block_on(campaign::stuck(&global, &server)),
        Command::Audit(cli::Audit {
            command: Some(command),
            database: _,
        }) => runtime()?.block_on(trail::run(&global, command)),
        Command::Audit(cli::Audit {
            command: None,
            database: args,
        }) => runtime()?.block_on(audit::run(&global, load(&global, args.flags())?)),
    }
}

fn load(global: &Global, flags: Flags) -> anyhow::Result<Settings> {
    Ok(Settings::load(global.config.clone(), flags)?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

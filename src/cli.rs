//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    campaign, control, demo, door_pass, operator, organiser, places, saga, schedule, template, trail, workflow,
};
use crate::logging::LogFormat;
use crate::output::Output;
use crate::settings::Flags;

/// Durable sagas in Postgres and Kafka, and a ticket shop built on them.
///
/// Settings come from flags, then environment variables, then a TOML file; `sagaline settings` lists them all.
/// Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 4 not allowed.
#[derive(Debug, Parser)]
#[command(name = "sagaline", version, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What applies to every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The form of what is printed on stdout.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        help_heading = "Global options"
    )]
    pub output: Output,
    /// The form of the logs on stderr. What is logged is set by SAGALINE_LOG.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Global options")]
    pub log_format: LogFormat,
    /// The settings file; without this, sagaline.toml in the current directory if it is there.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole platform in one process, with nothing prepared: for development.
    Dev(Dev),
    /// Run the saga engine and its HTTP API.
    Orchestrator(Orchestrator),
    /// Run the ticket shop's public HTTP API, with the buyers' pages.
    Gateway(Gateway),
    /// Run the buyers' pages apart from the gateway.
    Shop(Shop),
    /// Count what the domain events say, for reports.
    Analytics(Analytics),
    /// Watch the platform: raise alerts, and have workers come and go with them.
    Operations(Operations),
    /// Run activities for one or more queues; or list who does.
    Worker(Worker),
    /// Bring the database's schema up to date.
    Migrate(Migrate),
    /// Run stand-ins for outside services.
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// Look into sagas and act on them.
    #[command(subcommand)]
    Saga(saga::SagaCommand),
    /// Check, deploy and show workflow definitions.
    #[command(subcommand)]
    Workflow(workflow::WorkflowCommand),
    /// Start sagas by the clock.
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Say who may use mission control.
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
    /// Make a pass with which a door's devices check tickets of an event.
    DoorPass(door_pass::DoorPass),
    /// Say which users of the shop make events.
    #[command(subcommand)]
    Organiser(organiser::OrganiserCommand),
    /// Look at messages to buyers.
    #[command(subcommand)]
    Template(template::Template),
    /// Bring life into a running platform, for whoever looks at it.
    #[command(subcommand)]
    Demo(demo::DemoCommand),
    /// Repair many sagas at once: frozen, dry-run, a canary first, stopped by itself.
    #[command(subcommand)]
    Campaign(campaign::CampaignCommand),
    /// Agree with, or refuse, what others want done.
    #[command(subcommand)]
    Approval(campaign::ApprovalCommand),
    /// Show queues and how far their workers are behind; pause, resume and limit them.
    #[command(subcommand)]
    Queue(places::QueueCommand),
    /// Show what waits for an operator, by reason.
    Stuck(control::Server),
    /// Check seats, payments and bookings against each other; or show what operators did.
    Audit(Audit),
    /// Measure, and check what was measured.
    #[command(subcommand)]
    Bench(crate::bench::Benchmark),
    /// Show every setting, where it can be set, and what it is now (passwords hidden).
    Settings,
    /// Print a script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `sagaline dev`.
#[derive(Clone, Debug, Args)]
pub struct Dev {
    /// Where the data lives.
    #[arg(long, value_name = "DIR", default_value = ".sagaline")]
    pub data_dir: PathBuf,
    /// The gateway's port; 0 takes a free one.
    #[arg(long, default_value_t = 3000)]
    pub port: u16,
    /// The port of the engine's HTTP API; 0 takes a free one.
    #[arg(long, default_value_t = 3001)]
    pub ops_port: u16,
    /// The port of mission control, the operators' pages; 0 takes a free one.
    #[arg(long, default_value_t = 3002)]
    pub dashboard_port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Throw the data away and begin anew.
    #[arg(long)]
    pub fresh: bool,
}

/// `sagaline migrate`.
#[derive(Clone, Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    pub database: Database,
    /// Load the demo event as well, unless it is there.
    #[arg(long)]
    pub demo_event: bool,
}

/// `sagaline audit`.
#[derive(Clone, Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    #[command(flatten)]
    pub database: Database,
}

/// `sagaline audit trail` and `sagaline audit export`.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Show mission control's trail: who did what, and why; newest first.
    Trail {
        /// Entries, at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        filter: trail::Filter,
        #[command(flatten)]
        server: control::Server,
    },
    /// Write the trail to stdout as a file, newest first; at most 100,000 entries.
    Export {
        /// Its form.
        #[arg(long, value_enum, default_value_t)]
        format: trail::Format,
        #[command(flatten)]
        filter: trail::Filter,
        #[command(flatten)]
        server: control::Server,
    },
}

/// Where Postgres is.
#[derive(Clone, Debug, Args)]
pub struct Database {
    /// Postgres, as postgres://user:password@host:port/database [env: DATABASE_URL].
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

/// Where Kafka is.
#[derive(Clone, Debug, Args)]
pub struct Kafka {
    /// Kafka, as host:port, several joined by commas [env: KAFKA_BROKERS].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,
    /// Partitions of each topic; all processes must agree [env: SAGALINE_KAFKA_PARTITIONS].
    #[arg(long, value_name = "N")]
    pub partitions: Option<u32>,
}

/// `sagaline orchestrator`.
#[derive(Clone, Debug, Args)]
pub struct Orchestrator {
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub kafka: Kafka,
    /// Where to serve the HTTP API [env: SAGALINE_OPS_LISTEN].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Where to serve mission control, the operators' pages; left out, nowhere [env: SAGALINE_DASHBOARD_LISTEN].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub dashboard_listen: Option<String>,
    /// Deploy the ticket workflows at start.
    #[arg(long)]
    pub deploy_tickets: bool,
    /// Don't bring the schema up to date at start; `sagaline migrate` has done it.
    #[arg(long)]
    pub no_migrate: bool,
}

/// `sagaline gateway`.
#[derive(Clone, Debug, Args)]
pub struct Gateway {
    #[command(flatten)]
    pub database: Database,
    /// The orchestrator's HTTP API [env: SAGALINE_ENGINE_URL].
    #[arg(long, value_name = "URL")]
    pub engine_url: Option<String>,
    /// Where to serve the shop's API [env: SAGALINE_GATEWAY_LISTEN].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Serve some of the API's services only: any of users, events, bookings, payments, tickets, notifications, analytics [env:
    /// SAGALINE_GATEWAY_SERVICES].
    #[arg(long, value_name = "SERVICE,…")]
    pub services: Option<String>,
    /// Pass requests for services that run apart on, as users=http://host:port joined by commas [env: SAGALINE_SERVICE_URLS].
    #[arg(long, value_name = "SERVICE=URL,…")]
    pub service_urls: Option<String>,
}

/// `sagaline shop`.
#[derive(Clone, Debug, Args)]
pub struct Shop {
    /// The gateway [env: SAGALINE_GATEWAY_URL].
    #[arg(long, value_name = "URL")]
    pub gateway_url: Option<String>,
    /// Where to serve the pages [env: SAGALINE_SHOP_LISTEN].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
}

/// `sagaline analytics`.
#[derive(Clone, Debug, Args)]
pub struct Analytics {
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub kafka: Kafka,
    /// Serve /metrics and /health on this port of all addresses; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub ops_port: Option<u16>,
}

/// `sagaline operations`.
#[derive(Clone, Debug, Args)]
pub struct Operations {
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub kafka: Kafka,
    /// The orchestrator's HTTP API [env: SAGALINE_ENGINE_URL].
    #[arg(long, value_name = "URL")]
    pub engine_url: Option<String>,
    /// Serve /metrics and /health on this port of all addresses; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub ops_port: Option<u16>,
}

/// `sagaline worker`.
#[derive(Clone, Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub struct Worker {
    #[command(subcommand)]
    pub command: Option<WorkerCommand>,
    /// Whose work to do: any of seats, payments, refunds, notifications, email, sms, push, slack, reference.
    #[arg(long, value_delimiter = ',', required = true, value_name = "QUEUE,…")]
    pub queues: Vec<String>,
    /// Activities at work at once, per queue.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: u32,
    #[command(flatten)]
    pub database: Database,
    #[command(flatten)]
    pub kafka: Kafka,
    /// Serve /metrics and /health on this port of all addresses; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    pub ops_port: Option<u16>,
    /// Leave when standard input ends: with the process that holds its other end.
    #[arg(long)]
    pub with_parent: bool,
}

/// `sagaline worker list`.
#[derive(Clone, Debug, Subcommand)]
pub enum WorkerCommand {
    /// List the workers of all queues, as far as the broker tells; through mission control.
    List {
        #[command(flatten)]
        server: control::Server,
    },
}

/// `sagaline sandbox`.
#[derive(Clone, Debug, Subcommand)]
pub enum Sandbox {
    /// A stand-in for Stripe's API: no money moves.
    Stripe(StripeSandbox),
}

/// `sagaline sandbox stripe`.
#[derive(Clone, Debug, Args)]
pub struct StripeSandbox {
    /// The port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 12111)]
    pub port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Where webhooks are sent.
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// What webhooks are signed with [env: STRIPE_WEBHOOK_SECRET].
    #[arg(long, value_name = "SECRET")]
    pub webhook_secret: Option<String>,
    /// Keep payments and refunds in this directory, so that they survive a restart.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Database {
    /// As settings.
    pub fn flags(&self) -> Flags {
        set("database.url", self.database_url.as_ref())
    }
}

impl Kafka {
    /// As settings.
    pub fn flags(&self) -> Flags {
        let mut flags = set("kafka.brokers", self.brokers.as_ref());
        flags.extend(set("kafka.partitions", self.partitions.as_ref()));
        flags
    }
}

/// One setting, if its flag was given.
pub fn set(key: &'static str, value: Option<&impl ToString>) -> Flags {
    value.map(|value| (key, value.to_string())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

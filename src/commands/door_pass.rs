//! `sagaline door-pass`: lets a door's devices check tickets of an event.

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::cli::{Database, Global};
use crate::settings::Settings;
use crate::{connect, output, shutdown};

/// `sagaline door-pass`.
#[derive(Clone, Debug, Args)]
pub struct DoorPass {
    /// The event's id.
    #[arg(long, value_name = "ID")]
    event: String,
    /// The door's name, for whoever is told where a ticket was used before.
    #[arg(long, value_name = "NAME", value_parser = name)]
    door: String,
    /// How many hours it is good.
    #[arg(long, default_value_t = ::gateway::limits::PASS_HOURS_DEFAULT, value_parser = clap::value_parser!(i32).range(1..=i64::from(::gateway::limits::PASS_HOURS_MAX)))]
    hours: i32,
    #[command(flatten)]
    pub database: Database,
}

#[derive(Serialize)]
struct Made<'a> {
    event: &'a str,
    door: &'a str,
    hours: i32,
    pass: &'a str,
}

fn name(text: &str) -> Result<String, String> {
    let chars_max = ::gateway::limits::DOOR_TEXT_CHARS_MAX;
    match text.trim() {
        "" => Err("a door has a name".to_owned()),
        name if name.chars().count() > chars_max => Err(format!("at most {chars_max} characters")),
        name if name.chars().any(char::is_control) => Err("without control characters".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// Makes a pass and prints it, this once.
pub async fn run(global: &Global, args: DoorPass, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let pool = connect::database(url, 1, &shutdown::on_signal()?).await?.pool;
    let pass = ::gateway::new_pass(&pool, &args.event, &args.door, args.hours)
        .await?
        .with_context(|| format!("there is no event {:?}; GET /events lists them", args.event))?;
    let made = Made {
        event: &args.event,
        door: &args.door,
        hours: args.hours,
        pass: &pass,
    };
    output::print_one(global.output, &made, |made| made.pass.to_owned())
}

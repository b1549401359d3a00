//! `sagaline organiser …`: which users of the shop make events, and for whom. On the database itself.

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use gateway::OrganiserEntry;
use serde::Serialize;

use crate::cli::{Database, Global};
use crate::output::{self, Row};
use crate::settings::{Flags, Settings};
use crate::{connect, shutdown};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum OrganiserCommand {
    /// Make a user an organiser; the organisation is made unless it is there.
    Add {
        #[command(flatten)]
        user: User,
        /// The organisation's name.
        #[arg(long = "for", value_name = "ORGANISATION")]
        organisation: String,
    },
    /// Make a user an organiser no more; their organisation keeps its events.
    Remove(User),
    /// List organisers.
    List(Database),
}

/// A user of the shop.
#[derive(Debug, Args)]
pub struct User {
    /// The address that they registered with.
    email: String,
    #[command(flatten)]
    database: Database,
}

impl OrganiserCommand {
    /// The flags as settings.
    pub fn flags(&self) -> Flags {
        match self {
            OrganiserCommand::Add { user, .. } | OrganiserCommand::Remove(user) => user.database.flags(),
            OrganiserCommand::List(database) => database.flags(),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Line(OrganiserEntry);

impl Row for Line {
    const HEADINGS: &'static [&'static str] = &["USER", "ORGANISATION", "ID"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.0.user_id.clone(),
            self.0.organisation.clone(),
            self.0.organisation_id.to_string(),
        ]
    }
}

/// Does it.
pub async fn run(global: &Global, command: OrganiserCommand, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let pool = connect::database(url, 1, &shutdown::on_signal()?).await?.pool;
    let failed = |message: String| anyhow!(message);
    match command {
        OrganiserCommand::Add { user, organisation } => {
            let made = gateway::add_organiser(&pool, &user.email, &organisation)
                .await
                .map_err(failed)?;
            eprintln!("{} makes events for {organisation}", user.email);
            output::print_one(global.output, &made, |made| made.user_id.clone())
        }
        OrganiserCommand::Remove(user) => {
            gateway::remove_organiser(&pool, &user.email).await.map_err(failed)?;
            eprintln!("{} is no organiser any more", user.email);
            Ok(())
        }
        OrganiserCommand::List(_) => {
            let lines = gateway::list_organisers(&pool).await.map_err(failed)?;
            let lines: Vec<Line> = lines.into_iter().map(Line).collect();
            output::print_list(global.output, &lines)
        }
    }
}

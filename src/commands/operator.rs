//! `sagaline operator …`: who may use mission control. On the database itself, since the first one can't come by a page.

use std::io::{BufRead, IsTerminal};

use anyhow::Context;
use clap::{Args, Subcommand};
use dashboard::Role;
use dashboard::operators::{self, User};
use serde::Serialize;

use crate::cli::{Database, Global};
use crate::output::{self, Row};
use crate::settings::{Flags, Settings};
use crate::{connect, shutdown};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Add a user; the password is read from stdin.
    Add {
        #[command(flatten)]
        name: Name,
        /// What they may do: viewer, operator, approver or admin.
        #[arg(long)]
        role: Role,
    },
    /// Give a user a new password, read from stdin, and end their sessions.
    Password(Name),
    /// Let a user in no more, and end their sessions.
    Disable(Name),
    /// List users.
    List(Database),
}

/// A user.
#[derive(Debug, Args)]
pub struct Name {
    /// The user's name.
    name: String,
    #[command(flatten)]
    database: Database,
}

impl OperatorCommand {
    /// The flags as settings.
    pub fn flags(&self) -> Flags {
        match self {
            OperatorCommand::Add { name, role: _ }
            | OperatorCommand::Password(name)
            | OperatorCommand::Disable(name) => name.database.flags(),
            OperatorCommand::List(database) => database.flags(),
        }
    }
}

#[derive(Serialize)]
struct UserRow {
    name: String,
    role: &'static str,
    disabled: bool,
    created_at: String,
}

impl Row for UserRow {
    const HEADINGS: &'static [&'static str] = &["NAME", "ROLE", "DISABLED", "CREATED"];

    fn cells(&self) -> Vec<String> {
        let disabled = if self.disabled { "yes" } else { "" };
        vec![
            self.name.clone(),
            self.role.to_owned(),
            disabled.to_owned(),
            self.created_at.clone(),
        ]
    }
}

/// Does it.
pub async fn run(global: &Global, command: OperatorCommand, settings: Settings) -> anyhow::Result<()> {
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let pool = connect::database(url, 1, &shutdown::on_signal()?).await?.pool;
    match command {
        OperatorCommand::Add { name, role } => {
            operators::add(&pool, &name.name, role, &password()?).await?;
            eprintln!("{} may log in as {role}", name.name);
        }
        OperatorCommand::Password(name) => {
            operators::set_password(&pool, &name.name, &password()?).await?;
            eprintln!("{} has a new password", name.name);
        }
        OperatorCommand::Disable(name) => {
            operators::disable(&pool, &name.name).await?;
            eprintln!("{} is let in no more", name.name);
        }
        OperatorCommand::List(_) => {
            let users = operators::list(&pool).await?;
            let rows: Vec<UserRow> = users.into_iter().map(row).collect();
            output::print_list(global.output, &rows)?;
        }
    }
    Ok(())
}

fn row(user: User) -> UserRow {
    UserRow {
        name: user.name,
        role: user.role.as_str(),
        disabled: user.disabled,
        created_at: output::instant(user.created_at.into()),
    }
}

/// One line of stdin. A terminal shows what is typed, so it says how to avoid that.
fn password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("the password (it is shown; pipe it in to avoid that):");
    }
    let mut line = String::new();
    stdin
        .lock()
        .read_line(&mut line)
        .context("reading the password from stdin")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

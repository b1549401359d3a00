//! `sagaline operator …`: who may use mission control. Through mission control where one is named, else on the database itself,
//! since the first one can't come by a page.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use dashboard::operators::{self, COMMAND_LINE, Change};
use dashboard::{Role, tokens};
use serde::Serialize;

use super::control::{Client, Server, Sure};
use super::operator_control;
use crate::cli::{Database, Global};
use crate::output::{self, Row};
use crate::settings::{Flags, Settings};
use crate::{connect, shutdown};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Add a user; on the database the password is read from stdin, through mission control they come by a link.
    Add {
        #[command(flatten)]
        user: User,
        /// What they may do: viewer, operator, approver or admin.
        #[arg(long)]
        role: Role,
    },
    /// Give a user a new password, read from stdin, and end their sessions.
    Password(Name),
    /// Make a link that lets a user in once, within a day; through mission control.
    Link(User),
    /// Let a user in no more, and end their sessions.
    Disable {
        #[command(flatten)]
        user: User,
        #[command(flatten)]
        sure: Sure,
    },
    /// Let a disabled user in again.
    Enable(User),
    /// Change what a user may do.
    Role {
        #[command(flatten)]
        user: User,
        /// viewer, operator, approver or admin.
        role: Role,
    },
    /// List users.
    List(Place),
    /// Tokens for mission control's API and the command line.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// `operator token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for a user and print it: nothing shows it again.
    Add {
        #[command(flatten)]
        user: Name,
        /// What it is for.
        #[arg(long = "for", value_name = "NAME")]
        purpose: String,
        /// What it may do, if its user may: viewer, operator, approver or admin.
        #[arg(long)]
        role: Role,
        /// How long it is good, a year at most.
        #[arg(long, value_name = "TIME", default_value = "90days", value_parser = super::arguments::duration)]
        expires: Duration,
    },
    /// List tokens, without their secrets.
    List(Database),
    /// End a token.
    Revoke {
        /// Its number in the list.
        id: i64,
        #[command(flatten)]
        database: Database,
    },
}

/// A user, on the database.
#[derive(Debug, Args)]
pub struct Name {
    /// The user's name.
    name: String,
    #[command(flatten)]
    database: Database,
}

/// A user, wherever users are changed.
#[derive(Debug, Args)]
pub struct User {
    /// The user's name.
    pub name: String,
    #[command(flatten)]
    place: Place,
}

/// Where users are changed.
#[derive(Clone, Debug, Args)]
pub struct Place {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    server: Server,
}

impl Place {
    /// Mission control, if one is named; unless the database is, which the command line may do without a token.
    fn mission(&self, global: &Global) -> anyhow::Result<Option<Client>> {
        match self.database.database_url {
            Some(_) => Ok(None),
            None => self.server.client_if_set(global),
        }
    }
}

impl OperatorCommand {
    /// The flags as settings.
    pub fn flags(&self) -> Flags {
        match self {
            OperatorCommand::Password(name) => name.database.flags(),
            OperatorCommand::Token(TokenCommand::Add { user, .. }) => user.database.flags(),
            OperatorCommand::Token(TokenCommand::List(database) | TokenCommand::Revoke { id: _, database }) => {
                database.flags()
            }
            OperatorCommand::Add { .. }
            | OperatorCommand::Link(_)
            | OperatorCommand::Disable { .. }
            | OperatorCommand::Enable(_)
            | OperatorCommand::Role { .. }
            | OperatorCommand::List(_) => self.place().map(|place| place.database.flags()).unwrap_or_default(),
        }
    }

    /// Where; none: on the database, always.
    fn place(&self) -> Option<&Place> {
        match self {
            OperatorCommand::Add { user, role: _ }
            | OperatorCommand::Link(user)
            | OperatorCommand::Disable { user, sure: _ }
            | OperatorCommand::Enable(user)
            | OperatorCommand::Role { user, role: _ } => Some(&user.place),
            OperatorCommand::List(place) => Some(place),
            OperatorCommand::Password(_) | OperatorCommand::Token(_) => None,
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

#[derive(Serialize)]
#[serde(transparent)]
struct TokenLine(tokens::TokenRow);

impl Row for TokenLine {
    const HEADINGS: &'static [&'static str] = &["ID", "USER", "FOR", "ROLE", "EXPIRES", "USED", "REVOKED"];

    fn cells(&self) -> Vec<String> {
        let instant = |at: Option<chrono::DateTime<chrono::Utc>>| {
            at.map_or_else(|| "-".to_owned(), |at| output::instant(at.into()))
        };
        vec![
            self.0.id.to_string(),
            self.0.user_name.clone(),
            self.0.name.clone(),
            self.0.role.clone(),
            instant(Some(self.0.expires_at)),
            instant(self.0.used_at),
            instant(self.0.revoked_at),
        ]
    }
}

async fn token(global: &Global, command: TokenCommand, pool: &sqlx::PgPool) -> anyhow::Result<()> {
    match command {
        TokenCommand::Add {
            user,
            purpose,
            role,
            expires,
        } => {
            let by = operators::COMMAND_LINE;
            let token = tokens::add(pool, by, &user.name, &purpose, role, expires).await?;
            eprintln!("the token, shown this once:");
            output::print_text(&token)
        }
        TokenCommand::List(_) => {
            let lines: Vec<TokenLine> = tokens::list(pool, None).await?.into_iter().map(TokenLine).collect();
            output::print_list(global.output, &lines)
        }
        TokenCommand::Revoke { id, database: _ } => {
            tokens::revoke(pool, operators::COMMAND_LINE, id, None).await?;
            eprintln!("token {id} is no good any more");
            Ok(())
        }
    }
}

/// Does it.
pub async fn run(global: &Global, command: OperatorCommand, settings: Settings) -> anyhow::Result<()> {
    if let Some(place) = command.place()
        && let Some(client) = place.mission(global)?
    {
        return operator_control::run(global, &client, command).await;
    }
    settings.require(&["database.url"])?;
    let url = settings.database.as_ref().context("DATABASE_URL is not set")?;
    let pool = connect::database(url, 1, &shutdown::on_signal()?).await?.pool;
    match command {
        OperatorCommand::Add { user, role } => {
            operators::add(&pool, &user.name, role, &password()?).await?;
            eprintln!("{} may log in as {role}", user.name);
        }
        OperatorCommand::Link(_) => {
            anyhow::bail!(
                "links are of mission control's address: set --server, or give a password with `operator password`"
            )
        }
        OperatorCommand::Token(command) => token(global, command, &pool).await?,
        OperatorCommand::Password(name) => {
            operators::set_password(&pool, COMMAND_LINE, &name.name, &password()?).await?;
            eprintln!("{} has a new password", name.name);
        }
        OperatorCommand::Disable { user, sure: _ } => {
            operators::change(&pool, COMMAND_LINE, &user.name, Change::Disabled(true)).await?;
            eprintln!("{} is let in no more", user.name);
        }
        OperatorCommand::Enable(user) => {
            operators::change(&pool, COMMAND_LINE, &user.name, Change::Disabled(false)).await?;
            eprintln!("{} is let in again", user.name);
        }
        OperatorCommand::Role { user, role } => {
            operators::change(&pool, COMMAND_LINE, &user.name, Change::Role(role)).await?;
            eprintln!("{} is {role} now", user.name);
        }
        OperatorCommand::List(_) => {
            let users = operators::list(&pool).await?;
            let rows: Vec<UserRow> = users.into_iter().map(row).collect();
            output::print_list(global.output, &rows)?;
        }
    }
    Ok(())
}

fn row(user: operators::User) -> UserRow {
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

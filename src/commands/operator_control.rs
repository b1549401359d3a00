//! `sagaline operator …` through mission control: users, for admins.

use serde_json::{Value, json};

use super::control::{self, Client, Column};
use super::operator::OperatorCommand;
use crate::cli::Global;
use crate::output;

const USERS: &[Column] = &[
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("DISABLED", "/disabled"),
    ("CREATED", "/createdAt"),
];
const USER: &[Column] = &[("name", "/name"), ("role", "/role"), ("disabled", "/disabled")];

/// Does it.
pub async fn run(global: &Global, client: &Client, command: OperatorCommand) -> anyhow::Result<()> {
    match command {
        OperatorCommand::List(_) => {
            let items = client.list("/users", &[], "after", usize::MAX).await?;
            control::print_items(global.output, USERS, &items)
        }
        OperatorCommand::Add { user, role } => {
            let body = json!({"name": user.name, "role": role.as_str()});
            let made = client.post("/users", &body, None).await?;
            print_link(global, client, made)
        }
        OperatorCommand::Link(user) => {
            let path = format!("/users/{}/link", control::segment(&user.name));
            let made = client.post(&path, &json!({}), None).await?;
            print_link(global, client, made)
        }
        OperatorCommand::Role { user, role } => {
            change(global, client, &user.name, json!({"role": role.as_str()})).await
        }
        OperatorCommand::Disable { user, sure } => {
            sure.ask(&format!("let {} in no more, and end what they have open?", user.name))?;
            change(global, client, &user.name, json!({"disabled": true})).await
        }
        OperatorCommand::Enable(user) => change(global, client, &user.name, json!({"disabled": false})).await,
        OperatorCommand::Password(_) | OperatorCommand::Token(_) => anyhow::bail!(
            "passwords and tokens are set on the settings page, or on the database: leave --server and SAGALINE_SERVER out"
        ),
    }
}

async fn change(global: &Global, client: &Client, name: &str, wish: Value) -> anyhow::Result<()> {
    let path = format!("/users/{}", control::segment(name));
    let now = client.post(&path, &wish, None).await?;
    control::print_item(global.output, USER, &now)
}

/// The link as an address on the server that was asked.
fn print_link(global: &Global, client: &Client, mut made: Value) -> anyhow::Result<()> {
    made["link"] = client.address(made["link"].as_str().unwrap_or_default()).into();
    output::print_one(global.output, &made, |made| {
        eprintln!("a link that lets them in once, within a day, shown this once:");
        control::cell(made, "/link")
    })
}

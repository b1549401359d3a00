//! `sagaline queue …`, `worker list`: where work waits, and who does it.

use clap::Subcommand;
use serde_json::Value;

use super::control::{self, Column, Server};
use crate::cli::Global;

const QUEUES: &[Column] = &[
    ("QUEUE", "/queue"),
    ("WORKFLOWS", "/workflows"),
    ("NOT FINISHED", "/lag"),
    ("WORKERS", "/workers"),
    ("DESERTED", "/deserted"),
];
const WORKERS: &[Column] = &[("QUEUE", "/queue"), ("WORKER", "/client"), ("FROM", "/host")];

/// `sagaline queue …`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List queues: messages that their workers have not finished, and how many workers there are.
    List {
        #[command(flatten)]
        server: Server,
    },
}

/// Does it.
pub async fn queue(global: &Global, command: QueueCommand) -> anyhow::Result<()> {
    let QueueCommand::List { server } = command;
    let items = server.client(global)?.list("/queues", &[], "after", usize::MAX).await?;
    control::print_items(global.output, QUEUES, &items)
}

/// `sagaline worker list`
pub async fn workers(global: &Global, server: &Server) -> anyhow::Result<()> {
    let found = server.client(global)?.get("/workers", &[]).await?.body;
    let unknown: Vec<&str> = strings(&found["unknown"]).collect();
    if !unknown.is_empty() {
        eprintln!("the broker does not tell who works on: {}", unknown.join(", "));
    }
    let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    control::print_items(global.output, WORKERS, items)
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

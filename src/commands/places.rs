//! `sagaline queue …`, `worker list`: where work waits, and who does it.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::control::{self, Column, Server, Sure};
use crate::cli::Global;

const QUEUES: &[Column] = &[
    ("QUEUE", "/queue"),
    ("WORKFLOWS", "/workflows"),
    ("PAUSED", "/paused"),
    ("RATE", "/rate"),
    ("HELD BACK", "/waiting"),
    ("NOT FINISHED", "/lag"),
    ("IN FLIGHT", "/inFlight"),
    ("WORKERS", "/workers"),
    ("DESERTED", "/deserted"),
];
const QUEUE: &[Column] = &[
    ("queue", "/queue"),
    ("paused", "/paused"),
    ("rate", "/rate"),
    ("held back", "/waiting"),
    ("in flight", "/inFlight"),
    ("said by", "/changedBy"),
    ("why", "/reason"),
];
const WORKERS: &[Column] = &[
    ("QUEUE", "/queue"),
    ("WORKER", "/client"),
    ("FROM", "/host"),
    ("VERSION", "/said/version"),
    ("IN FLIGHT", "/said/inFlight"),
    ("LAST HEARD OF", "/said/seenAt"),
];

/// `sagaline queue …`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List queues: what was said of them, what waits, messages that their workers have not finished, tasks they have in hand.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Send a queue nothing more; what is due waits. What was sent before is still worked on.
    Pause(Deed),
    /// Send a paused queue its work again, what waits longest first.
    Resume(Deed),
    /// Send a queue at most so many tasks a second, over all orchestrators.
    Limit {
        #[command(flatten)]
        deed: Deed,
        /// Tasks a second, such as 20 or 0.5; `none` ends the limit.
        rate: Rate,
    },
}

/// A queue, and why something is done to it.
#[derive(Debug, Args)]
pub struct Deed {
    /// The queue.
    queue: String,
    /// Why; mission control wants to know.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    server: Server,
}

/// How much a queue is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(Option<f64>);

impl FromStr for Rate {
    type Err = String;

    /// What is too much or too little, the server says.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Rate(None)),
            text => {
                let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite());
                let rate = rate.ok_or_else(|| "is neither a number of tasks a second nor `none`".to_owned())?;
                Ok(Rate(Some(rate)))
            }
        }
    }
}

/// Does it.
pub async fn queue(global: &Global, command: QueueCommand) -> anyhow::Result<()> {
    match command {
        QueueCommand::List { server } => {
            let items = server.client(global)?.list("/queues", &[], "after", usize::MAX).await?;
            control::print_items(global.output, QUEUES, &items)
        }
        QueueCommand::Pause(deed) => {
            let question = format!(
                "pause the queue {}? No step of it goes on until it is resumed.",
                deed.queue
            );
            steer(global, &deed, Some(question), json!({"paused": true})).await
        }
        QueueCommand::Resume(deed) => steer(global, &deed, None, json!({"paused": false})).await,
        QueueCommand::Limit { deed, rate: Rate(rate) } => {
            let question = rate.map(|rate| format!("send the queue {} at most {rate} tasks a second?", deed.queue));
            steer(global, &deed, question, json!({"rate": rate})).await
        }
    }
}

/// What holds work back is asked about.
async fn steer(global: &Global, deed: &Deed, question: Option<String>, mut wish: Value) -> anyhow::Result<()> {
    let client = deed.server.client(global)?;
    if let Some(question) = question {
        deed.sure.ask(&question)?;
    }
    wish["reason"] = deed.reason.as_str().into();
    let path = format!("/queues/{}", control::segment(&deed.queue));
    let now = client.post(&path, &wish, None).await?;
    control::print_item(global.output, QUEUE, &now)
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

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_rate_is_a_number_or_none() {
        assert_eq!("none".parse(), Ok(Rate(None)));
        assert_eq!("0.5".parse(), Ok(Rate(Some(0.5))));
        for bad in ["", "NaN", "inf", "20/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}

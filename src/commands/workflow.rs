//! `sagaline workflow …`: check, deploy and show definitions.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use orchestrator::client::{DefinitionSummary, EngineClient};
use serde::Serialize;
use workflows::Compiled;
use workflows::definition::Definition;

use super::saga::Engine;
use crate::cli::Global;
use crate::output::{self, Output, Row};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// List what is deployed.
    List {
        #[command(flatten)]
        engine: Engine,
    },
    /// Show a definition.
    Show {
        /// The workflow's name.
        name: String,
        /// Its version; left out, the newest.
        #[arg(long)]
        version: Option<u32>,
        #[command(flatten)]
        engine: Engine,
    },
    /// Check a definition without deploying it; everything wrong with it is listed.
    Check {
        /// A YAML or JSON file.
        file: PathBuf,
    },
    /// Deploy a definition. Running sagas keep the version they began with.
    Deploy {
        /// A YAML or JSON file.
        file: PathBuf,
        #[command(flatten)]
        engine: Engine,
    },
}

/// A definition that is fine.
#[derive(Serialize)]
struct Checked {
    name: String,
    version: u32,
    hash: String,
    queues: Vec<String>,
}

/// Does it.
pub async fn run(global: &Global, command: WorkflowCommand) -> anyhow::Result<()> {
    match command {
        WorkflowCommand::List { engine } => {
            output::print_list(global.output, &engine.client(global)?.definitions().await?)
        }
        WorkflowCommand::Show { name, version, engine } => {
            let detail = engine.client(global)?.definition(&name, version).await?;
            let detail = detail.with_context(|| format!("there is no such version of a workflow called {name}"))?;
            match global.output {
                Output::Table => output::print_text(&serde_yaml_ng::to_string(&detail.definition)?),
                Output::Json | Output::Jsonl => output::print_one(global.output, &detail, |_| String::new()),
            }
        }
        WorkflowCommand::Check { file } => {
            let compiled = check(&file)?;
            let checked = Checked {
                name: compiled.definition().name.clone(),
                version: compiled.definition().version,
                hash: compiled.hash().to_owned(),
                queues: compiled.queues(),
            };
            output::print_one(global.output, &checked, |checked| {
                format!(
                    "{} v{} is fine; queues: {}",
                    checked.name,
                    checked.version,
                    checked.queues.join(", ")
                )
            })
        }
        WorkflowCommand::Deploy { file, engine } => {
            let definition = check(&file)?.definition().clone();
            let deployed = engine.client(global)?.deploy(definition).await?;
            output::print_one(global.output, &deployed.definition, |summary| {
                let news = if deployed.created {
                    "deployed"
                } else {
                    "already deployed"
                };
                format!("{} v{} {news} ({})", summary.name, summary.version, summary.hash)
            })
        }
    }
}

fn check(file: &Path) -> anyhow::Result<Compiled> {
    let definition = read(file)?;
    Compiled::new(definition).or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| format!("\n  - {problem}")).collect();
        bail!("{} is not a valid workflow:{}", file.display(), lines.concat())
    })
}

fn read(file: &Path) -> anyhow::Result<Definition> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let what = || format!("{} is not a workflow definition", file.display());
    if file.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text).with_context(what)
    } else {
        serde_yaml_ng::from_str(&text).with_context(what)
    }
}

impl Row for DefinitionSummary {
    const HEADINGS: &'static [&'static str] = &["WORKFLOW", "VERSION", "DEPLOYED", "HASH", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.version.to_string(),
            output::instant(self.deployed_at),
            self.hash.chars().take(12).collect(),
            self.description.lines().next().unwrap_or_default().to_owned(),
        ]
    }
}

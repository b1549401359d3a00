//! Workflows: their versions, where their sagas are, how often steps fail and how long they take.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use orchestrator::Deployed;
use serde::Deserialize;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::Role;

use super::graph::{self, Mark};
use super::search::quoted;
use super::text::{ago, span};
use super::{Frame, Page, home, html, search_link, timeline};
use crate::access::Operator;
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{SAMPLE_ENTRIES, SAMPLE_SAGAS, STEP_SAMPLE};
use crate::store::figures::{self, Entry};

#[derive(Template)]
#[template(path = "workflows.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    versions: Vec<u32>,
    deployed: String,
    live: i64,
    href: String,
}

/// Lists them.
pub async fn list(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let now = mission.engine.now();
    let all = mission.engine.definitions().all().await?;
    let at = home::live(&mission).await?;
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for definition in &all {
        let row = rows.entry(definition.name()).or_insert_with(|| Row {
            name: definition.name().to_owned(),
            versions: Vec::new(),
            deployed: String::new(),
            live: at
                .iter()
                .filter(|live| live.workflow == definition.name())
                .map(|live| live.sagas)
                .sum(),
            href: search_link(&format!("workflow:{} status:live", quoted(definition.name()))),
        });
        row.versions.push(definition.version());
        row.deployed = ago(definition.created_at, now);
    }
    html(&List {
        frame: Frame::new(&operator, "workflows"),
        rows: rows.into_values().collect(),
    })
}

/// Which version.
#[derive(Deserialize)]
pub struct Wanted {
    version: Option<u32>,
}

#[derive(Template)]
#[template(path = "workflow.html")]
struct WorkflowPage {
    frame: Frame,
    name: String,
    version: u32,
    deployed: String,
    queues: String,
    graph: String,
    steps: Vec<StepRow>,
    sampled: usize,
    step_sample: i64,
}

struct StepRow {
    name: String,
    live: i64,
    attempts: usize,
    failed: String,
    median: String,
    slow: String,
}

/// What the sample says of a step.
#[derive(Default)]
struct Seen {
    attempts: usize,
    failed: usize,
    took: Vec<u64>,
}

/// Shows a version, the newest unless asked for another.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Query(Wanted { version }): Query<Wanted>,
) -> Page {
    let definition = match mission.engine.definitions().by_name(&name, version).await {
        Ok(definition) => definition,
        Err(orchestrator::EngineError::UnknownWorkflow { name, version: _ }) => {
            return Err(PageError::NotFound(format!(
                "the workflow {name}, or this version of it,"
            )));
        }
        Err(other) => return Err(other.into()),
    };
    let mut live: BTreeMap<String, i64> = BTreeMap::new();
    for at in home::at_nodes(&mission).await? {
        let node = u16::try_from(at.node)
            .ok()
            .filter(|_| at.definition_id == definition.id);
        if let Some(name) = node.and_then(|node| definition.compiled.node_name(node)) {
            *live.entry(name.to_owned()).or_default() += at.sagas;
        }
    }
    let entries = figures::sample(&mission.pool, definition.id).await?;
    let (seen, sampled) = seen(&definition, &entries);
    let queues = definition.compiled.queues();
    html(&WorkflowPage {
        frame: Frame::new(&operator, "workflows"),
        version: definition.version(),
        deployed: ago(definition.created_at, mission.engine.now()),
        queues: queues.join(", "),
        graph: graph::draw_all(definition.compiled.definition(), &marks(&live, &seen)),
        steps: seen.iter().map(|(name, seen)| row(name, seen, &live)).collect(),
        sampled,
        step_sample: STEP_SAMPLE,
        name,
    })
}

/// Replays the sampled journals; gives each step's attempts at running, and how many sagas there were.
fn seen(definition: &Deployed, entries: &[Entry]) -> (BTreeMap<String, Seen>, usize) {
    let mut steps: BTreeMap<String, Seen> = BTreeMap::new();
    let mut sagas: usize = 0;
    let cut = entries.len() as i64 >= SAMPLE_ENTRIES;
    let mut journals = entries.chunk_by(|a, b| a.saga_id == b.saga_id).peekable();
    while let Some(journal) = journals.next() {
        // The last one's end may be missing.
        if cut && journals.peek().is_none() && sagas > 0 {
            break;
        }
        let events: Result<Vec<(Timestamp, Event)>, _> = journal
            .iter()
            .map(|entry| serde_json::from_str(&entry.event).map(|event| (entry.at.into(), event)))
            .collect();
        let Ok(events) = events else { continue };
        let events = events.iter().map(|(at, event)| (*at, event));
        let Some(bars) = timeline::bars(&definition.compiled, SagaId(journal[0].saga_id), events) else {
            continue;
        };
        sagas += 1;
        for bar in bars.into_iter().filter(|bar| bar.token.role == Role::Run) {
            let Some(to) = bar.to else { continue };
            let seen = steps.entry(bar.token.step).or_default();
            seen.attempts += 1;
            match bar.class {
                "bar-good" => seen.took.push(to.0.saturating_sub(bar.from.0).unsigned_abs()),
                _failed => seen.failed += 1,
            }
        }
    }
    for seen in steps.values_mut() {
        seen.took.sort_unstable();
    }
    debug_assert!(sagas as i64 <= SAMPLE_SAGAS, "the statement's limit");
    (steps, sagas)
}

fn marks(live: &BTreeMap<String, i64>, seen: &BTreeMap<String, Seen>) -> BTreeMap<String, Mark> {
    let mut marks: BTreeMap<String, Mark> = BTreeMap::new();
    for (name, seen) in seen.iter().filter(|(_, seen)| seen.failed > 0) {
        let words = format!("✕ {} fail", percent(seen));
        marks.insert(
            name.clone(),
            Mark {
                class: "n-waiting",
                words,
            },
        );
    }
    for (name, sagas) in live {
        let mark = marks.entry(name.clone()).or_default();
        mark.class = if mark.words.is_empty() { "n-running" } else { "n-failed" };
        mark.words = format!("▶ {sagas} here {}", mark.words);
    }
    marks
}

fn row(name: &str, seen: &Seen, live: &BTreeMap<String, i64>) -> StepRow {
    StepRow {
        name: name.to_owned(),
        live: live.get(name).copied().unwrap_or_default(),
        attempts: seen.attempts,
        failed: percent(seen),
        median: percentile(&seen.took, 50),
        slow: percentile(&seen.took, 95),
    }
}

fn percent(seen: &Seen) -> String {
    format!("{} %", (seen.failed * 100).div_ceil(seen.attempts.max(1)))
}

/// The smallest that so many percent don't exceed (nearest rank); of sorted values.
fn percentile(sorted: &[u64], percent: usize) -> String {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted
        .get(rank - 1)
        .map_or_else(|| "–".to_owned(), |millis| span(*millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<u64> = (1..=20).collect();
        assert_eq!(percentile(&values, 50), "10 ms");
        assert_eq!(percentile(&values, 95), "19 ms");
        assert_eq!(percentile(&[7], 50), "7 ms");
        assert_eq!(percentile(&[], 95), "–");
    }
}

//! One saga: why it stands where it stands, what comes next, what one can do; then all that is known of it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use orchestrator::Deployed;
use orchestrator::store::reads::{self, JournalEntry, SagaRecord};
use serde::Deserialize;
use workflows::SagaView;
use workflows::event::{Command, CommandEvent, Event};
use workflows::ids::{SagaId, Timestamp};
use workflows::state::{self, Status};

use super::text::{self, ago, mark};
use super::{Frame, Page, graph, html, standing, timeline};
use crate::access::{Operator, Role};
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{EVENT_SHOWN_MAX, PAGE_JOURNAL, PAGE_NOTES};
use crate::links::Link;
use crate::store::audit::{self, Note};

#[derive(Template)]
#[template(path = "saga.html")]
struct SagaPage {
    frame: Frame,
    id: String,
    workflow: String,
    version: u32,
    status: &'static str,
    mark: &'static str,
    key: String,
    seq: u64,
    started: String,
    started_at: String,
    tags: Vec<String>,
    sentences: Vec<String>,
    actions: Vec<Action>,
    graph: String,
    timeline: String,
    input: String,
    output: String,
    links: Vec<Link>,
    steps: Vec<StepRow>,
    journal: Vec<JournalRow>,
    next: Option<u64>,
    notes: Vec<Note>,
}

struct Action {
    name: String,
    href: String,
}

struct StepRow {
    name: String,
    standing: String,
    error: String,
    output: String,
    /// Where its last attempt is compared; empty: it has none.
    difference: String,
}

struct JournalRow {
    seq: u64,
    at: String,
    kind: String,
    step: String,
    by: String,
    event: String,
    facts: String,
}

/// Where the journal's page begins.
#[derive(Deserialize)]
pub struct After {
    #[serde(default)]
    after: u64,
}

/// A saga with its definition; the dry run needs both as well.
pub async fn load(mission: &Mission, id: &str) -> Result<(SagaRecord, Arc<Deployed>), PageError> {
    let known = id
        .parse::<SagaId>()
        .map_err(|_| PageError::NotFound(format!("the saga {id}")))?;
    let record = reads::saga(&mission.pool, known).await?;
    let record = record.ok_or_else(|| PageError::NotFound(format!("the saga {id}")))?;
    let definition = mission.engine.definitions().by_id(record.summary.definition_id).await?;
    Ok((record, definition))
}

/// Shows it.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Query(After { after }): Query<After>,
) -> Page {
    let (SagaRecord { summary, state }, definition) = load(&mission, &id).await?;
    let journal = reads::journal(&mission.pool, summary.id, after, PAGE_JOURNAL).await?;
    let notes = audit::notes(&mission.pool, summary.id.0, PAGE_NOTES).await?;
    let now = mission.engine.now();
    let view = workflows::view(&definition.compiled, summary.id, &state);
    let events = journal.iter().map(|entry| (entry.at, &entry.event));
    html(&SagaPage {
        frame: Frame::new(&operator, "sagas"),
        id: summary.id.to_string(),
        version: definition.version(),
        status: view.status.as_str(),
        mark: mark(view.status),
        key: summary.business_key.unwrap_or_default(),
        seq: view.seq,
        started: ago(summary.created_at, now),
        started_at: summary.created_at.to_rfc3339(),
        tags: summary
            .tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        sentences: standing::sentences(&view, now),
        actions: actions(
            &view,
            summary.id,
            &operator,
            mission.options.second_person,
            &backs(&definition, summary.id, &state, &view, now),
        ),
        graph: graph::draw(definition.compiled.definition(), &standing::marks(&view)),
        timeline: timeline::draw(&definition.compiled, summary.id, events, now).unwrap_or_default(),
        input: text::json(&view.input, &operator),
        output: text::json(&view.output, &operator),
        links: mission.options.links.of(summary.id, &state, &view, &operator),
        steps: steps(&view, &operator, summary.id),
        next: journal.last().map(|last| last.seq).filter(|last| *last < view.seq),
        journal: journal.into_iter().map(|entry| row(entry, &operator)).collect(),
        workflow: summary.workflow,
        notes,
    })
}

fn steps(view: &SagaView, operator: &Operator, id: SagaId) -> Vec<StepRow> {
    let row = |step: &workflows::StepView| StepRow {
        name: step.name.clone(),
        standing: step.progress.clone().unwrap_or_else(|| step.standing.clone()),
        error: step
            .error
            .as_ref()
            .map_or_else(String::new, |error| format!("{}: {}", error.code, error.message)),
        output: text::json(&step.output, operator),
        difference: match step.kind.as_str() {
            "step" => {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair("step", &step.name)
                    .finish();
                format!("/sagas/{id}/difference?{query}")
            }
            _other => String::new(),
        },
    };
    view.steps.iter().map(row).collect()
}

fn row(entry: JournalEntry, operator: &Operator) -> JournalRow {
    let by = match &entry.event {
        Event::Command(command) if !command.by.is_empty() => format!("{}: {}", command.by, command.reason),
        _other => String::new(),
    };
    // An event is plain data, so it is JSON in any case.
    let event = serde_json::to_value(&entry.event).unwrap_or_default();
    let facts: Vec<String> = entry.facts.iter().map(|fact| fact.topic.clone()).collect();
    JournalRow {
        seq: entry.seq,
        at: entry.at.to_rfc3339(),
        kind: entry.kind,
        step: entry.step.unwrap_or_default(),
        by,
        event: text::json_within(&event, operator, EVENT_SHOWN_MAX),
        facts: facts.join(", "),
    }
}

/// The steps that it could go back to, by the engine's own word.
fn backs(definition: &Deployed, id: SagaId, state: &state::State, view: &SagaView, now: Timestamp) -> Vec<String> {
    let possible = |step: &&workflows::StepView| {
        let event = Event::Command(CommandEvent {
            command: Command::GoBack {
                step: step.name.clone(),
            },
            by: String::new(),
            reason: String::new(),
        });
        step.progress.is_none() && workflows::advance(&definition.compiled, id, state.clone(), &event, now).is_ok()
    };
    if view.pivoted || view.status.is_final() {
        return Vec::new();
    }
    view.steps
        .iter()
        .filter(possible)
        .map(|step| step.name.clone())
        .collect()
}

/// What fits the state and the role; the dry run has the last word.
/// Where a second person decides, an operator may ask for the grave ones.
fn actions(view: &SagaView, id: SagaId, operator: &Operator, second_person: bool, backs: &[String]) -> Vec<Action> {
    let mut found = Vec::new();
    let mut offer = |name: String, command: &str, step: &str| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("command", command)
            .append_pair("step", step)
            .finish();
        found.push(Action {
            name,
            href: format!("/sagas/{id}/act?{query}"),
        });
    };
    if operator.role < Role::Operator {
        return found;
    }
    let grave = second_person || operator.role >= Role::Approver;
    for step in &view.steps {
        let Some(progress) = &step.progress else { continue };
        if matches!(progress.as_str(), "operator" | "backoff" | "pending") {
            offer(format!("Retry {} now…", step.name), "retry", &step.name);
        }
        if step.role.is_some() && grave {
            offer(format!("Skip {}…", step.name), "skip", &step.name);
        }
    }
    for step in backs.iter().filter(|_| grave) {
        offer(format!("Go back to {step}…"), "go_back", step);
    }
    let ended = view.status.is_final();
    if !ended && !view.pivoted && view.status != Status::Compensating {
        offer("Cancel…".to_owned(), "cancel", "");
    }
    if !ended && grave {
        offer("Compensate…".to_owned(), "compensate", "");
    }
    if view.status == Status::Paused {
        offer("Resume…".to_owned(), "resume", "");
    } else if !ended {
        offer("Pause…".to_owned(), "pause", "");
    }
    if !ended {
        offer("Signal…".to_owned(), "signal", "");
    }
    offer("Note…".to_owned(), "note", "");
    found
}

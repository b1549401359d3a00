//! Why a saga stands where it stands, and what happens next by itself: sentences, from its state.

use std::collections::BTreeMap;

use workflows::SagaView;
use workflows::StepView;
use workflows::ids::Timestamp;
use workflows::state::Status;

use super::graph::Mark;
use super::text::ago;

/// The sentences, the most important first.
pub fn sentences(view: &SagaView, now: Timestamp) -> Vec<String> {
    let mut found = Vec::new();
    match view.status {
        Status::Completed => found.push("It has run to its end. Nothing more happens.".to_owned()),
        Status::Compensated | Status::Rejected | Status::Cancelled => {
            let reason = view.reason.as_deref().unwrap_or("no reason given");
            found.push(format!("It has ended ({reason}) and everything it had done is undone."));
        }
        Status::Failed => {
            found.push("It waits for you: nothing happens to the steps named here until somebody acts.".to_owned())
        }
        Status::Paused => found
            .push("An operator has paused it: nothing is dispatched until it is resumed. Deadlines go on.".to_owned()),
        Status::Compensating => {
            let reason = view.reason.as_deref().unwrap_or("no reason given");
            found.push(match &view.back_to {
                Some(step) => format!("It goes back to {step}: what was done from there on is undone, the last effect first; then it runs on from there."),
                None => format!("It is being undone ({reason}), the last effect first."),
            });
        }
        Status::Running | Status::Waiting => {}
    }
    if let Some(error) = &view.error {
        let step = view.failed_step.as_deref().unwrap_or("a step");
        found.push(format!("{step} made it end: {}: {}", error.code, error.message));
    }
    found.extend(view.steps.iter().filter_map(|step| sentence(step, now)));
    if view.pivoted && !view.status.is_final() {
        found
            .push("The point of no return is behind it: it only goes forward, unless somebody compensates.".to_owned());
    }
    found
}

fn sentence(step: &StepView, now: Timestamp) -> Option<String> {
    let progress = step.progress.as_deref()?;
    let name = &step.name;
    let role = match step.role.as_deref() {
        Some("probe") => "Finding out what came of",
        Some("fence") => "Settling",
        Some("compensate") => "Undoing",
        Some(_) | None => "Running",
    };
    let when = step
        .until
        .map(|until| format!("{} ({})", ago(until, now), until.to_rfc3339()));
    let when = when.unwrap_or_else(|| "at no set time".to_owned());
    let last = step.error.as_ref();
    let last = last.map_or_else(String::new, |error| {
        format!(" The last error: {}: {}", error.code, error.message)
    });
    Some(match progress {
        "in_flight" => format!(
            "{role} {name}: attempt {} is with a worker. Unanswered {when}, its outcome counts as unknown and is found out.{last}",
            step.attempt
        ),
        "backoff" => format!(
            "{role} {name}: attempt {} failed; the next one is made {when}.{last}",
            step.attempt
        ),
        "pending" => format!("{role} {name}: it is under way elsewhere, and asked about {when}.{last}"),
        "held" => format!(
            "{role} {name}: attempt {} waits until its queue lets it through: an operator has paused or limited that queue. No worker has seen it, and its time does not run.",
            step.attempt
        ),
        "withheld" => format!("{role} {name}: held back until the saga is resumed."),
        "operator" => format!("{role} {name}: no attempt is left after {}.{last}", step.attempt),
        _waiting => match step.kind.as_str() {
            "wait_for" => format!("{name} waits for its signal, at the latest until {when}."),
            "sleep" => format!("{name} sleeps; it goes on {when}."),
            "scope" if step.until.is_some() => format!("{name} has a deadline {when}."),
            _other => return None,
        },
    })
}

/// How each node looks in the graph.
pub fn marks(view: &SagaView) -> BTreeMap<String, Mark> {
    let mark = |step: &StepView| {
        let error = step.error.as_ref().map(|error| error.code.clone()).unwrap_or_default();
        let undoing = step.role.as_deref() == Some("compensate");
        let (class, words) = match (step.progress.as_deref(), step.standing.as_str()) {
            (Some("operator"), _) => ("n-failed", format!("‼ {error}")),
            (Some("in_flight"), _) if undoing => ("n-undone", "↶ being undone".to_owned()),
            (Some("in_flight"), _) => ("n-running", format!("▶ attempt {}", step.attempt)),
            (Some("backoff"), _) => ("n-waiting", format!("◷ retry after {error}")),
            (Some(_), _) => ("n-waiting", "◷ waiting".to_owned()),
            (None, "undone") => ("n-undone", "↩ undone".to_owned()),
            (None, "in_doubt") => ("n-failed", "? not known".to_owned()),
            (None, _) if step.error.is_some() => ("n-failed", format!("✕ {error}")),
            (None, _) => ("n-done", "✔ done".to_owned()),
        };
        Mark { class, words }
    };
    view.steps.iter().map(|step| (step.name.clone(), mark(step))).collect()
}

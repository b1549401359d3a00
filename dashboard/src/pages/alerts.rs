//! What is out of the ordinary, how each rule stands, and how many workers are wanted.

use askama::Template;
use axum::Extension;
use axum::extract::State;

use super::{Frame, Page, html};
use crate::access::Operator;
use crate::app::Mission;
use crate::reports::{self, Alert, Rule, Target};

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    frame: Frame,
    rules: Vec<RuleRow>,
    targets: Vec<Target>,
    alerts: Vec<Alert>,
}

struct RuleRow {
    rule: Rule,
    class: &'static str,
    mark: &'static str,
    value: String,
}

/// Shows it.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let known = reports::alerts(&mission).await?;
    let row = |rule: Rule| {
        let (class, mark) = match rule.standing.as_str() {
            "firing" => ("s-failed", "‼"),
            "recovering" => ("s-compensating", "↶"),
            "pending" => ("s-waiting", "◷"),
            _quiet => ("s-completed", "✔"),
        };
        RuleRow {
            class,
            mark,
            value: rule
                .value
                .map_or_else(|| "can't be told".to_owned(), |value| format!("{value:.3}")),
            rule,
        }
    };
    html(&AlertsPage {
        frame: Frame::new(&operator, "alerts"),
        rules: known.rules.into_iter().map(row).collect(),
        targets: known.targets,
        alerts: known.alerts,
    })
}

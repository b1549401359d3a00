//! Queues and who works on them, as far as the broker tells.

use askama::Template;
use axum::Extension;
use axum::extract::State;

use super::{Frame, Page, html};
use crate::access::Operator;
use crate::app::Mission;

#[derive(Template)]
#[template(path = "workers.html")]
struct QueuesPage {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    workflows: String,
    lag: String,
    deserted: bool,
    members: Option<Vec<String>>,
}

/// Shows them.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let known = mission.queues.get(&mission.engine);
    let rows = known.iter().map(|(name, queue)| Row {
        name: name.clone(),
        workflows: queue.workflows.join(", "),
        lag: queue
            .standing
            .lag
            .map_or_else(|| "not known".to_owned(), |lag| lag.to_string()),
        deserted: queue.is_deserted(),
        members: queue.standing.members.as_ref().map(|members| {
            let words = members
                .iter()
                .map(|member| format!("{} at {}", member.client, member.host));
            words.collect()
        }),
    });
    html(&QueuesPage {
        frame: Frame::new(&operator, "queues"),
        rows: rows.collect(),
    })
}

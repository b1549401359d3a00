//! The overview. Its figures are asked for once in a few seconds, however many look at them.

use std::collections::BTreeMap;

use askama::Template;
use axum::Extension;
use axum::extract::State;

use super::search::quoted;
use super::text::{ago, amount, mark, span};
use super::{Frame, Page, charts, html, search_link};
use crate::access::Operator;
use crate::app::Mission;
use crate::error::PageError;
use crate::limits::{CHART_MINUTES, COUNT_MAX, FIGURES_AGE_MAX};
use crate::store::figures::{self, AtNode, Health, Live, Minute, Sales};

/// What the overview shows.
pub struct Known {
    live: Vec<Live>,
    minutes: Vec<Minute>,
    sales: Vec<Sales>,
    nodes: Vec<AtNode>,
    health: Health,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    in_flight: String,
    failed: i64,
    outbox: i64,
    outbox_age: String,
    late_timers: i64,
    oldest: String,
    charts: Vec<Chart>,
    sales: Vec<SalesRow>,
    live: Vec<Row>,
    steps: Vec<StepRow>,
    queues: Vec<QueueRow>,
}

struct Chart {
    title: &'static str,
    last: i64,
    svg: String,
}

struct Row {
    workflow: String,
    status: String,
    mark: &'static str,
    sagas: i64,
    href: String,
}

struct StepRow {
    workflow: String,
    step: String,
    sagas: i64,
}

struct SalesRow {
    workflow: String,
    started: i64,
    completed: i64,
    conversion: String,
    items: i64,
    money: String,
}

struct QueueRow {
    name: String,
    lag: String,
    deserted: bool,
}

/// Fresh enough figures.
async fn known(mission: &Mission) -> Result<std::sync::Arc<Known>, PageError> {
    let ask = async || {
        Ok::<_, PageError>(Known {
            live: figures::live(&mission.pool).await?,
            minutes: figures::minutes(&mission.pool).await?,
            sales: figures::sales(&mission.pool).await?,
            nodes: figures::at_nodes(&mission.pool).await?,
            health: figures::health(&mission.pool).await?,
        })
    };
    mission.figures.get(FIGURES_AGE_MAX, ask).await
}

/// At which nodes live sagas are, as sampled.
pub async fn at_nodes(mission: &Mission) -> Result<Vec<AtNode>, PageError> {
    Ok(known(mission).await?.nodes.clone())
}

/// Live sagas by workflow and status.
pub async fn live(mission: &Mission) -> Result<Vec<Live>, PageError> {
    Ok(known(mission).await?.live.clone())
}

/// Shows it.
pub async fn show(State(mission): State<Mission>, Extension(operator): Extension<Operator>) -> Page {
    let known = known(&mission).await?;
    let in_flight: i64 = known.live.iter().map(|row| row.sagas).sum();
    let failed = known.live.iter().filter(|row| row.status == "failed");
    let health = &known.health;
    html(&Home {
        frame: Frame::new(&operator, "overview"),
        in_flight: if in_flight < COUNT_MAX {
            in_flight.to_string()
        } else {
            format!("{in_flight} or more")
        },
        failed: failed.map(|row| row.sagas).sum(),
        outbox: health.outbox,
        outbox_age: span((health.outbox_seconds * 1_000.0) as u64),
        late_timers: health.late_timers,
        oldest: health
            .oldest_stuck
            .map_or_else(|| "none".to_owned(), |at| ago(at.into(), mission.engine.now())),
        charts: drawn(&known.minutes),
        sales: known.sales.iter().map(sales).collect(),
        live: known.live.iter().map(row).collect(),
        steps: steps(&mission, &known.nodes).await?,
        queues: queues(&mission),
    })
}

fn drawn(minutes: &[Minute]) -> Vec<Chart> {
    let charts = [
        ("Started", "started", "bar-busy"),
        ("Completed", "completed", "bar-good"),
        ("Ended otherwise", "undone", "bar-undo"),
        ("Failing", "failing", "bar-bad"),
    ];
    let chart = |(title, kind, class): (&'static str, &str, &str)| {
        let mut values = vec![0; CHART_MINUTES];
        for minute in minutes.iter().filter(|minute| minute.kind == kind) {
            let ago = usize::try_from(minute.ago).unwrap_or(0);
            if let Some(value) = CHART_MINUTES
                .checked_sub(ago + 1)
                .and_then(|place| values.get_mut(place))
            {
                *value += minute.sagas;
            }
        }
        let last = values.last().copied().unwrap_or_default();
        let most = values.iter().copied().max().unwrap_or_default();
        let label =
            format!("{title} in each of the last {CHART_MINUTES} minutes: {last} in the last one, {most} at most");
        Chart {
            title,
            last,
            svg: charts::bars(&label, class, &values),
        }
    };
    charts.into_iter().map(chart).collect()
}

async fn steps(mission: &Mission, nodes: &[AtNode]) -> Result<Vec<StepRow>, PageError> {
    let mut sagas: BTreeMap<(String, String), i64> = BTreeMap::new();
    for at in nodes {
        // From memory, but for a definition's first saga.
        let definition = mission.engine.definitions().by_id(at.definition_id).await?;
        let index = u16::try_from(at.node).ok();
        if let Some(step) = index.and_then(|index| definition.compiled.node_name(index)) {
            *sagas
                .entry((definition.name().to_owned(), step.to_owned()))
                .or_default() += at.sagas;
        }
    }
    let row = |((workflow, step), sagas)| StepRow { workflow, step, sagas };
    Ok(sagas.into_iter().map(row).collect())
}

fn sales(sales: &Sales) -> SalesRow {
    // Of those that have ended: what is under way is neither won nor lost.
    let ended = sales.completed + sales.undone;
    let conversion = match ended {
        0 => "—".to_owned(),
        ended => format!("{} %", sales.completed * 100 / ended),
    };
    SalesRow {
        workflow: sales.workflow.clone(),
        started: sales.started,
        completed: sales.completed,
        conversion,
        items: sales.items,
        money: amount(sales.money_cents),
    }
}

fn queues(mission: &Mission) -> Vec<QueueRow> {
    let known = mission.queues.get(&mission.engine);
    let row = |(name, queue): (&String, &crate::queues::Queue)| QueueRow {
        name: name.clone(),
        lag: queue
            .standing
            .lag
            .map_or_else(|| "not known".to_owned(), |lag| lag.to_string()),
        deserted: queue.is_deserted(),
    };
    known.iter().map(row).collect()
}

fn row(live: &Live) -> Row {
    let search = format!("workflow:{} status:{}", quoted(&live.workflow), live.status);
    Row {
        workflow: live.workflow.clone(),
        status: live.status.clone(),
        mark: live.status.parse().map_or("", mark),
        sagas: live.sagas,
        href: search_link(&search),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::text::thousands;

    #[test]
    fn money_is_exact() {
        let row = sales(&Sales {
            workflow: "booking".to_owned(),
            started: 10,
            completed: 3,
            undone: 1,
            items: 6,
            money_cents: 123_456_705,
        });
        assert_eq!((row.money.as_str(), row.conversion.as_str()), ("1,234,567.05", "75 %"));
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_000), "1,000");
    }
}

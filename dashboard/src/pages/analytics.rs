//! How sales go, how far visitors come, and how the platform is.

use std::collections::BTreeMap;

use analytics::report::{Figures, Point, Range, Report, Stage, System};
use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::text::amount;
use super::{Frame, Page, charts, html};
use crate::access::Operator;
use crate::app::Mission;
use crate::limits::CHART_BARS_MAX;
use crate::reports::{self, Asked};

#[derive(Template)]
#[template(path = "analytics.html")]
struct AnalyticsPage {
    frame: Frame,
    asked: Asked,
    /// The same as part of an address.
    query: String,
    from: String,
    to: String,
    step: String,
    ranges: Vec<Link>,
    figures: Vec<Figure>,
    charts: Vec<Chart>,
    funnel: Vec<StageRow>,
    popular: Vec<EventRow>,
    system: Vec<Chart>,
}

struct Link {
    words: &'static str,
    href: String,
}

struct Figure {
    name: &'static str,
    value: String,
}

struct Chart {
    title: String,
    most: String,
    svg: String,
}

struct StageRow {
    stage: String,
    count: i64,
    share: String,
    svg: String,
}

struct EventRow {
    event: String,
    views: i64,
    initiated: i64,
    confirmed: i64,
    conversion: String,
    revenue: String,
}

/// Shows it.
pub async fn show(
    State(mission): State<Mission>,
    Extension(operator): Extension<Operator>,
    Query(asked): Query<Asked>,
) -> Page {
    let now = Utc::now();
    let range = asked.range(now)?;
    let report = reports::of(&mission, range).await?;
    html(&AnalyticsPage {
        frame: Frame::new(&operator, "analytics"),
        query: query(&asked.from, &asked.to, &asked.step),
        ranges: ranges(now),
        figures: figures(&report.total),
        charts: drawn(&report, range),
        funnel: funnel(&report.funnel),
        popular: popular(&report),
        system: system(&report.system),
        from: report.from.clone(),
        to: report.to.clone(),
        step: report.step.clone(),
        asked,
    })
}

/// The steps as a table for spreadsheets.
pub async fn export(State(mission): State<Mission>, Query(asked): Query<Asked>) -> Page {
    let report = reports::of(&mission, asked.range(Utc::now())?).await?;
    let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8");
    let file = (header::CONTENT_DISPOSITION, "attachment; filename=\"analytics.csv\"");
    Ok(([kind, file], analytics::report::csv(&report)).into_response())
}

fn query(from: &str, to: &str, step: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("from", from)
        .append_pair("to", to)
        .append_pair("step", step)
        .finish()
}

fn ranges(now: DateTime<Utc>) -> Vec<Link> {
    let link = |words, length: TimeDelta, step| Link {
        words,
        href: format!(
            "/analytics?{}",
            query(&(now - length).to_rfc3339_opts(SecondsFormat::Secs, true), "", step)
        ),
    };
    vec![
        link("Last hour", TimeDelta::hours(1), "minute"),
        link("Last day", TimeDelta::days(1), "hour"),
        link("Last week", TimeDelta::days(7), "hour"),
        link("Last 30 days", TimeDelta::days(30), "day"),
    ]
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "—".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "—".to_owned(), |seconds| format!("{seconds:.1} s"))
}

/// In the currencies' smallest units, as the store has them: which of them have two decimals, this page doesn't know.
fn money(cents: &BTreeMap<String, i64>) -> String {
    let sum = |(currency, cents): (&String, &i64)| format!("{} {}", amount(*cents), currency.to_uppercase());
    match cents.is_empty() {
        true => "—".to_owned(),
        false => cents.iter().map(sum).collect::<Vec<_>>().join(",\n"),
    }
}

fn figures(total: &Figures) -> Vec<Figure> {
    let figure = |name, value: String| Figure { name, value };
    vec![
        figure("Active users", total.active_users.to_string()),
        figure("Bookings begun", total.initiated.to_string()),
        figure("Begun a minute", format!("{:.1}", total.bookings_per_minute)),
        figure("Bookings confirmed", total.confirmed.to_string()),
        figure("Conversion", percent(total.conversion_rate)),
        figure("Half confirmed within", seconds(total.seconds_to_confirm_median)),
        figure("95 % confirmed within", seconds(total.seconds_to_confirm_p95)),
        figure("Payments gone through", percent(total.payment_success)),
        figure("Revenue", money(&total.revenue_cents)),
        figure("Given back", money(&total.refunded_cents)),
        figure("Messages delivered", percent(total.delivery_rate)),
    ]
}

/// How what falls into one bar comes together.
#[derive(Clone, Copy)]
enum Together {
    Sum,
    Most,
}

/// The values of all steps, those without anything too, in at most so many bars.
fn series(report: &Report, range: Range, together: Together, value: impl Fn(&Figures) -> i64) -> Vec<i64> {
    let length = range.step.length().num_seconds();
    let steps = ((range.time.to - range.time.from).num_seconds() / length).max(1) as usize;
    let at_once = steps.div_ceil(CHART_BARS_MAX);
    let mut bars = vec![0; steps.div_ceil(at_once)];
    for Point { since, figures } in &report.points {
        let Ok(since) = since.parse::<DateTime<Utc>>() else {
            continue;
        };
        let step = ((since - range.time.from).num_seconds() / length).max(0) as usize;
        if let Some(bar) = bars.get_mut(step / at_once) {
            *bar = match together {
                Together::Sum => *bar + value(figures),
                Together::Most => (*bar).max(value(figures)),
            };
        }
    }
    bars
}

/// A unit that is read in seconds where it is ten of them.
const MILLIS: &str = " ms";

fn chart(title: &str, class: &str, values: &[i64], unit: &str) -> Chart {
    let most = values.iter().copied().max().unwrap_or_default();
    let last = values.last().copied().unwrap_or_default();
    Chart {
        title: title.to_owned(),
        most: match most {
            0 => "none".to_owned(),
            most if unit == MILLIS && most >= 10_000 => format!("{:.1} s at most", most as f64 / 1_000.0),
            most => format!("{most}{unit} at most"),
        },
        svg: charts::bars(
            &format!("{title}: {most}{unit} at most, {last}{unit} last"),
            class,
            values,
        ),
    }
}

fn drawn(report: &Report, range: Range) -> Vec<Chart> {
    let millis = |figures: &Figures| (figures.seconds_to_confirm_p95.unwrap_or_default() * 1_000.0) as i64;
    let revenue = |figures: &Figures| figures.revenue_cents.values().sum::<i64>() / 100;
    let of = |together, value: &dyn Fn(&Figures) -> i64| series(report, range, together, value);
    vec![
        chart("Active users", "bar-wait", &of(Together::Most, &|f| f.active_users), ""),
        chart("Bookings begun", "bar-busy", &of(Together::Sum, &|f| f.initiated), ""),
        chart(
            "Bookings confirmed",
            "bar-good",
            &of(Together::Sum, &|f| f.confirmed),
            "",
        ),
        chart(
            "95 % confirmed within",
            "bar-undo",
            &of(Together::Most, &millis),
            MILLIS,
        ),
        chart("Revenue, all currencies", "bar-good", &of(Together::Sum, &revenue), ""),
        chart(
            "Payments that failed",
            "bar-bad",
            &of(Together::Sum, &|f| f.payments_failed),
            "",
        ),
        chart(
            "Messages delivered",
            "bar-good",
            &of(Together::Sum, &|f| f.messages_delivered),
            "",
        ),
    ]
}

fn funnel(stages: &[Stage]) -> Vec<StageRow> {
    let most = stages.iter().map(|stage| stage.count).max().unwrap_or_default();
    let row = |stage: &Stage| StageRow {
        stage: stage.stage.clone(),
        count: stage.count,
        share: percent(stage.of_previous),
        svg: charts::bar(&format!("{} of {most}", stage.count), "bar-busy", stage.count, most),
    };
    stages.iter().map(row).collect()
}

fn popular(report: &Report) -> Vec<EventRow> {
    let row = |event: &analytics::report::Popular| EventRow {
        event: event.event_id.clone(),
        views: event.views,
        initiated: event.figures.initiated,
        confirmed: event.figures.confirmed,
        conversion: percent(event.figures.conversion_rate),
        revenue: money(&event.figures.revenue_cents),
    };
    report.popular.iter().map(row).collect()
}

/// One chart a metric, of at most so many bars: the highest value of what falls into one.
fn system(points: &[System]) -> Vec<Chart> {
    let metrics = [
        ("Queue lag", "queueLag", 1.0, ""),
        ("Wait for Kafka", "outboxSeconds", 1_000.0, MILLIS),
        ("Oldest stuck saga", "oldestStuckSeconds", 1.0, " s"),
        ("Payments that fail", "paymentFailureRate", 100.0, " %"),
    ];
    let at_once = points.len().div_ceil(CHART_BARS_MAX).max(1);
    let of = |(title, name, times, unit): (&str, &str, f64, &str)| {
        let value = |point: &System| (point.metrics[name].as_f64().unwrap_or_default() * times) as i64;
        let bars = points.chunks(at_once);
        let bars: Vec<i64> = bars
            .map(|some| some.iter().map(value).max().unwrap_or_default())
            .collect();
        chart(title, "bar-wait", &bars, unit)
    };
    match points.is_empty() {
        true => Vec::new(),
        false => metrics.into_iter().map(of).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use analytics::report::Range;
    use analytics::store::Step;

    use super::*;

    #[test]
    fn a_chart_has_a_bar_for_each_step_or_for_a_few() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let point = |since: &str, initiated: i64| Point {
            since: since.to_owned(),
            figures: Figures {
                initiated,
                ..Figures::default()
            },
        };
        let mut report = Report {
            from: String::new(),
            to: String::new(),
            step: String::new(),
            total: Figures::default(),
            points: vec![point("2026-11-24T10:00:00Z", 2), point("2026-11-24T12:00:00Z", 5)],
            funnel: Vec::new(),
            popular: Vec::new(),
            system: Vec::new(),
        };
        let day = Range::new(at("2026-11-24T10:00:00Z"), at("2026-11-24T13:00:00Z"), Step::Hour).unwrap();
        assert_eq!(series(&report, day, Together::Sum, |f| f.initiated), [2, 0, 5]);
        report.points.push(point("2026-11-24T10:01:00Z", 4));
        let minutes = Range::new(at("2026-11-24T10:00:00Z"), at("2026-11-24T20:00:00Z"), Step::Minute).unwrap();
        let bars = series(&report, minutes, Together::Sum, |f| f.initiated);
        assert!(bars.len() <= CHART_BARS_MAX, "{}", bars.len());
        assert_eq!((bars[0], bars.iter().sum::<i64>()), (6, 11));
        assert_eq!(series(&report, minutes, Together::Most, |f| f.initiated)[0], 4);
    }

    #[test]
    fn amounts_are_exact() {
        assert_eq!(money(&BTreeMap::from([("usd".to_owned(), 123_405)])), "1,234.05 USD");
        assert_eq!(percent(Some(0.985)), "98.5 %");
    }
}

//! How an event stands and sells, and what is decided about it.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, DurationRound as _, Utc};
use chrono_tz::Tz;
use serde_json::{Map, json};

use super::input::{Filled, Input, Wrong};
use super::types::{Managed, Point, Report, Status};
use super::{Head, clock, managed_of, path_of};
use crate::amount::{Amount, thousands};
use crate::api::{Ask, Failure, Refusal};
use crate::limits::{DAYS_SUMMED, MINUTES_SHOWN, SALES_MS};
use crate::pages::fields::{Fields, Form};
use crate::pages::{Frame, Page, event_of, go, html_with, named};
use crate::routes::Shop;
use crate::text::{query, segment};
use crate::trouble::Trouble;
use crate::types::{Event, Section};
use crate::visitor::Visitor;

/// The drawing's height.
const CHART_HEIGHT: i64 = 60;
/// A minute's room in it.
const CHART_STEP: usize = 6;

#[derive(Template)]
#[template(path = "organiser/sales.html")]
struct Sales {
    frame: Frame,
    head: Head,
    top: Vec<String>,
    draft: Option<Draft>,
    selling: Option<Selling>,
    look_again: u32,
    /// What it can become: its name, what it does, and how grave that is.
    next: Vec<Step>,
    /// A date that comes with the first of them.
    date: Option<Input>,
}

/// What can be decided.
struct Step {
    status: &'static str,
    text: &'static str,
    about: &'static str,
    class: &'static str,
}

/// What is there of an event that nobody sees yet.
struct Draft {
    lines: Vec<(&'static str, String)>,
    prices: Vec<(String, String)>,
}

/// How it sells.
struct Selling {
    seats: String,
    sold: String,
    held: String,
    free: String,
    sections: Vec<SectionSales>,
    figures: Option<Told>,
}

struct SectionSales {
    name: String,
    seats: String,
    sold: String,
    held: String,
    free: String,
    percent: usize,
    price: String,
}

/// Figures in words.
struct Told {
    revenue: String,
    refunded: String,
    orders: String,
    conversion: String,
    last_minute: i64,
    most: i64,
    width: usize,
    bars: Vec<Bar>,
}

/// Orders of a minute.
struct Bar {
    x: usize,
    y: i64,
    height: i64,
}

/// Shows it.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    page(&shop, &visitor, &event, &Fields::default(), &Wrong::default()).await
}

async fn page(shop: &Shop, visitor: &Visitor, event: &Managed, fields: &Fields, wrong: &Wrong) -> Page {
    let selling = match event.status {
        Status::Draft => None,
        // One that was dropped as a draft is nobody's to see.
        _ => match event_of(shop, visitor, &event.event_id).await {
            Ok(public) => Some(selling(&public, report(shop, visitor, event).await)),
            Err(Trouble::NotFound(_)) => None,
            Err(trouble) => return Err(trouble),
        },
    };
    let status = match wrong.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::CONFLICT,
    };
    let filled = Filled { fields, wrong };
    let date = |label: &str| {
        filled
            .input("datetime-local", "starts_at", label)
            .hint(format!("By the clock of {}.", event.time_zone))
    };
    let view = Sales {
        frame: Frame::new(visitor, "organiser"),
        head: Head::of(event, ""),
        top: wrong.all_at(""),
        draft: (event.status == Status::Draft).then(|| draft(event)),
        selling,
        look_again: SALES_MS,
        next: steps(event.status),
        date: match event.status {
            Status::Published | Status::Closed => Some(date("New date, if it is known")),
            Status::Postponed if event.postponed_from.is_none() => Some(date("New date").must()),
            Status::Postponed => Some(date("Another date, if it changes again")),
            Status::Draft | Status::Cancelled => None,
        },
    };
    html_with(status, &view)
}

fn steps(status: Status) -> Vec<Step> {
    let step = |status, text, about, class| Step {
        status,
        text,
        about,
        class,
    };
    let publish = step("published", "Publish", "Its seats are made, and buyers find it.", "");
    let postpone = step(
        "postponed",
        "Postpone",
        "Nothing is sold until it is published again. What was sold stays good.",
        "quiet",
    );
    match status {
        Status::Draft => vec![
            step(
                "published",
                "Publish",
                "Its seats are made from the venue’s, and buyers find it. Venue, date, currency and prices stay from then on.",
                "",
            ),
            step(
                "cancelled",
                "Drop this draft",
                "It was never seen, and won’t be.",
                "grave",
            ),
        ],
        Status::Published => vec![
            postpone,
            step(
                "closed",
                "Close the sale",
                "It takes place, and is sold no more. It can be opened again.",
                "quiet",
            ),
        ],
        Status::Postponed => vec![step(
            "published",
            "Publish with this date",
            "It is sold again, and ticket holders’ pages show the date.",
            "",
        )],
        Status::Closed => vec![
            postpone,
            Step {
                text: "Open the sale again",
                about: "It is sold again within its window.",
                ..publish
            },
        ],
        Status::Cancelled => Vec::new(),
    }
}

fn draft(event: &Managed) -> Draft {
    let there = |at: &String| {
        let when = crate::text::When::of(&clock::there(at, &event.time_zone));
        format!("{}, {}", when.day, when.time)
    };
    let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
    let names = |names: Vec<String>| match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    };
    let currency = &event.currency;
    let fees = event
        .pricing
        .fees
        .iter()
        .map(|fee| format!("{} {}", fee.name, fee.amount.told(currency)));
    let taxes = event
        .pricing
        .taxes
        .iter()
        .map(|tax| format!("{} {} %", tax.name, tax.rate.get()));
    let price = |tier: &super::types::Tier| {
        let places = super::places::told(&tier.places).replace('\n', "; ");
        let places = if places.is_empty() {
            "all the rest".to_owned()
        } else {
            places
        };
        (format!("{} ({places})", tier.name), tier.price.told(currency))
    };
    Draft {
        lines: vec![
            ("On stage", names(event.performers.clone())),
            (
                "Sale begins",
                or(event.sale.starts_at.as_ref().map(there), "as soon as it is published"),
            ),
            (
                "Sale ends",
                or(event.sale.ends_at.as_ref().map(there), "when it begins"),
            ),
            ("Fees", names(fees.collect())),
            ("Taxes", names(taxes.collect())),
        ],
        prices: event.pricing.tiers.iter().map(price).collect(),
    }
}

/// What the analytics say: all of it, and the last hour by minute. None: they are away, which keeps nobody from the rest.
async fn report(shop: &Shop, visitor: &Visitor, event: &Managed) -> Option<Told> {
    let now = Utc::now();
    let path = format!("/analytics/events/{}", segment(&event.event_id));
    let ask = async |step: &str, from: String| {
        let asked = query([("step", step), ("from", from.as_str())]);
        let said = shop
            .api
            .ask::<Report>(&visitor.caller, Ask::get(format!("{path}?{asked}")))
            .await;
        said.map_err(|error| tracing::debug!(%error, "no figures of an event's sales"))
            .ok()
    };
    let minutes = i64::try_from(MINUTES_SHOWN).unwrap_or(i64::MAX);
    let (all, hour) = tokio::join!(
        ask("day", clock::ago(now, chrono::Duration::days(DAYS_SUMMED))),
        ask("minute", clock::ago(now, chrono::Duration::minutes(minutes))),
    );
    let (all, hour) = (all?, hour?);
    let counts = by_minute(&hour.points, now);
    let most = counts.iter().copied().max().unwrap_or_default();
    let bar = |(place, orders): (usize, &i64)| {
        // Rounded up: one order is seen beside a thousand.
        let height = (orders * CHART_HEIGHT + most - 1) / most.max(1);
        Bar {
            x: place * CHART_STEP,
            y: CHART_HEIGHT - height,
            height,
        }
    };
    let totals = &all.total;
    Some(Told {
        revenue: totals.revenue.told(&event.currency),
        refunded: match totals.refunded == Amount::default() {
            true => String::new(),
            false => totals.refunded.told(&event.currency),
        },
        orders: thousands(totals.confirmed),
        conversion: match totals.initiated {
            0 => "–".to_owned(),
            begun => format!("{} %", totals.confirmed * 100 / begun),
        },
        // The last minute that is whole.
        last_minute: counts.iter().rev().nth(1).copied().unwrap_or_default(),
        most,
        width: MINUTES_SHOWN * CHART_STEP,
        bars: counts
            .iter()
            .enumerate()
            .filter(|(_, orders)| **orders > 0)
            .map(bar)
            .collect(),
    })
}

/// Orders of each of the last minutes, the current one last.
fn by_minute(points: &[Point], now: DateTime<Utc>) -> Vec<i64> {
    let mut counts = vec![0; MINUTES_SHOWN];
    let minute = chrono::Duration::minutes(1);
    let Ok(current) = now.duration_trunc(minute) else {
        return counts;
    };
    for point in points {
        let since = DateTime::parse_from_rfc3339(&point.since).ok();
        let ago = since.map(|since| (current - since.to_utc()).num_minutes());
        let place = ago.and_then(|ago| MINUTES_SHOWN.checked_sub(1 + usize::try_from(ago).ok()?));
        if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
            *count += point.confirmed.max(0);
        }
    }
    counts
}

fn selling(event: &Event, figures: Option<Told>) -> Selling {
    let sum = |of: fn(&Section) -> usize| grouped(event.sections.iter().map(of).sum());
    Selling {
        seats: sum(|section| section.seats),
        sold: sum(Section::sold),
        held: sum(Section::held),
        free: sum(|section| section.available),
        sections: event
            .sections
            .iter()
            .map(|section| row(section, &event.currency))
            .collect(),
        figures,
    }
}

fn grouped(number: usize) -> String {
    thousands(i64::try_from(number).unwrap_or(i64::MAX))
}

fn row(section: &Section, currency: &str) -> SectionSales {
    let (from, to) = (section.price_min.told(currency), section.price_max.told(currency));
    SectionSales {
        name: section.section.clone(),
        seats: grouped(section.seats),
        sold: grouped(section.sold()),
        held: grouped(section.held()),
        free: grouped(section.available),
        percent: (section.sold() * 100).checked_div(section.seats).unwrap_or_default(),
        price: if from == to { from } else { format!("{from} – {to}") },
    }
}

/// Where a decision was refused, the address is its own: opened again, it is the event's page.
pub async fn back(Path(id): Path<String>) -> Response {
    go(&path_of(&id))
}

/// Publishes, postpones or closes it; or drops a draft.
pub async fn decide(
    State(shop): State<Shop>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Page {
    let event = managed_of(&shop, &visitor, &id).await?;
    let mut wish = Map::new();
    let status = fields.text("status");
    wish.insert("status".to_owned(), json!(status));
    // A date that stands in the form is meant for those steps that take one.
    let takes_a_date = status == "postponed" || (status == "published" && event.status == Status::Postponed);
    if let Some(typed) = fields.get("starts_at").filter(|_| takes_a_date) {
        let zone = event.time_zone.parse::<Tz>().unwrap_or(Tz::UTC);
        match clock::instant(typed, zone) {
            Ok(at) => wish.insert("startsAt".to_owned(), json!(at)),
            Err(why) => {
                let mut wrong = Wrong::default();
                wrong.say("starts_at", why);
                return page(&shop, &visitor, &event, &fields, &wrong).await;
            }
        };
    }
    let ask = Ask::post(format!("/organiser/events/{}/status", segment(&id)), &wish);
    match shop.api.ask::<Managed>(&visitor.caller, ask).await {
        Ok(decided) => Ok(go(&path_of(&decided.event_id))),
        Err(Failure::Refused(refusal)) if matches!(refusal.code(), "invalid" | "malformed" | "refused") => {
            let date = |pointer: &str| (pointer == "/startsAt").then(|| "starts_at".to_owned());
            let wrong = match event.status {
                Status::Draft => unfinished(&refusal),
                _ => Wrong::of(&refusal, date),
            };
            page(&shop, &visitor, &event, &fields, &wrong).await
        }
        Err(failure) => Err(named("event")(failure)),
    }
}

/// What a draft still wants, in the words of its form.
fn unfinished(refusal: &Refusal) -> Wrong {
    let mut wrong = Wrong::default();
    for error in &refusal.errors {
        let what = match error.pointer.as_str() {
            "/venueId" => "The venue has no seats yet: read its file, on the page of your venues.".to_owned(),
            "/startsAt" => format!("The date {}.", error.message),
            place if place.starts_with("/pricing") => format!("The price list {}.", error.message),
            _ => error.told(),
        };
        wrong.say("", what);
    }
    match wrong.is_empty() {
        true => wrong.say("", refusal.detail.clone()),
        false => wrong.say("", "It is not published yet. Choose “Edit” above to mend it."),
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_drawn_in_their_minutes() {
        let now = DateTime::parse_from_rfc3339("2031-06-12T18:30:20Z")
            .expect("it is an instant")
            .to_utc();
        let point = |since: &str, confirmed| Point {
            since: since.to_owned(),
            confirmed,
        };
        let points = [
            point("2031-06-12T18:30:00.000Z", 1),
            point("2031-06-12T18:29:00Z", 7),
            point("2031-06-12T17:31:00Z", 2),
            // Of before, of a moment to come, and nonsense.
            point("2031-06-12T17:30:00Z", 9),
            point("2031-06-12T18:31:00Z", 9),
            point("soon", 9),
        ];
        let counts = by_minute(&points, now);
        assert_eq!((counts[59], counts[58], counts[0]), (1, 7, 2));
        assert_eq!(counts.iter().sum::<i64>(), 10);
    }

    #[test]
    fn every_state_but_the_last_leads_on() {
        for status in [Status::Draft, Status::Published, Status::Postponed, Status::Closed] {
            assert!(!steps(status).is_empty(), "{status:?}");
        }
        assert!(steps(Status::Cancelled).is_empty());
    }
}

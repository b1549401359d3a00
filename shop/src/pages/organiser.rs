//! For organisers: their events, and how one sells.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};

use super::fields::Query;
use super::{Frame, Headline, Page, event_of, html};
use crate::api::Ask;
use crate::routes::Shop;
use crate::text::{When, query, segment};
use crate::types::{Managed, ManagedPage, Section};
use crate::visitor::Visitor;

#[derive(Template)]
#[template(path = "organiser.html")]
struct OrganiserView {
    frame: Frame,
    events: Vec<EventRow>,
    more: String,
}

struct EventRow {
    name: String,
    place: String,
    day: String,
    status: String,
    href: String,
}

#[derive(Template)]
#[template(path = "sales.html")]
struct Sales {
    frame: Frame,
    head: Headline,
    taken: usize,
    seats: usize,
    percent: usize,
    sections: Vec<SectionSales>,
}

struct SectionSales {
    name: String,
    taken: usize,
    seats: usize,
    percent: usize,
}

/// Lists them.
pub async fn list(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Query(fields): Query) -> Page {
    let after = query(fields.get("after").map(|after| ("after", after)));
    let page: ManagedPage = shop
        .api
        .ask(&visitor.caller, Ask::get(format!("/organiser/events?{after}")))
        .await?;
    let last = page.events.last().filter(|_| page.next.is_some());
    let more = last.map(|last| format!("/shop/organiser?{}", query([("after", last.event_id.as_str())])));
    html(&OrganiserView {
        frame: Frame::new(&visitor, "organiser"),
        more: more.unwrap_or_default(),
        events: page.events.iter().map(row).collect(),
    })
}

fn row(event: &Managed) -> EventRow {
    EventRow {
        name: event.name.clone(),
        place: format!("{}, {}", event.venue, event.city),
        day: When::of(&event.starts_at).day,
        status: event.status.clone(),
        // Nobody sees a draft's seats yet, for it has none.
        href: match event.status.as_str() {
            "draft" => String::new(),
            _ => format!("/shop/organiser/events/{}", segment(&event.event_id)),
        },
    }
}

/// How one of them sells: seats that are held or sold, section by section, as of a moment ago.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Page {
    // Whose it is, the gateway says.
    let ask = Ask::get(format!("/organiser/events/{}", segment(&id)));
    let managed: Managed = shop
        .api
        .ask(&visitor.caller, ask)
        .await
        .map_err(super::named("event"))?;
    let event = event_of(&shop, &visitor, &managed.event_id).await?;
    let seats = event.sections.iter().map(|section| section.seats).sum();
    let taken = event.sections.iter().map(taken).sum();
    html(&Sales {
        frame: Frame::new(&visitor, "organiser"),
        head: Headline::of(&event),
        taken,
        seats,
        percent: percent(taken, seats),
        sections: event.sections.iter().map(sales).collect(),
    })
}

fn sales(section: &Section) -> SectionSales {
    SectionSales {
        name: section.section.clone(),
        taken: taken(section),
        seats: section.seats,
        percent: percent(taken(section), section.seats),
    }
}

fn taken(section: &Section) -> usize {
    section.seats.saturating_sub(section.available)
}

fn percent(part: usize, whole: usize) -> usize {
    (part * 100).checked_div(whole).unwrap_or_default()
}

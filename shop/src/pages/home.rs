//! The first page: what is on, and a search.

use askama::Template;
use axum::Extension;
use axum::extract::State;

use super::fields::{Fields, Query};
use super::glances::Glance;
use super::{Frame, Headline, Page, html};
use crate::api::Ask;
use crate::limits::EVENTS_PAGE;
use crate::routes::Shop;
use crate::text::query;
use crate::types::{Event, EventPage};
use crate::visitor::Visitor;

/// What one may search by.
const SEARCH: [&str; 4] = ["text", "city", "from", "to"];

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    text: String,
    city: String,
    from: String,
    to: String,
    searched: bool,
    problem: String,
    cards: Vec<Card>,
    more: String,
}

struct Card {
    head: Headline,
    performers: String,
    note: String,
    tone: &'static str,
}

/// Shows it.
pub async fn show(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Query(fields): Query) -> Page {
    let limit = EVENTS_PAGE.to_string();
    let mut wanted = given(&fields);
    let searched = !wanted.is_empty();
    wanted.extend(fields.get("after").map(|after| ("after", after)));
    wanted.push(("limit", &limit));
    let ask = Ask::get(format!("/events?{}", query(wanted)));
    let (found, problem) = match shop.api.ask::<EventPage>(&visitor.caller, ask).await {
        Ok(found) => (found, String::new()),
        // A search that makes no sense is mended where it was typed.
        Err(failure) if failure.is("malformed") => {
            let empty = EventPage {
                events: Vec::new(),
                next: None,
            };
            (
                empty,
                "Search by words, a city, and dates such as 2027-06-12.".to_owned(),
            )
        }
        Err(failure) => return Err(failure.into()),
    };
    let glances = shop.glances.of(&shop, &visitor, &found.events).await;
    let last = found.events.last().filter(|_| found.next.is_some());
    let more = last.map(|last| {
        let pairs = given(&fields).into_iter().chain([("after", last.event_id.as_str())]);
        format!("/?{}", query(pairs))
    });
    html(&Home {
        frame: Frame::new(&visitor, "events"),
        text: fields.text("text").to_owned(),
        city: fields.text("city").to_owned(),
        from: fields.text("from").to_owned(),
        to: fields.text("to").to_owned(),
        searched,
        problem,
        cards: found
            .events
            .iter()
            .zip(glances)
            .map(|(event, glance)| card(event, glance))
            .collect(),
        more: more.unwrap_or_default(),
    })
}

fn given(fields: &Fields) -> Vec<(&str, &str)> {
    let pairs = SEARCH
        .into_iter()
        .filter_map(|name| fields.get(name).map(|value| (name, value)));
    pairs.collect()
}

fn card(event: &Event, glance: Glance) -> Card {
    let from = glance.from.map(|from| format!("from {}", from.told(&event.currency)));
    let (note, tone) = match event.status.as_str() {
        "on_sale" if glance.from.is_some() && glance.available == 0 => ("Sold out".to_owned(), "bad"),
        "on_sale" => (from.unwrap_or_else(|| "On sale".to_owned()), "good"),
        status => (status_words(status).to_owned(), "wait"),
    };
    Card {
        head: Headline::of(event),
        performers: event.performers.join(", "),
        note,
        tone,
    }
}

/// An event's status in a word or two.
pub fn status_words(status: &str) -> &'static str {
    match status {
        "on_sale" => "On sale",
        "upcoming" => "Not on sale yet",
        "postponed" => "Postponed",
        "cancelled" => "Cancelled",
        _ => "Sale closed",
    }
}

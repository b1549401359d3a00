//! The organisation's events and venues.

use askama::Template;
use axum::Extension;
use axum::extract::State;

use super::types::{Managed, ManagedPage, Venue};
use super::{clock, path_of, venues_of};
use crate::api::Ask;
use crate::pages::fields::Query;
use crate::pages::{Frame, Page, html};
use crate::routes::Shop;
use crate::text::{When, count, query, segment};
use crate::visitor::Visitor;

#[derive(Template)]
#[template(path = "organiser/events.html")]
struct Events {
    frame: Frame,
    events: Vec<EventRow>,
    more: String,
}

struct EventRow {
    name: String,
    place: String,
    when: When,
    status: &'static str,
    tone: &'static str,
    href: String,
}

#[derive(Template)]
#[template(path = "organiser/venues.html")]
struct Venues {
    frame: Frame,
    venues: Vec<VenueRow>,
}

struct VenueRow {
    name: String,
    city: String,
    seats: String,
    href: String,
}

/// Lists the events.
pub async fn events(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Query(fields): Query) -> Page {
    let after = query(fields.get("after").map(|after| ("after", after)));
    let ask = Ask::get(format!("/organiser/events?{after}"));
    let page: ManagedPage = shop.api.ask(&visitor.caller, ask).await?;
    let last = page.events.last().filter(|_| page.next.is_some());
    let more = last.map(|last| format!("/shop/organiser?{}", query([("after", last.event_id.as_str())])));
    html(&Events {
        frame: Frame::new(&visitor, "organiser"),
        more: more.unwrap_or_default(),
        events: page.events.iter().map(row).collect(),
    })
}

fn row(event: &Managed) -> EventRow {
    let (status, tone) = event.status.told();
    EventRow {
        name: event.name.clone(),
        place: format!("{}, {}", event.venue, event.city),
        when: When::of(&clock::there(&event.starts_at, &event.time_zone)),
        status,
        tone,
        href: path_of(&event.event_id),
    }
}

/// Lists the venues.
pub async fn venues(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>) -> Page {
    let venues = venues_of(&shop, &visitor).await?;
    let row = |venue: Venue| VenueRow {
        href: format!("/shop/organiser/venues/{}", segment(&venue.venue_id)),
        name: venue.name,
        city: venue.city,
        seats: match venue.seats {
            0 => "no seats yet".to_owned(),
            seats => count(seats, "seat"),
        },
    };
    html(&Venues {
        frame: Frame::new(&visitor, "organiser"),
        venues: venues.into_iter().map(row).collect(),
    })
}
